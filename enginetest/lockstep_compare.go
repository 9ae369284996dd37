package enginetest

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
)

// How the two engines of a story are held against each other.

// inOrder puts the beginning of an attempt before the request to cancel it: who notes both
// in one commit may have them the other way round.
func inOrder(events []recall.Event) []recall.Event {
	for i := len(events) - 1; i > 0 && events[i].State == recall.EventActive; i-- {
		if before := events[i-1]; before.State != recall.EventCancelRequested || before.Attempt != events[i].Attempt {
			break
		}
		events[i-1], events[i] = events[i], events[i-1]
	}
	return events
}

// finishAll ends what is in flight.
func (p *pair) finishAll() {
	f := p.x.ending(recall.Release)
	for _, l := range p.leases {
		p.same("Finish", answer(p.ref.e.Finish(p.ref.ctx, l.ref, f), nil), answer(p.x.e.Finish(p.x.ctx, l.x, f), nil))
	}
	p.leases = nil
}

// compare looks at everything.
func (p *pair) compare(t *rapid.T) {
	r, err := p.ref.e.List(p.ref.ctx, recall.Filter{}, "", 1<<30, p.now())
	p.ref.check(err, "List")
	e, err := p.x.e.List(p.x.ctx, recall.Filter{}, "", 1<<30, p.now())
	p.x.check(err, "List")
	p.same("List", p.refNumbers(messageIDs(r)), p.xNumbers(messageIDs(e)))
	for i := range r {
		// Get tells the same, and has the body, which a List may leave out.
		p.same("message", outline(p.ref.get(r[i].ID)), outline(p.x.get(e[i].ID)))
	}
	p.same("Count", p.ref.count(recall.Filter{}), p.x.count(recall.Filter{}))
	rd, xd := p.ref.listDead(recall.Filter{}), p.x.listDead(recall.Filter{})
	p.same("dead letters", len(rd), len(xd))
	for i := range rd {
		p.same("dead letter", deadOutline(rd[i], p.refIDs), deadOutline(xd[i], p.xs))
	}
	for n := range p.xs {
		_, rerr := p.ref.e.Get(p.ref.ctx, p.refIDs[n], p.now())
		_, eerr := p.x.e.Get(p.x.ctx, p.xs[n], p.now())
		p.same(fmt.Sprintf("Get of message %d", n), answer(rerr, nil), answer(eerr, nil))
	}
	if !slices.IsSorted(p.xs) {
		t.Fatalf("ids are not ascending: %v", p.xs)
	}
	for _, s := range []recall.State{recall.StateDelayed, recall.StateReady, recall.StateRetrying, recall.StateHeld, recall.StateInFlight} {
		p.same("Count of "+string(s), p.ref.count(states(s)), p.x.count(states(s)))
	}
	p.same("Stats", endsOf(p.ref.e), endsOf(p.x.e))
	p.compareOperations()
}

// compareEvents compares what the logs say of each message, and of operations, when all of
// it is noted. Of what one commit does to several messages the order is the engine's
// business.
func (p *pair) compareEvents() {
	ref, one := p.ref.e.(recall.EventLog)
	x, other := p.x.e.(recall.EventLog)
	if one && other {
		p.same("events", p.stories(p.ref, ref, true), p.stories(p.x, x, false))
	}
}

// stories reads the events of each message, one to a line. That an attempt began it leaves
// out unless it has ended: if it was given back at once, an engine may not have noted it.
func (p *pair) stories(of *fixture, log recall.EventLog, isRef bool) string {
	events := map[int][]recall.Event{}
	for after := recall.EventID(""); ; {
		page, err := log.Events(of.ctx, recall.EventFilter{OldestFirst: true}, after, recall.MaxEventPage)
		of.check(err, "Events")
		for _, ev := range page.Events {
			n := number(p.xs, ev.Message)
			if isRef {
				n = number(p.refIDs, ev.Message)
			}
			events[n] = inOrder(append(events[n], ev))
		}
		if page.Next == "" {
			break
		}
		after = page.Next
	}
	var b strings.Builder
	for n := -1; n < len(p.xs); n++ {
		fmt.Fprintf(&b, "message %d:\n", n)
		for i, ev := range events[n] {
			if ev.State == recall.EventActive && (i+1 == len(events[n]) || events[n][i+1].Attempt != ev.Attempt || events[n][i+1].State == ev.State) {
				continue
			}
			op := p.operation("", ev.Operation)
			if isRef {
				op = p.operation(ev.Operation, "")
			}
			fmt.Fprintf(&b, "\t%s at=%d attempt=%d status=%d %q due=%d operation=%d count=%d requested=%d\n",
				ev.State, ev.At.UnixMilli(), ev.Attempt, ev.Status, ev.Reason, millisOf(ev.Due), op, ev.Count, ev.Requested)
		}
	}
	return b.String()
}

// endsOf are the counters of Stats that say what has become of messages.
func endsOf(e recall.Engine) ends {
	s := e.Stats()
	return ends{s.Published, s.Duplicates, s.Cancelled, s.Restored, s.Died}
}

// compareOperations compares the records, but for what is the engine's
// business.
func (p *pair) compareOperations() {
	if _, ok := p.x.e.(recall.Auditor); !ok {
		return
	}
	var ref, x []string
	for _, o := range p.ref.operations() {
		ref = append(ref, p.opOutline(o, p.operation(o.ID, ""), p.refIDs))
	}
	for _, o := range p.x.operations() {
		x = append(x, p.opOutline(o, p.operation("", o.ID), p.xs))
	}
	slices.Sort(ref)
	slices.Sort(x)
	p.same("Operations", strings.Join(ref, "\n"), strings.Join(x, "\n"))
}

func (p *pair) opOutline(o recall.Operation, n int, ids []recall.MessageID) string {
	filter := o.Filter
	if strings.Contains(filter, "id=") {
		filter = "by id" // ids sort in another order
	}
	return fmt.Sprintf("%d %s at=%d %q %q %s count=%d requested=%d blocker=%d until=%d lifted=%d restored=%d",
		n, o.Kind, o.At.UnixMilli(), filter, o.Reason, o.Policy, o.Count, o.Requested, number(ids, o.Blocker),
		millisOf(o.Until), millisOf(o.LiftedAt), millisOf(o.RestoredAt))
}

func deadOutline(d recall.DeadLetter, ids []recall.MessageID) string {
	return fmt.Sprintf("message %d %q died=%d attempts=%d %q", number(ids, d.Message.ID), d.Message.Body, d.DiedAt.UnixMilli(), d.Attempts, d.Reason)
}
