package enginetest

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

func atMost(n int) recall.Guard { return recall.Guard{Set: true, Most: n} }

func exactly(n int) recall.Guard { return recall.Guard{Set: true, Least: n, Most: n} }

// wantRefused checks that a guard has refused a call, before anything was done.
func (x *fixture) wantRefused(res recall.CancelResult, err error, g recall.Guard, found int) {
	x.Helper()
	var refused *recall.UnexpectedCountError
	if !errors.As(err, &refused) || !errors.Is(err, recall.ErrUnexpectedCount) ||
		*refused != (recall.UnexpectedCountError{Found: found, Least: g.Least, Most: g.Most}) {
		x.Fatalf("got %v, want it refused with %d found", err, found)
	}
	if res.Cancelled != 0 || res.Requested != 0 || res.Skipped != nil || res.Operation != "" {
		x.Fatalf("refused, and yet: %+v", res)
	}
}

// guardScene publishes seven messages with the label m, of which the third and
// the fifth are in flight.
func guardScene(x *fixture) (ids []recall.MessageID, leases []recall.Lease) {
	x.Helper()
	ids = x.publishMany(7, label("m"))
	x.advance(time.Second)
	for i, l := range x.claim(7) {
		if i == 2 || i == 4 {
			leases = append(leases, l)
		} else {
			x.finish(l, recall.Release)
		}
	}
	return ids, leases
}

var guardTests = []contractTest{
	{"what is within the bounds is done", func(x *fixture) {
		for _, g := range []recall.Guard{atMost(5), atMost(6), exactly(5), {Set: true, Least: 1, Most: 9}} {
			ids := x.publishMany(5, label("m"))
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Guard: g})
			sameResult(x, res, err, recall.CancelResult{Cancelled: 5}, nil)
			x.wantGone(ids...)
		}
	}},
	{"what is not is refused, by every policy, before anything is touched", func(x *fixture) {
		ids, leases := guardScene(x)
		was := x.snapshot()
		for _, m := range manners() {
			for _, g := range []recall.Guard{atMost(4), exactly(4), exactly(6), exactly(0), atMost(0), exactly(7)} {
				for _, dry := range []bool{false, true} {
					req := m.req
					req.Filter, req.Guard, req.DryRun = byLabel("m"), g, dry
					req.Asked = func(ids []recall.MessageID) { x.Errorf("Asked: got %v", ids) }
					res, err := x.bulkOf(req)
					x.wantRefused(res, err, g, 5)
					x.wantUnchanged(was)
				}
			}
		}
		x.finish(leases[0], recall.Retry)
		x.wantState(ids[2], recall.StateRetrying)
	}},
	{"pending matches count behind a blocker too", func(x *fixture) {
		for _, m := range manners() {
			ids, leases := guardScene(x)
			req := m.req
			req.Filter, req.Guard = byLabel("m"), exactly(5)
			res, err := x.bulkOf(req)
			switch m.req.Policy {
			case recall.Stop:
				x.wantStopped(res, err, ids[2], 2)
				x.wantList(recall.Filter{}, ids[2:]...)
			case recall.Skip:
				sameResult(x, res, err, recall.CancelResult{Cancelled: 5, Skipped: []recall.MessageID{ids[2], ids[4]}}, nil)
			default:
				sameResult(x, res, err, recall.CancelResult{Cancelled: 5, Requested: 2}, nil)
			}
			for _, l := range leases {
				x.finish(l, recall.Delivered)
			}
			x.cancelAll(x.count(recall.Filter{}).Pending)
		}
	}},
	{"Limit does not make the number smaller", func(x *fixture) {
		ids := x.publishMany(6, label("m"), due(far))
		for _, limit := range []int{1, 2, 5} {
			req := recall.CancelMatchingRequest{Filter: byLabel("m"), Limit: limit, Guard: atMost(5)}
			res, err := x.bulkOf(req)
			x.wantRefused(res, err, req.Guard, 6)
		}
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Limit: 2, Guard: exactly(6)})
		sameResult(x, res, err, recall.CancelResult{Cancelled: 2}, nil)
		x.wantList(recall.Filter{}, ids[2:]...)
		res, err = x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Limit: 4, Guard: exactly(4)})
		sameResult(x, res, err, recall.CancelResult{Cancelled: 4}, nil)
	}},
	{"Limit with a blocker behind it", func(x *fixture) {
		ids, _ := guardScene(x)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Limit: 2, Guard: exactly(5)})
		sameResult(x, res, err, recall.CancelResult{Cancelled: 2}, nil)
		res, err = x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Limit: 2, Guard: exactly(3)})
		x.wantStopped(res, err, ids[2], 0)
	}},
	{"exactly none", func(x *fixture) {
		req := recall.CancelMatchingRequest{Filter: byLabel("m"), Guard: exactly(0)}
		res, err := x.bulkOf(req)
		sameResult(x, res, err, recall.CancelResult{}, nil)
		id := x.publish(label("m"))
		res, err = x.bulkOf(req)
		x.wantRefused(res, err, req.Guard, 1)
		l := x.claimOne(id)
		res, err = x.bulkOf(req) // what is in flight does not count, and is in the way all the same
		x.wantStopped(res, err, id, 0)
		req.Policy = recall.Sticky
		res, err = x.bulkOf(req)
		sameResult(x, res, err, recall.CancelResult{Requested: 1}, nil)
		x.finish(l, recall.Retry)
		x.wantGone(id)
	}},
	{"a number too low is refused, however few there are", func(x *fixture) {
		x.publish(label("m"))
		g := exactly(2)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Guard: g})
		x.wantRefused(res, err, g, 1)
		res, err = x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("none"), Guard: g})
		x.wantRefused(res, err, g, 0)
		res, err = x.bulkOf(recall.CancelMatchingRequest{All: true, Guard: g})
		x.wantRefused(res, err, g, 1)
	}},
	{"only matches count", func(x *fixture) {
		can[recall.Changer](x)
		x.publishMany(300, label("m"), due(far))
		x.publishMany(300, label("n"), due(far))
		x.hold(byLabel("n"), 300)
		x.cancelMatching(recall.Filter{Labels: []string{"m"}, To: base}, 300)
		ids := x.publishMany(3, label("m", "n"), due(far))
		for _, f := range []recall.Filter{byLabel("m"), {Labels: []string{"n"}, States: []recall.State{recall.StateDelayed}}} {
			g := exactly(2)
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: f, Guard: g})
			x.wantRefused(res, err, g, 3)
		}
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Guard: exactly(3)})
		sameResult(x, res, err, recall.CancelResult{Cancelled: 3}, nil)
		x.wantGone(ids...)
	}},
	{"more than one slice of a walk", func(x *fixture) {
		n := x.many(size(3000))
		ids := x.publishMany(n, label("m"), due(far))
		blocker := x.publish(label("m"))
		x.claimOne(blocker)
		tail := x.publishMany(n, label("m"), due(far))
		g := atMost(2*n - 1)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Guard: g})
		x.wantRefused(res, err, g, 2*n)
		res, err = x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Guard: exactly(2 * n)})
		x.wantStopped(res, err, blocker, n)
		x.wantGone(ids[0], ids[n-1])
		x.wantList(recall.Filter{}, append([]recall.MessageID{blocker}, tail...)...)
		res, err = x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Guard: exactly(n), Limit: n - 1, Policy: recall.Skip})
		sameResult(x, res, err, recall.CancelResult{Cancelled: n - 1, Skipped: []recall.MessageID{blocker}}, nil)
		x.wantList(recall.Filter{}, blocker, tail[n-1])
	}},
	{"with Wait the number is that of the beginning", func(x *fixture) {
		for _, o := range []recall.Outcome{recall.Delivered, recall.Retry} {
			f, before, blocker, after, l := waitScene(x)
			c := &bulkCall{x: x, expired: make(chan struct{})}
			c.start(recall.CancelMatchingRequest{Filter: f, Now: x.now, Expired: c.expired, Guard: exactly(2)})
			x.eventually("the walk reaches its blocker", func() bool {
				_, err := x.e.Get(x.ctx, before, x.now)
				return errors.Is(err, recall.ErrNotFound)
			})
			x.wantPending(after)
			x.finish(l, o)
			c.wantCancelled(map[recall.Outcome]int{recall.Delivered: 2, recall.Retry: 3}[o])
			x.wantGone(before, blocker, after)
		}
	}},
	{"with Wait a refusal does not wait", func(x *fixture) {
		f, before, _, after, _ := waitScene(x)
		c := &bulkCall{x: x, expired: make(chan struct{})}
		g := exactly(1)
		c.start(recall.CancelMatchingRequest{Filter: f, Now: x.now, Expired: c.expired, Guard: g})
		res, err := c.result()
		x.wantRefused(res, err, g, 2)
		x.wantPending(before, after)
	}},
	{"of several calls with the same number one is done", func(x *fixture) {
		for range size(20) {
			ids := x.publishMany(300, label("m"), due(far))
			var done, cancelled atomic.Int64
			x.together(4, func(int) {
				res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Guard: exactly(300)})
				var refused *recall.UnexpectedCountError
				switch {
				case err == nil:
					done.Add(1)
				case !errors.As(err, &refused):
					x.Errorf("CancelMatching: %v", err)
				}
				cancelled.Add(int64(res.Cancelled))
			})
			if done.Load() != 1 || cancelled.Load() != 300 {
				x.Fatalf("%d calls were done, and cancelled %d of 300", done.Load(), cancelled.Load())
			}
			x.wantGone(slices.Concat(ids[:2], ids[298:])...)
		}
	}},
}
