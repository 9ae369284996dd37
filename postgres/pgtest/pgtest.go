// Package pgtest gives tests a private PostgreSQL: a server in a folder of its
// own that listens on a unix socket only, one for each test binary, started with
// the first test that asks for it and gone with the process at the latest.
//
// A test that has to restart its server, or to lose it, asks for one of its own:
// [Private], and [WithStandby] for a primary with a synchronous standby. [Proxy] loses
// connections.
//
// It needs initdb and postgres, on the path or where distributions put them.
// Without them a test is skipped; with CI=1 in the environment it fails. Root runs the
// server as the user postgres, or nobody. On Linux it ends also when the test is killed;
// the folder of such a test is removed by the next one. A DSN in
// RECALL_TEST_PG_DSN names a server to use instead, on which each test makes a
// schema of its own.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Main runs the tests of a binary and stops its server afterwards. It is the body
// of a TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		shared.server.Stop()
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
		t.Cleanup(func() { _ = run(dsn, "DROP SCHEMA IF EXISTS "+schema+" CASCADE") })
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

// Private starts a server that only this test uses, and may restart. It ends with the
// test.
func Private(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := Start(slices.Concat(quick, settings)...)
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(s.Stop)
	return s
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

// run executes one statement on a connection of its own.
func run(dsn, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// Ask returns the text of the one value that a query has.
func Ask(t testing.TB, dsn, query string) (text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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
