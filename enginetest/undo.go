package enginetest

import (
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// undoScene publishes messages with the label u in every state of a pending
// message: b is ready and overdue, c is due in an hour, d waits for its third
// attempt, e is held, and a is ready, published last of those.
func undoScene(x *fixture) []recall.MessageID {
	x.Helper()
	retrying := x.publish(label("u", "d"), due(at(-20)))
	for range 2 {
		f := x.ending(recall.Retry)
		f.Due = x.now
		x.check(x.e.Finish(x.ctx, x.claimOne(retrying), f), "Finish")
	}
	f := x.ending(recall.Retry)
	f.Due = x.now.Add(time.Minute)
	x.check(x.e.Finish(x.ctx, x.claimOne(retrying), f), "Finish")
	overdue := x.publish(label("u", "b"), queue("q"), due(x.now.Add(-10*time.Second)))
	delayed := x.publish(label("u", "c"), url("https://b.test/x"), due(x.now.Add(time.Hour)))
	held := x.publish(label("u", "e"), due(x.now.Add(-time.Second)))
	ready := x.publish(label("u", "a"))
	if _, ok := x.e.(recall.Changer); ok {
		x.hold(byID(held), 1)
	}
	return []recall.MessageID{retrying, overdue, delayed, held, ready}
}

// outlines is what the messages that f matches look like.
func (x *fixture) outlines(f recall.Filter) (lines []string) {
	x.Helper()
	for _, id := range x.list(f) {
		lines = append(lines, string(id)+" "+outline(x.get(id)))
	}
	return lines
}

func (x *fixture) wantOutlines(f recall.Filter, want []string) {
	x.Helper()
	got := x.outlines(f)
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			x.Fatalf("message %d of %s:\ngot  %s\nwant %s", i, f, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		x.Fatalf("messages of %s: got %d, want %d", f, len(got), len(want))
	}
}

// wantExpired checks that it is too late to undo an operation, and that
// nothing comes of trying.
func (x *fixture) wantExpired(op recall.OperationID) {
	x.Helper()
	before := x.list(recall.Filter{})
	res, err := x.restore(op)
	x.wantError(err, recall.ErrUndoExpired, "Restore")
	if res != (recall.RestoreResult{}) {
		x.Fatalf("Restore: got %+v beside an error", res)
	}
	x.wantList(recall.Filter{}, before...)
}

// undoTest is a test of engines that can undo.
func undoTest(promise string, run func(*fixture)) contractTest {
	return contractTest{promise, func(x *fixture) {
		can[recall.Restorer](x)
		run(x)
	}}
}

// undoRestart is an undoTest with a restart.
func undoRestart(promise string, run func(x *fixture, reopen func())) []contractTest {
	return restart(promise, func(x *fixture, reopen func()) {
		can[recall.Restorer](x)
		run(x, reopen)
	})
}

var undoTests = slices.Concat(
	[]contractTest{
		undoTest("everything comes back as it was", func(x *fixture) {
			ids := undoScene(x)
			other := x.publish(label("other"), due(far))
			want := x.outlines(recall.Filter{})
			op := x.cancelMatching(byLabel("u"), 5).Operation
			x.wantList(recall.Filter{}, other)
			x.wantRestored(op, 5, 0)
			x.wantOutlines(recall.Filter{}, want)
			x.wantList(byLabel("u"), ids...)
			x.wantCount(byLabel("u"), 5, 0)
			checkPlan(x, byLabel("u"), 5)
			checkPlan(x, recall.Filter{Queues: []string{"q"}}, 1)
			checkPlan(x, recall.Filter{Hosts: []string{"b.test"}}, 1)
		}),
		undoTest("what is overdue is claimed at once, in the order of due times", func(x *fixture) {
			early, late := x.publish(due(at(-5))), x.publish(due(at(20)))
			ids := x.publishMany(5, label("u"), due(at(10)))
			first := x.publish(label("u"), due(at(-9)))
			op := x.cancelMatching(byLabel("u"), 6).Operation
			x.now = at(30)
			x.wantClaim(1, early)
			for hinted(x.e.Hints().Claim) {
			}
			x.wantRestored(op, 6, 0)
			if !hinted(x.e.Hints().Claim) {
				x.Error("there is no hint that something can be claimed")
			}
			x.wantClaim(10, slices.Concat([]recall.MessageID{first}, ids, []recall.MessageID{late})...)
		}),
		undoTest("what was held stays held", func(x *fixture) {
			can[recall.Changer](x)
			ids := x.publishMany(3, label("u"))
			x.hold(byID(ids[1]), 1)
			op := x.cancelMatching(byLabel("u"), 3).Operation
			x.advance(time.Minute)
			x.wantRestored(op, 3, 0)
			x.wantState(ids[1], recall.StateHeld)
			x.wantClaim(5, ids[0], ids[2])
			x.release(byLabel("u"), 1)
			x.wantClaim(5, ids[1])
		}),
		undoTest("restoring again changes nothing", func(x *fixture) {
			ids := x.publishMany(4, label("u"))
			op := x.cancelMatching(byLabel("u"), 4).Operation
			x.advance(time.Second)
			x.wantRestored(op, 4, 0)
			was := x.snapshot()
			x.advance(time.Second)
			x.wantRestored(op, 4, 0)
			x.advance(-time.Second)
			x.wantUnchanged(was)
			leases := x.wantClaim(2, ids[:2]...)
			x.finish(leases[0], recall.Delivered)
			x.check(x.cancel(ids[2]), "Cancel")
			x.advance(time.Hour)
			x.settle()
			x.wantRestored(op, 4, 0)
			x.wantList(recall.Filter{}, ids[1], ids[3])
			x.wantState(ids[1], recall.StateInFlight)
		}),
		undoTest("until the window has passed, and no longer", func(x *fixture) {
			for _, maintained := range []bool{false, true} {
				x.now = base
				id := x.publish(due(far))
				op := x.cancelMatching(byID(id), 1).Operation
				x.advance(recall.DefaultUndoWindow - time.Millisecond)
				if maintained {
					_, err := x.e.Maintain(x.ctx, x.now)
					x.check(err, "Maintain")
				}
				x.wantRestored(op, 1, 0)
				x.now = base
				op = x.cancelMatching(byID(id), 1).Operation
				x.advance(recall.DefaultUndoWindow)
				if maintained {
					_, err := x.e.Maintain(x.ctx, x.now)
					x.check(err, "Maintain")
				}
				x.wantExpired(op)
				x.wantGone(id)
				x.advance(-time.Minute) // late stays late
				x.wantExpired(op)
				x.settle()
				x.wantExpired(op)
			}
		}),
		undoTest("each operation has a window of its own", func(x *fixture) {
			ids := x.publishMany(3, due(far))
			var ops []recall.OperationID
			for _, id := range ids {
				ops = append(ops, x.cancelMatching(byID(id), 1).Operation)
				x.advance(time.Minute)
			}
			x.now = base.Add(recall.DefaultUndoWindow + time.Minute)
			for range 20 {
				_, err := x.e.Maintain(x.ctx, x.now)
				x.check(err, "Maintain")
			}
			x.wantExpired(ops[0])
			x.wantExpired(ops[1])
			x.wantRestored(ops[2], 1, 0)
			x.wantList(recall.Filter{}, ids[2])
		}),
		undoTest("what is no cancellation is refused", func(x *fixture) {
			x.publish(label("u"))
			_, err := x.restore(unknownOperation)
			x.wantError(err, recall.ErrNotFound, "Restore of an unknown operation")
			var ops []recall.OperationID
			if _, ok := x.e.(recall.Changer); ok {
				ops = append(ops, x.hold(byLabel("u"), 1).Operation, x.release(byLabel("u"), 1).Operation,
					x.wantChanged(recall.OperationReschedule, byLabel("u"), at(60), 1).Operation)
			}
			if s, ok := x.e.(recall.Stander); ok {
				op, err := s.CancelFuture(x.ctx, byLabel("later"), far, "", x.now)
				x.check(err, "CancelFuture")
				ops = append(ops, op)
			}
			was := x.snapshot()
			for _, op := range ops {
				_, err := x.restore(op)
				x.wantError(err, recall.ErrInvalid, "Restore")
				x.wantUnchanged(was)
			}
		}),
		undoTest("requests are lifted while their attempts run", func(x *fixture) {
			for _, o := range []recall.Outcome{recall.Delivered, recall.Retry, recall.Dead, recall.Release} {
				x.publish(label("u"), due(far))
				running, ended := x.publish(label("u")), x.publish(label("u"))
				leases := x.wantClaim(2, running, ended)
				res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("u"), Policy: recall.Sticky})
				sameResult(x, res, err, recall.CancelResult{Cancelled: 1, Requested: 2}, nil)
				x.finish(leases[1], recall.Delivered)
				x.wantRestored(res.Operation, 1, 1)
				x.wantState(running, recall.StateInFlight)
				x.wantCount(byLabel("u"), 1, 1)
				x.finish(leases[0], o)
				switch o {
				case recall.Retry:
					x.wantState(running, recall.StateRetrying)
				case recall.Release:
					x.wantState(running, recall.StateReady)
				default:
					x.wantGone(running)
				}
				x.wantGone(ended)
				x.wantRestored(res.Operation, 1, 1)
				x.cancelAll(x.count(recall.Filter{}).Pending)
			}
			if got := len(x.listDead(recall.Filter{})); got != 1 {
				x.Errorf("got %d dead letters, want 1", got)
			}
		}),
		undoTest("requests whose attempts have ended stay done", func(x *fixture) {
			ids := x.publishMany(2, label("u"))
			x.advance(time.Second)
			leases := x.claim(2)
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("u"), Policy: recall.Abort})
			sameResult(x, res, err, recall.CancelResult{Requested: 2}, nil)
			x.finish(leases[0], recall.Retry)
			x.check(x.e.Finish(x.ctx, leases[1], recall.Finish{Outcome: recall.Delivered, Now: x.now}), "Finish")
			x.wantRestored(res.Operation, 0, 0)
			x.wantGone(ids...)
			x.wantRestored(res.Operation, 0, 0)
		}),
		undoTest("the request of a single cancellation is lifted too", func(x *fixture) {
			id := x.publish()
			l := x.claimOne(id)
			x.cancelSticky(id)
			ops := x.operations()
			if len(ops) != 1 {
				x.Fatalf("got %d operations, want 1", len(ops))
			}
			x.wantRestored(ops[0].ID, 0, 1)
			x.check(x.cancel(x.publish()), "Cancel")
			x.finish(l, recall.Retry)
			x.wantState(id, recall.StateRetrying)
		}),
		undoTest("a request of two is lifted with the second", func(x *fixture) {
			id := x.publish(label("u"))
			l := x.claimOne(id)
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("u"), Policy: recall.Sticky})
			sameResult(x, res, err, recall.CancelResult{Requested: 1}, nil)
			x.cancelSticky(id)
			x.wantRestored(res.Operation, 0, 0)
			x.finish(l, recall.Retry)
			x.wantGone(id)
		}),
		undoTest("a request holds that can no longer be lifted, when another one is", func(x *fixture) {
			id := x.publish(label("u"))
			l := x.claimOne(id)
			x.cancelSticky(id)
			first := x.operations()[0].ID
			x.settle()
			x.wantExpired(first)
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("u"), Policy: recall.Sticky})
			sameResult(x, res, err, recall.CancelResult{}, nil) // it is asked for already
			x.cancelSticky(id)
			ops := x.operations()
			x.wantRestored(ops[len(ops)-1].ID, 0, 0)
			x.finish(l, recall.Retry)
			x.wantGone(id)
		}),
		undoTest("a message can be cancelled and restored again and again", func(x *fixture) {
			id := x.publish(label("u"), due(at(3600)))
			want := x.outlines(recall.Filter{})
			var ops []recall.OperationID
			for range 4 {
				ops = append(ops, x.cancelMatching(byLabel("u"), 1).Operation)
				x.wantGone(id)
				for _, old := range ops[:len(ops)-1] { // undone long ago
					x.wantRestored(old, 1, 0)
					x.wantGone(id)
				}
				x.wantRestored(ops[len(ops)-1], 1, 0)
				x.wantOutlines(recall.Filter{}, want)
			}
			last := x.cancelMatching(byLabel("u"), 1).Operation
			x.settle()
			for _, old := range ops {
				x.wantRestored(old, 1, 0)
			}
			x.wantExpired(last)
			x.wantGone(id)
		}),
		undoTest("an undo brings back its own messages only", func(x *fixture) {
			a, b := x.publishMany(400, label("a"), due(far)), x.publishMany(400, label("b"), due(far))
			opA := x.cancelMatching(byLabel("a"), 400).Operation
			opB := x.cancelMatching(byLabel("b"), 400).Operation
			x.wantRestored(opB, 400, 0)
			x.wantList(recall.Filter{}, b...)
			x.cancelMatching(byLabel("b"), 400)
			x.wantRestored(opA, 400, 0)
			x.wantList(recall.Filter{}, a...)
		}),
		undoTest("restored messages live on like any other", func(x *fixture) {
			ids := x.publishMany(6, label("u"))
			op := x.cancelMatching(byLabel("u"), 6).Operation
			x.wantRestored(op, 6, 0)
			x.advance(time.Second)
			leases := x.wantClaim(3, ids[:3]...)
			x.finish(leases[0], recall.Delivered)
			x.finish(leases[1], recall.Retry)
			x.finish(leases[2], recall.Dead)
			x.check(x.cancel(ids[3]), "Cancel")
			x.cancelMatching(byID(ids[4]), 1)
			x.wantList(recall.Filter{}, ids[1], ids[5])
			if dead := x.listDead(recall.Filter{}); len(dead) != 1 || dead[0].Message.ID != ids[2] {
				x.Errorf("ListDead: got %v", deadIDs(dead))
			}
			x.settle()
			x.wantList(recall.Filter{}, ids[1], ids[5])
			x.now = far
			x.wantClaim(10, ids[5], ids[1])
		}),
		undoTest("a cancellation that waited comes back whole", func(x *fixture) {
			f, before, blocker, after, l := waitScene(x)
			c := x.waitingCancel(f, "", before)
			x.finish(l, recall.Retry)
			res, err := c.result()
			x.check(err, "CancelMatching")
			x.wantRestored(res.Operation, 3, 0)
			x.wantList(f, before, blocker, after)
			x.wantState(blocker, recall.StateRetrying)
			x.wantRestored(res.Operation, 3, 0)
		}),
		undoTest("an operation that still runs is waited for", func(x *fixture) {
			f, before, blocker, after, l := waitScene(x)
			c := x.waitingCancel(f, "", before)
			op := x.operations()[0].ID
			r := x.e.(recall.Restorer)
			if _, err := r.Restore(doneContext(), op, x.now); err == nil {
				x.Error("Restore with a done context: got no error")
			}
			type outcome struct {
				res recall.RestoreResult
				err error
			}
			done := make(chan outcome, 1)
			go func() {
				res, err := r.Restore(x.ctx, op, x.now)
				done <- outcome{res, err}
			}()
			x.finish(l, recall.Retry)
			res, err := c.result()
			x.check(err, "CancelMatching")
			got := <-done
			x.check(got.err, "Restore")
			if got.res.Restored != 3 || res.Cancelled != 3 {
				x.Errorf("restored %d of %d, want 3", got.res.Restored, res.Cancelled)
			}
			x.wantList(f, before, blocker, after)
		}),
		undoTest("several undos at once are one", func(x *fixture) {
			n := x.many(600)
			for range size(10) {
				ids := x.publishMany(n, label("u"), due(far))
				op := x.cancelMatching(byLabel("u"), n).Operation
				r := x.e.(recall.Restorer)
				x.together(4, func(i int) {
					if i == 3 {
						if _, err := x.e.Maintain(x.ctx, x.now); err != nil {
							x.Errorf("Maintain: %v", err)
						}
						return
					}
					if res, err := r.Restore(x.ctx, op, x.now); err != nil || res.Restored != n {
						x.Errorf("Restore: got %+v, %v", res, err)
					}
				})
				x.wantList(byLabel("u"), ids...)
				x.wantClaim(1)
				x.cancelMatching(byLabel("u"), n)
			}
		}),
		undoTest("a done context undoes nothing", func(x *fixture) {
			id := x.publish()
			op := x.cancelMatching(byID(id), 1).Operation
			if res, err := x.e.(recall.Restorer).Restore(doneContext(), op, x.now); err == nil || res.Restored != 0 {
				x.Errorf("Restore: got %+v, %v", res, err)
			}
			x.wantGone(id)
			x.wantRestored(op, 1, 0)
		}),
		undoTest("a closed engine undoes nothing", func(x *fixture) {
			op := x.cancelMatching(byID(x.publish()), 1).Operation
			x.check(x.e.Close(), "Close")
			_, err := x.restore(op)
			x.wantError(err, recall.ErrClosed, "Restore")
		}),
		undoTest("an undo makes room for later guards and limits", func(x *fixture) {
			ids := x.publishMany(10, label("u"), due(far))
			res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("u"), Limit: 4})
			sameResult(x, res, err, recall.CancelResult{Cancelled: 4}, nil)
			x.wantRestored(res.Operation, 4, 0)
			res, err = x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("u"), Limit: 4, Guard: exactly(10)})
			sameResult(x, res, err, recall.CancelResult{Cancelled: 4}, nil)
			x.wantList(byLabel("u"), ids[4:]...)
		}),
	},
	undoRestart("an undo after a restart brings back everything", func(x *fixture, reopen func()) {
		undoScene(x)
		x.publishMany(x.many(5000), label("u", "bulk"), due(far))
		want := x.outlines(byLabel("u"))
		op := x.cancelMatching(byLabel("u"), len(want)).Operation
		for range 2 {
			reopen()
			x.wantList(recall.Filter{})
			x.wantCount(byLabel("bulk"), 0, 0)
			x.checkWhole()
		}
		x.wantRestored(op, len(want), 0)
		x.wantOutlines(byLabel("u"), want)
		x.checkWhole()
		reopen()
		x.wantOutlines(byLabel("u"), want)
		x.wantRestored(op, len(want), 0)
		x.cancelAll(len(want))
	}),
	undoRestart("what was undone stays, and what was not stays gone", func(x *fixture, reopen func()) {
		a, b := x.publishMany(300, label("a"), due(far)), x.publishMany(300, label("b"), due(far))
		opA, opB := x.cancelMatching(byLabel("a"), 300).Operation, x.cancelMatching(byLabel("b"), 300).Operation
		x.wantRestored(opA, 300, 0)
		reopen()
		x.wantList(recall.Filter{}, a...)
		x.cancelMatching(byID(a[:10]...), 10)
		x.settle()
		reopen()
		x.wantExpired(opB)
		x.wantRestored(opA, 300, 0)
		x.wantList(recall.Filter{}, a[10:]...)
		x.wantGone(b...)
	}),
	undoRestart("the window goes on over a restart", func(x *fixture, reopen func()) {
		ids := x.publishMany(2, due(far))
		op1 := x.cancelMatching(byID(ids[0]), 1).Operation
		x.advance(time.Minute)
		op2 := x.cancelMatching(byID(ids[1]), 1).Operation
		x.now = base.Add(recall.DefaultUndoWindow)
		reopen()
		x.wantExpired(op1)
		x.wantRestored(op2, 1, 0)
		x.wantList(recall.Filter{}, ids[1])
	}),
	undoRestart("requests that a restart has done are not lifted", func(x *fixture, reopen func()) {
		x.publish(label("u"), due(far))
		asked := x.publish(label("u"))
		x.claimOne(asked)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("u"), Policy: recall.Sticky})
		sameResult(x, res, err, recall.CancelResult{Cancelled: 1, Requested: 1}, nil)
		only := x.publish()
		x.claimOne(only)
		alone, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byID(only), Policy: recall.Sticky})
		sameResult(x, alone, err, recall.CancelResult{Requested: 1}, nil)
		reopen()
		x.wantGone(asked, only)
		x.wantRestored(res.Operation, 1, 0)
		x.wantRestored(alone.Operation, 0, 0)
		x.wantGone(asked, only)
		reopen()
		x.wantGone(asked, only)
		x.wantCount(recall.Filter{}, 1, 0)
	}),
	undoRestart("requests of one that only asked expire after a restart", func(x *fixture, reopen func()) {
		id := x.publish()
		x.claimOne(id)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byID(id), Policy: recall.Sticky})
		sameResult(x, res, err, recall.CancelResult{Requested: 1}, nil)
		reopen()
		x.advance(recall.DefaultUndoWindow)
		x.wantExpired(res.Operation)
		x.settle()
		reopen()
		x.wantExpired(res.Operation)
	}),
	undoRestart("lifted requests stay lifted", func(x *fixture, reopen func()) {
		ids := x.publishMany(2, label("u"))
		x.advance(time.Second)
		leases := x.claim(2)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("u"), Policy: recall.Sticky})
		sameResult(x, res, err, recall.CancelResult{Requested: 2}, nil)
		x.wantRestored(res.Operation, 0, 2)
		x.finish(leases[0], recall.Retry)
		reopen()
		x.wantList(recall.Filter{}, ids...)
		x.wantRestored(res.Operation, 0, 2)
		x.cancelAll(2)
	}),
	undoRestart("a cancellation that waited comes back whole after a restart", func(x *fixture, reopen func()) {
		f, before, blocker, after, l := waitScene(x)
		c := x.waitingCancel(f, "", before)
		x.finish(l, recall.Retry)
		res, err := c.result()
		x.check(err, "CancelMatching")
		reopen()
		x.wantList(f)
		x.wantRestored(res.Operation, 3, 0)
		x.wantList(f, before, blocker, after)
	}),
	undoRestart("a cancellation that gave up waiting comes back as far as it got", func(x *fixture, reopen func()) {
		f, before, blocker, after, _ := waitScene(x)
		c := x.waitingCancel(f, "", before)
		close(c.expired)
		res, err := c.result()
		x.wantStopped(res, err, blocker, 1)
		reopen()
		x.wantList(f, blocker, after)
		x.wantRestored(res.Operation, 1, 0)
		x.wantList(f, before, blocker, after)
	}),
	undoRestart("cancelled, restored and cancelled again stays gone", func(x *fixture, reopen func()) {
		ids := x.publishMany(10, label("u"), due(far))
		op1 := x.cancelMatching(byLabel("u"), 10).Operation
		x.wantRestored(op1, 10, 0)
		op2 := x.cancelMatching(byID(ids[:4]...), 4).Operation
		reopen()
		x.wantList(recall.Filter{}, ids[4:]...)
		x.wantRestored(op1, 10, 0)
		x.wantList(recall.Filter{}, ids[4:]...)
		x.wantRestored(op2, 4, 0)
		x.wantList(recall.Filter{}, ids...)
		x.cancelMatching(byID(ids[2:6]...), 4)
		reopen()
		x.settle()
		x.wantList(recall.Filter{}, append(ids[:2:2], ids[6:]...)...)
	}),
	undoRestart("nothing comes back once it has expired, at no step of the upkeep", func(x *fixture, reopen func()) {
		gone := x.publishMany(x.many(9000), label("gone"), due(far)) // more than two segments
		kept := x.publishMany(50, label("kept"), due(far))
		expired := x.cancelMatching(byLabel("gone"), len(gone)).Operation
		x.advance(recall.DefaultUndoWindow)
		later := x.cancelMatching(byID(kept[:20]...), 20).Operation
		segments := x.e.Stats().Segments
		for step := 0; ; step++ {
			if step%3 == 2 {
				reopen()
			}
			x.wantExpired(expired)
			x.wantList(recall.Filter{}, kept[20:]...)
			next, err := x.e.Maintain(x.ctx, x.now)
			x.check(err, "Maintain")
			if next.IsZero() || next.After(x.now) {
				break
			}
			if step > 500 {
				x.Fatalf("Maintain still wants to be called again after %d steps", step)
			}
		}
		if left := x.e.Stats().Segments; segments > 0 && left >= segments {
			x.Errorf("there were %d segments, and there are %d", segments, left)
		}
		x.wantRestored(later, 20, 0)
		reopen()
		x.wantExpired(expired)
		x.wantList(recall.Filter{}, kept...)
		x.wantGone(gone[0], gone[min(4095, len(gone)/2)], gone[min(4096, len(gone)/2+1)], gone[len(gone)-1])
	}),
	undoRestart("segments of what can be undone are kept", func(x *fixture, reopen func()) {
		n := x.many(5000)
		ids := x.publishMany(n, label("u"), due(far))
		x.publishMany(n, label("v"), due(far))
		x.cancelMatching(byLabel("v"), n)
		x.advance(recall.DefaultUndoWindow)
		op := x.cancelMatching(byLabel("u"), n).Operation
		maintain := func() {
			for range 50 {
				_, err := x.e.Maintain(x.ctx, x.now)
				x.check(err, "Maintain")
			}
		}
		maintain()
		reopen()
		maintain()
		x.wantRestored(op, n, 0)
		x.wantList(recall.Filter{}, ids...)
		maintain()
		reopen()
		x.wantList(recall.Filter{}, ids...)
	}),
)
