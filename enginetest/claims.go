package enginetest

import (
	"slices"
	"strconv"
	"time"

	"github.com/recallmq/recall"
)

func numbered(prefix string, n int) string { return prefix + strconv.Itoa(n) }

// neverLeased returns l with a token that no engine has given out.
func neverLeased(l recall.Lease) recall.Lease {
	l.Token.Number += 1 << 40
	return l
}

var claimTests = []contractTest{
	{"earliest due first, then oldest", func(x *fixture) {
		c := x.publish(due(at(3)))
		a := x.publish(due(at(1)))
		d := x.publish(due(at(3)))
		b := x.publish(due(at(2)))
		e := x.publish(due(at(3)))
		x.advance(time.Minute)
		x.wantClaim(10, a, b, c, d, e)
	}},
	{"nothing before it is due", func(x *fixture) {
		id := x.publish(due(at(1)))
		x.wantClaim(10)
		x.now = at(0.999)
		x.wantClaim(10)
		x.now = at(1)
		x.wantClaim(10, id)
	}},
	{"at most Max, each once", func(x *fixture) {
		ids := x.publishMany(7)
		x.advance(time.Second)
		x.wantClaim(3, ids[:3]...)
		x.wantClaim(0)
		x.wantClaim(3, ids[3:6]...)
		x.wantClaim(3, ids[6])
		x.wantClaim(3)
	}},
	{"a handler that is named twice is one", func(x *fixture) {
		ids := x.publishMany(6, url("local:a"))
		web := x.publishMany(2)
		x.advance(time.Second)
		claim := func(handlers ...string) []recall.MessageID { return leaseIDs(x.claim(2, handlers...)) }
		var got []recall.MessageID
		for range 5 {
			got = append(got, claim("local:a", "local:a", "")...)
		}
		slices.Sort(got)
		if want := slices.Concat(ids, web); !slices.Equal(got, want) {
			x.Errorf("claimed %v, want %v, each once", got, want)
		}
	}},
	{"Next is the earliest due time of what is left", func(x *fixture) {
		if res := x.claimResult(5); !res.Next.IsZero() {
			x.Errorf("nothing published: got Next %v", res.Next)
		}
		x.publish(due(at(0)))
		x.publish(due(at(60)))
		x.publish(due(at(30)))
		next := func(max int, want time.Time) {
			x.Helper()
			if res := x.claimResult(max); !res.Next.Equal(want) {
				x.Errorf("Claim of %d: got Next %v, want %v", max, res.Next, want)
			}
		}
		next(0, at(0))
		next(5, at(30))
		next(5, at(30))
		x.now = at(30)
		next(1, at(60))
		x.now = at(60)
		next(1, time.Time{})
	}},
	{"Next is in the past only if Max was reached", func(x *fixture) {
		ids := x.publishMany(3)
		x.advance(time.Second)
		if res := x.claimResult(2); !res.Next.Equal(base.Add(2 * time.Millisecond)) {
			x.Errorf("two of three: got Next %v", res.Next)
		}
		x.wantClaim(1, ids[2])
		x.publish(url("local:nobody"))
		if res := x.claimResult(5); len(res.Leases) > 0 || !res.Next.IsZero() && !res.Next.After(x.now) {
			x.Errorf("only an unhandled message left: got %d leases, Next %v", len(res.Leases), res.Next)
		}
	}},
	{"a cancelled message is not Next", func(x *fixture) {
		id := x.publish(due(at(1)))
		x.publish(due(at(2)))
		x.check(x.cancel(id), "Cancel")
		if res := x.claimResult(5); !res.Next.Equal(at(2)) {
			x.Errorf("got Next %v, want %v", res.Next, at(2))
		}
	}},
	{"local messages wait for their handler", func(x *fixture) {
		a := x.publish(url("local:a"))
		b := x.publish(url("local:b"))
		web := x.publish()
		x.wantClaim(10, web)
		if got := leaseIDs(x.claim(10, "local:b", "local:c")); !slices.Equal(got, []recall.MessageID{b}) {
			x.Fatalf("Claim with handler b: got %v, want %v", got, b)
		}
		x.wantState(a, recall.StateReady)
		if got := x.get(a).Attempts; got != 0 {
			x.Errorf("unhandled message: got %d attempts, want 0", got)
		}
		x.check(x.cancel(a), "Cancel of an unhandled message")
		x.wantClaimHandled(nil, "local:a", "local:b")
	}},
	{"local messages are claimed in one order with others", func(x *fixture) {
		a := x.publish(url("local:a"), due(at(2)))
		web := x.publish(due(at(1)))
		b := x.publish(url("local:b"), due(at(0)))
		c := x.publish(due(at(2)))
		x.advance(time.Minute)
		x.wantClaimHandled([]recall.MessageID{b, web, a, c}, "local:a", "local:b")
	}},
	{"a lease has the message and counts the attempt", func(x *fixture) {
		m := x.message(label("a"), queue("q"))
		m.Body = []byte("body")
		id := x.insert(m)[0]
		l := x.claimOne(id)
		wantWhole(x, l.Message, m)
		if l.Message.Attempts != 1 || l.Message.State != recall.StateInFlight || l.Token == (recall.LeaseToken{}) {
			x.Errorf("lease: got %d attempts, state %q, token %v", l.Message.Attempts, l.Message.State, l.Token)
		}
		if got := x.get(id); got.Attempts != 1 || got.State != recall.StateInFlight {
			x.Errorf("Get: got %d attempts, state %q", got.Attempts, got.State)
		}
	}},
	{"no two leases have one token", func(x *fixture) {
		x.publishMany(20)
		x.advance(time.Second)
		seen := map[recall.LeaseToken]bool{}
		for range 3 {
			for _, l := range x.claim(20) {
				if seen[l.Token] {
					x.Fatalf("token %v was given out twice", l.Token)
				}
				seen[l.Token] = true
				x.finish(l, recall.Release)
			}
		}
	}},
	{"a cancelled message is never claimed", func(x *fixture) {
		ids := x.publishMany(6, label("a"))
		x.check(x.cancel(ids[0]), "Cancel")
		x.cancelMatching(recall.Filter{IDs: ids[2:4]}, 2)
		x.advance(time.Second)
		x.wantClaim(10, ids[1], ids[4], ids[5])
	}},
	{"a done context claims nothing", func(x *fixture) {
		id := x.publish()
		res, err := x.e.Claim(doneContext(), recall.ClaimRequest{Now: x.now, Max: 1})
		if err == nil || len(res.Leases) > 0 {
			x.Errorf("Claim: got %d leases and error %v", len(res.Leases), err)
		}
		x.claimOne(id)
	}},
	{"a hint says that there may be something to claim", func(x *fixture) {
		hints := x.e.Hints()
		wantHint := func(after string) {
			x.Helper()
			if !hinted(hints.Claim) {
				x.Errorf("no hint after %s", after)
			}
		}
		x.claim(5)
		hinted(hints.Claim)
		id := x.publish()
		wantHint("Insert")
		l := x.claimOne(id)
		hinted(hints.Claim)
		x.finish(l, recall.Release)
		wantHint("Release")
		l = x.claimOne(id)
		hinted(hints.Claim)
		x.finish(l, recall.Retry)
		wantHint("Retry")
		x.advance(time.Hour)
		l = x.claimOne(id)
		x.finish(l, recall.Dead)
		x.claim(5)
		hinted(hints.Claim)
		_, err := x.e.RetryDead(x.ctx, deadIDs(x.listDead(recall.Filter{})), x.now)
		x.check(err, "RetryDead")
		wantHint("RetryDead")
	}},
}

func (x *fixture) wantClaimHandled(want []recall.MessageID, handlers ...string) {
	x.Helper()
	if got := leaseIDs(x.claim(10, handlers...)); !slices.Equal(got, want) {
		x.Fatalf("Claim with handlers %v: got %v, want %v", handlers, got, want)
	}
}

var finishTests = []contractTest{
	{"Delivered: the message is gone", func(x *fixture) {
		id := x.publish(label("a"))
		x.finish(x.claimOne(id), recall.Delivered)
		x.wantGone(id)
		x.wantCount(recall.Filter{}, 0, 0)
		x.wantError(x.cancel(id), recall.ErrNotFound, "Cancel")
		x.now = far
		x.wantClaim(10)
		if got := len(x.listDead(recall.Filter{})); got != 0 {
			x.Errorf("got %d dead letters", got)
		}
	}},
	{"Retry: pending until due, attempts counted", func(x *fixture) {
		id := x.publish()
		for attempt := 1; attempt <= 4; attempt++ {
			l := x.claimOne(id)
			if l.Message.Attempts != attempt {
				x.Fatalf("attempt %d: lease says %d", attempt, l.Message.Attempts)
			}
			x.finish(l, recall.Retry)
			m := x.get(id)
			if m.State != recall.StateRetrying || m.Attempts != attempt || !m.DueAt.Equal(x.now.Add(time.Minute)) {
				x.Fatalf("after attempt %d: got state %q, %d attempts, due %v", attempt, m.State, m.Attempts, m.DueAt)
			}
			x.wantCount(recall.Filter{}, 1, 0)
			x.wantClaim(10)
			x.advance(time.Minute)
			x.wantState(id, recall.StateReady)
		}
	}},
	{"Retry: the order of claims is that of the new due times", func(x *fixture) {
		ids := x.publishMany(3)
		x.advance(time.Second)
		for i, l := range x.claim(3) {
			f := x.ending(recall.Retry)
			f.Due = at(float64(100 - i*10))
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
		}
		if res := x.claimResult(3); !res.Next.Equal(at(80)) {
			x.Errorf("got Next %v, want %v", res.Next, at(80))
		}
		x.advance(time.Hour)
		x.wantClaim(3, ids[2], ids[1], ids[0])
	}},
	{"Retry: due may be now or past", func(x *fixture) {
		id := x.publish()
		f := x.ending(recall.Retry)
		f.Due = x.now.Add(-time.Hour)
		x.check(x.e.Finish(x.ctx, x.claimOne(id), f), "Finish")
		x.wantState(id, recall.StateReady)
		x.claimOne(id)
	}},
	{"Dead: the message is a dead letter", func(x *fixture) {
		id := x.publish()
		x.finish(x.claimOne(id), recall.Dead)
		x.wantGone(id)
		x.wantCount(recall.Filter{}, 0, 0)
		if dead := x.listDead(recall.Filter{}); len(dead) != 1 || dead[0].Message.ID != id {
			x.Errorf("got %d dead letters", len(dead))
		}
	}},
	{"Release: as if the attempt had not been", func(x *fixture) {
		id := x.publish(due(at(1)))
		x.advance(time.Minute)
		for range 2 {
			l := x.claimOne(id)
			if l.Message.Attempts != 1 {
				x.Fatalf("lease: got %d attempts, want 1", l.Message.Attempts)
			}
			x.finish(l, recall.Release)
			m := x.get(id)
			if m.State != recall.StateReady || m.Attempts != 0 || !m.DueAt.Equal(at(1)) {
				x.Fatalf("after Release: got state %q, %d attempts, due %v", m.State, m.Attempts, m.DueAt)
			}
		}
		x.finish(x.claimOne(id), recall.Retry)
		x.advance(time.Hour)
		x.finish(x.claimOne(id), recall.Release)
		if got := x.get(id).Attempts; got != 1 {
			x.Errorf("Release of the second attempt: got %d attempts, want 1", got)
		}
	}},
	{"Release: the order of claims is as before", func(x *fixture) {
		ids := x.publishMany(3)
		x.advance(time.Second)
		for _, l := range x.claim(2) {
			x.finish(l, recall.Release)
		}
		x.wantClaim(3, ids...)
	}},
	{"a lease ends once", func(x *fixture) {
		for _, o := range []recall.Outcome{recall.Delivered, recall.Retry, recall.Dead, recall.Release} {
			id := x.publish()
			l := x.claimOne(id)
			x.finish(l, o)
			x.wantLeaseLost(l)
			if x.count(recall.Filter{}).Pending > 0 {
				x.check(x.cancel(id), "Cancel")
			}
		}
	}},
	{"the lease of an earlier attempt is stale", func(x *fixture) {
		id := x.publish()
		first := x.claimOne(id)
		x.finish(first, recall.Release)
		second := x.claimOne(id)
		x.wantLeaseLost(first)
		x.wantState(id, recall.StateInFlight)
		x.finish(second, recall.Delivered)
		x.wantLeaseLost(first)
	}},
	{"a lease is for its message", func(x *fixture) {
		a, b := x.publish(), x.publish()
		leases := x.wantClaim(2, a, b)
		forged := leases[0]
		forged.Message.ID = b
		x.wantLeaseLost(forged)
		x.wantLeaseLost(neverLeased(leases[0]))
		other := leases[0]
		other.Token.Epoch++
		x.wantLeaseLost(other)
		other.Token = recall.LeaseToken{}
		x.wantLeaseLost(other)
		other.Message.ID = unknownID
		x.wantLeaseLost(other)
		x.wantCount(recall.Filter{}, 0, 2)
		x.finish(leases[0], recall.Delivered)
		x.finish(leases[1], recall.Delivered)
	}},
	{"no lease of a pending message is valid", func(x *fixture) {
		id := x.publish()
		l := x.claimOne(id)
		x.finish(l, recall.Release)
		l.Token = recall.LeaseToken{}
		x.wantLeaseLost(l)
		x.wantState(id, recall.StateReady)
	}},
	{"a lease does not outlive a cancellation", func(x *fixture) {
		id := x.publish()
		l := x.claimOne(id)
		x.finish(l, recall.Retry)
		x.check(x.cancel(id), "Cancel")
		x.wantLeaseLost(l)
		x.wantGone(id)
	}},
	{"what is finishing is neither match nor blocker", func(x *fixture) {
		for _, o := range []recall.Outcome{recall.Delivered, recall.Dead} {
			before := x.publish(label("a"))
			blocker := x.publish(label("a"))
			after := x.publish(label("a"))
			leases := x.wantClaim(2, before, blocker)
			x.finish(leases[0], recall.Release)
			f := x.ending(o)
			f.Durable = false
			x.check(x.e.Finish(x.ctx, leases[1], f), "Finish")
			x.wantLeaseLost(leases[1])
			x.wantCount(recall.Filter{Labels: []string{"a"}}, 2, 0)
			x.cancelMatching(recall.Filter{Labels: []string{"a"}}, 2)
			x.wantError(x.cancel(blocker), recall.ErrNotFound, "Cancel")
			x.wantGone(before, blocker, after)
		}
	}},
	{"what is finishing is not found by Cancel, with Sticky either", func(x *fixture) {
		for _, sticky := range []bool{false, true} {
			id := x.publish()
			f := x.ending(recall.Delivered)
			f.Durable = false
			x.check(x.e.Finish(x.ctx, x.claimOne(id), f), "Finish")
			err := x.e.Cancel(x.ctx, recall.CancelRequest{ID: id, Sticky: sticky, Now: x.now})
			x.wantError(err, recall.ErrNotFound, "Cancel")
		}
	}},
	{"a retry is pending at once", func(x *fixture) {
		ids := x.publishMany(3)
		x.advance(time.Second)
		for i, l := range x.claim(3) {
			f := x.ending(recall.Retry)
			f.Durable = false
			f.Due = x.now
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			switch i {
			case 0:
				x.check(x.cancel(ids[0]), "Cancel")
			case 1:
				x.cancelMatching(recall.Filter{IDs: ids[1:2]}, 1)
			}
		}
		again := x.claimOne(ids[2])
		if again.Message.Attempts != 2 {
			x.Errorf("got %d attempts, want 2", again.Message.Attempts)
		}
		x.wantList(recall.Filter{}, ids[2])
	}},
	{"a done context finishes nothing", func(x *fixture) {
		id := x.publish()
		l := x.claimOne(id)
		if err := x.e.Finish(doneContext(), l, x.ending(recall.Delivered)); err == nil {
			x.Error("Finish: got no error")
		}
		x.wantState(id, recall.StateInFlight)
		x.finish(l, recall.Delivered)
	}},
	{"background work changes nothing that can be seen", func(x *fixture) {
		n := size(600)
		ids := x.publishMany(n, label("a"))
		x.now = base.Add(time.Duration(n) * time.Millisecond)
		for i, l := range x.claim(n / 2) {
			f := x.ending([]recall.Outcome{recall.Delivered, recall.Retry, recall.Dead, recall.Release}[i%4])
			f.Durable = i == n/2-1
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
		}
		x.cancelMatching(recall.Filter{IDs: ids[n/4 : n/4*3]}, x.count(recall.Filter{IDs: ids[n/4 : n/4*3]}).Pending)
		list, dead := x.list(recall.Filter{}), deadIDs(x.listDead(recall.Filter{}))
		x.settle()
		x.wantList(recall.Filter{}, list...)
		if got := deadIDs(x.listDead(recall.Filter{})); !slices.Equal(got, dead) {
			x.Errorf("ListDead: got %v, want %v", got, dead)
		}
		for _, id := range ids {
			if !slices.Contains(list, id) {
				x.wantGone(id)
			}
		}
		x.checkWhole()
	}},
}
