package enginetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

var cancelTests = []contractTest{
	{"a pending message is gone", func(x *fixture) {
		delayed := x.publish(due(at(3600)))
		ready := x.publish()
		retrying := x.publish(due(at(-1)))
		x.finish(x.claimOne(retrying), recall.Retry)
		for _, id := range []recall.MessageID{delayed, ready, retrying} {
			x.check(x.cancel(id), "Cancel")
			x.wantGone(id)
			x.wantError(x.cancel(id), recall.ErrNotFound, "second Cancel")
		}
		x.now = far
		x.wantClaim(10)
		x.wantCount(recall.Filter{}, 0, 0)
		if got := len(x.listDead(recall.Filter{})); got != 0 {
			x.Errorf("got %d dead letters", got)
		}
	}},
	{"a message in flight is left as it is", func(x *fixture) {
		id := x.publish()
		l := x.claimOne(id)
		err := x.cancel(id)
		var stop *recall.NotCancellableError
		if !errors.As(err, &stop) || !errors.Is(err, recall.ErrNotCancellable) ||
			*stop != (recall.NotCancellableError{ID: id, State: recall.StateInFlight}) {
			x.Fatalf("Cancel: got %v", err)
		}
		x.wantState(id, recall.StateInFlight)
		x.finish(l, recall.Retry)
		x.wantState(id, recall.StateRetrying)
		x.check(x.cancel(id), "Cancel")
	}},
	{"what is not live is not found", func(x *fixture) {
		x.wantError(x.cancel(unknownID), recall.ErrNotFound, "Cancel of an unknown id")
		delivered := x.publish()
		x.finish(x.claimOne(delivered), recall.Delivered)
		x.wantError(x.cancel(delivered), recall.ErrNotFound, "Cancel of a delivered message")
		d := x.kill()
		x.wantError(x.cancel(d.Message.ID), recall.ErrNotFound, "Cancel of a dead message")
		err := x.e.Cancel(x.ctx, recall.CancelRequest{ID: unknownID, Sticky: true, Now: x.now})
		x.wantError(err, recall.ErrNotFound, "Cancel of an unknown id with Sticky")
	}},
	{"Sticky: a pending message is gone", func(x *fixture) {
		id := x.publish()
		x.cancelSticky(id)
		x.wantGone(id)
	}},
	{"Sticky: the attempt may end delivered", func(x *fixture) {
		id := x.publish()
		l := x.claimOne(id)
		x.cancelSticky(id)
		x.wantState(id, recall.StateInFlight)
		x.finish(l, recall.Delivered)
		x.wantGone(id)
	}},
	{"Sticky: the message is never tried again", func(x *fixture) {
		for _, o := range []recall.Outcome{recall.Retry, recall.Dead, recall.Release} {
			id := x.publish()
			l := x.claimOne(id)
			x.cancelSticky(id)
			x.finish(l, o)
			x.wantGone(id)
			x.now = x.now.Add(time.Hour)
			x.wantClaim(10)
			if got := len(x.listDead(recall.Filter{})); got != 0 {
				x.Errorf("outcome %d: got %d dead letters, want the message cancelled", o, got)
			}
		}
	}},
	{"Sticky: asking twice is asking once", func(x *fixture) {
		id := x.publish()
		l := x.claimOne(id)
		x.cancelSticky(id)
		x.cancelSticky(id)
		x.wantError(x.cancel(id), recall.ErrNotCancellable, "Cancel without Sticky")
		x.finish(l, recall.Retry)
		x.wantGone(id)
	}},
	{"Sticky: out of every later match, and in nobody's way", func(x *fixture) {
		first := x.publish(label("a"))
		second := x.publish(label("a"))
		l := x.claimOne(first)
		x.cancelSticky(first)
		f := recall.Filter{Labels: []string{"a"}}
		x.wantCount(f, 1, 0)
		x.wantList(f, second)
		x.wantList(recall.Filter{}, second)
		checkPlan(x, f, 1)
		x.cancelMatching(f, 1)
		x.cancelMatching(recall.Filter{IDs: []recall.MessageID{first}}, 0)
		x.cancelAll(0)
		x.wantState(first, recall.StateInFlight)
		x.wantLeaseLost(neverLeased(l))
		x.finish(l, recall.Delivered)
	}},
	{"a done context cancels nothing", func(x *fixture) {
		id := x.publish()
		if err := x.e.Cancel(doneContext(), recall.CancelRequest{ID: id, Now: x.now}); err == nil {
			x.Error("Cancel: got no error")
		}
		x.wantPending(id)
	}},
}

var bulkTests = []contractTest{
	{"a limit takes the oldest", func(x *fixture) {
		ids := x.publishMany(400, label("a"))
		x.advance(time.Second)
		req := recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"a"}}, Limit: 300, Now: x.now}
		res, err := x.e.CancelMatching(x.ctx, req)
		x.check(err, "CancelMatching")
		x.wantCancelled(res, 300)
		x.wantList(recall.Filter{Labels: []string{"a"}}, ids[300:]...)
		l := x.claimOne(ids[300])
		req.Limit = 1
		if res, err = x.e.CancelMatching(x.ctx, req); !errors.Is(err, recall.ErrNotCancellable) || res.Cancelled != 0 {
			x.Fatalf("CancelMatching at a message in flight: got %+v, %v", res, err)
		}
		x.finish(l, recall.Delivered)
		res, err = x.e.CancelMatching(x.ctx, req)
		x.check(err, "CancelMatching")
		x.wantCancelled(res, 1)
		x.wantList(recall.Filter{Labels: []string{"a"}}, ids[302:]...)
	}},
	{"every pending match is gone", func(x *fixture) {
		a := x.publishMany(20, label("a"))
		b := x.publishMany(10, label("b"))
		delayed := x.publish(label("a"), due(far))
		x.cancelMatching(recall.Filter{Labels: []string{"a"}}, 21)
		x.wantGone(a...)
		x.wantGone(delayed)
		x.wantList(recall.Filter{}, b...)
		x.wantCount(recall.Filter{Labels: []string{"a"}}, 0, 0)
		x.cancelMatching(recall.Filter{Labels: []string{"a"}}, 0)
		x.now = far
		x.wantClaim(100, b...)
	}},
	{"one scope covers every way of waiting", func(x *fixture) {
		f := recall.Filter{Labels: []string{"a"}}
		retrying := x.publish(label("a"))
		x.finish(x.claimOne(retrying), recall.Retry)
		released := x.publish(label("a"))
		x.finish(x.claimOne(released), recall.Release)
		x.publish(label("a"), due(far))
		x.publish(label("a"), queue("q"))
		x.publish(label("a"), url("local:nobody"))
		x.cancelMatching(f, 5)
		x.now = far
		x.wantClaimHandled(nil, "local:nobody")
	}},
	{"it stops at the first match in flight", func(x *fixture) {
		// The fifth is due first: the order of the walk is that of publication.
		ids := x.publishMany(10, label("a"), due(far))
		mid := x.publish(label("a"))
		more := x.publishMany(10, label("a"))
		l := x.claimOne(mid)
		f := recall.Filter{Labels: []string{"a"}}
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Now: x.now})
		x.wantStopped(res, err, mid, 10)
		x.wantGone(ids...)
		x.wantState(mid, recall.StateInFlight)
		x.wantList(f, append([]recall.MessageID{mid}, more...)...)
		res, err = x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Now: x.now})
		x.wantStopped(res, err, mid, 0)
		x.finish(l, recall.Delivered)
		x.cancelMatching(f, 10)
		x.wantList(recall.Filter{})
	}},
	{"a blocker that comes first leaves everything", func(x *fixture) {
		ids := x.publishMany(5)
		x.claimOne(ids[0])
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{All: true, Now: x.now})
		x.wantStopped(res, err, ids[0], 0)
		x.wantList(recall.Filter{}, ids...)
	}},
	{"a blocker that comes last leaves itself", func(x *fixture) {
		ids := x.publishMany(5, due(far))
		last := x.publish()
		x.claimOne(last)
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{All: true, Now: x.now})
		x.wantStopped(res, err, last, len(ids))
		x.wantList(recall.Filter{}, last)
	}},
	{"it names the oldest of several blockers", func(x *fixture) {
		ids := x.publishMany(9, label("a"))
		x.advance(time.Second)
		leases := x.claim(9)
		for i, l := range leases {
			if i != 3 && i != 6 {
				x.finish(l, recall.Release)
			}
		}
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"a"}}, Now: x.now})
		x.wantStopped(res, err, ids[3], 3)
		x.wantList(recall.Filter{}, ids[3:]...)
	}},
	{"what does not match is in nobody's way", func(x *fixture) {
		other := x.publish(label("b"), queue("q"))
		ids := x.publishMany(3, label("a"), queue("q"))
		x.claimOne(other)
		x.cancelMatching(recall.Filter{Labels: []string{"a"}, Queues: []string{"q"}}, 3)
		x.wantGone(ids...)
		x.wantState(other, recall.StateInFlight)
	}},
	{"ids: unknown and finished ones do not count, repeated ones count once", func(x *fixture) {
		ids := x.publishMany(4)
		x.advance(time.Second)
		x.finish(x.claimOne(ids[0]), recall.Delivered)
		x.check(x.cancel(ids[1]), "Cancel")
		f := recall.Filter{IDs: []recall.MessageID{ids[3], unknownID, ids[2], ids[0], ids[1], ids[3], ids[2]}}
		x.cancelMatching(f, 2)
		x.wantList(recall.Filter{})
	}},
	{"ids: the order of the list is not the order of the walk", func(x *fixture) {
		ids := x.publishMany(6, due(far))
		blocker := x.publish()
		late := x.publishMany(3, due(far))
		x.claimOne(blocker)
		all := slices.Concat(late, []recall.MessageID{blocker}, ids)
		slices.Reverse(all)
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: recall.Filter{IDs: all}, Now: x.now})
		x.wantStopped(res, err, blocker, 6)
		x.wantList(recall.Filter{}, append([]recall.MessageID{blocker}, late...)...)
	}},
	{"several values are walked as one list", func(x *fixture) {
		f := recall.Filter{Labels: []string{"b", "a", "c"}}
		var before []recall.MessageID
		for _, l := range []string{"b", "a", "c", "a"} {
			before = append(before, x.publish(label(l), due(far)), x.publish(label(l, "c"), due(far)))
		}
		blocker := x.publish(label("a", "b"))
		after := x.publish(label("b", "c", "a"), due(far))
		x.claimOne(blocker)
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Now: x.now})
		x.wantStopped(res, err, blocker, len(before))
		x.wantGone(before...)
		x.wantPending(after)
	}},
	{"All ignores the filter", func(x *fixture) {
		x.publishMany(3, label("a"))
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{
			Filter: recall.Filter{Labels: []string{"b"}}, All: true, Now: x.now,
		})
		x.check(err, "CancelMatching")
		x.wantCancelled(res, 3)
	}},
	{"nothing to cancel is no operation", func(x *fixture) {
		x.cancelAll(0)
		x.publish()
		x.cancelMatching(recall.Filter{Labels: []string{"none"}}, 0)
	}},
	{"each call is an operation of its own", func(x *fixture) {
		seen := map[recall.OperationID]bool{}
		for range 5 {
			x.publish(label("a"))
			op := x.cancelMatching(recall.Filter{Labels: []string{"a"}}, 1).Operation
			if seen[op] {
				x.Fatalf("operation %s twice", op)
			}
			seen[op] = true
		}
	}},
	{"more than one slice of a walk", func(x *fixture) {
		n := x.many(size(3000))
		var msgs []recall.Message
		for i := range n {
			msgs = append(msgs, x.message(label(numbered("l", i%3)), due(far)))
		}
		ids := x.insert(msgs...)
		blocker := x.publish(label("l1"))
		tail := x.publishMany(100, label("l1"), due(far))
		x.cancelMatching(recall.Filter{Labels: []string{"l0"}}, n/3)
		x.claimOne(blocker)
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"l1"}}, Now: x.now})
		x.wantStopped(res, err, blocker, n/3)
		x.settle()
		var left []recall.MessageID
		for i, id := range ids {
			if i%3 == 2 {
				left = append(left, id)
			}
		}
		x.wantList(recall.Filter{}, slices.Concat(left, []recall.MessageID{blocker}, tail)...)
	}},
	{"a done context cancels nothing", func(x *fixture) {
		ids := x.publishMany(3)
		res, err := x.e.CancelMatching(doneContext(), recall.CancelMatchingRequest{All: true, Now: x.now})
		if err == nil || res.Cancelled != 0 || res.Operation != "" {
			x.Errorf("CancelMatching: got %+v and error %v", res, err)
		}
		x.wantList(recall.Filter{}, ids...)
	}},
	{"dead letters are not touched", func(x *fixture) {
		d := x.kill(label("a"))
		x.cancelMatching(recall.Filter{Labels: []string{"a"}}, 0)
		x.cancelMatching(recall.Filter{IDs: []recall.MessageID{d.Message.ID}}, 0)
		x.cancelAll(0)
		if got := len(x.listDead(recall.Filter{})); got != 1 {
			x.Errorf("got %d dead letters, want 1", got)
		}
	}},
}

// bulkCall is a bulk cancellation that waits, running beside the test.
type bulkCall struct {
	x       *fixture
	expired chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}
	res     recall.CancelResult
	err     error
}

// waitingCancel starts a CancelMatching with Wait. If behind is not empty, it
// returns once that message is gone: the walk has begun, and by what Wait
// promises it committed this message before it waits for the next.
func (x *fixture) waitingCancel(f recall.Filter, self, behind recall.MessageID) *bulkCall {
	x.Helper()
	c := &bulkCall{x: x, expired: make(chan struct{})}
	c.start(recall.CancelMatchingRequest{Filter: f, Now: x.now, Expired: c.expired, Self: self})
	if behind != "" {
		x.eventually("the walk reaches its blocker", func() bool {
			_, err := x.e.Get(x.ctx, behind, x.now)
			return errors.Is(err, recall.ErrNotFound)
		})
	}
	return c
}

func (c *bulkCall) start(req recall.CancelMatchingRequest) {
	ctx, cancel := context.WithCancel(c.x.ctx)
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		c.res, c.err = c.x.e.CancelMatching(ctx, req)
	}()
}

// patience bounds how long a test waits for what should happen at once. It only makes
// a failure come before the end of all tests: a busy machine may be slow.
const patience = 10 * time.Minute

// eventually waits until what another goroutine does is done.
func (x *fixture) eventually(what string, done func() bool) {
	x.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			x.Fatalf("waited in vain: %s", what)
		default:
			yield()
		}
	}
}

func (c *bulkCall) result() (recall.CancelResult, error) {
	c.x.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-c.done:
		c.cancel()
	case <-ctx.Done():
		c.x.Fatalf("CancelMatching with Wait does not return")
	}
	return c.res, c.err
}

// wantCancelled checks that the call ended without a blocker.
func (c *bulkCall) wantCancelled(want int) {
	c.x.Helper()
	res, err := c.result()
	c.x.check(err, "CancelMatching with Wait")
	c.x.wantCancelled(res, want)
}

// waitScene publishes three messages with the label a of which the one in the
// middle is in flight.
func waitScene(x *fixture) (f recall.Filter, before, blocker, after recall.MessageID, l recall.Lease) {
	x.Helper()
	before = x.publish(label("a"), due(far))
	blocker = x.publish(label("a"))
	after = x.publish(label("a"), due(far))
	return recall.Filter{Labels: []string{"a"}}, before, blocker, after, x.claimOne(blocker)
}

var waitTests = []contractTest{
	{"an attempt that ends delivered or dead is passed", func(x *fixture) {
		for _, o := range []recall.Outcome{recall.Delivered, recall.Dead} {
			f, before, blocker, after, l := waitScene(x)
			c := x.waitingCancel(f, "", before)
			x.finish(l, o)
			c.wantCancelled(2)
			x.wantGone(before, blocker, after)
		}
		if got := len(x.listDead(recall.Filter{})); got != 1 {
			x.Errorf("got %d dead letters, want 1", got)
		}
	}},
	{"an attempt that goes back to pending is cancelled", func(x *fixture) {
		for _, o := range []recall.Outcome{recall.Retry, recall.Release} {
			f, before, blocker, after, l := waitScene(x)
			c := x.waitingCancel(f, "", before)
			x.finish(l, o)
			c.wantCancelled(3)
			x.wantGone(before, blocker, after)
		}
	}},
	{"an attempt that is still running at the end is the blocker", func(x *fixture) {
		f, before, blocker, after, _ := waitScene(x)
		c := x.waitingCancel(f, "", before)
		close(c.expired)
		res, err := c.result()
		x.wantStopped(res, err, blocker, 1)
		x.wantPending(after)
		x.wantState(blocker, recall.StateInFlight)
	}},
	{"without time left it does not wait", func(x *fixture) {
		f, _, blocker, after, _ := waitScene(x)
		c := &bulkCall{x: x, expired: make(chan struct{})}
		close(c.expired)
		c.start(recall.CancelMatchingRequest{Filter: f, Now: x.now, Expired: c.expired})
		res, err := c.result()
		x.wantStopped(res, err, blocker, 1)
		x.wantPending(after)
	}},
	{"it does not wait for the attempt that calls", func(x *fixture) {
		f, _, blocker, after, _ := waitScene(x)
		c := x.waitingCancel(f, blocker, "")
		res, err := c.result()
		x.wantStopped(res, err, blocker, 1)
		x.wantPending(after)
	}},
	{"it does not wait if nothing is in its way", func(x *fixture) {
		ids := x.publishMany(3, label("a"))
		c := x.waitingCancel(recall.Filter{Labels: []string{"a"}}, "", "")
		c.wantCancelled(3)
		x.wantGone(ids...)
	}},
	{"it waits for one attempt after the other", func(x *fixture) {
		var ids []recall.MessageID
		for i := range 7 {
			d := far
			if i%3 == 1 {
				d = x.now
			}
			ids = append(ids, x.publish(label("a"), due(d)))
		}
		leases := x.wantClaim(10, ids[1], ids[4])
		c := x.waitingCancel(recall.Filter{Labels: []string{"a"}}, "", ids[0])
		x.finish(leases[0], recall.Delivered)
		x.eventually("the walk goes on", func() bool {
			_, err := x.e.Get(x.ctx, ids[3], x.now)
			return errors.Is(err, recall.ErrNotFound)
		})
		x.wantPending(ids[5], ids[6])
		x.finish(leases[1], recall.Retry)
		c.wantCancelled(6)
		x.wantGone(ids...)
	}},
	{"the end of the time counts for the whole call", func(x *fixture) {
		first := x.publish(label("a"), due(far))
		one, two := x.publish(label("a")), x.publish(label("a"))
		last := x.publish(label("a"), due(far))
		leases := x.wantClaim(2, one, two)
		c := x.waitingCancel(recall.Filter{Labels: []string{"a"}}, "", first)
		close(c.expired)
		res, err := c.result()
		x.wantStopped(res, err, one, 1)
		x.finish(leases[0], recall.Delivered)
		x.finish(leases[1], recall.Delivered)
		x.wantPending(last)
	}},
	{"what is published while it waits is not touched", func(x *fixture) {
		f, before, blocker, after, l := waitScene(x)
		c := x.waitingCancel(f, "", before)
		late := x.publishMany(5, label("a"))
		x.finish(l, recall.Delivered)
		c.wantCancelled(2)
		x.wantGone(before, blocker, after)
		x.wantList(f, late...)
	}},
	{"a message that was requested meanwhile is passed", func(x *fixture) {
		f, before, blocker, after, l := waitScene(x)
		c := x.waitingCancel(f, "", before)
		x.cancelSticky(blocker)
		x.finish(l, recall.Retry)
		c.wantCancelled(2)
		x.wantGone(before, blocker, after)
	}},
	{"it gives up when its context is done", func(x *fixture) {
		f, before, blocker, after, _ := waitScene(x)
		c := x.waitingCancel(f, "", before)
		c.cancel()
		res, err := c.result()
		x.wantError(err, context.Canceled, "CancelMatching")
		if res.Cancelled != 1 || res.Operation == "" {
			x.Errorf("got %+v, want what was cancelled before the wait", res)
		}
		x.wantGone(before)
		x.wantState(blocker, recall.StateInFlight)
		x.wantPending(after)
	}},
	{"others can claim and cancel while it waits", func(x *fixture) {
		f, before, blocker, after, l := waitScene(x)
		other := x.publishMany(4, label("b"))
		c := x.waitingCancel(f, "", before)
		x.advance(time.Second)
		x.finish(x.claimOne(other[0]), recall.Delivered)
		x.cancelMatching(recall.Filter{IDs: other[1:3]}, 2)
		x.check(x.cancel(other[3]), "Cancel")
		x.check(x.cancel(after), "Cancel")
		x.finish(l, recall.Delivered)
		c.wantCancelled(1)
		x.wantGone(before, blocker, after)
	}},
	{"two walks may wait for one attempt", func(x *fixture) {
		f, before, blocker, after, l := waitScene(x)
		one := x.waitingCancel(f, "", before)
		two := x.waitingCancel(f, "", "")
		x.finish(l, recall.Retry)
		a, err := one.result()
		x.check(err, "CancelMatching")
		b, err := two.result()
		x.check(err, "CancelMatching")
		if a.Cancelled+b.Cancelled != 3 {
			x.Errorf("got %d and %d cancelled, want 3 in total", a.Cancelled, b.Cancelled)
		}
		x.wantGone(before, blocker, after)
	}},
	{"closing the engine ends the wait", func(x *fixture) {
		f, before, _, _, _ := waitScene(x)
		c := x.waitingCancel(f, "", before)
		x.check(x.e.Close(), "Close")
		if _, err := c.result(); err == nil {
			x.Error("CancelMatching: got no error")
		}
	}},
}
