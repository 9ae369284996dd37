package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

func newPool(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// TestOutbox publishes and cancels in transactions of the program, which end in both
// ways.
func TestOutbox(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool, ctx := newPool(t, dsn), t.Context()
	e, err := postgres.Open(ctx, pool, &postgres.Options{AllowUnsafe: true, Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(ctx)
	if _, err := pool.Exec(ctx, "CREATE TABLE "+schema+"_orders (id text)"); err != nil {
		t.Fatal(err)
	}
	orders := func() (n int) {
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM "+schema+"_orders").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	pending := func() int {
		c, err := b.Count(ctx, recall.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return c.Pending
	}
	for _, commits := range []bool{false, true} {
		tx, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO "+schema+"_orders VALUES ('o1')"); err != nil {
			t.Fatal(err)
		}
		r, err := e.PublishTx(ctx, b, tx, recall.Message{URL: "https://api.test", Labels: []string{"o1"}})
		if err != nil || r.ID == "" {
			t.Fatalf("PublishTx: %+v, %v", r, err)
		}
		if got := pending(); got != 0 {
			t.Fatalf("%d are visible before the commit", got)
		}
		if _, err := e.PublishTx(ctx, b, tx, recall.Message{URL: "nowhere"}); !errors.Is(err, recall.ErrInvalid) {
			t.Fatalf("PublishTx to nowhere: %v", err)
		}
		if commits {
			err = tx.Commit(ctx)
		} else {
			err = tx.Rollback(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{true: 1}[commits]
		if got, rows := pending(), orders(); got != want || rows != want {
			t.Fatalf("commit %v: %d messages and %d orders", commits, got, rows)
		}
	}
	for _, commits := range []bool{false, true} {
		tx, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		res, err := e.CancelMatchingTx(ctx, b, tx, recall.Filter{Labels: []string{"o1"}})
		if err != nil || res.Cancelled != 1 {
			t.Fatalf("CancelMatchingTx: %+v, %v", res, err)
		}
		end := tx.Rollback
		if commits {
			end = tx.Commit
		}
		if err := end(ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := pending(), map[bool]int{false: 1}[commits]; got != want {
			t.Fatalf("commit %v: %d messages", commits, got)
		}
	}
}

// TestOutboxOfOneConnection publishes and cancels in a transaction that has the only
// connection.
func TestOutboxOfOneConnection(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	e, err := postgres.Open(t.Context(), pool, &postgres.Options{AllowUnsafe: true, Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.PublishTx(ctx, b, tx, recall.Message{URL: "https://api.test", Queue: "q", Labels: []string{"a"}, DeduplicationID: "x"})
	_, err2 := e.CancelMatchingTx(ctx, b, tx, recall.Filter{Labels: []string{"a"}, Queues: []string{"q"}})
	if err := errors.Join(err, err2, tx.Rollback(context.Background())); err != nil {
		t.Error(err)
	}
}
