package postgres_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// apart is a queue whose programs publish in transactions of their own.
type apart struct {
	*testing.T
	ctx  context.Context
	pool *pgxpool.Pool
	e    *postgres.Engine
	b    *recall.Broker
}

func newApart(t *testing.T) *apart {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	a := &apart{T: t, ctx: ctx, pool: newPool(t, dsn)}
	var err error
	if a.e, err = postgres.Open(ctx, dsn, &postgres.Options{Schema: schema, LeaseTime: time.Hour, AllowUnsafe: true}); err != nil {
		t.Fatal(err)
	}
	if a.b, err = recall.New(a.e, &recall.Options{NoDispatch: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.b.Close(context.Background()) })
	return a
}

func (a *apart) begin() pgx.Tx {
	a.Helper()
	tx, err := a.pool.Begin(a.ctx)
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func (a *apart) commit(tx pgx.Tx) {
	a.Helper()
	if err := tx.Commit(a.ctx); err != nil {
		a.Fatal(err)
	}
}

func (a *apart) publish(tx pgx.Tx, m recall.Message) recall.Receipt {
	a.Helper()
	var r recall.Receipt
	var err error
	if m.URL == "" {
		m.URL = "https://api.test/hook"
	}
	if tx == nil {
		r, err = a.b.Publish(a.ctx, m)
	} else {
		r, err = a.e.PublishTx(a.ctx, a.b, tx, m)
	}
	if err != nil {
		a.Fatal(err)
	}
	return r
}

func (a *apart) pending(f recall.Filter) int {
	a.Helper()
	c, err := a.b.Count(a.ctx, f)
	if err != nil {
		a.Fatal(err)
	}
	return c.Pending
}

func (a *apart) claim() []recall.Lease {
	a.Helper()
	res, err := a.e.Claim(a.ctx, recall.ClaimRequest{Now: time.Now(), Max: 9})
	if err != nil {
		a.Fatal(err)
	}
	return res.Leases
}

// TestOpenTransactions has two transactions open at once, one of which comes to nothing,
// while others publish, claim, finish and cancel.
func TestOpenTransactions(t *testing.T) {
	a := newApart(t)
	one, two := a.begin(), a.begin()
	first := a.publish(one, recall.Message{Labels: []string{"one"}, Queue: "q"})
	a.publish(two, recall.Message{Labels: []string{"two"}, Queue: "q", FlowKey: "k", Flow: &recall.FlowLimit{Parallelism: 1}})
	a.publish(nil, recall.Message{Labels: []string{"three"}})
	last := a.publish(nil, recall.Message{Labels: []string{"three"}, Queue: "q"})
	if got := a.claim(); len(got) != 2 {
		t.Fatalf("%d were claimed beside open transactions, want 2", len(got))
	} else if err := a.e.Finish(a.ctx, got[1], recall.Finish{Outcome: recall.Release, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := two.Rollback(a.ctx); err != nil {
		t.Fatal(err)
	}
	a.commit(one)
	if got := a.pending(recall.Filter{Queues: []string{"q"}}); got != 2 {
		t.Fatalf("%d are in the queue, want 2", got)
	}
	// Its place in the queue is that of the call.
	var got []recall.Lease
	for len(got) == 0 && a.ctx.Err() == nil { // background work may be running the errands now
		got = a.claim()
	}
	if len(got) != 1 || got[0].Message.ID != first.ID {
		t.Fatalf("claimed %+v, want %s before %s", got, first.ID, last.ID)
	}
	keys, err := a.b.FlowKeys(a.ctx)
	if err != nil || len(keys) != 0 {
		t.Errorf("what was rolled back has left %+v, %v", keys, err)
	}
}

// TestWalkBesideOpenTransaction: what becomes visible when a walk has begun is not
// touched, also if its id is older than where the walk has come to, or newer.
func TestWalkBesideOpenTransaction(t *testing.T) {
	a := newApart(t)
	open, done := a.begin(), a.begin()
	a.publish(nil, recall.Message{Labels: []string{"x"}})
	a.publish(open, recall.Message{Labels: []string{"x"}})
	a.publish(done, recall.Message{Labels: []string{"x"}})
	a.commit(done)
	cancel := func() recall.CancelResult {
		t.Helper()
		res, err := a.e.CancelMatching(a.ctx, recall.CancelMatchingRequest{
			Filter: recall.Filter{Labels: []string{"x"}}, Now: time.Now(),
			Started: func(recall.OperationID) {
				if open != nil {
					a.publish(open, recall.Message{Labels: []string{"x"}})
					a.commit(open)
					open = nil
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	res := cancel()
	if got := a.pending(recall.Filter{Labels: []string{"x"}}); res.Cancelled != 2 || got != 2 {
		t.Errorf("cancelled %d, and %d are left; want 2 and 2", res.Cancelled, got)
	}
	if res := cancel(); res.Cancelled != 2 {
		t.Errorf("the second call cancelled %d, want 2", res.Cancelled)
	}
	if res, err := a.b.Restore(a.ctx, res.Operation); err != nil || res.Restored != 2 {
		t.Errorf("restored %+v, %v", res, err)
	}
}

// TestLimitOfTransaction: the limit that a message brings holds from its first claim on.
func TestLimitOfTransaction(t *testing.T) {
	a := newApart(t)
	a.publish(nil, recall.Message{FlowKey: "k", Delay: time.Hour})
	tx := a.begin()
	for range 3 {
		a.publish(tx, recall.Message{FlowKey: "k", Flow: &recall.FlowLimit{Parallelism: 1}})
		a.publish(tx, recall.Message{Queue: "new"})
	}
	a.commit(tx)
	got := 0
	for got < 2 && a.ctx.Err() == nil { // background work may be running the errands now
		got += len(a.claim())
	}
	if got += len(a.claim()); got != 2 {
		t.Errorf("%d were claimed, want one of the key and one of the queue", got)
	}
	if q, err := a.b.Queue(a.ctx, "new"); err != nil || q.Parallelism != 1 {
		t.Errorf("the queue: %+v, %v", q, err)
	}
}

// TestDeduplicationBesideOpenTransaction: whoever publishes with an id that an open
// transaction reserves waits for its end, and nobody else does.
func TestDeduplicationBesideOpenTransaction(t *testing.T) {
	for _, commits := range []bool{true, false} {
		a := newApart(t)
		tx := a.begin()
		first := a.publish(tx, recall.Message{DeduplicationID: "d"})
		type answer struct {
			r   recall.Receipt
			err error
		}
		answers := make(chan answer, 2)
		for range 2 {
			go func() {
				r, err := a.b.Publish(a.ctx, recall.Message{URL: "https://api.test", DeduplicationID: "d"})
				answers <- answer{r, err}
			}()
		}
		awaitBlocked(t, a.pool, tx, func() bool { return false })
		for range 5 {
			a.publish(nil, recall.Message{DeduplicationID: ""})
		}
		a.publish(nil, recall.Message{DeduplicationID: "other"})
		short, cancel := context.WithTimeout(a.ctx, 50*time.Millisecond)
		if _, err := a.b.Publish(short, recall.Message{URL: "https://api.test", DeduplicationID: "d"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call whose context ends while it waits: %v", err)
		}
		cancel()
		select {
		case got := <-answers:
			t.Fatalf("answered before the end of the transaction: %+v", got)
		default:
		}
		if commits {
			a.commit(tx)
		} else if err := tx.Rollback(a.ctx); err != nil {
			t.Fatal(err)
		}
		x, y := <-answers, <-answers
		if x.err != nil || y.err != nil || x.r.ID != y.r.ID || (x.r.ID == first.ID) != commits {
			t.Errorf("commit %v: %+v and %+v, the first is %s", commits, x, y, first.ID)
		}
		if got := a.pending(recall.Filter{}); got != 7 {
			t.Errorf("commit %v: %d messages, want 7", commits, got)
		}
		if got := a.e.Stats().DeduplicationIDs; got != 2 {
			t.Errorf("commit %v: %d ids are reserved, want 2", commits, got)
		}
	}
}

// TestStandingInTransaction: what a standing cancellation takes in a transaction counts
// when it is committed.
func TestStandingInTransaction(t *testing.T) {
	a := newApart(t)
	id, err := a.b.CancelFuture(a.ctx, recall.Filter{Labels: []string{"x"}}, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	tx, gone := a.begin(), a.begin()
	r := a.publish(tx, recall.Message{Labels: []string{"x"}})
	a.publish(gone, recall.Message{Labels: []string{"x"}})
	if other := a.publish(nil, recall.Message{Labels: []string{"x"}}); r.CancelledBy != id || other.CancelledBy != id {
		t.Errorf("taken by %q and %q, want %q", r.CancelledBy, other.CancelledBy, id)
	}
	a.commit(tx)
	if err := gone.Rollback(a.ctx); err != nil {
		t.Fatal(err)
	}
	list, err := a.b.StandingCancellations(a.ctx)
	if err != nil || len(list) != 1 || list[0].Count != 2 {
		t.Errorf("%+v, %v, want a count of 2", list, err)
	}
}

// TestReservationsInACircle: who waits for several ids, one of which an open transaction
// has, does not fail when that transaction goes on to another one. Which of the two the
// server gives up is its own choice.
func TestReservationsInACircle(t *testing.T) {
	a := newApart(t)
	ids := []string{"x", "y"}
	slices.SortFunc(ids, func(a, b string) int {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return bytes.Compare(x[:], y[:])
	})
	tx := a.begin()
	a.publish(tx, recall.Message{DeduplicationID: ids[1]})
	done := make(chan error, 1)
	go func() {
		_, err := a.b.PublishBatch(a.ctx, []recall.Message{
			{URL: "https://api.test/hook", DeduplicationID: ids[0]}, {URL: "https://api.test/hook", DeduplicationID: ids[1]},
		})
		done <- err
	}()
	for waits := false; !waits; { // with the first id, for the second
		err := a.pool.QueryRow(a.ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))
			AND query LIKE '%00000000-0000-0000-0000-000000000000%')`, int32(tx.Conn().PgConn().PID())).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.e.PublishTx(a.ctx, a.b, tx, recall.Message{URL: "https://api.test/hook", DeduplicationID: ids[0]}); err != nil {
		t.Logf("the server has given up the transaction: %v", err)
	}
	if err := tx.Rollback(a.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := a.e.Stats().Published; n != 2 { // what was tried while the transaction was open is not counted
		t.Errorf("counted %d publications", n)
	}
}
