package pgtest

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall/postgres/pgserver"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// connect opens a connection, also with an address for pools.
func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// one reads one number.
func one(t *testing.T, dsn, question string) (n int) {
	t.Helper()
	if err := connect(t, dsn).QueryRow(t.Context(), question).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFailover: what the primary has committed is there when its standby has taken its
// place, and the address of both leads to it.
func TestFailover(t *testing.T) {
	p := WithStandby(t)
	dsn := p.Pair.DSN()
	if err := pgserver.Exec(dsn, "CREATE TABLE t AS SELECT generate_series(1, 1000) n"); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, dsn)
	switch err := p.KillPrimary(); {
	case errors.Is(err, errors.ErrUnsupported):
		t.Skip("this system cannot kill a server with its processes")
	case err != nil:
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a process of the primary answers")
	}
	if err := pgserver.Exec(p.Pair.Primary().DSN(), "SELECT 1"); err == nil {
		t.Error("the primary answers")
	}
	if err := p.Promote(); err != nil {
		t.Fatal(err)
	}
	if err := pgserver.Exec(dsn, "INSERT INTO t VALUES (1001)"); err != nil {
		t.Fatal(err)
	}
	if n := one(t, dsn, "SELECT count(*)::int FROM t"); n != 1001 {
		t.Errorf("%d rows, want 1001", n)
	}
}

// TestDetached: what the primary commits after its standby was cut off is lost with it, if
// it does not wait for the standby, and is not committed, if it does.
func TestDetached(t *testing.T) {
	p := WithStandby(t)
	if err := pgserver.Exec(p.Pair.DSN(), "CREATE TABLE t (n int)"); err != nil {
		t.Fatal(err)
	}
	if err := p.Detach(); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() { waits <- pgserver.Exec(p.Pair.DSN(), "INSERT INTO t VALUES (1)") }()
	if err := p.AwaitWaiting(); err != nil {
		t.Fatal(err)
	}
	if err := pgserver.Exec(p.Pair.DSN(), "SET synchronous_commit = local; INSERT INTO t VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	if err := p.KillPrimary(); err != nil {
		t.Skip(err)
	}
	if err := <-waits; err == nil {
		t.Error("a commit was answered that the standby does not have")
	}
	if err := p.Promote(); err != nil {
		t.Fatal(err)
	}
	if n := one(t, p.Pair.DSN(), "SELECT count(*)::int FROM t"); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

// TestRestart: what was committed is there again after a server was ended in a hurry.
func TestRestart(t *testing.T) {
	s := Private(t)
	if err := pgserver.Exec(s.DSN(), "CREATE TABLE t AS SELECT generate_series(1, 1000) n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if n := one(t, s.DSN(), "SELECT count(*)::int FROM t"); n != 1000 {
		t.Errorf("%d rows, want 1000", n)
	}
}
