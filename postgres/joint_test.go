package postgres_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

func newEngine(t *testing.T, o postgres.Options) (*postgres.Engine, string) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	o.Schema, o.LeaseTime, o.AllowUnsafe = schema, cmp.Or(o.LeaseTime, time.Hour), true
	e, err := postgres.Open(t.Context(), dsn, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e, dsn
}

// TestSharedTransaction has many calls wait for a lock that somebody holds, so that they
// share a transaction. Those that have to be refused are, and only those.
func TestSharedTransaction(t *testing.T) {
	e, dsn := newEngine(t, postgres.Options{MaxDeduplicationIDs: 3})
	pool, ctx := newPool(t, dsn), t.Context()
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(ctx, `SELECT FROM `+postgres.SchemaOf(e)+`.counters FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	const calls = 40
	errs, ids := make([]error, calls), make([]recall.MessageID, calls)
	withdrawn, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			m, ctx := message(fmt.Sprint(i)), ctx
			switch i % 4 {
			case 1:
				m.DeduplicationID = fmt.Sprint(i)
			case 2:
				m.Labels = append(m.Labels, "no\x00text")
			case 3:
				ctx = withdrawn
			}
			r, err := e.Insert(ctx, []recall.Message{m}, base)
			if errs[i] = err; err == nil {
				ids[i] = r[0].ID
			}
		})
	}
	awaitBlocked(t, pool, tx, func() bool { return false })
	cancel()
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	reserved, full, stored := 0, 0, 0
	for i, err := range errs {
		var dedup *recall.DeduplicationFullError
		switch {
		case err == nil:
			if stored++; i%4 == 1 {
				reserved++
			}
			m, err := e.Get(ctx, ids[i], base)
			if err != nil || len(m.Labels) != 1 || m.Labels[0] != fmt.Sprint(i) {
				t.Errorf("call %d: its message is %+v, %v", i, m, err)
			}
		case i%4 == 1 && errors.As(err, &dedup) && len(dedup.Indexes) == 1:
			full++
		case i%4 == 2 && errors.Is(err, recall.ErrInvalid), i%4 == 3 && errors.Is(err, context.Canceled):
		default:
			t.Errorf("call %d: %v", i, err)
		}
	}
	c, err := e.Count(ctx, recall.Filter{}, base)
	if err != nil || c.Pending != stored || reserved != 3 || full != calls/4-3 {
		t.Errorf("%d stored, %d reserved, %d refused; counted %+v, %v", stored, reserved, full, c, err)
	}
	if commits := e.Stats().Commits; commits > calls/2 {
		t.Errorf("%d commits for %d calls", commits, calls)
	}
}

// TestSharedFinish ends attempts together: a lease that is lost is the end of one call,
// and a row that somebody has locked keeps only its own call waiting.
func TestSharedFinish(t *testing.T) {
	e, dsn := newEngine(t, postgres.Options{})
	pool, ctx := newPool(t, dsn), t.Context()
	var msgs []recall.Message
	for range 20 {
		msgs = append(msgs, message("a"))
	}
	if _, err := e.Insert(ctx, msgs, base); err != nil {
		t.Fatal(err)
	}
	res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: len(msgs)})
	if err != nil || len(res.Leases) != len(msgs) {
		t.Fatal(len(res.Leases), err)
	}
	leases := res.Leases
	leases[3].Token.Number += 1000
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if n, err := tx.Exec(ctx, `SELECT FROM `+postgres.SchemaOf(e)+`.messages WHERE number = $1 FOR UPDATE`, leases[7].Token.Number); err != nil || n.RowsAffected() != 1 {
		t.Fatal(n, err)
	}
	finish := func(i int) error {
		f := recall.Finish{Outcome: recall.Outcome(1 + i%4), Now: base, Due: base}
		if f.Outcome == recall.Dead && i > 9 {
			f.Follow = []recall.Message{message("follows")}
		}
		return e.Finish(ctx, leases[i], f)
	}
	errs := make([]error, len(leases))
	var all sync.WaitGroup
	locked := make(chan error, 1)
	for i := range leases {
		if i == 7 {
			go func() { locked <- finish(7) }()
			continue
		}
		all.Go(func() { errs[i] = finish(i) })
	}
	all.Wait()
	for i, err := range errs {
		if (i == 3) != errors.Is(err, recall.ErrLeaseLost) || i != 3 && err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if t.Failed() { // then nobody may be waiting
		return
	}
	awaitBlocked(t, pool, tx, func() bool { return false })
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-locked; err != nil {
		t.Errorf("the call whose row was locked: %v", err)
	}
	count := func(f recall.Filter) recall.Count {
		c, err := e.Count(ctx, f, base)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	dead, err := e.DeadIDs(ctx, recall.Filter{}, "", 99)
	// Five of each kind, but call 3, of those released, which is in flight yet.
	if err != nil || len(dead) != 5 || count(recall.Filter{Labels: []string{"a"}}) != (recall.Count{Pending: 9, InFlight: 1}) ||
		count(recall.Filter{Labels: []string{"follows"}}).Pending != 3 {
		t.Errorf("%d dead, %+v left, %+v followed: %v", len(dead), count(recall.Filter{Labels: []string{"a"}}), count(recall.Filter{Labels: []string{"follows"}}), err)
	}
}

// TestManyLockedFinishes has more ends of attempts wait for locked rows than the pool has
// connections. Everybody else goes on.
func TestManyLockedFinishes(t *testing.T) {
	e, other := openSmall(t, 4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	msgs := make([]recall.Message, 10)
	for i := range msgs {
		msgs[i] = message("a")
	}
	if _, err := e.Insert(ctx, msgs, base); err != nil {
		t.Fatal(err)
	}
	res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: len(msgs)})
	if err != nil || len(res.Leases) != len(msgs) {
		t.Fatal(len(res.Leases), err)
	}
	tx, err := other.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM `+postgres.SchemaOf(e)+`.messages FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, len(msgs))
	for _, l := range res.Leases {
		go func() { errs <- e.Finish(t.Context(), l, recall.Finish{Outcome: recall.Delivered, Now: base}) }()
	}
	for waiting := 0; waiting < 2; {
		if err := other.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))`, int32(tx.Conn().PgConn().PID())).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Insert(ctx, msgs, base); err != nil {
		t.Errorf("publishing meanwhile: %v", err)
	}
	if err := tx.Rollback(context.Background()); err != nil {
		t.Error(err)
	}
	for range msgs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestUndoBytes: the oldest cancellation gives way.
func TestUndoBytes(t *testing.T) {
	e, _ := newEngine(t, postgres.Options{UndoBytes: 3 << 10, ChunkSize: 2})
	ctx := t.Context()
	var ops []recall.OperationID
	for i := range 3 {
		m := message(fmt.Sprint(i))
		m.Body = make([]byte, 100)
		if _, err := e.Insert(ctx, []recall.Message{m, m, m}, base); err != nil {
			t.Fatal(err)
		}
		res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{fmt.Sprint(i)}}, Now: base})
		if err != nil || res.Cancelled != 3 {
			t.Fatalf("%+v, %v", res, err)
		}
		ops = append(ops, res.Operation)
	}
	for i, want := range []error{recall.ErrUndoExpired, nil, nil} {
		if _, err := e.Restore(ctx, ops[i], base); !errors.Is(err, want) {
			t.Errorf("operation %d: %v, want %v", i, err, want)
		}
	}
}

// TestLongKeys: keys that no row of an index can hold keep their order.
func TestLongKeys(t *testing.T) {
	e, _ := newEngine(t, postgres.Options{})
	ctx := t.Context()
	var keys [][]byte
	for _, begin := range [][]byte{{0}, bytes.Repeat([]byte{7, 200, 13}, 400), bytes.Repeat([]byte("long"), 8000)} {
		for _, end := range []string{"", "a", "b"} {
			keys = append(keys, append(bytes.Clone(begin), end...))
		}
	}
	err := e.Update(ctx, func(tx recall.EngineTx) error {
		b, err := tx.Bucket("b")
		if err != nil {
			return err
		}
		for i := range keys {
			k := keys[(i*4)%len(keys)]
			for _, v := range [][]byte{{1}, k[len(k)-1:]} {
				if err := b.Put(k, v); err != nil {
					return err
				}
			}
		}
		if err := b.Delete(keys[4]); err != nil {
			return err
		}
		want := append(append([][]byte{}, keys[3]), keys[5:]...)
		for k, v := range b.All(keys[3]) {
			if len(want) == 0 || !bytes.Equal(k, want[0]) || v[0] != k[len(k)-1] {
				t.Fatalf("a key of %d bytes with %v is out of order", len(k), v)
			}
			want = want[1:]
		}
		if len(want) > 0 || b.Get(keys[4]) != nil {
			t.Errorf("%d keys were not read", len(want))
		}
		return b.Put(make([]byte, 1<<15+1), nil)
	})
	if !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("a key that is too long: %v", err)
	}
}

// TestStatesAndSteps: messages are counted by state, and Explain says what the database
// would do.
func TestStatesAndSteps(t *testing.T) {
	e, _ := newEngine(t, postgres.Options{NoEvents: true})
	ctx := t.Context()
	later, queued := message("a"), message("a")
	later.DueAt, queued.Queue = base.Add(time.Hour), "q"
	if _, err := e.Insert(ctx, []recall.Message{message("a"), later, queued, queued}, base); err != nil {
		t.Fatal(err)
	}
	c, err := e.CountStates(ctx, base)
	if err != nil || c.Counts[recall.StateReady] != 2 || c.Counts[recall.StateDelayed] != 1 || c.Counts[recall.StateQueueBlocked] != 1 ||
		!c.ReadySince.Equal(base) || len(c.Counts) != 7 {
		t.Errorf("%+v, %v", c, err)
	}
	plan, err := e.Explain(ctx, recall.Filter{Labels: []string{"a"}}, base)
	if err != nil || len(plan.Steps) == 0 || !bytes.Contains([]byte(plan.String()), []byte("labels")) {
		t.Errorf("%v, %v", plan, err)
	}
	if page, err := e.Events(ctx, recall.EventFilter{}, "", 9); err != nil || len(page.Events) != 0 {
		t.Errorf("there are events: %+v, %v", page, err)
	}
}
