package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// deletedQueue is a queue of one message that a cancellation has taken, or whose attempt
// runs and is not to be followed by another one.
func deletedQueue(t *testing.T, inFlight bool) (e *postgres.Engine, dsn string, l []recall.Lease, op recall.OperationID) {
	t.Helper()
	e, dsn = newEngine(t, postgres.Options{})
	m := message("a")
	m.Queue = "q"
	if _, err := e.Insert(t.Context(), []recall.Message{m}, base); err != nil {
		t.Fatal(err)
	}
	if inFlight {
		l = claimOne(t, e)
	}
	res, err := e.CancelMatching(t.Context(), recall.CancelMatchingRequest{All: true, Policy: recall.Sticky, Now: base})
	if err != nil || res.Cancelled+res.Requested != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	return e, dsn, l, res.Operation
}

func claimOne(t *testing.T, e *postgres.Engine) []recall.Lease {
	t.Helper()
	res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 9})
	if err != nil || len(res.Leases) != 1 {
		t.Fatalf("claimed %d, %v", len(res.Leases), err)
	}
	return res.Leases
}

func deleteQueue(ctx context.Context, e *postgres.Engine) error {
	_, err := e.Apply(ctx, recall.Change{Now: base, Objects: []recall.Object{{Kind: recall.ObjectQueue, Name: "q"}}})
	return err
}

// TestRestoredWithoutQueue undoes a cancellation whose queue was deleted since: the queue is
// there again, and the message is claimed, also if it was in flight all the time.
func TestRestoredWithoutQueue(t *testing.T) {
	for _, inFlight := range []bool{false, true} {
		e, _, leases, op := deletedQueue(t, inFlight)
		if err := deleteQueue(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Restore(t.Context(), op, base); err != nil {
			t.Fatal(err)
		}
		for _, l := range leases {
			if err := e.Finish(t.Context(), l, recall.Finish{Outcome: recall.Retry, Now: base, Due: base}); err != nil {
				t.Fatal(err)
			}
		}
		claimOne(t, e)
	}
}

// TestRestoreMeetsDeletedQueue does both at once.
func TestRestoreMeetsDeletedQueue(t *testing.T) {
	e, dsn, _, op := deletedQueue(t, false)
	pool, ctx := newPool(t, dsn), t.Context()
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(ctx, `SELECT FROM `+postgres.SchemaOf(e)+`.queues FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	restored, deleted := make(chan error, 1), make(chan error, 1)
	go func() { _, err := e.Restore(ctx, op, base); restored <- err }()
	awaitBlocked(t, pool, tx, func() bool { return false })
	go func() { deleted <- deleteQueue(ctx, e) }()
	for waiting := 0; waiting < 2; {
		if err := pool.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0 AND query LIKE '%'||$1||'%queues%'`,
			postgres.SchemaOf(e)).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-restored; err != nil {
		t.Error(err)
	}
	if err := <-deleted; err != nil && !errors.Is(err, recall.ErrQueueNotEmpty) {
		t.Error(err)
	}
	claimOne(t, e)
}
