// Package pgtest gives tests a private PostgreSQL: a server in a folder of its
// own that listens on a unix socket only, one for each test binary, started with
// the first test that asks for it and gone with the process at the latest.
//
// It needs initdb and postgres, on the path or where distributions put them.
// Without them a test is skipped; with CI=1 in the environment it fails. A DSN in
// RECALL_TEST_PG_DSN names a server to use instead, on which each test makes a
// database of its own.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
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
// the name of a schema that no other test uses. It is far cheaper than a database.
func Schema(t testing.TB) (dsn, schema string) {
	t.Helper()
	dsn, schema = shared.use(t), fmt.Sprintf("recall_%d_%d", os.Getpid(), databases.Add(1))
	if shared.server == nil { // else it goes with the server
		t.Cleanup(func() { _ = run(dsn, "DROP SCHEMA IF EXISTS "+schema+" CASCADE") })
	}
	return dsn, schema
}

// DSN returns the address of a new, empty database on the server that the tests of
// this binary share. The test removes it at its end.
func DSN(t testing.TB) string {
	t.Helper()
	base := shared.use(t)
	name := fmt.Sprintf("recall_%d_%d", os.Getpid(), databases.Add(1))
	if err := run(base, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = run(base, "DROP DATABASE "+name+" WITH (FORCE)") })
	return withDatabase(base, name)
}

var databases atomic.Int64

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
	switch {
	case err == nil:
		return dsn
	case os.Getenv("CI") != "":
		t.Fatalf("there is no PostgreSQL: %v", err)
	}
	t.Skipf("there is no PostgreSQL: %v", err)
	return ""
}

func (p *process) get() (string, error) {
	p.once.Do(func() {
		if p.dsn = os.Getenv("RECALL_TEST_PG_DSN"); p.dsn != "" {
			return
		}
		if p.server, p.err = Start("fsync=off", "full_page_writes=off"); p.err == nil {
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

func withDatabase(dsn, name string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn + " dbname=" + name
	}
	u.Path = "/" + name
	return u.String()
}
