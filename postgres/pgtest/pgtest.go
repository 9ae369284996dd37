// Package pgtest gives tests a private PostgreSQL: a server in a folder of its
// own that listens on a unix socket only, one for each test binary, started with
// the first test that asks for it and gone with the process at the latest.
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
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
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
	return pooled(dsn), schema
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
	if err == nil {
		return dsn
	}
	switch os.Getenv("CI") { // as in internal/parttest, which only tests import
	case "", "0", "false":
		t.Skipf("there is no PostgreSQL: %v", err)
	default:
		t.Fatalf("with CI set no part may be missing: there is no PostgreSQL: %v", err)
	}
	return ""
}

func (p *process) get() (string, error) {
	p.once.Do(func() {
		if p.dsn = os.Getenv("RECALL_TEST_PG_DSN"); p.dsn != "" {
			return
		}
		// No test takes the power away.
		if p.server, p.err = Start("fsync=off", "full_page_writes=off", "synchronous_commit=off"); p.err == nil {
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

// poolSize bounds the connections of one pool. By default they grow with the machine.
const poolSize = 8

// pooled is a DSN for package pgxpool.
func pooled(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		return fmt.Sprintf("%s pool_max_conns=%d", dsn, poolSize)
	}
	q := u.Query()
	q.Set("pool_max_conns", strconv.Itoa(poolSize))
	u.RawQuery = q.Encode()
	return u.String()
}
