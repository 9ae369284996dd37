package enginetest

import (
	"slices"
	"time"

	"github.com/recallmq/recall"
)

func auditTest(promise string, run func(*fixture)) contractTest {
	return contractTest{promise, func(x *fixture) {
		can[recall.Auditor](x)
		run(x)
	}}
}

func auditRestart(promise string, run func(x *fixture, reopen func())) []contractTest {
	return restart(promise, func(x *fixture, reopen func()) {
		can[recall.Auditor](x)
		run(x, reopen)
	})
}

// wantRecord compares a record with what a call should have left. Where the
// walk went, and how long it took, is the engine's business.
func (x *fixture) wantRecord(want recall.Operation) {
	x.Helper()
	got := x.operation(want.ID)
	for _, t := range []struct {
		name      string
		got, want time.Time
	}{
		{"At", got.At, want.At},
		{"Until", got.Until, want.Until},
		{"LiftedAt", got.LiftedAt, want.LiftedAt},
		{"RestoredAt", got.RestoredAt, want.RestoredAt},
	} {
		if !t.got.Equal(t.want) || t.got.IsZero() != t.want.IsZero() {
			x.Errorf("%s of %s: got %v, want %v", t.name, want.ID, t.got, t.want)
		}
	}
	got.At, got.Until, got.LiftedAt, got.RestoredAt = want.At, want.Until, want.LiftedAt, want.RestoredAt
	got.Index, got.Scanned, got.Took = want.Index, want.Scanned, want.Took
	if got != want {
		x.Errorf("record:\ngot  %+v\nwant %+v", got, want)
	}
}

var auditTests = slices.Concat(
	[]contractTest{
		auditTest("nothing done leaves no record", func(x *fixture) {
			x.cancelMatching(byLabel("none"), 0)
			x.check(x.cancel(x.publish()), "Cancel")
			x.publish()
			for _, req := range []recall.CancelMatchingRequest{{All: true, DryRun: true}, {All: true, Guard: exactly(2)}} {
				_, _ = x.bulkOf(req)
			}
			if ops := x.operations(); len(ops) != 0 {
				x.Errorf("got %+v", ops)
			}
		}),
		auditTest("a call tells its id when it starts", func(x *fixture) {
			var told []recall.OperationID
			tell := func(id recall.OperationID) { told = append(told, id) }
			x.publish()
			first, err := x.bulkOf(recall.CancelMatchingRequest{All: true, Started: tell})
			x.check(err, "CancelMatching")
			if _, err := x.bulkOf(recall.CancelMatchingRequest{All: true, Started: tell}); err != nil { // it takes nothing
				x.Fatal(err)
			}
			x.publish()
			last, err := x.bulkOf(recall.CancelMatchingRequest{All: true, Started: tell})
			x.check(err, "CancelMatching")
			if len(told) != 3 || told[0] != first.Operation || told[2] != last.Operation || !slices.IsSorted(told) {
				x.Errorf("told %v, want first %s and last %s", told, first.Operation, last.Operation)
			}
			if ops := x.operations(); len(ops) != 2 {
				x.Errorf("got %d records, want 2", len(ops))
			}
		}),
		auditTest("records come in pages, oldest first", func(x *fixture) {
			var want []recall.OperationID
			for i := range 25 {
				x.publish(label("u"))
				want = append(want, x.cancelMatching(byLabel("u"), 1).Operation)
				if i%3 > 0 {
					x.advance(time.Millisecond)
				}
			}
			a := can[recall.Auditor](x)
			for _, limit := range []int{1, 7, 25, 100} {
				var got []recall.OperationID
				for after := recall.OperationID(""); ; after = got[len(got)-1] {
					page, err := a.Operations(x.ctx, after, limit)
					x.check(err, "Operations")
					if len(page) > limit {
						x.Fatalf("Operations: got %d records, want at most %d", len(page), limit)
					}
					for _, o := range page {
						got = append(got, o.ID)
					}
					if len(page) == 0 {
						break
					}
				}
				if !slices.Equal(got, want) {
					x.Fatalf("pages of %d: got %v, want %v", limit, got, want)
				}
			}
			page, err := a.Operations(x.ctx, unknownOperation, 2) // long before
			if err != nil || len(page) != 2 || page[0].ID != want[0] {
				x.Errorf("after an operation that there is not: got %+v, %v", page, err)
			}
		}),
		auditTest("who cancelled a message: the newest that was not undone", func(x *fixture) {
			ids := x.publishMany(3, label("u"), due(far))
			x.wantNoTaker(ids...)
			x.wantNoTaker(unknownID)
			op := x.cancelMatching(byID(ids[:2]...), 2).Operation
			x.wantTaker(op, ids[:2]...)
			x.wantNoTaker(ids[2])
			x.check(x.cancel(ids[2]), "Cancel")
			x.wantNoTaker(ids[2])
			x.wantRestored(op, 2, 0)
			x.wantNoTaker(ids[:2]...)
			x.advance(time.Second)
			again := x.cancelMatching(byID(ids[0]), 1).Operation
			x.wantTaker(again, ids[0])
			x.finish(x.claimOne(x.publish()), recall.Delivered)
		}),
		auditTest("delivered messages were cancelled by nobody", func(x *fixture) {
			id := x.publish(label("u"))
			x.finish(x.claimOne(id), recall.Delivered)
			x.cancelMatching(byLabel("u"), 0)
			x.wantNoTaker(id)
		}),
		auditTest("a closed engine tells nothing", func(x *fixture) {
			id := x.publish()
			x.cancelAll(1)
			a := can[recall.Auditor](x)
			x.check(x.e.Close(), "Close")
			_, err := a.Operations(x.ctx, "", 1)
			x.wantError(err, recall.ErrClosed, "Operations")
			_, err = a.WhoCancelled(x.ctx, id)
			x.wantError(err, recall.ErrClosed, "WhoCancelled")
		}),
	},
	auditRestart("records tell the whole story", func(x *fixture, reopen func()) {
		can[recall.Restorer](x)
		x.publish(label("u"), due(far))
		blocker := x.publish(label("u"))
		x.publishMany(2, label("u"), due(far))
		l := x.claimOne(blocker)
		f := recall.Filter{Labels: []string{"u"}, MinAttempts: 0, To: at(3600)}
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: f, Reason: "too many", Elapsed: func() time.Duration { return 3 * time.Millisecond }})
		x.wantStopped(res, err, blocker, 1)
		plain := recall.Operation{Kind: recall.OperationCancel, At: x.now, Filter: f.String(), Reason: "too many", Undoable: true}
		stopped := plain
		stopped.ID, stopped.Count, stopped.Blocker = res.Operation, 1, blocker
		if got := x.operation(res.Operation); got.Index != res.Index || got.Scanned != res.Scanned && got.Scanned != 0 {
			x.Errorf("walked %s and saw %d, by the record %s and %d", res.Index, res.Scanned, got.Index, got.Scanned)
		}
		x.advance(time.Second)
		res, err = x.bulkOf(recall.CancelMatchingRequest{Filter: f, Policy: recall.Abort, Limit: 2})
		sameResult(x, res, err, recall.CancelResult{Cancelled: 1, Requested: 1}, nil)
		asked := recall.Operation{ID: res.Operation, Kind: plain.Kind, At: x.now, Filter: plain.Filter, Policy: recall.Abort, Count: 1, Requested: 1, Undoable: true}
		x.finish(l, recall.Delivered)
		x.advance(time.Second)
		res, err = x.bulkOf(recall.CancelMatchingRequest{All: true, Policy: recall.Skip})
		sameResult(x, res, err, recall.CancelResult{Cancelled: 1}, nil)
		undone := recall.Operation{ID: res.Operation, Kind: plain.Kind, At: x.now, Filter: "everything", Policy: recall.Skip, Count: 1}
		x.advance(time.Second)
		undone.RestoredAt = x.now
		x.wantRestored(res.Operation, 1, 0)
		x.advance(time.Second)
		single := x.publish()
		l = x.claimOne(single)
		x.check(x.e.Cancel(x.ctx, recall.CancelRequest{ID: single, Sticky: true, Reason: "mine", Now: x.now}), "Cancel")
		ops := x.operations()
		one := recall.Operation{ID: ops[len(ops)-1].ID, Kind: plain.Kind, At: x.now, Filter: byID(single).String(), Reason: "mine", Policy: recall.Sticky, Requested: 1, Undoable: true}
		x.finish(l, recall.Retry)
		check := func() {
			x.Helper()
			for _, want := range []recall.Operation{stopped, asked, undone, one} {
				x.wantRecord(want)
			}
			if got := len(x.operations()); got != 4 {
				x.Errorf("got %d records, want 4", got)
			}
		}
		check()
		reopen()
		check()
		x.settle()
		stopped.Undoable, asked.Undoable, one.Undoable = false, false, false
		check()
		reopen()
		x.settle()
		check()
	}),
	auditRestart("a call that waited has one record", func(x *fixture, reopen func()) {
		var want []recall.Operation
		for _, o := range []recall.Outcome{recall.Delivered, recall.Retry, 0} {
			before := x.publish(label("a"), due(far))
			blocker := x.publish(label("a"))
			l := x.claimOne(blocker)
			f := byLabel("a")
			c := x.waitingCancel(f, "", before)
			op := recall.Operation{Kind: recall.OperationCancel, At: x.now, Filter: f.String(), Count: 1}
			switch o {
			case 0:
				close(c.expired)
				op.Blocker = blocker
			case recall.Retry:
				op.Count = 2
				x.finish(l, o)
			default:
				x.finish(l, o)
			}
			res, _ := c.result()
			op.ID = res.Operation
			want = append(want, op)
			x.advance(time.Second)
		}
		for range 2 {
			if got := x.operations(); len(got) != len(want) {
				x.Fatalf("got %d records, want %d", len(got), len(want))
			}
			for _, o := range want {
				o.Undoable = true
				x.wantRecord(o)
			}
			reopen()
		}
	}),
	auditRestart("who cancelled is known before and after folding", func(x *fixture, reopen func()) {
		can[recall.Restorer](x)
		n := x.many(5000)
		gone := x.publishMany(n, label("gone"), due(far))
		back := x.publishMany(5, label("back"), due(far))
		op := x.cancelMatching(byLabel("gone"), n).Operation
		undone := x.cancelMatching(byLabel("back"), 5).Operation
		x.wantRestored(undone, 5, 0)
		some := []recall.MessageID{gone[0], gone[1], gone[min(4095, n-3)], gone[min(4096, n-2)], gone[n-1]}
		check := func() {
			x.Helper()
			x.wantTaker(op, some...)
			x.wantNoTaker(back...)
			x.wantNoTaker(unknownID)
		}
		check()
		reopen()
		check()
		x.settle()
		check()
		reopen()
		x.settle()
		check()
	}),
	auditRestart("records are in order, also when the clock went back before a restart", func(x *fixture, reopen func()) {
		var want []recall.OperationID
		for range 2 {
			for range 3 {
				x.publish(label("a"), due(far))
				want = append(want, x.cancelMatching(byLabel("a"), 1).Operation)
			}
			x.now = x.now.Add(-time.Hour)
			reopen()
		}
		var got []recall.OperationID
		for _, o := range x.operations() {
			got = append(got, o.ID)
		}
		if !slices.Equal(got, want) {
			x.Errorf("Operations: got %v, want %v", got, want)
		}
	}),
	auditRestart("ids of operations go on", func(x *fixture, reopen func()) {
		seen := map[recall.OperationID]bool{}
		for range 4 {
			for range 3 {
				x.publish(label("u"))
				op := x.cancelMatching(byLabel("u"), 1).Operation
				if seen[op] {
					x.Fatalf("%s twice", op)
				}
				seen[op] = true
			}
			reopen()
		}
		if got := len(x.operations()); got != 12 {
			x.Errorf("got %d records, want 12", got)
		}
	}),
)
