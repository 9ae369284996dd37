package postgres_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// lapse makes the leases of an engine those of one that is gone, as they are when it has not
// renewed them in time.
func lapse(t *testing.T, pool *pgxpool.Pool, schema string, e *postgres.Engine) {
	t.Helper()
	epoch, err := postgres.Epoch(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "DELETE FROM "+schema+".owners WHERE epoch = $1", epoch); err != nil {
		t.Fatal(err)
	}
}

// TestClaimOfLapsedOwner: an engine that could not renew its leases gives out none that
// others may take back at once.
func TestClaimOfLapsedOwner(t *testing.T) {
	e, pool, schema := openPool(t)
	other := openAnother(t, pool, schema)
	lapse(t, pool, schema, e)
	leases := publishAndClaim(t, e, message("a"))
	if err := postgres.Renew(t.Context(), other); err != nil { // it ends the leases of who is gone
		t.Fatal(err)
	}
	if err := e.Finish(t.Context(), leases[0], recall.Finish{Outcome: recall.Delivered, Now: base}); err != nil {
		t.Error(err)
	}
}

// TestLapsedInClaim: what is leased after an engine was taken for gone, in the middle of a
// claim, is leased anew.
func TestLapsedInClaim(t *testing.T) {
	for _, queue := range []string{"", "q"} {
		for _, knows := range []bool{false, true} {
			for at, came := 1, true; came; at++ {
				t.Run(fmt.Sprint(queue, " ", knows, " ", at), func(t *testing.T) { came = lapsedInClaim(t, queue, knows, at) })
			}
		}
	}
}

// lapsedInClaim has an engine be gone at a request of its claim, which it knows by its own
// clock or not. It reports whether there was such a request.
func lapsedInClaim(t *testing.T, queue string, knows bool, at int) bool {
	dsn, schema := pgtest.Schema(t)
	proxy, through := pgtest.NewProxy(t, dsn)
	pool := newPool(t, dsn)
	e, err := postgres.Open(t.Context(), through, &postgres.Options{
		AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, PollInterval: time.Hour, LongTransaction: -1,
	})
	noError(t, err)
	defer e.Close()
	m := message("a")
	m.Queue = queue
	_, err = e.Insert(t.Context(), []recall.Message{m}, base)
	noError(t, err)
	epoch, err := postgres.Epoch(t.Context(), e)
	noError(t, err)
	var came atomic.Bool
	var behind atomic.Int64 // requests
	var count func() pgtest.Cut
	count = func() pgtest.Cut {
		behind.Add(1)
		proxy.At(1, count)
		return pgtest.CutNever
	}
	proxy.At(at, func() pgtest.Cut {
		_, err := pool.Exec(context.WithoutCancel(t.Context()), "DELETE FROM "+schema+".owners WHERE epoch = $1", int64(epoch))
		noError(t, err)
		if knows {
			postgres.RenewedLongAgo(e)
		}
		came.Store(true)
		proxy.At(1, count)
		return pgtest.CutNever
	})
	res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 1})
	proxy.At(0, nil)
	noError(t, err)
	for _, l := range res.Leases {
		// The last requests close rooms and commit: only its own clock tells it then.
		if came.Load() && l.Token.Epoch == epoch && (knows || behind.Load() > 2) {
			t.Error("the lease is of who is gone")
		}
	}
	noError(t, postgres.Renew(t.Context(), openAnother(t, pool, schema))) // it takes back what was leased before
	if len(res.Leases) == 0 {
		res.Leases = claimSome(t, e)
	}
	if err := e.Finish(t.Context(), res.Leases[0], recall.Finish{Outcome: recall.Delivered, Now: base}); err != nil && res.Leases[0].Token.Epoch != epoch {
		t.Error(err)
	}
	return came.Load()
}

// claimSome returns one lease.
func claimSome(t *testing.T, e *postgres.Engine) []recall.Lease {
	t.Helper()
	res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 1})
	if err != nil || len(res.Leases) != 1 {
		t.Fatalf("got %+v, %v", res, err)
	}
	return res.Leases
}

// TestUndoOfLapsedCall undoes a call whose process was taken for gone: it ends when it
// notices, and leaves nothing behind.
func TestUndoOfLapsedCall(t *testing.T) {
	e, pool, schema := openPool(t)
	other := openAnother(t, pool, schema)
	ctx := t.Context()
	early, late := message("x"), message("x")
	late.DueAt = base.Add(1 << 40)
	if _, err := e.Insert(ctx, []recall.Message{late, early, late}, base); err != nil {
		t.Fatal(err)
	}
	res, err := other.Claim(ctx, recall.ClaimRequest{Now: base, Max: 1})
	if err != nil || len(res.Leases) != 1 {
		t.Fatalf("got %+v, %v", res, err)
	}
	started, ended := make(chan recall.OperationID, 1), make(chan error)
	go func() {
		_, err := e.CancelMatching(context.WithoutCancel(ctx), recall.CancelMatchingRequest{
			Filter: recall.Filter{Labels: []string{"x"}}, Now: base, Expired: make(chan struct{}),
			Started: func(id recall.OperationID) { started <- id },
		})
		ended <- err
	}()
	op := <-started
	for rowsIn(t, pool, schema+".operations") == 0 { // until it waits for the attempt
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
	}
	lapse(t, pool, schema, e)
	if back, err := other.Restore(ctx, op, base); err != nil || back.Restored != 1 {
		t.Fatalf("Restore: got %+v, %v", back, err)
	}
	if err := other.Finish(ctx, res.Leases[0], recall.Finish{Outcome: recall.Retry, Now: base, Due: base}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the call has gone on")
	}
	if n := rowsIn(t, pool, schema+".messages WHERE state = 2"); n != 0 {
		t.Errorf("%d messages are cancelled that nobody can restore", n)
	}
}

// openAnother opens one more engine, as another process would.
func openAnother(t *testing.T, pool *pgxpool.Pool, schema string) *postgres.Engine {
	t.Helper()
	e, err := postgres.Open(t.Context(), pool, &postgres.Options{AllowUnsafe: true, Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestConnectionIsLeft: calls that wait for their turn do not use up the pool, whatever the
// code of the program takes its time for.
func TestConnectionIsLeft(t *testing.T) {
	e, pool, _ := openPool(t)
	goOn, done := make(chan struct{}), make(chan error)
	calls := int(pool.Config().MaxConns) + 1
	for range calls {
		go func() {
			done <- e.Update(context.WithoutCancel(t.Context()), func(recall.EngineTx) error { <-goOn; return nil })
		}()
	}
	ctx, stop := context.WithTimeout(t.Context(), soon)
	defer stop()
	for pool.Stat().AcquiredConns() == 0 && ctx.Err() == nil { // until some have begun
	}
	for range 20 {
		if _, err := e.Count(ctx, recall.Filter{}, base); err != nil {
			t.Error(err)
			break
		}
	}
	close(goOn)
	for range calls {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
