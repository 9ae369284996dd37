// Package pgtest gives tests a private PostgreSQL: a server in a folder of its
// own that listens on a unix socket only, one for each test binary, started with
// the first test that asks for it and gone with the process at the latest.
//
// A test that has to restart its server, or to lose it, asks for one of its own:
// [Private], and [WithStandby] for a primary with a synchronous standby. [Proxy] loses
// connections.
//
// It needs initdb and postgres, on the path or where distributions put them; see
// package pgserver, which starts them. Without them a test is skipped; with CI=1 in the
// environment it fails. A DSN in RECALL_TEST_PG_DSN names a server to use instead, on
// which each test makes a schema of its own.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall/postgres/pgserver"
)

// Main runs the tests of a binary and stops its server afterwards. It is the body
// of a TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	if err := pgserver.StopAll(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

// Schema returns the address of the server that the tests of this binary share, and
// the name of a schema that no other test uses. It is far cheaper than a database. The
// address is one for package pgxpool, and bounds a pool.
func Schema(t testing.TB) (dsn, schema string) {
	t.Helper()
	dsn, schema = shared.use(t), fmt.Sprintf("recall_%d_%d", os.Getpid(), schemas.Add(1))
	if shared.server == nil { // else it goes with the server
		t.Cleanup(func() { _ = pgserver.Exec(dsn, "DROP SCHEMA IF EXISTS "+schema+" CASCADE") })
	}
	return Pooled(dsn), schema
}

var schemas atomic.Int64

// shared is the server of the process.
var shared process

type process struct {
	once   sync.Once
	server *Server
	dsn    string
	err    error
}

// use returns the address of the server, which it starts if nobody has.
func (p *process) use(t testing.TB) string {
	t.Helper()
	dsn, err := p.get()
	if err != nil {
		missing(t, err)
	}
	return dsn
}

// missing ends a test that has no server.
func missing(t testing.TB, err error) {
	t.Helper()
	switch os.Getenv("CI") { // as in internal/parttest, which only tests import
	case "", "0", "false":
		t.Skipf("there is no PostgreSQL: %v", err)
	default:
		t.Fatalf("with CI set no part may be missing: there is no PostgreSQL: %v", err)
	}
}

// Server is one that nobody else reaches; see package pgserver.
type Server = pgserver.Server

// small are the settings of a server for tests. It has connections for 60 pools of
// poolSize, more than the tests of a binary that run at a time.
var small = []string{
	"max_connections=500", "shared_buffers=32MB", "timezone=UTC",
	"wal_level=minimal", "max_wal_senders=0", "autovacuum_naptime=15s",
}

// Start starts a small server with more settings, such as "fsync=off". Whoever starts it
// stops it.
func Start(settings ...string) (*Server, error) {
	return pgserver.Start(context.Background(), pgserver.Config{Settings: slices.Concat(small, settings)})
}

// Private starts a server that only this test uses, and may restart. It ends with the
// test.
func Private(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := Start(slices.Concat(quick, settings)...)
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t testing.TB, s interface{ Stop() error }) {
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// quick are settings for tests, none of which takes the power away: what was written
// survives the death of every process.
var quick = []string{"fsync=off", "full_page_writes=off"}

func (p *process) get() (string, error) {
	p.once.Do(func() {
		if p.dsn = os.Getenv("RECALL_TEST_PG_DSN"); p.dsn != "" {
			return
		}
		if p.server, p.err = Start(append(quick, "synchronous_commit=off")...); p.err == nil {
			p.dsn = p.server.DSN()
		}
	})
	return p.dsn, p.err
}

// Ask returns the text of the one value that a query has.
func Ask(t testing.TB, dsn, query string) (text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pool, err := pgxpool.New(ctx, dsn) // a DSN may be one for pools
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.QueryRow(ctx, `SELECT (`+query+`)::text`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// poolSize bounds the connections of one pool. By default they grow with the machine.
const poolSize = 8

// Pooled is a DSN for package pgxpool, with a bounded pool.
func Pooled(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		return fmt.Sprintf("%s pool_max_conns=%d", dsn, poolSize)
	}
	q := u.Query()
	q.Set("pool_max_conns", strconv.Itoa(poolSize))
	u.RawQuery = q.Encode()
	return u.String()
}
