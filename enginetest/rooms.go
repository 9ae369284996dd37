package enginetest

import (
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// What waits for more than its time: in a queue, for a flow-control key, or
// behind what is more important.

func flow(key string, l *recall.FlowLimit) func(*recall.Message) {
	return func(m *recall.Message) { m.FlowKey, m.Flow = key, l }
}

// publishDue publishes messages and lets all of them be due.
func (x *fixture) publishDue(n int, set ...func(*recall.Message)) []recall.MessageID {
	x.Helper()
	ids := x.publishMany(n, set...)
	x.advance(time.Second)
	return ids
}

func priority(n int) func(*recall.Message) { return func(m *recall.Message) { m.Priority = n } }

func (x *fixture) setQueue(name string, s recall.QueueSettings) {
	x.Helper()
	x.apply([]recall.Object{{Kind: recall.ObjectQueue, Name: name, Value: asJSON(s)}})
}

func (x *fixture) setFlow(s recall.FlowSettings) {
	x.Helper()
	x.apply([]recall.Object{{Kind: recall.ObjectFlow, Name: "k", Value: asJSON(s)}})
}

func byQueue(name string) recall.Filter { return recall.Filter{Queues: []string{name}} }

// end finishes an attempt durably.
func (x *fixture) end(l recall.Lease, o recall.Outcome) {
	x.Helper()
	f := x.ending(o)
	f.Durable = true
	x.check(x.e.Finish(x.ctx, l, f), "Finish")
}

// callback returns a message that the queue q waits for.
func (x *fixture) callback(source recall.MessageID) recall.Message {
	m := x.message(label("callback"))
	m.Blocks, m.Source = "q", source
	return m
}

// follow ends an attempt with messages that follow from it, and returns their ids.
func (x *fixture) follow(l recall.Lease, msgs ...recall.Message) (ids []recall.MessageID) {
	x.Helper()
	f := x.ending(recall.Delivered)
	f.Durable, f.Follow = true, msgs
	x.check(x.e.Finish(x.ctx, l, f), "Finish")
	list, err := x.e.List(x.ctx, byLabel("callback"), "", 100, x.now)
	x.check(err, "List")
	for _, m := range list[len(list)-len(msgs):] {
		ids = append(ids, m.ID)
	}
	return ids
}

// callbackChain: at most two places are taken, by a message and by another's callbacks
// and theirs.
func callbackChain(x *fixture, reopen func()) {
	x.setQueue("q", recall.QueueSettings{Parallelism: 2})
	ids := x.publishDue(4, queue("q"))
	ls := x.wantClaim(9, ids[:2]...)
	first := x.follow(ls[0], x.callback(ids[0]), x.callback(ids[0]))
	x.finish(ls[1], recall.Delivered)
	l := x.wantClaim(9, ids[2], first[0], first[1])
	second := x.callback(first[0])
	second.Root = ids[0]
	next := x.follow(l[1], second)
	third := x.callback(next[0])
	third.Root = ids[0]
	last := x.follow(x.claimOne(next[0]), third) // beside a callback of the message itself
	x.finish(l[2], recall.Release)
	x.end(l[0], recall.Delivered)
	reopen()
	x.wantClaim(9, ids[3], first[1], last[0])
}

var queueTests = slices.Concat(
	[]contractTest{
		{"a queue hands out one message at a time, in order", func(x *fixture) {
			c := x.publish(queue("q"), due(at(2)))
			a := x.publish(queue("q"))
			b := x.publish(queue("q"), priority(9))
			other := x.publish(queue("other"))
			x.wantState(c, recall.StateDelayed)
			x.wantState(a, recall.StateQueueBlocked)
			x.wantClaim(9, other)
			x.advance(time.Minute)
			l := x.wantClaim(9, c)[0]
			x.wantState(b, recall.StateQueueBlocked)
			x.end(l, recall.Delivered)
			x.end(x.claimOne(a), recall.Delivered)
			x.wantState(b, recall.StateReady)
			x.claimOne(b)
		}},
		{"retries keep the head at the head", func(x *fixture) {
			ids := x.publishDue(3, queue("q"))
			x.finish(x.claimOne(ids[0]), recall.Retry)
			x.wantClaim(9)
			x.wantState(ids[1], recall.StateQueueBlocked)
			x.advance(2 * time.Hour)
			x.end(x.claimOne(ids[0]), recall.Dead)
			x.claimOne(ids[1])
		}},
		{"a parallel queue has as many out", func(x *fixture) {
			x.setQueue("q", recall.QueueSettings{Parallelism: 3})
			ids := x.publishDue(6, queue("q"))
			ls := x.wantClaim(9, ids[:3]...)
			x.end(ls[1], recall.Delivered)
			x.wantClaim(9, ids[3])
			x.setQueue("q", recall.QueueSettings{Parallelism: 1})
			x.end(ls[2], recall.Delivered)
			x.wantClaim(9)
			x.setQueue("q", recall.QueueSettings{Parallelism: 4})
			x.wantClaim(9, ids[4:]...)
		}},
		{"a paused queue hands out nothing", func(x *fixture) {
			ids := x.publishDue(2, queue("q"))
			x.setQueue("q", recall.QueueSettings{Parallelism: 1, Paused: true})
			x.wantClaim(9)
			x.wantState(ids[0], recall.StateQueueBlocked)
			x.wantCount(states(recall.StateQueueBlocked), 2, 0)
			x.setQueue("q", recall.QueueSettings{Parallelism: 2})
			x.wantClaim(9, ids...)
		}},
		{"an unknown queue comes into being with its first message", func(x *fixture) {
			x.publish(queue("new"))
			list, err := can[recall.Keeper](x).Objects(x.ctx, recall.ObjectQueue)
			x.check(err, "Objects")
			if len(list) != 1 || list[0].Name != "new" {
				x.Fatalf("objects: %v", list)
			}
		}},
		{"a queue with messages is not deleted, and an empty one is there again when they are back", func(x *fixture) {
			x.publishDue(2, queue("q"), label("l"))
			gone := recall.Change{Objects: []recall.Object{{Kind: recall.ObjectQueue, Name: "q"}}, Now: x.now}
			_, err := can[recall.Keeper](x).Apply(x.ctx, gone)
			x.wantError(err, recall.ErrQueueNotEmpty, "Apply")
			op := x.cancelMatching(byLabel("l"), 2).Operation
			x.apply(gone.Objects)
			x.wantObjects(recall.ObjectQueue)
			if _, can := x.e.(recall.Restorer); can {
				x.wantRestored(op, 2, 0)
			} else {
				x.publish(queue("q"))
			}
			list, err := can[recall.Keeper](x).Objects(x.ctx, recall.ObjectQueue)
			x.check(err, "Objects")
			if len(list) != 1 || list[0].Name != "q" {
				x.Fatalf("objects: %v", list)
			}
		}},
		{"a held head blocks, a cancelled one does not", func(x *fixture) {
			ids := x.publishDue(3, queue("q"))
			x.hold(byID(ids[0]), 1)
			x.wantClaim(9)
			x.wantState(ids[1], recall.StateQueueBlocked)
			op := x.cancelMatching(byID(ids[0]), 1).Operation
			l := x.claimOne(ids[1])
			x.end(l, recall.Delivered)
			if _, can := x.e.(recall.Restorer); can {
				x.wantRestored(op, 1, 0) // it is held still, and goes first
				x.wantClaim(9)
				x.release(byID(ids[0]), 1)
				x.claimOne(ids[0])
				return
			}
			x.claimOne(ids[2])
		}},
		{"a restored message does not go beside a younger one", func(x *fixture) {
			can[recall.Restorer](x)
			ids := x.publishDue(3, queue("q"))
			op := x.cancelMatching(byID(ids[0]), 1).Operation
			l := x.claimOne(ids[1])
			x.wantRestored(op, 1, 0)
			x.wantState(ids[0], recall.StateQueueBlocked)
			x.wantClaim(9)
			x.finish(l, recall.Retry)
			x.claimOne(ids[0])
		}},
		{"cancelling the head one by one lets the next go", func(x *fixture) {
			ids := x.publishDue(3, queue("q"))
			x.check(x.cancel(ids[0]), "Cancel")
			x.check(x.cancel(ids[1]), "Cancel")
			x.claimOne(ids[2])
		}},
		{"cancelling by filter finds what a queue blocks", func(x *fixture) {
			ids := x.publishDue(5, queue("q"), label("l"))
			x.claimOne(ids[0])
			x.wantCount(recall.Filter{Queues: []string{"q"}, States: []recall.State{recall.StateQueueBlocked}}, 4, 0)
			x.cancelMatching(recall.Filter{States: []recall.State{recall.StateQueueBlocked}, Labels: []string{"l"}}, 4)
			x.wantList(byQueue("q"), ids[0])
		}},
		{"what a cancellation lets go on is not taken for that", func(x *fixture) {
			ids := append(x.publishMany(3, queue("q"), due(far)), x.publish(due(far)))
			delayed := recall.Filter{States: []recall.State{recall.StateDelayed}}
			x.wantCount(delayed, 2, 0)
			x.cancelMatching(delayed, 2)
			x.wantList(recall.Filter{}, ids[1:3]...)
			x.wantState(ids[1], recall.StateDelayed)
		}},
		{"the next message waits for the callbacks of the one before", func(x *fixture) {
			ids := x.publishDue(3, queue("q"))
			l := x.claimOne(ids[0])
			f := x.ending(recall.Delivered)
			f.Durable, f.Follow = true, []recall.Message{x.callback(ids[0])}
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			calls := x.claim(9)
			if len(calls) != 1 || calls[0].Message.Source != ids[0] {
				x.Fatalf("claimed %d, want the callback only", len(calls))
			}
			x.finish(calls[0], recall.Retry)
			x.wantClaim(9)
			x.advance(2 * time.Hour)
			calls = x.claim(9)
			if len(calls) != 1 {
				x.Fatalf("claimed %d, want the callback only", len(calls))
			}
			x.end(calls[0], recall.Dead)
			x.finish(x.claimOne(ids[1]), recall.Delivered)
		}},
		{"a cancelled callback is waited for no longer", func(x *fixture) {
			ids := x.publishDue(2, queue("q"))
			l := x.claimOne(ids[0])
			f := x.ending(recall.Delivered)
			f.Durable, f.Follow = true, []recall.Message{x.callback(ids[0])}
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			x.cancelMatching(byLabel("callback"), 1)
			x.claimOne(ids[1])
		}},
		{"callbacks of callbacks keep the place of their message", func(x *fixture) { callbackChain(x, func() {}) }},
		{"a callback of an attempt does not keep its message from the next one", func(x *fixture) {
			ids := x.publishDue(2, queue("q"))
			l := x.claimOne(ids[0])
			f := x.ending(recall.Retry)
			f.Due, f.Durable, f.Follow = x.now, true, []recall.Message{x.callback(ids[0])}
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			if got := x.claim(9); len(got) != 2 {
				x.Fatalf("claimed %d, want the message and its callback", len(got))
			}
		}},
	},
	restart("callbacks of callbacks keep the place of their message across a restart", callbackChain),
	restart("queues go on where they were", func(x *fixture, reopen func()) {
		x.setQueue("wide", recall.QueueSettings{Parallelism: 2})
		x.setQueue("shut", recall.QueueSettings{Parallelism: 1, Paused: true})
		ids := x.publishDue(3, queue("q"))
		wide := x.publishDue(3, queue("wide"))
		x.publish(queue("shut"))
		x.end(x.claimOne(ids[0]), recall.Delivered)
		reopen()
		x.wantClaim(9, ids[1], wide[0], wide[1])
	}),
	restart("a queue waits for callbacks across a restart", func(x *fixture, reopen func()) {
		ids := x.publishDue(2, queue("q"))
		l := x.claimOne(ids[0])
		f := x.ending(recall.Delivered)
		f.Durable, f.Follow = true, []recall.Message{x.callback(ids[0])}
		x.check(x.e.Finish(x.ctx, l, f), "Finish")
		reopen()
		calls := x.claim(9)
		if len(calls) != 1 || calls[0].Message.Source != ids[0] {
			x.Fatalf("claimed %d, want the callback only", len(calls))
		}
		x.end(calls[0], recall.Delivered)
		x.claimOne(ids[1])
	}),
)

var flowTests = slices.Concat(
	[]contractTest{
		{"parallelism bounds what is out of a key", func(x *fixture) {
			ids := x.publishDue(4, flow("k", &recall.FlowLimit{Parallelism: 2}))
			other := x.publish(flow("free", nil))
			ls := x.wantClaim(9, ids[0], ids[1], other)
			x.wantState(ids[2], recall.StateFlowWaiting)
			x.wantCount(states(recall.StateFlowWaiting), 2, 0)
			x.finish(ls[1], recall.Retry)
			x.wantClaim(9, ids[2])
			x.finish(ls[0], recall.Delivered)
			x.wantClaim(9, ids[3])
		}},
		{"a rate bounds what begins in a period", func(x *fixture) {
			ids := x.publishDue(5, flow("k", &recall.FlowLimit{Rate: 2, Period: time.Minute}))
			for _, l := range x.wantClaim(9, ids[:2]...) {
				x.finish(l, recall.Delivered)
			}
			res := x.claimResult(9)
			if len(res.Leases) != 0 || !res.Next.Equal(x.now.Add(time.Minute)) {
				x.Fatalf("claimed %d, next at %v", len(res.Leases), res.Next)
			}
			x.advance(time.Minute - time.Millisecond)
			x.wantClaim(9)
			x.advance(time.Millisecond)
			x.wantClaim(9, ids[2:4]...)
		}},
		{"what waits for a key can be held", func(x *fixture) {
			ids := x.publishDue(4, flow("k", &recall.FlowLimit{Parallelism: 1}))
			l := x.claimOne(ids[0])
			x.wantClaim(9)
			x.hold(byID(ids[1], ids[2]), 2)
			x.finish(l, recall.Delivered)
			l = x.claimOne(ids[3])
			x.wantClaim(9)
			x.release(byID(ids[2]), 1)
			x.wantClaim(9)
			x.hold(byID(ids[2]), 1)
			x.release(byID(ids[2]), 1)
			x.finish(l, recall.Delivered)
			x.claimOne(ids[2])
			x.release(byID(ids[1]), 1)
			x.wantClaim(9)
			x.hold(byID(ids[1]), 1) // it waits for neither by now
		}},
		{"an attempt that did not happen is given back", func(x *fixture) {
			ids := x.publishDue(2, flow("k", &recall.FlowLimit{Rate: 1, Period: time.Hour}))
			x.finish(x.claimOne(ids[0]), recall.Release)
			x.finish(x.claimOne(ids[0]), recall.Delivered)
			x.wantClaim(9)
		}},
		{"one key does not keep another waiting", func(x *fixture) {
			x.publishDue(3000, flow("busy", &recall.FlowLimit{Parallelism: 1}))
			x.advance(time.Second)
			quiet := x.publish(flow("quiet", &recall.FlowLimit{Parallelism: 1}))
			if got := x.claim(2); len(got) != 2 || got[1].Message.ID != quiet {
				x.Fatalf("claimed %d, want one of each key", len(got))
			}
		}},
		{"a limit that changes takes effect on what waits", func(x *fixture) {
			ids := x.publishDue(5, flow("k", &recall.FlowLimit{Parallelism: 1}))
			x.claimOne(ids[0])
			x.wantClaim(9)
			x.setFlow(recall.FlowSettings{Limit: recall.FlowLimit{Parallelism: 3}, PinnedRate: true, PinnedParallelism: true})
			x.wantClaim(9, ids[1:3]...)
			last := x.publish(flow("k", &recall.FlowLimit{Parallelism: 9})) // it is pinned
			x.wantClaim(9)
			x.setFlow(recall.FlowSettings{})
			x.wantClaim(9, ids[3], ids[4], last)
		}},
		{"the newest message sets the limit", func(x *fixture) {
			x.publish(flow("k", &recall.FlowLimit{Parallelism: 5}), due(at(9)))
			x.publish(flow("k", &recall.FlowLimit{Rate: 7}), due(at(9)))
			list, err := can[recall.FlowController](x).FlowStates(x.ctx, x.now)
			x.check(err, "FlowStates")
			if len(list) != 1 || list[0].Key != "k" || list[0].Limit != (recall.FlowLimit{Rate: 7}) {
				x.Fatalf("got %+v", list)
			}
		}},
		{"a paused key hands out nothing", func(x *fixture) {
			ids := x.publishDue(2, flow("k", nil))
			x.setFlow(recall.FlowSettings{Paused: true})
			x.wantClaim(9)
			x.wantState(ids[0], recall.StateFlowWaiting)
			x.setFlow(recall.FlowSettings{})
			x.wantClaim(9, ids...)
		}},
		{"a reset begins a new period", func(x *fixture) {
			ids := x.publishDue(2, flow("k", &recall.FlowLimit{Rate: 1, Period: time.Hour}))
			x.claimOne(ids[0])
			x.wantClaim(9)
			list, err := can[recall.FlowController](x).FlowStates(x.ctx, x.now)
			x.check(err, "FlowStates")
			if len(list) != 1 || list[0].InFlight != 1 || list[0].Used != 1 || !list[0].PeriodStart.Equal(x.now) {
				x.Fatalf("got %+v", list)
			}
			x.check(can[recall.FlowController](x).ResetFlow(x.ctx, "k", x.now), "ResetFlow")
			x.claimOne(ids[1])
			x.wantError(can[recall.FlowController](x).ResetFlow(x.ctx, "none", x.now), recall.ErrNotFound, "ResetFlow")
		}},
		{"what waits for a key can be cancelled, held and moved", func(x *fixture) {
			ids := x.publishDue(5, flow("k", &recall.FlowLimit{Parallelism: 1}))
			l := x.claimOne(ids[0])
			x.wantClaim(9) // the others are parked
			x.cancelMatching(byID(ids[1]), 1)
			x.hold(byID(ids[2]), 1)
			x.wantChanged(recall.OperationReschedule, byID(ids[3]), x.now.Add(time.Hour), 1)
			x.finish(l, recall.Delivered)
			l = x.claimOne(ids[4])
			x.release(byID(ids[2]), 1)
			x.wantClaim(9)
			x.finish(l, recall.Delivered)
			x.finish(x.claimOne(ids[2]), recall.Delivered)
			x.advance(time.Hour)
			x.claimOne(ids[3])
		}},
		{"a queue and a key bind together", func(x *fixture) {
			x.setQueue("q", recall.QueueSettings{Parallelism: 5})
			ids := x.publishDue(3, queue("q"), flow("k", &recall.FlowLimit{Parallelism: 1}))
			x.end(x.claimOne(ids[0]), recall.Delivered)
			x.claimOne(ids[1])
			x.wantClaim(9)
		}},
	},
	restart("no rate is exceeded across a restart", func(x *fixture, reopen func()) {
		for _, period := range []time.Duration{2 * time.Second, time.Hour} {
			key := "k" + period.String()
			ids := x.publishDue(8, flow(key, &recall.FlowLimit{Rate: 4, Period: period}), label(key))
			start := x.now
			for _, l := range x.wantClaim(3, ids[:3]...) {
				x.end(l, recall.Delivered)
			}
			reopen()
			if got := x.claimOf(key); got > 1 {
				x.Fatalf("%v: %d more in the same period", period, got)
			}
			x.now = start.Add(2 * period)
			if got := x.claimOf(key); got > 4 || got == 0 {
				x.Fatalf("%v: %d in a later period", period, got)
			}
		}
	}),
)

// claimOf claims, and counts what is of a key.
func (x *fixture) claimOf(key string) (n int) {
	x.Helper()
	for _, l := range x.claim(99) {
		if l.Message.FlowKey == key {
			n++
		}
	}
	return n
}

var priorityTests = slices.Concat(
	[]contractTest{
		{"what is more important goes first among what is due", func(x *fixture) {
			low, none := x.publish(priority(-9)), x.publish()
			x.advance(time.Second)
			high := x.publish(priority(9))
			later := x.publish(priority(9), due(x.now.Add(time.Minute)))
			x.wantClaim(9, high, none, low)
			if res := x.claimResult(9); !res.Next.Equal(x.now.Add(time.Minute)) {
				x.Fatalf("next at %v", res.Next)
			}
			x.advance(time.Minute)
			last := x.publish(priority(8))
			x.wantClaim(9, later, last)
		}},
		{"a retry keeps its priority", func(x *fixture) {
			high := x.publish(priority(3))
			l := x.claimOne(high)
			if l.Message.Priority != 3 {
				x.Errorf("claimed with priority %d", l.Message.Priority)
			}
			x.finish(l, recall.Retry)
			x.advance(2 * time.Hour)
			other := x.publish(due(x.now.Add(-time.Hour)))
			x.wantClaim(9, high, other)
		}},
		{"handlers have priorities of their own", func(x *fixture) {
			a := x.publish(url("local:a"))
			b := x.publish(url("local:a"), priority(1))
			x.wantClaim(9)
			x.wantClaimHandled([]recall.MessageID{b, a}, "local:a")
		}},
	},
	restart("priorities are there after a restart", func(x *fixture, reopen func()) {
		low, high := x.publish(priority(-1)), x.publish(priority(1))
		none := x.publish()
		reopen()
		x.wantClaim(9, high, none, low)
	}),
)
