package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

func changeTest(promise string, run func(*fixture)) contractTest {
	return contractTest{promise, func(x *fixture) {
		can[recall.Changer](x)
		run(x)
	}}
}

func changeRestart(promise string, run func(x *fixture, reopen func())) []contractTest {
	return restart(promise, func(x *fixture, reopen func()) {
		can[recall.Changer](x)
		run(x, reopen)
	})
}

// changeScene publishes six messages that every change but a release changes,
// with the label c: they wait for a retry, in the order of publication, until an
// hour from now. With release they are held besides.
func changeScene(x *fixture, kind recall.OperationKind) []recall.MessageID {
	x.Helper()
	ids := x.publishMany(6, label("c"), due(x.now))
	for _, l := range x.wantClaim(6, ids...) {
		f := x.ending(recall.Retry)
		f.Due = x.now.Add(time.Hour)
		x.check(x.e.Finish(x.ctx, l, f), "Finish")
	}
	if kind == recall.OperationRelease {
		x.hold(byLabel("c"), 6)
	}
	return ids
}

// changed counts the messages of f that a change in a changeScene has changed.
func (x *fixture) changed(kind recall.OperationKind, f recall.Filter) (n int) {
	x.Helper()
	for _, id := range x.list(f) {
		m := x.get(id)
		is := m.State == recall.StateHeld
		switch kind {
		case recall.OperationRelease:
			is = !is
		case recall.OperationReschedule, recall.OperationRetryNow:
			is = m.DueAt.Equal(x.now)
		}
		if is && m.State != recall.StateInFlight {
			n++
		}
	}
	return n
}

// sameChange compares what a change said it did, but for how it found the
// messages.
func sameChange(x *fixture, got recall.ChangeResult, err error, changed int, skipped []recall.MessageID, wantErr error) {
	x.Helper()
	if got.Changed != changed || !slices.Equal(got.Skipped, skipped) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		x.Fatalf("got %+v, %v, want %d changed, %v skipped, %v", got, err, changed, skipped, wantErr)
	}
}

var changeTests = slices.Concat(
	[]contractTest{
		changeTest("hold: what is pending is not delivered, and else as it was", func(x *fixture) {
			delayed, ready := x.publish(label("h"), due(at(60))), x.publish(label("h"))
			retrying := x.publish(label("h"), due(at(-1)))
			x.finish(x.claimOne(retrying), recall.Retry)
			free := x.publish(due(at(60)))
			before := x.outlines(byLabel("h"))
			x.hold(byLabel("h"), 3)
			for _, id := range []recall.MessageID{delayed, ready, retrying} {
				x.wantState(id, recall.StateHeld)
			}
			x.wantList(states(recall.StateHeld), delayed, ready, retrying)
			x.wantCount(byLabel("h"), 3, 0)
			x.wantCount(recall.Filter{}, 4, 0)
			checkPlan(x, byLabel("h"), 3)
			if m := x.get(retrying); m.Attempts != 1 || !m.DueAt.Equal(at(60)) {
				x.Errorf("got %d attempts, due %v", m.Attempts, m.DueAt)
			}
			x.hold(byLabel("h"), 0)
			x.now = far
			if res := x.claimResult(10); !slices.Equal(leaseIDs(res.Leases), []recall.MessageID{free}) || !res.Next.IsZero() {
				x.Errorf("Claim: got %v, next at %v", leaseIDs(res.Leases), res.Next)
			}
			x.now = base
			x.release(byLabel("h"), 3)
			x.wantOutlines(byLabel("h"), before)
			x.release(byLabel("h"), 0)
			x.wantClaim(10, ready)
		}),
		changeTest("release: what is overdue runs at once, in the order it would have had", func(x *fixture) {
			var ids []recall.MessageID
			for _, s := range []float64{5, 3, 9, 3, 1, 7, 100} {
				ids = append(ids, x.publish(label("h"), due(at(s))))
			}
			x.hold(byID(ids[0], ids[2], ids[3], ids[6]), 4)
			x.now = at(20)
			for hinted(x.e.Hints().Claim) {
			}
			x.release(byLabel("h"), 4)
			if !hinted(x.e.Hints().Claim) {
				x.Error("there is no hint that something can be claimed")
			}
			res := x.claimResult(20)
			if got, want := leaseIDs(res.Leases), []recall.MessageID{ids[4], ids[1], ids[3], ids[0], ids[5], ids[2]}; !slices.Equal(got, want) {
				x.Errorf("Claim: got %v, want %v", got, want)
			}
			if !res.Next.Equal(at(100)) {
				x.Errorf("next at %v, want %v", res.Next, at(100))
			}
		}),
		changeTest("held messages can be cancelled", func(x *fixture) {
			ids := x.publishMany(6, label("h"))
			x.hold(byLabel("h"), 6)
			x.check(x.cancel(ids[0]), "Cancel")
			x.cancelSticky(ids[1])
			x.cancelMatching(recall.Filter{States: []recall.State{recall.StateHeld}, IDs: ids[:3]}, 1)
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: states(recall.StateHeld), Limit: 1})
			sameResult(x, res, err, recall.CancelResult{Cancelled: 1}, nil)
			x.wantList(recall.Filter{}, ids[4:]...)
			x.release(byLabel("h"), 2)
			x.now = far
			x.wantClaim(10, ids[4:]...)
		}),
		changeTest("what fails its attempt later is not held", func(x *fixture) {
			id := x.publish(label("h"))
			l := x.claimOne(id)
			res, err := x.change(recall.OperationHold, recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{Filter: byLabel("h"), Policy: recall.Skip}})
			sameChange(x, res, err, 0, []recall.MessageID{id}, nil)
			if res.Operation != "" {
				x.Errorf("got operation %s", res.Operation)
			}
			x.finish(l, recall.Retry)
			x.wantState(id, recall.StateRetrying)
		}),
		changeTest("reschedule: earlier and later, attempts kept", func(x *fixture) {
			ids := x.publishMany(4, label("r"), due(at(60)))
			x.finish(x.claimOne(x.publish(label("r"), due(at(-1)))), recall.Retry)
			x.wantChanged(recall.OperationReschedule, byID(ids[:2]...), at(1), 2)
			x.wantChanged(recall.OperationReschedule, byID(ids[2]), at(3600), 1)
			x.wantChanged(recall.OperationReschedule, byLabel("r"), at(3600), 4) // one is due then already
			x.wantChanged(recall.OperationReschedule, byLabel("r"), at(3600), 0)
			for _, id := range x.list(byLabel("r")) {
				if m := x.get(id); !m.DueAt.Equal(at(3600)) {
					x.Errorf("%s is due at %v", id, m.DueAt)
				}
			}
			x.now = at(3599)
			x.wantClaim(10)
			x.wantChanged(recall.OperationReschedule, byID(ids[3], ids[1]), x.now, 2)
			x.wantClaim(10, ids[1], ids[3])
			x.now = at(3600)
			rest := x.claim(10)
			if len(rest) != 3 || rest[2].Message.Attempts != 2 {
				x.Errorf("Claim: got %v", leaseIDs(rest))
			}
		}),
		changeTest("reschedule: what is held stays held, and runs at its new time", func(x *fixture) {
			id := x.publish(label("h"))
			x.hold(byLabel("h"), 1)
			x.wantChanged(recall.OperationReschedule, byLabel("h"), at(60), 1)
			x.wantState(id, recall.StateHeld)
			x.now = at(61)
			x.wantClaim(1)
			x.now = at(50)
			x.release(byLabel("h"), 1)
			x.wantClaim(1)
			x.now = at(60)
			x.claimOne(id)
		}),
		changeTest("retry now: only what waits for a retry", func(x *fixture) {
			delayed := x.publish(label("r"), due(at(3600)))
			overdue := x.publish(label("r"), due(at(-2)))
			f := x.ending(recall.Retry)
			f.Due = at(-1)
			x.check(x.e.Finish(x.ctx, x.claimOne(overdue), f), "Finish")
			waiting := x.publish(label("r"), due(at(-3)))
			x.finish(x.claimOne(waiting), recall.Retry)
			held := x.publish(label("r"), due(at(-3)))
			x.finish(x.claimOne(held), recall.Retry)
			x.hold(byID(held), 1)
			running := x.publish(label("r"), due(at(-3)))
			x.claimOne(running)
			x.wantChanged(recall.OperationRetryNow, byLabel("r"), time.Time{}, 2)
			x.wantState(delayed, recall.StateDelayed)
			x.wantState(held, recall.StateHeld)
			if got := x.get(waiting); got.Attempts != 1 || !got.DueAt.Equal(x.now) || got.State != recall.StateReady {
				x.Errorf("got %d attempts, due %v, %s", got.Attempts, got.DueAt, got.State)
			}
			x.wantChanged(recall.OperationRetryNow, byLabel("r"), time.Time{}, 0)
			x.wantClaim(10, overdue, waiting)
			x.release(byLabel("r"), 1)
			x.claimOne(held)
		}),
		changeTest("in flight: it stops the walk, or is skipped", func(x *fixture) {
			for _, kind := range []recall.OperationKind{recall.OperationHold, recall.OperationReschedule} {
				ids := changeScene(x, kind)
				x.wantChanged(recall.OperationReschedule, byID(ids[2], ids[4]), x.now, 2)
				leases := x.wantClaim(2, ids[2], ids[4])
				later := x.now.Add(2 * time.Hour)
				req := recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{Filter: byLabel("c")}, Due: later}
				res, err := x.change(kind, req)
				sameChange(x, res, err, 2, nil, &recall.NotCancellableError{ID: ids[2], State: recall.StateInFlight, Cancelled: 2})
				if !errors.Is(err, recall.ErrNotCancellable) || res.Operation == "" {
					x.Errorf("got %+v, %v", res, err)
				}
				req.Policy = recall.Skip
				res, err = x.change(kind, req)
				sameChange(x, res, err, 2, []recall.MessageID{ids[2], ids[4]}, nil)
				x.finish(leases[0], recall.Delivered)
				x.finish(leases[1], recall.Retry)
				x.wantState(ids[4], recall.StateRetrying)
				x.cancelAll(5)
			}
		}),
		changeTest("guards, limits and dry runs are those of a cancellation", func(x *fixture) {
			for _, kind := range changeKinds {
				ids := changeScene(x, kind)
				was := x.snapshot()
				req := recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{Filter: byLabel("c")}, Due: x.now}
				refused := func(g recall.Guard, found int) {
					x.Helper()
					req := req
					req.Guard = g
					res, err := x.change(kind, req)
					x.wantRefused(recall.CancelResult{Cancelled: res.Changed, Operation: res.Operation}, err, g, found)
				}
				refused(exactly(5), 6)
				refused(atMost(0), 6)
				refused(exactly(7), 6)
				x.wantUnchanged(was)
				req.DryRun = true
				res, err := x.change(kind, req)
				sameChange(x, res, err, 6, nil, nil)
				req.Limit = 2
				res, err = x.change(kind, req)
				sameChange(x, res, err, 2, nil, nil)
				x.wantUnchanged(was)
				req.DryRun, req.Guard = false, exactly(6)
				res, err = x.change(kind, req)
				sameChange(x, res, err, 2, nil, nil)
				if got := x.changed(kind, byID(ids[:2]...)); got != 2 || x.changed(kind, byLabel("c")) != 2 {
					x.Errorf("%s: changed others than the oldest two", kind)
				}
				refused(exactly(6), 4) // what is so already does not count
				req.Guard, req.Limit = exactly(4), 0
				res, err = x.change(kind, req)
				sameChange(x, res, err, 4, nil, nil)
				if got := x.changed(kind, byLabel("c")); got != 6 {
					x.Errorf("%s: %d of 6 are changed", kind, got)
				}
				x.cancelAll(6)
			}
		}),
		changeTest("an empty filter and an unknown kind are refused", func(x *fixture) {
			x.publish()
			for _, kind := range changeKinds {
				_, err := x.change(kind, recall.ChangeRequest{Due: x.now})
				x.wantError(err, recall.ErrEmptyFilter, string(kind))
			}
			for _, kind := range []recall.OperationKind{"", recall.OperationCancel, recall.OperationStanding, "other"} {
				_, err := x.change(kind, recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{All: true}})
				x.wantError(err, recall.ErrInvalid, "kind "+string(kind))
			}
		}),
		changeTest("All is for everything", func(x *fixture) {
			x.publishMany(3)
			res, err := x.change(recall.OperationHold, recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{All: true}})
			sameChange(x, res, err, 3, nil, nil)
			x.wantCount(states(recall.StateHeld), 3, 0)
		}),
		changeTest("each leaves a record", func(x *fixture) {
			for _, kind := range changeKinds {
				changeScene(x, kind)
				x.advance(time.Millisecond)
				f := byLabel("c")
				res, err := x.change(kind, recall.ChangeRequest{
					CancelMatchingRequest: recall.CancelMatchingRequest{Filter: f, Policy: recall.Skip, Reason: "why not"}, Due: x.now,
				})
				sameChange(x, res, err, 6, nil, nil)
				x.wantRecord(recall.Operation{
					ID: res.Operation, Kind: kind, At: x.now, Filter: f.String(), Reason: "why not", Policy: recall.Skip, Count: 6,
				})
				x.wantNoTaker(x.list(f)...)
				x.cancelMatching(f, 6)
			}
		}),
		changeTest("a walk in several slices, beside claims", func(x *fixture) {
			n := x.many(size(3000))
			ids := x.publishMany(n, label("h"), due(at(-1)))
			x.publishMany(n, label("i"), due(far))
			claimed := make(chan []recall.MessageID, 1)
			go func() {
				res, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: base, Max: n / 2})
				if err != nil {
					x.Errorf("Claim: %v", err)
				}
				claimed <- leaseIDs(res.Leases)
			}()
			res, err := x.change(recall.OperationHold, recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{Filter: byLabel("h"), Policy: recall.Skip}})
			x.check(err, "Change")
			taken := <-claimed
			for _, id := range res.Skipped {
				if !slices.Contains(taken, id) {
					x.Fatalf("%s was skipped, and not claimed", id)
				}
			}
			x.wantCount(states(recall.StateHeld), res.Changed, 0)
			if res.Changed+len(res.Skipped) != n || !slices.IsSorted(res.Skipped) {
				x.Errorf("changed %d and skipped %d of %d", res.Changed, len(res.Skipped), n)
			}
			x.wantCount(byID(ids...), n-len(taken), len(taken))
			res, err = x.change(recall.OperationHold, recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{Filter: byLabel("h"), Policy: recall.Skip}})
			sameChange(x, res, err, 0, slices.Sorted(slices.Values(taken)), nil)
			x.wantClaim(10)
		}),
		changeTest("a done context changes nothing", func(x *fixture) {
			for _, kind := range changeKinds {
				changeScene(x, kind)
				was := x.snapshot()
				req := recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{Filter: byLabel("c"), Now: x.now}, Kind: kind, Due: x.now}
				if res, err := x.e.(recall.Changer).Change(doneContext(), req); err == nil || res.Changed != 0 {
					x.Errorf("%s: got %+v, %v", kind, res, err)
				}
				x.wantUnchanged(was)
				x.cancelAll(6)
			}
		}),
		changeTest("a closed engine says so", func(x *fixture) {
			x.publish()
			x.check(x.e.Close(), "Close")
			for _, kind := range changeKinds {
				_, err := x.change(kind, recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{All: true}})
				x.wantError(err, recall.ErrClosed, string(kind))
			}
		}),
	},
	changeRestart("changes survive, alone and one after the other", func(x *fixture, reopen func()) {
		ids := x.publishMany(8, due(at(60)))
		retrying := x.publish(due(at(-1)))
		x.finish(x.claimOne(retrying), recall.Retry)
		x.hold(byID(ids[0], ids[1], ids[2], retrying), 4)
		x.release(byID(ids[1]), 1)
		x.wantChanged(recall.OperationReschedule, byID(ids[2], ids[3]), at(3600), 2)
		x.hold(byID(ids[3]), 1)
		x.wantChanged(recall.OperationRetryNow, byID(retrying), time.Time{}, 1)
		x.wantChanged(recall.OperationReschedule, byID(ids[4]), at(-60), 1)
		x.wantChanged(recall.OperationReschedule, byID(ids[5]), at(-60), 1)
		x.finish(x.claimOne(ids[4]), recall.Retry) // its new due time is the newest
		want := x.outlines(recall.Filter{})
		for range 2 {
			reopen()
			x.wantOutlines(recall.Filter{}, want)
			x.wantClaim(10, ids[5])
			x.checkWhole()
			reopen() // its attempt may count
			want[5] = x.outlines(recall.Filter{})[5]
			x.settle()
			x.now = base
			x.fold()
		}
		x.release(recall.Filter{From: base}, 4)
		x.now = at(3600)
		x.wantClaim(20, ids[5], retrying, ids[0], ids[1], ids[4], ids[6], ids[7], ids[2], ids[3])
	}),
	changeRestart("a great many holds and new due times survive, folded too", func(x *fixture, reopen func()) {
		n := x.many(10_000)
		some := n / 10
		ids := x.publishMany(n, due(far))
		var third, fifth []recall.MessageID
		for i, id := range ids {
			if i%3 == 0 {
				third = append(third, id)
			}
			if i%5 == 0 {
				fifth = append(fifth, id)
			}
		}
		held := func() { x.Helper(); x.wantCount(states(recall.StateHeld), len(third), 0) }
		x.hold(byID(third...), len(third))
		x.wantChanged(recall.OperationReschedule, byID(fifth...), at(3600), len(fifth))
		for range 2 {
			reopen()
			held()
			x.wantList(recall.Filter{DueBefore: at(3600)}, fifth...)
			x.fold()
			held()
		}
		x.release(byID(third[:some]...), some)
		x.hold(byID(ids[1], ids[2]), 2)
		x.wantChanged(recall.OperationReschedule, byID(fifth[:some]...), at(7200), some)
		third = slices.Concat(ids[1:3], third[some:])
		reopen()
		held()
		x.fold()
		reopen()
		x.wantList(states(recall.StateHeld), third...)
		x.wantList(recall.Filter{DueBefore: at(3600)}, fifth[some:]...)
		x.wantList(recall.Filter{DueAfter: at(7200), DueBefore: at(7200)}, fifth[:some]...)
		x.cancelMatching(states(recall.StateHeld), len(third))
		x.settle()
		x.fold()
		reopen()
		x.wantCount(states(recall.StateHeld), 0, 0)
		x.wantCount(recall.Filter{}, n-len(third), 0)
	}),
	changeRestart("held messages that were cancelled come back held", func(x *fixture, reopen func()) {
		can[recall.Restorer](x)
		ids := x.publishMany(4, label("h"))
		x.hold(byID(ids[1:3]...), 2)
		op := x.cancelMatching(byLabel("h"), 4).Operation
		reopen()
		x.wantRestored(op, 4, 0)
		x.wantList(states(recall.StateHeld), ids[1:3]...)
		x.advance(time.Second)
		x.wantClaim(10, ids[0], ids[3])
	}),
)
