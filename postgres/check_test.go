package postgres_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// said is what a logger was told.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

// lines counts the lines with all of some words.
func (s *said) lines(words ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.text.String()) {
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(line, w)
		}
		if !missing {
			n++
		}
	}
	return n
}

// TestUnsafeServer is refused unless that is allowed: that of these tests is one.
func TestUnsafeServer(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool := newPool(t, dsn)
	var fsync string
	noError(t, pool.QueryRow(t.Context(), `SHOW fsync`).Scan(&fsync))
	if fsync != "off" {
		t.Skip("the server that RECALL_TEST_PG_DSN names is safe")
	}
	_, err := postgres.Open(t.Context(), pool, &postgres.Options{Schema: schema})
	var refused *postgres.ServerError
	if !errors.Is(err, postgres.ErrServer) || !errors.As(err, &refused) || refused.Setting != "fsync" || !strings.Contains(err.Error(), "synchronous_commit") {
		t.Fatalf("Open: %v, want an error about both settings", err)
	}
	var made bool
	noError(t, pool.QueryRow(t.Context(), `SELECT to_regnamespace($1) IS NOT NULL`, schema).Scan(&made))
	if made {
		t.Error("it has made the schema all the same")
	}
	e, err := postgres.Open(t.Context(), pool, &postgres.Options{Schema: schema, AllowUnsafe: true})
	noError(t, err)
	noError(t, e.Close())
}

// TestDoubtfulServer is warned of.
func TestDoubtfulServer(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	var s said
	e, err := postgres.Open(t.Context(), dsn+"&default_transaction_isolation=serializable", &postgres.Options{
		Schema: schema, AllowUnsafe: true, Logger: s.logger(),
	})
	noError(t, err)
	noError(t, e.Close())
	if s.lines("level=WARN", "default_transaction_isolation", "serializable") != 1 {
		t.Errorf("it has said:\n%s", s.text.String())
	}
}

// TestLongTransaction is warned of, once.
func TestLongTransaction(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	ctx := t.Context()
	var s said
	const bound = 20 * time.Millisecond
	e, err := postgres.Open(ctx, dsn, &postgres.Options{Schema: schema, AllowUnsafe: true, LongTransaction: bound, Logger: s.logger()})
	noError(t, err)
	defer e.Close()
	tx, err := newPool(t, dsn).Begin(ctx)
	noError(t, err)
	defer func() { _ = tx.Rollback(ctx) }()
	_, err = tx.Exec(ctx, `SELECT 1`)
	noError(t, err)
	warned := func() int { return s.lines("level=WARN", "open for long", "age=", `state="idle in transaction"`) }
	eventually(t, "a warning", func() bool { return warned() > 0 })
	until := time.Now().Add(20 * bound)
	eventually(t, "that it would have been seen again", func() bool { return time.Now().After(until) })
	if n := warned(); n != 1 {
		t.Errorf("it was warned of %d times:\n%s", n, s.text.String())
	}
}
