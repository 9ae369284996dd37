package enginetest

import (
	"slices"
	"time"

	"github.com/recallmq/recall"
)

func standingTest(promise string, run func(*fixture)) contractTest {
	return contractTest{promise, func(x *fixture) {
		can[recall.Stander](x)
		run(x)
	}}
}

func standingRestart(promise string, run func(x *fixture, reopen func())) []contractTest {
	return restart(promise, func(x *fixture, reopen func()) {
		can[recall.Stander](x)
		run(x, reopen)
	})
}

// cancelFuture makes a standing cancellation, and lets a moment pass, so that
// the order of several is certain.
func (x *fixture) cancelFuture(f recall.Filter, until time.Time) recall.OperationID {
	x.Helper()
	op, err := can[recall.Stander](x).CancelFuture(x.ctx, f, until, "because", x.now)
	x.check(err, "CancelFuture")
	if op == "" {
		x.Fatalf("CancelFuture: got no operation")
	}
	x.advance(time.Millisecond)
	return op
}

func (x *fixture) lift(op recall.OperationID) {
	x.Helper()
	x.check(can[recall.Stander](x).LiftCancellation(x.ctx, op, x.now), "LiftCancellation")
}

// standing returns one standing cancellation as it is listed.
func (x *fixture) standing(op recall.OperationID) recall.StandingCancellation {
	x.Helper()
	list, err := can[recall.Stander](x).StandingCancellations(x.ctx, x.now)
	x.check(err, "StandingCancellations")
	i := slices.IndexFunc(list, func(s recall.StandingCancellation) bool { return s.ID == op })
	if i < 0 {
		x.Fatalf("StandingCancellations: %s is not in %d", op, len(list))
	}
	return list[i]
}

// wantArrival publishes messages as one unit and compares who takes each.
func (x *fixture) wantArrival(msgs []recall.Message, takers ...recall.OperationID) (ids []recall.MessageID) {
	x.Helper()
	receipts, err := x.e.Insert(x.ctx, msgs, x.now)
	x.check(err, "Insert")
	for i, r := range receipts {
		if r.CancelledBy != takers[i] || r.ID == "" || !r.CreatedAt.Equal(x.now) {
			x.Fatalf("receipt %d: got %+v, want it cancelled by %q", i, r, takers[i])
		}
		ids = append(ids, r.ID)
		if takers[i] == "" {
			x.wantPending(r.ID)
			continue
		}
		x.wantGone(r.ID)
		x.wantError(x.cancel(r.ID), recall.ErrNotFound, "Cancel")
		if _, ok := x.e.(recall.Auditor); ok {
			x.wantTaker(takers[i], r.ID)
		}
	}
	return ids
}

// wantTaken publishes one message.
func (x *fixture) wantTaken(by recall.OperationID, set ...func(*recall.Message)) recall.MessageID {
	x.Helper()
	return x.wantArrival([]recall.Message{x.message(set...)}, by)[0]
}

var standingTests = slices.Concat(
	[]contractTest{
		standingTest("what matches is cancelled on arrival, the rest is not", func(x *fixture) {
			old := x.publish(label("s"), due(far))
			op := x.cancelFuture(byLabel("s"), at(60))
			free := x.wantTaken("", label("other"))
			gone := x.wantTaken(op, label("s", "t"))
			x.wantTaken(op, label("s"), due(far))
			last := x.wantTaken("")
			x.wantList(recall.Filter{}, old, free, last)
			x.wantCount(recall.Filter{}, 3, 0)
			if ids := []recall.MessageID{free, gone, last}; !slices.IsSorted(ids) {
				x.Errorf("ids are not ascending: %v", ids)
			}
			x.now = at(30)
			x.wantClaim(10, free, last)
			if s := x.standing(op); s.Count != 2 || s.Reason != "because" || !s.At.Equal(base) || !s.Until.Equal(at(60)) ||
				!s.LiftedAt.IsZero() || !s.Active(x.now) || s.Filter.String() != byLabel("s").String() {
				x.Errorf("got %+v", s)
			}
		}),
		standingTest("every field of a filter counts", func(x *fixture) {
			full := func(m *recall.Message) {
				m.Queue, m.URL, m.Topic, m.CallerIP, m.ScheduleID, m.FlowKey = "q", "https://a.test:8443/p?x=1", "t", "10.1.2.3", "s", "k"
				m.Labels = []string{"l"}
			}
			for _, f := range []recall.Filter{
				{Queues: []string{"q"}},
				{URLs: []string{"https://a.test:8443/p?x=1"}},
				{Hosts: []string{"a.test"}},
				{Hosts: []string{"a.test:8443"}},
				{Paths: []string{"/p"}},
				{Topics: []string{"t"}},
				{Schedules: []string{"s"}},
				{CallerIPs: []string{"10.0.0.0/8"}},
				{Labels: []string{"l"}},
				{FlowKeys: []string{"k"}},
				{From: base},
				{To: far, Queues: []string{"q"}},
				states(recall.StateReady),
				{DueBefore: far},
			} {
				op := x.cancelFuture(f, far)
				x.wantTaken(op, full)
				x.lift(op)
				x.wantTaken("", full)
			}
			for _, f := range []recall.Filter{
				{Queues: []string{}},
				{Queues: []string{"q"}, Labels: []string{"m"}},
				{Hosts: []string{"a.test:80"}},
				{From: far},
				states(recall.StateDelayed, recall.StateRetrying),
				{DueAfter: far},
				{MinAttempts: 1},
			} {
				op := x.cancelFuture(f, far)
				x.wantTaken("", full)
				x.lift(op)
			}
		}),
		standingTest("of a batch some may be taken", func(x *fixture) {
			op := x.cancelFuture(byLabel("s"), far)
			ids := x.wantArrival([]recall.Message{x.message(label("s")), x.message(), x.message(label("s")), x.message(label("t"))}, op, "", op, "")
			if !slices.IsSorted(ids) {
				x.Errorf("ids are not ascending: %v", ids)
			}
			x.wantList(recall.Filter{}, ids[1], ids[3])
			x.wantArrival([]recall.Message{x.message(label("s")), x.message(label("s"))}, op, op)
			if got := x.standing(op).Count; got != 4 {
				x.Errorf("got a count of %d, want 4", got)
			}
		}),
		standingTest("the oldest of several takes it", func(x *fixture) {
			first := x.cancelFuture(byLabel("a"), at(60))
			second := x.cancelFuture(byLabel("a", "b"), at(120))
			third := x.cancelFuture(recall.Filter{From: base}, at(180))
			x.wantTaken(first, label("b", "a"))
			x.wantTaken(second, label("b"))
			x.wantTaken(third)
			x.lift(first)
			x.wantTaken(second, label("a"))
			x.now = at(120)
			x.wantTaken(third, label("a"))
			for op, want := range map[recall.OperationID]int{first: 1, second: 2, third: 2} {
				if got := x.standing(op).Count; got != want {
					x.Errorf("%s: got a count of %d, want %d", op, got, want)
				}
			}
		}),
		standingTest("it ends at its time", func(x *fixture) {
			op := x.cancelFuture(byLabel("s"), at(60))
			x.now = at(60).Add(-time.Millisecond)
			x.wantTaken(op, label("s"))
			x.now = at(60)
			x.wantTaken("", label("s"))
			x.lift(op) // it changes nothing
			if s := x.standing(op); s.Active(x.now) || s.Count != 1 || !s.LiftedAt.IsZero() {
				x.Errorf("got %+v", s)
			}
		}),
		standingTest("it ends when it is lifted", func(x *fixture) {
			op := x.cancelFuture(byLabel("s"), far)
			gone := x.wantTaken(op, label("s"))
			x.now = at(10)
			x.lift(op)
			x.wantTaken("", label("s"))
			x.now = at(20)
			x.lift(op)
			if s := x.standing(op); s.Active(x.now) || s.Count != 1 || !s.LiftedAt.Equal(at(10)) {
				x.Errorf("got %+v", s)
			}
			x.wantGone(gone)
			s := can[recall.Stander](x)
			x.wantError(s.LiftCancellation(x.ctx, unknownOperation, x.now), recall.ErrNotFound, "LiftCancellation")
			x.wantError(s.LiftCancellation(x.ctx, x.cancelMatching(byLabel("s"), 1).Operation, x.now), recall.ErrNotFound, "LiftCancellation of another kind")
		}),
		standingTest("a message that would wait for a retry has arrived again", func(x *fixture) {
			for _, durable := range []bool{true, false} {
				ids := x.publishMany(5, label("s"))
				x.advance(time.Second)
				leases := x.claim(5)
				op := x.cancelFuture(byLabel("s"), far)
				for i, o := range []recall.Outcome{recall.Retry, recall.Release, recall.Delivered, recall.Dead} {
					f := x.ending(o)
					f.Durable = durable
					x.check(x.e.Finish(x.ctx, leases[i], f), "Finish")
				}
				x.wantGone(ids[0])
				x.wantTaker(op, ids[0])
				x.wantState(ids[1], recall.StateReady) // that was no attempt
				x.wantGone(ids[2], ids[3])
				x.wantState(ids[4], recall.StateInFlight)
				if got := x.standing(op).Count; got != 1 {
					x.Errorf("got a count of %d, want 1", got)
				}
				x.lift(op)
				x.finish(leases[4], recall.Retry)
				x.wantState(ids[4], recall.StateRetrying)
				x.cancelAll(2)
			}
			if got := len(x.listDead(recall.Filter{})); got != 2 {
				x.Errorf("got %d dead letters, want 2", got)
			}
		}),
		standingTest("a retry is judged by what it is then", func(x *fixture) {
			id := x.publish(label("s"))
			x.cancelFuture(recall.Filter{Labels: []string{"s"}, States: []recall.State{recall.StateReady}}, far)
			op := x.cancelFuture(recall.Filter{Labels: []string{"s"}, States: []recall.State{recall.StateRetrying}, MinAttempts: 2, DueAfter: at(60)}, far)
			retry := func() {
				x.Helper()
				f := x.ending(recall.Retry)
				f.Due = x.now.Add(time.Minute)
				x.check(x.e.Finish(x.ctx, x.claimOne(id), f), "Finish")
			}
			retry()
			x.wantState(id, recall.StateRetrying)
			x.advance(time.Minute)
			retry()
			x.wantGone(id)
			x.wantTaker(op, id)
			atOnce := x.publish(label("r"))
			f := x.ending(recall.Retry)
			f.Due = x.now
			l := x.claimOne(atOnce)
			op = x.cancelFuture(recall.Filter{Labels: []string{"r"}, States: []recall.State{recall.StateReady}}, far)
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			x.wantGone(atOnce)
			x.wantTaker(op, atOnce)
		}),
		standingTest("a dead letter that is published again arrives", func(x *fixture) {
			taken, free := x.kill(label("s")), x.kill(label("t"))
			op := x.cancelFuture(byLabel("s"), far)
			receipts, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{taken.ID, free.ID}, x.now)
			x.check(err, "RetryDead")
			if len(receipts) != 2 || receipts[0].CancelledBy != op || receipts[1].CancelledBy != "" {
				x.Fatalf("RetryDead: got %+v", receipts)
			}
			x.wantGone(receipts[0].ID)
			x.wantTaker(op, receipts[0].ID)
			x.wantList(recall.Filter{}, receipts[1].ID)
			if got := len(x.listDead(recall.Filter{})); got != 0 {
				x.Errorf("got %d dead letters", got)
			}
		}),
		standingTest("nothing slips through between it and a cancellation behind it", func(x *fixture) {
			for range size(5) {
				var op recall.OperationID
				m := x.message(label("s"), due(far)) // its time is that of the fixture, which moves
				x.together(4, func(i int) {
					if i == 0 {
						op = x.cancelFuture(byLabel("s"), far)
						if _, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("s")}); err != nil {
							x.Errorf("CancelMatching: %v", err)
						}
						return
					}
					for range 20 {
						if _, err := x.e.Insert(x.ctx, []recall.Message{m}, base); err != nil {
							x.Errorf("Insert: %v", err)
						}
					}
				})
				x.wantList(byLabel("s"))
				x.lift(op)
			}
		}),
		standingTest("its record is one of the operations", func(x *fixture) {
			op := x.cancelFuture(recall.Filter{Labels: []string{"s"}, IDs: []recall.MessageID{unknownID}}, at(60))
			other := x.cancelFuture(byLabel("s"), at(90))
			x.wantTaken(other, label("s"))
			x.now = at(10)
			x.lift(other)
			x.wantRecord(recall.Operation{
				ID: op, Kind: recall.OperationStanding, At: base, Reason: "because", Until: at(60),
				Filter: recall.Filter{Labels: []string{"s"}, IDs: []recall.MessageID{unknownID}}.String(),
			})
			x.wantRecord(recall.Operation{
				ID: other, Kind: recall.OperationStanding, At: base.Add(time.Millisecond), Reason: "because", Until: at(90),
				Filter: byLabel("s").String(), Count: 1, LiftedAt: at(10),
			})
		}),
		standingTest("a done context changes nothing", func(x *fixture) {
			s := can[recall.Stander](x)
			if _, err := s.CancelFuture(doneContext(), byLabel("s"), far, "", x.now); err == nil {
				x.Error("CancelFuture: got no error")
			}
			x.wantTaken("", label("s"))
			op := x.cancelFuture(byLabel("t"), far)
			if err := s.LiftCancellation(doneContext(), op, x.now); err == nil {
				x.Error("LiftCancellation: got no error")
			}
			x.wantTaken(op, label("t"))
		}),
		standingTest("a closed engine says so", func(x *fixture) {
			s := can[recall.Stander](x)
			op := x.cancelFuture(byLabel("s"), far)
			x.check(x.e.Close(), "Close")
			_, err := s.CancelFuture(x.ctx, byLabel("s"), far, "", x.now)
			x.wantError(err, recall.ErrClosed, "CancelFuture")
			_, err = s.StandingCancellations(x.ctx, x.now)
			x.wantError(err, recall.ErrClosed, "StandingCancellations")
			x.wantError(s.LiftCancellation(x.ctx, op, x.now), recall.ErrClosed, "LiftCancellation")
		}),
	},
	standingRestart("it holds, and what it took stays gone", func(x *fixture, reopen func()) {
		first := x.cancelFuture(byLabel("a"), at(600))
		second := x.cancelFuture(recall.Filter{Labels: []string{"a", "b"}, CallerIPs: []string{"10.0.0.0/8"}}, far)
		lifted := x.cancelFuture(byLabel("c"), far)
		empty := x.cancelFuture(recall.Filter{Labels: []string{}}, far) // it takes nothing
		source := func(m *recall.Message) { m.CallerIP = "10.9.9.9" }
		x.lift(lifted)
		var gone []recall.MessageID
		var kept []recall.MessageID
		for round := 1; round <= 3; round++ {
			gone = append(gone, x.wantTaken(first, label("a"), source), x.wantTaken(second, label("b"), source))
			kept = append(kept, x.wantTaken("", label("c"), source))
			reopen()
			x.wantGone(gone...)
			x.wantList(recall.Filter{}, kept...)
			for op, want := range map[recall.OperationID]int{first: round, second: round, lifted: 0, empty: 0} {
				if got := x.standing(op).Count; got != want {
					x.Errorf("%s: got a count of %d, want %d", op, got, want)
				}
			}
			x.wantTaker(first, gone[0])
			x.wantTaker(second, gone[1])
			if s := x.standing(lifted); s.LiftedAt.IsZero() || s.Active(x.now) {
				x.Errorf("got %+v", s)
			}
		}
		x.now = at(600)
		reopen()
		x.wantTaken(second, label("a"), source)
		x.wantTaken("", label("a"))
		x.settle()
		reopen()
		x.wantTaken(second, label("a"), source)
		x.lift(second)
		reopen()
		x.wantTaken("", label("a"), source)
		x.lift(first) // expired: nothing changes
		x.wantError(can[recall.Stander](x).LiftCancellation(x.ctx, unknownOperation, x.now), recall.ErrNotFound, "LiftCancellation")
	}),
	standingRestart("numbers are not used again when the newest messages were all taken", func(x *fixture, reopen func()) {
		ids := []recall.MessageID{x.publish(due(far))}
		op := x.cancelFuture(byLabel("s"), far)
		for range 3 {
			ids = append(ids, x.wantArrival([]recall.Message{x.message(label("s")), x.message(label("s"))}, op, op)...)
			reopen()
			ids = append(ids, x.wantTaken(op, label("s")))
			x.settle()
			reopen()
		}
		ids = append(ids, x.publish(due(far)))
		if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
			x.Fatalf("ids are not ascending: %v", ids)
		}
		x.wantList(recall.Filter{}, ids[0], ids[len(ids)-1])
		x.wantTaker(op, ids[1:len(ids)-1]...)
	}),
	standingRestart("a retry that it took stays gone", func(x *fixture, reopen func()) {
		ids := x.publishMany(3)
		x.advance(time.Second)
		leases := x.claim(3)
		op := x.cancelFuture(recall.Filter{From: base}, far)
		x.finish(leases[0], recall.Retry)
		f := x.ending(recall.Retry)
		f.Durable = false
		x.check(x.e.Finish(x.ctx, leases[1], f), "Finish")
		x.wantGone(ids[:2]...)
		for range 2 {
			reopen()
			x.wantGone(ids[:2]...)
			x.wantTaker(op, ids[:2]...)
			x.wantList(recall.Filter{}, ids[2]) // a restart is no arrival
			x.settle()
		}
	}),
	standingRestart("a great many taken messages are all counted and named", func(x *fixture, reopen func()) {
		op := x.cancelFuture(byLabel("s"), far)
		var ids []recall.MessageID
		for range 4 {
			batch := make([]recall.Message, 1500)
			for i := range batch {
				batch[i] = x.message(label("s"))
			}
			ids = append(ids, x.insert(batch...)...)
			ids = append(ids, x.wantTaken(op, label("s")))
		}
		for range 2 {
			if got := x.standing(op).Count; got != len(ids) {
				x.Errorf("got a count of %d, want %d", got, len(ids))
			}
			x.wantTaker(op, ids[0], ids[1], ids[1499], ids[1500], ids[3001], ids[len(ids)-2], ids[len(ids)-1])
			x.wantCount(recall.Filter{}, 0, 0)
			reopen()
		}
	}),
)
