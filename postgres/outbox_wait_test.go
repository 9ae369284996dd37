package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// soon is how long a test waits for what must not wait.
const soon = time.Minute

// openCancelTx cancels, in a transaction that stays open, what has a label: of a queue whose
// first message is in flight the second, and one under a key.
func openCancelTx(t *testing.T) (e *postgres.Engine, tx pgx.Tx, first recall.Lease) {
	t.Helper()
	e, pool, _ := openPool(t)
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	head, next, keyed := message("z"), message("x"), message("x")
	head.Queue, next.Queue, keyed.FlowKey = "q", "q", "f"
	keyed.DueAt = base.Add(time.Hour)
	if _, err := e.Insert(t.Context(), []recall.Message{head, next, keyed}, base); err != nil {
		t.Fatal(err)
	}
	res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 1})
	if err != nil || len(res.Leases) != 1 {
		t.Fatalf("got %+v, %v", res, err)
	}
	if tx, err = pool.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := e.CancelMatchingTx(t.Context(), b, tx, recall.Filter{Labels: []string{"x"}}); err != nil || c.Cancelled != 2 {
		t.Fatalf("got %+v, %v", c, err)
	}
	return e, tx, res.Leases[0]
}

// TestNobodyWaitsForCancelTx: while a transaction of the program has cancelled something in a
// queue and under a key, others publish there, and end attempts.
func TestNobodyWaitsForCancelTx(t *testing.T) {
	e, tx, first := openCancelTx(t)
	ctx := context.WithoutCancel(t.Context())
	queued, keyed := message("y"), message("y")
	queued.Queue, keyed.FlowKey = "q", "f"
	done := make(chan error, 1)
	go func() {
		var errs []error
		for _, m := range []recall.Message{queued, keyed, message("y")} {
			_, err := e.Insert(ctx, []recall.Message{m}, base)
			errs = append(errs, err)
		}
		done <- errors.Join(append(errs, e.Finish(ctx, first, recall.Finish{Outcome: recall.Delivered, Now: base}))...)
	}()
	select {
	case err := <-done:
		done <- err
	case <-time.After(soon):
		t.Error("they wait")
	}
	if err := errors.Join(tx.Commit(ctx), <-done); err != nil {
		t.Fatal(err)
	}
	res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 9})
	if err != nil || len(res.Leases) != 3 {
		t.Errorf("%d messages of 3 can be claimed: %v", len(res.Leases), err)
	}
}

// TestContextOfWhoWaits: who waits for what a transaction of the program has locked stops
// soon when its context ends.
func TestContextOfWhoWaits(t *testing.T) {
	e, tx, _ := openCancelTx(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{
			Filter: recall.Filter{Labels: []string{"x"}}, Now: base, Started: func(recall.OperationID) { stop() },
		})
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(soon):
		t.Error("it waits on")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}
