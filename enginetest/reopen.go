package enginetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/recallmq/recall"
)

// reopen restarts the engine, if the harness can.
func (x *fixture) reopen(crash bool) {
	x.Helper()
	e, err := x.h.Reopen(crash, x.now)
	x.check(err, "Reopen")
	x.e = e
}

// restart is a test that is run with a crash and with a clean restart.
func restart(promise string, run func(x *fixture, reopen func())) []contractTest {
	with := func(how string, crash bool) contractTest {
		return contractTest{promise + ", " + how, func(x *fixture) {
			if x.h.Reopen == nil {
				x.Skip("the harness cannot reopen")
			}
			run(x, func() { x.Helper(); x.reopen(crash) })
		}}
	}
	return []contractTest{with("crash", true), with("clean", false)}
}

var reopenTests = slices.Concat(
	restart("nothing comes of nothing", func(x *fixture, reopen func()) {
		reopen()
		x.wantList(recall.Filter{})
		reopen()
		x.claimOne(x.publish())
	}),
	restart("published messages survive whole", func(x *fixture, reopen func()) {
		m := x.message(queue("q"), label("a", "b"), url("https://api.test/p?x=1"), due(at(1)))
		m.Body, m.Topic, m.CallerIP = []byte("body"), "topic", "10.0.0.1"
		id := x.insert(m)[0]
		batch := x.publishMany(10, label("batch"), due(far))
		large := x.message(due(far))
		large.Body = make([]byte, 300_000)
		for i := range large.Body {
			large.Body[i] = byte(i * i >> 3)
		}
		last := x.insert(large)[0]
		for range 2 {
			reopen()
			wantWhole(x, x.get(id), m)
			if got := x.get(last).Body; !slices.Equal(got, large.Body) {
				x.Errorf("large body: got %d other bytes", len(got))
			}
			x.wantList(recall.Filter{}, slices.Concat([]recall.MessageID{id}, batch, []recall.MessageID{last})...)
			x.wantList(recall.Filter{Labels: []string{"batch"}}, batch...)
		}
		x.now = at(1)
		wantWhole(x, x.claimOne(id).Message, m)
	}),
	restart("commits of many messages survive", func(x *fixture, reopen func()) {
		var mu sync.Mutex
		var ids []recall.MessageID
		for range 3 {
			x.together(8, func(i int) {
				for k := range size(6) {
					batch := make([]recall.Message, 1+(i+k)%5)
					for j := range batch {
						batch[j] = x.message(label(numbered("p", i)), due(far))
					}
					receipts, err := x.e.Insert(x.ctx, batch, x.now)
					if err != nil {
						x.Errorf("Insert: %v", err)
						return
					}
					mu.Lock()
					for _, r := range receipts {
						ids = append(ids, r.ID)
					}
					mu.Unlock()
				}
			})
			ids = append(ids, x.publishMany(x.many(5000), label("bulk"), due(far))...)
			reopen()
			slices.Sort(ids)
			x.wantList(recall.Filter{}, ids...)
			x.checkWhole()
		}
	}),
	restart("ids go on in order, also when the clock went back", func(x *fixture, reopen func()) {
		var ids []recall.MessageID
		for i := range 4 {
			ids = append(ids, x.publishMany(3)...)
			x.now = base.Add(time.Duration(-i) * time.Hour)
			reopen()
		}
		if !slices.IsSorted(ids) {
			x.Fatalf("ids are not ascending: %v", ids)
		}
		x.wantList(recall.Filter{}, ids...)
		x.wantList(recall.Filter{To: base.Add(-time.Hour)}, ids[6:]...)
	}),
	restart("numbers of messages that are gone are not used again", func(x *fixture, reopen func()) {
		ids := x.publishMany(5)
		x.cancelAll(5)
		x.settle()
		reopen()
		ids = append(ids, x.publish())
		if !slices.IsSorted(ids) {
			x.Errorf("ids are not ascending: %v", ids)
		}
		x.wantGone(ids[:5]...)
	}),
	restart("cancelled messages stay gone", func(x *fixture, reopen func()) {
		one := x.publish(label("a"))
		many := x.publishMany(x.many(1000), label("b"), due(far))
		rest := x.publishMany(50, label("c"), due(far))
		x.check(x.cancel(one), "Cancel")
		x.cancelMatching(recall.Filter{Labels: []string{"b"}}, len(many))
		for range 2 {
			reopen()
			x.wantGone(one)
			x.wantGone(many...)
			x.wantList(recall.Filter{}, rest...)
			x.settle()
			x.wantList(recall.Filter{}, rest...)
		}
		x.cancelMatching(recall.Filter{Labels: []string{"b"}}, 0)
		x.cancelMatching(recall.Filter{Labels: []string{"c"}}, 50)
		reopen()
		x.wantList(recall.Filter{})
		x.now = far
		x.wantClaim(10)
	}),
	restart("a cancellation that stopped keeps its prefix", func(x *fixture, reopen func()) {
		before := x.publishMany(20, label("a"), due(far))
		blocker := x.publish(label("a"))
		after := x.publishMany(20, label("a"), due(far))
		l := x.claimOne(blocker)
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{All: true, Now: x.now})
		x.wantStopped(res, err, blocker, 20)
		x.finish(l, recall.Retry)
		reopen()
		x.wantGone(before...)
		x.wantList(recall.Filter{}, append([]recall.MessageID{blocker}, after...)...)
	}),
	restart("delivered messages stay gone", func(x *fixture, reopen func()) {
		ids := x.publishMany(100)
		x.advance(time.Second)
		for _, l := range x.claim(60) {
			x.finish(l, recall.Delivered)
		}
		for range 2 {
			reopen()
			x.wantGone(ids[:60]...)
			x.wantList(recall.Filter{}, ids[60:]...)
			x.settle()
		}
	}),
	restart("finishes that are not durable at once are when a later change is", func(x *fixture, reopen func()) {
		ids := x.publishMany(10)
		x.advance(time.Second)
		for i, l := range x.claim(10) {
			f := x.ending([]recall.Outcome{recall.Delivered, recall.Retry}[i%2])
			f.Durable = false
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
		}
		last := x.publish(due(far))
		reopen()
		x.wantList(recall.Filter{}, ids[1], ids[3], ids[5], ids[7], ids[9], last)
		if got := x.get(ids[1]); got.Attempts != 1 || got.State != recall.StateRetrying {
			x.Errorf("got %d attempts, state %q", got.Attempts, got.State)
		}
	}),
	restart("retries keep due time and attempts", func(x *fixture, reopen func()) {
		id := x.publish()
		for attempt := 1; attempt <= 3; attempt++ {
			x.finish(x.claimOne(id), recall.Retry)
			if attempt == 2 {
				x.settle()
			}
			reopen()
			m := x.get(id)
			if m.Attempts != attempt || !m.DueAt.Equal(x.now.Add(time.Minute)) || m.State != recall.StateRetrying {
				x.Fatalf("attempt %d: got %d attempts, due %v, state %q", attempt, m.Attempts, m.DueAt, m.State)
			}
			x.wantClaim(1)
			x.advance(time.Minute)
		}
		reopen()
		if l := x.claimOne(id); l.Message.Attempts != 4 {
			x.Errorf("lease: got %d attempts, want 4", l.Message.Attempts)
		}
	}),
	restart("the newest of several retries counts", func(x *fixture, reopen func()) {
		ids := x.publishMany(50)
		for round := 1; round <= 3; round++ {
			x.advance(time.Hour)
			for _, l := range x.claim(50 / round) {
				x.finish(l, recall.Retry)
			}
			if round == 2 {
				x.settle()
			}
		}
		want := map[recall.MessageID]recall.Message{}
		for _, id := range ids {
			want[id] = x.get(id)
		}
		reopen()
		for _, id := range ids {
			sameMessage(x, x.get(id), want[id])
		}
	}),
	restart("released messages are as before", func(x *fixture, reopen func()) {
		id := x.publish()
		for _, commitBetween := range []bool{false, true} {
			l := x.claimOne(id)
			if commitBetween { // it may note the claim
				x.publish(due(far))
			}
			x.finish(l, recall.Release)
			reopen()
			if got := x.get(id); got.Attempts != 0 || got.State != recall.StateReady {
				x.Errorf("got %d attempts, state %q", got.Attempts, got.State)
			}
		}
	}),
	restart("what was in flight is pending at once", func(x *fixture, reopen func()) {
		ids := x.publishMany(10, label("a"))
		x.advance(time.Second)
		x.claim(5)
		reopen()
		x.wantCount(recall.Filter{Labels: []string{"a"}}, 10, 0)
		for _, id := range ids[:5] {
			// A claim that was noted before the crash counts as an attempt.
			if got := x.get(id); got.State != recall.StateReady || got.Attempts > 1 {
				x.Errorf("got state %q, %d attempts", got.State, got.Attempts)
			}
		}
		if got := leaseIDs(x.claim(20)); len(got) != 10 {
			x.Fatalf("Claim: got %d, want all 10", len(got))
		}
	}),
	restart("what was in flight can be cancelled", func(x *fixture, reopen func()) {
		x.publishMany(10)
		x.advance(time.Second)
		x.claim(5)
		reopen()
		x.cancelAll(10)
	}),
	restart("a lease ends with the engine that gave it", func(x *fixture, reopen func()) {
		x.publishMany(4)
		x.advance(time.Second)
		old := x.claim(2)
		reopen()
		for _, l := range old {
			x.wantLeaseLost(l)
		}
		x.wantCount(recall.Filter{}, 4, 0)
		fresh := x.claim(4)
		for _, l := range old {
			x.wantLeaseLost(l)
		}
		x.wantCount(recall.Filter{}, 0, 4)
		for _, l := range fresh {
			x.finish(l, recall.Delivered)
		}
		reopen()
		for _, l := range slices.Concat(old, fresh) {
			x.wantLeaseLost(l)
		}
		x.wantList(recall.Filter{})
	}),
	restart("a requested cancellation is done", func(x *fixture, reopen func()) {
		a, b, c := x.publish(), x.publish(), x.publish(due(far))
		leases := x.wantClaim(2, a, b)
		x.cancelSticky(a)
		x.cancelSticky(b)
		x.finish(leases[1], recall.Retry)
		for range 2 {
			reopen()
			x.wantGone(a, b)
			x.wantList(recall.Filter{}, c)
		}
		x.wantClaim(10)
		if got := len(x.listDead(recall.Filter{})); got != 0 {
			x.Errorf("got %d dead letters", got)
		}
	}),
	restart("dead letters survive whole, and stay deleted", func(x *fixture, reopen func()) {
		m := x.message(label("a"))
		m.Body = []byte("body")
		id := x.insert(m)[0]
		f := x.ending(recall.Dead)
		f.Response = &recall.HTTPResponse{Status: 500, Body: []byte("sorry")}
		x.check(x.e.Finish(x.ctx, x.claimOne(id), f), "Finish")
		gone, again, kept := x.kill(), x.kill(label("again")), x.kill()
		n, err := x.e.DeleteDead(x.ctx, []recall.DeadLetterID{gone.ID})
		if err != nil || n != 1 {
			x.Fatalf("DeleteDead: got %d, %v", n, err)
		}
		receipts, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{again.ID}, x.now)
		x.check(err, "RetryDead")
		for range 2 {
			reopen()
			dead := x.listDead(recall.Filter{})
			if len(dead) != 2 || dead[1].ID != kept.ID {
				x.Fatalf("ListDead: got %v", deadIDs(dead))
			}
			d := dead[0]
			wantWhole(x, d.Message, m)
			if d.Message.ID != id || d.Reason != f.Reason || d.Attempts != 1 || !d.DiedAt.Equal(base) ||
				d.Response == nil || d.Response.Status != 500 || string(d.Response.Body) != "sorry" {
				x.Errorf("got %+v", d)
			}
			x.wantList(recall.Filter{}, receipts[0].ID)
			x.settle()
		}
		x.check(x.cancel(receipts[0].ID), "Cancel")
		if next := x.kill(); deathNumber(next.ID) <= deathNumber(kept.ID) {
			x.Errorf("dead letter %s comes after %s", next.ID, kept.ID)
		}
	}),
	restart("acknowledged changes of many callers survive", func(x *fixture, reopen func()) {
		x.now = far
		fates := newLedger(x)
		var mu sync.Mutex
		var published []recall.MessageID
		cancelled := 0
		for range 3 {
			x.together(6, func(i int) {
				for k := range size(12) {
					receipts, err := x.e.Insert(x.ctx, []recall.Message{x.message(label("a")), x.message(label("b"))}, x.now)
					if err != nil {
						x.Errorf("Insert: %v", err)
						return
					}
					mu.Lock()
					published = append(published, receipts[0].ID, receipts[1].ID)
					mu.Unlock()
					switch k % 3 {
					case 0:
						res, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: x.now, Max: 1})
						if err != nil {
							x.Errorf("Claim: %v", err)
						}
						for _, l := range res.Leases {
							end := x.ending([]recall.Outcome{recall.Delivered, recall.Retry, recall.Dead}[i%3])
							if err := x.e.Finish(x.ctx, l, end); err != nil {
								x.Errorf("Finish: %v", err)
							}
							if end.Outcome == recall.Delivered {
								fates.note(l.Message.ID, "delivered")
							}
						}
					case 1:
						err := x.cancel(receipts[0].ID)
						if err == nil {
							fates.note(receipts[0].ID, "cancelled")
							mu.Lock()
							cancelled++
							mu.Unlock()
						} else if !errors.Is(err, recall.ErrNotFound) && !errors.Is(err, recall.ErrNotCancellable) {
							x.Errorf("Cancel: %v", err)
						}
					}
				}
			})
			res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: recall.Filter{IDs: published[len(published)-9:]}, Now: x.now})
			x.check(err, "CancelMatching")
			cancelled += res.Cancelled
			x.account(fates, published, cancelled)
			before := x.list(recall.Filter{})
			reopen()
			x.wantList(recall.Filter{}, before...)
			x.account(fates, published, cancelled)
		}
	}),
)
