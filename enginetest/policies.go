package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// encounter is a message in some state that a bulk cancellation meets.
type encounter struct {
	state    string
	pending  bool // it can be cancelled
	inFlight bool // it stops a walk
	// meet publishes the message. Its lease is zero if it has none.
	meet func(*fixture) (recall.MessageID, recall.Lease)
}

// encounters are all states in which a message can be.
var encounters = []encounter{
	{"delayed", true, false, func(x *fixture) (recall.MessageID, recall.Lease) {
		return x.publish(label("m"), due(far)), recall.Lease{}
	}},
	{"ready", true, false, func(x *fixture) (recall.MessageID, recall.Lease) {
		return x.publish(label("m")), recall.Lease{}
	}},
	{"retrying", true, false, func(x *fixture) (recall.MessageID, recall.Lease) {
		id := x.publish(label("m"))
		x.finish(x.claimOne(id), recall.Retry)
		return id, recall.Lease{}
	}},
	{"held", true, false, func(x *fixture) (recall.MessageID, recall.Lease) {
		can[recall.Changer](x)
		id := x.publish(label("m"))
		x.hold(byID(id), 1)
		return id, recall.Lease{}
	}},
	{"in flight", false, true, func(x *fixture) (recall.MessageID, recall.Lease) {
		id := x.publish(label("m"))
		return id, x.claimOne(id)
	}},
	{"in flight and requested", false, false, func(x *fixture) (recall.MessageID, recall.Lease) {
		id := x.publish(label("m"))
		l := x.claimOne(id)
		x.cancelSticky(id)
		return id, l
	}},
	{"finishing", false, false, func(x *fixture) (recall.MessageID, recall.Lease) {
		id := x.publish(label("m"))
		x.check(x.e.Finish(x.ctx, x.claimOne(id), recall.Finish{Outcome: recall.Delivered, Now: x.now}), "Finish")
		return id, recall.Lease{}
	}},
	{"gone", false, false, func(x *fixture) (recall.MessageID, recall.Lease) {
		id := x.publish(label("m"))
		x.check(x.cancel(id), "Cancel")
		return id, recall.Lease{}
	}},
}

// manner is a way to deal with what is in flight.
type manner struct {
	name string
	req  recall.CancelMatchingRequest
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// manners returns every policy, and a Wait without time.
func manners() []manner {
	return []manner{
		{"stop", recall.CancelMatchingRequest{}},
		{"wait", recall.CancelMatchingRequest{Expired: closedChannel()}},
		{"skip", recall.CancelMatchingRequest{Policy: recall.Skip}},
		{"sticky", recall.CancelMatchingRequest{Policy: recall.Sticky}},
		{"abort", recall.CancelMatchingRequest{Policy: recall.Abort}},
	}
}

// eachEncounter gives every policy each state to meet, between two messages
// that are pending.
func eachEncounter(run func(x *fixture, m manner, e encounter)) []contractTest {
	var tests []contractTest
	for _, m := range manners() {
		for _, e := range encounters {
			tests = append(tests, contractTest{m.name + " meets a message that is " + e.state, func(x *fixture) { run(x, m, e) }})
		}
	}
	return tests
}

// wantEncounter is what a policy does between two pending messages.
func wantEncounter(m manner, e encounter, met recall.MessageID) (want recall.CancelResult, stopped error) {
	want.Cancelled = 2
	switch {
	case e.pending:
		want.Cancelled = 3
	case !e.inFlight:
	case m.req.Policy == recall.Skip:
		want.Skipped = []recall.MessageID{met}
	case m.req.Policy == recall.Sticky, m.req.Policy == recall.Abort:
		want.Requested = 1
	default:
		want.Cancelled = 1
		stopped = &recall.NotCancellableError{ID: met, State: recall.StateInFlight, Cancelled: 1}
	}
	return want, stopped
}

// sameResult compares what a call said it did, but for its operation and how
// it found the messages.
func sameResult(x *fixture, got recall.CancelResult, err error, want recall.CancelResult, wantErr error) {
	x.Helper()
	got.Operation, got.Index, got.Scanned = "", "", 0
	if fmt.Sprint(got, err) != fmt.Sprint(want, wantErr) {
		x.Fatalf("CancelMatching: got %+v, %v, want %+v, %v", got, err, want, wantErr)
	}
}

var policyTests = slices.Concat(
	eachEncounter(func(x *fixture, m manner, e encounter) {
		before := x.publish(label("m"), due(far))
		met, l := e.meet(x)
		after := x.publish(label("m"), due(far))
		want, stopped := wantEncounter(m, e, met)
		m.req.Filter = byLabel("m")
		var asked []recall.MessageID
		m.req.Asked = func(ids []recall.MessageID) { asked = append(asked, ids...) }
		res, err := x.bulkOf(m.req)
		sameResult(x, res, err, want, stopped)
		if res.Operation == "" {
			x.Error("CancelMatching: got no operation")
		}
		x.wantGone(before)
		if stopped != nil {
			x.wantPending(after)
		} else {
			x.wantGone(after)
		}
		if e.pending {
			x.wantGone(met)
			x.now = far
			x.wantClaim(10)
		}
		if (want.Requested > 0) != slices.Equal(asked, []recall.MessageID{met}) || want.Requested == 0 && asked != nil {
			x.Errorf("Asked: got %v", asked)
		}
		if l.Message.ID != "" {
			x.wantState(met, recall.StateInFlight)
			x.finish(l, recall.Delivered)
			x.wantGone(met)
		}
	}),
	eachEncounter(func(x *fixture, m manner, e encounter) {
		// DryRun says the same, and does nothing.
		x.publish(label("m"), due(far))
		met, l := e.meet(x)
		x.publish(label("m"), due(far))
		want, stopped := wantEncounter(m, e, met)
		x.count(byID(met)) // what is finishing is gone
		was := x.snapshot()
		dry := m.req
		dry.Filter, dry.DryRun, dry.Reason = byLabel("m"), true, "only to look"
		dry.Asked = func(ids []recall.MessageID) { x.Errorf("Asked: got %v", ids) }
		for range 2 {
			res, err := x.bulkOf(dry)
			sameResult(x, res, err, want, stopped)
			if res.Operation != "" {
				x.Errorf("DryRun: got operation %s", res.Operation)
			}
			x.wantUnchanged(was)
		}
		m.req.Filter = byLabel("m")
		res, err := x.bulkOf(m.req)
		sameResult(x, res, err, want, stopped)
		if l.Message.ID != "" {
			x.finish(l, recall.Retry)
		}
	}),
	requestTests,
	[]contractTest{
		{"Skip: ids oldest first, and what was skipped goes on", func(x *fixture) {
			ids := x.publishMany(9, label("m"))
			x.advance(time.Second)
			leases := x.claim(9)
			for _, i := range []int{0, 2, 4, 6, 8} {
				x.finish(leases[i], recall.Release)
			}
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Policy: recall.Skip})
			x.check(err, "CancelMatching")
			want := []recall.MessageID{ids[1], ids[3], ids[5], ids[7]}
			if res.Cancelled != 5 || !slices.Equal(res.Skipped, want) {
				x.Fatalf("got %+v, want 5 cancelled, %v skipped", res, want)
			}
			x.finish(leases[1], recall.Retry)
			x.finish(leases[3], recall.Dead)
			x.finish(leases[5], recall.Delivered)
			x.wantState(ids[1], recall.StateRetrying)
			x.wantList(recall.Filter{}, ids[1], ids[7])
			if got := len(x.listDead(recall.Filter{})); got != 1 {
				x.Errorf("got %d dead letters, want 1", got)
			}
		}},
		{"a policy that meets nothing in flight is like any other", func(x *fixture) {
			for _, m := range manners() {
				x.publishMany(3, label("m"))
				m.req.Filter = byLabel("m")
				res, err := x.bulkOf(m.req)
				x.check(err, m.name)
				sameResult(x, res, err, recall.CancelResult{Cancelled: 3}, nil)
			}
		}},
		{"Limit counts what is taken", func(x *fixture) {
			for _, c := range []struct {
				policy             recall.Policy
				cancelled, request int
				left               []int // of ten, of which every other one is in flight
			}{
				{recall.Skip, 3, 0, []int{0, 2, 4, 6, 7, 8, 9}},
				{recall.Sticky, 1, 2, []int{3, 4, 5, 6, 7, 8, 9}},
				{recall.Abort, 1, 2, []int{3, 4, 5, 6, 7, 8, 9}},
			} {
				ids := x.publishMany(10, label("m"))
				x.advance(time.Second)
				leases := x.claim(10)
				for i := 1; i < 10; i += 2 {
					x.finish(leases[i], recall.Release)
				}
				req := recall.CancelMatchingRequest{Filter: byLabel("m"), Policy: c.policy, Limit: 3, DryRun: true}
				for range 2 {
					res, err := x.bulkOf(req)
					x.check(err, "CancelMatching")
					if res.Cancelled != c.cancelled || res.Requested != c.request {
						x.Fatalf("%s: got %+v, want %d cancelled, %d requested", c.policy, res, c.cancelled, c.request)
					}
					req.DryRun = false
				}
				var left []recall.MessageID
				for _, i := range c.left {
					left = append(left, ids[i])
				}
				x.wantList(byLabel("m"), left...)
				for i := 0; i < 10; i += 2 {
					x.finish(leases[i], recall.Delivered)
				}
				x.cancelAll(x.count(recall.Filter{}).Pending)
			}
		}},
		{"a limit that is reached meets no blocker", func(x *fixture) {
			ids := x.publishMany(4, label("m"))
			x.advance(time.Second)
			for i, l := range x.claim(3) {
				if i < 2 {
					x.finish(l, recall.Release)
				}
			}
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Limit: 2})
			sameResult(x, res, err, recall.CancelResult{Cancelled: 2}, nil)
			x.wantList(recall.Filter{}, ids[2:]...)
		}},
		{"every policy obeys the whole filter", func(x *fixture) {
			for _, policy := range []recall.Policy{recall.Skip, recall.Sticky, recall.Abort} {
				for _, c := range momentCases {
					ids, l := publishStates(x)
					want, left := pick(ids, c.want)
					inFlight := slices.Contains(want, ids[3])
					res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: c.filter, Policy: policy})
					x.check(err, c.name)
					expect := recall.CancelResult{Cancelled: len(want)}
					if inFlight {
						expect.Cancelled--
						if policy == recall.Skip {
							expect.Skipped, left = ids[3:], append(left, ids[3])
						} else {
							expect.Requested = 1
						}
					}
					sameResult(x, res, err, expect, nil)
					x.wantList(recall.Filter{}, left...)
					x.finish(l, recall.Delivered)
					x.cancelAll(x.count(recall.Filter{}).Pending)
				}
			}
		}},
	},
)

// requestTests are about what becomes of messages in flight whose cancellation
// was requested by a bulk call.
var requestTests = []contractTest{
	{"requested: it ends with its attempt, however that ends", func(x *fixture) {
		for _, policy := range []recall.Policy{recall.Sticky, recall.Abort} {
			for _, o := range []recall.Outcome{recall.Delivered, recall.Retry, recall.Dead, recall.Release} {
				id := x.publish(label("m"))
				l := x.claimOne(id)
				res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Policy: policy})
				sameResult(x, res, err, recall.CancelResult{Requested: 1}, nil)
				if res.Operation == "" {
					x.Fatalf("%s: got no operation", policy)
				}
				x.finish(l, o)
				x.wantGone(id)
				x.wantLeaseLost(l)
				x.advance(time.Hour)
				x.wantClaim(10)
				x.wantCount(recall.Filter{}, 0, 0)
				if got := len(x.listDead(recall.Filter{})); got != 0 {
					x.Errorf("%s, outcome %d: got %d dead letters", policy, o, got)
				}
			}
		}
	}},
	{"requested: out of every later match, and in nobody's way", func(x *fixture) {
		ids := x.publishMany(3, label("m"))
		x.advance(time.Second)
		leases := x.claim(3)
		x.finish(leases[2], recall.Release)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byID(ids[0], ids[1]), Policy: recall.Sticky})
		sameResult(x, res, err, recall.CancelResult{Requested: 2}, nil)
		x.wantCount(recall.Filter{}, 1, 0)
		x.wantList(byLabel("m"), ids[2])
		x.wantCount(states(recall.StateInFlight), 0, 0)
		checkPlan(x, byLabel("m"), 1)
		for _, m := range manners() {
			m.req.Filter = byID(ids[0], ids[1])
			res, err := x.bulkOf(m.req)
			sameResult(x, res, err, recall.CancelResult{}, nil)
		}
		for _, id := range ids[:2] {
			x.wantState(id, recall.StateInFlight)
		}
		x.cancelMatching(byLabel("m"), 1)
		x.finish(leases[0], recall.Delivered)
		x.finish(leases[1], recall.Retry)
		x.wantGone(ids...)
	}},
	{"requested: Asked hears of all, oldest first, when it is durable", func(x *fixture) {
		ids := x.publishMany(5, label("m"))
		x.advance(time.Second)
		x.claim(5)
		calls := 0
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Policy: recall.Abort, Asked: func(got []recall.MessageID) {
			if calls++; !slices.Equal(got, ids) {
				x.Errorf("Asked: got %v, want %v", got, ids)
			}
		}})
		sameResult(x, res, err, recall.CancelResult{Requested: 5}, nil)
		if calls != 1 {
			x.Errorf("Asked was called %d times", calls)
		}
	}},
	{"requested: a done context asks for nothing", func(x *fixture) {
		id := x.publish(label("m"))
		l := x.claimOne(id)
		req := recall.CancelMatchingRequest{Filter: byLabel("m"), Policy: recall.Sticky, Now: x.now}
		req.Asked = func(ids []recall.MessageID) { x.Errorf("Asked: got %v", ids) }
		if res, err := x.e.CancelMatching(doneContext(), req); err == nil || res.Requested != 0 {
			x.Errorf("got %+v, %v", res, err)
		}
		x.finish(l, recall.Retry)
		x.wantState(id, recall.StateRetrying)
	}},
	{"requested: the single cancellation of one is still refused or repeated", func(x *fixture) {
		id := x.publish(label("m"))
		l := x.claimOne(id)
		_, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("m"), Policy: recall.Sticky})
		x.check(err, "CancelMatching")
		if err := x.cancel(id); !errors.Is(err, recall.ErrNotCancellable) {
			x.Errorf("Cancel: got %v", err)
		}
		x.cancelSticky(id)
		x.finish(l, recall.Dead)
		x.wantGone(id)
	}},
}
