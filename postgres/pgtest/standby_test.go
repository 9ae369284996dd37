package pgtest

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
)

// one reads one number.
func one(t *testing.T, dsn, question string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), question).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFailover: what the primary has committed is there when its standby has taken its
// place, and the address of both leads to it.
func TestFailover(t *testing.T) {
	p := WithStandby(t)
	dsn := p.words()
	if err := run(dsn, "CREATE TABLE t AS SELECT generate_series(1, 1000) n"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	switch err := p.KillPrimary(); {
	case errors.Is(err, errors.ErrUnsupported):
		t.Skip("this system cannot kill a server with its processes")
	case err != nil:
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a process of the primary answers")
	}
	if err := run(p.primary.DSN(), "SELECT 1"); err == nil {
		t.Error("the primary answers")
	}
	if err := p.Promote(); err != nil {
		t.Fatal(err)
	}
	if err := run(dsn, "INSERT INTO t VALUES (1001)"); err != nil {
		t.Fatal(err)
	}
	if n := one(t, dsn, "SELECT count(*)::int FROM t"); n != 1001 {
		t.Errorf("%d rows, want 1001", n)
	}
}

// TestRestart: what was committed is there again after a server was ended in a hurry.
func TestRestart(t *testing.T) {
	s := Private(t)
	if err := run(s.DSN(), "CREATE TABLE t AS SELECT generate_series(1, 1000) n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if n := one(t, s.DSN(), "SELECT count(*)::int FROM t"); n != 1000 {
		t.Errorf("%d rows, want 1000", n)
	}
}
