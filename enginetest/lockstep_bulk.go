package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
)

// What the stories of lockstep.go do to many messages at once, and undo.

func (p *pair) cancel(t *rapid.T) {
	n := p.draw(t)
	req := recall.CancelRequest{Sticky: rapid.Bool().Draw(t, "sticky"), Now: p.now()}
	req.ID = p.refIDs[n]
	r := p.ref.e.Cancel(p.ref.ctx, req)
	req.ID = p.xs[n]
	p.same("Cancel", answer(r, p.refIDs), answer(p.x.e.Cancel(p.x.ctx, req), p.xs))
	p.asked[n] = p.asked[n] || req.Sticky && r == nil
	p.adopt()
}

// adopt notes an operation that only its record names: the request of a single
// cancellation.
func (p *pair) adopt() {
	if _, ok := p.x.e.(recall.Auditor); !ok {
		return
	}
	ref, x := p.ref.operations(), p.x.operations()
	p.same("number of operations", len(ref), len(x))
	if len(ref) == len(p.ops) {
		return
	}
	isNew := func(o recall.Operation) bool { return p.operation(o.ID, o.ID) < 0 }
	p.did(ref[slices.IndexFunc(ref, isNew)].ID, x[slices.IndexFunc(x, isNew)].ID)
}

// filter draws a filter, in the words of both engines.
func (p *pair) filter(t *rapid.T) (ref, x recall.Filter) {
	maybe := func(name string, values ...string) []string {
		if rapid.IntRange(0, 2).Draw(t, "by "+name) > 0 {
			return nil
		}
		return rapid.SliceOfN(rapid.SampledFrom(values), 0, 3).Draw(t, name)
	}
	f := recall.Filter{
		Labels:    maybe("label", "a", "b", "c", "none"),
		Queues:    maybe("queue", "q1", "q2", "none"),
		URLs:      maybe("url", "https://a.test/x", "http://a.test/y", "local:job"),
		Hosts:     maybe("host", "a.test", "b.test", "b.test:81", "b.test:82"),
		Paths:     maybe("path", "/x", "/y"),
		CallerIPs: maybe("ip", "10.0.0.1", "10.0.0.2", "10.0.0.2/31", "10.9.9.9/8", "::/0"),
	}
	if rapid.IntRange(0, 3).Draw(t, "by state") == 0 {
		f.States = rapid.SliceOfN(rapid.SampledFrom([]recall.State{
			recall.StateDelayed, recall.StateReady, recall.StateRetrying, recall.StateHeld, recall.StateInFlight,
			recall.StateQueueBlocked, recall.StateFlowWaiting,
		}), 0, 3).Draw(t, "states")
	}
	if rapid.IntRange(0, 3).Draw(t, "by due") == 0 {
		f.DueAfter = p.now().Add(genDelay.Draw(t, "due after"))
	}
	if rapid.IntRange(0, 3).Draw(t, "by due") == 0 {
		f.DueBefore = p.now().Add(genDelay.Draw(t, "due before"))
	}
	if rapid.IntRange(0, 3).Draw(t, "by attempts") == 0 {
		f.MinAttempts = rapid.IntRange(1, 3).Draw(t, "attempts")
	}
	if rapid.IntRange(0, 3).Draw(t, "by from") == 0 {
		f.From = p.now().Add(-rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "from"))
	}
	if rapid.IntRange(0, 3).Draw(t, "by to") == 0 {
		f.To = p.now().Add(-rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "to"))
	}
	ref, x = f, f
	if len(p.xs) > 0 && rapid.IntRange(0, 2).Draw(t, "by id") == 0 {
		ref.IDs, x.IDs = []recall.MessageID{}, []recall.MessageID{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, len(p.xs)-1), 0, 6).Draw(t, "ids") {
			ref.IDs, x.IDs = append(ref.IDs, p.refIDs[n]), append(x.IDs, p.xs[n])
		}
	}
	return ref, x
}

func (p *pair) cancelMatching(t *rapid.T) {
	rf, xf := p.filter(t)
	req := p.request(t, "cancel", rf, true)
	plan, err := p.x.e.Explain(p.x.ctx, xf, p.now())
	p.x.check(err, "Explain")
	if most := p.x.count(xf); plan.Candidates[0].Count < most.Pending+most.InFlight {
		t.Fatalf("Explain: %d entries in %s, but %+v match", plan.Candidates[0].Count, plan.Index, most)
	}
	req.Filter = rf
	r, rerr := p.ref.e.CancelMatching(p.ref.ctx, req)
	req.Filter = xf
	req.Asked = func(ids []recall.MessageID) {
		for _, n := range p.xNumbers(ids) {
			p.asked[n] = true
		}
	}
	e, eerr := p.x.e.CancelMatching(p.x.ctx, req)
	p.same("CancelMatching of "+xf.String(), answer(rerr, p.refIDs), answer(eerr, p.xs))
	p.same("cancelled by "+xf.String(), r.Cancelled, e.Cancelled)
	p.same("requested by "+xf.String(), r.Requested, e.Requested)
	p.same("skipped by "+xf.String(), p.refNumbers(r.Skipped), p.xNumbers(e.Skipped))
	p.did(r.Operation, e.Operation)
	if e.Index != plan.Index {
		t.Fatalf("CancelMatching walked %s, Explain said %s", e.Index, plan.Index)
	}
}

// request draws the options of a bulk call.
func (p *pair) request(t *rapid.T, verb string, ref recall.Filter, asks bool) recall.CancelMatchingRequest {
	policies := []recall.Policy{recall.Stop, recall.Skip}
	if asks {
		policies = append(policies, recall.Sticky, recall.Abort)
	}
	req := recall.CancelMatchingRequest{
		Now: p.now(), All: ref.IsZero(), Policy: rapid.SampledFrom(policies).Draw(t, "policy"),
		DryRun: rapid.IntRange(0, 5).Draw(t, "dry run") == 0,
		Reason: fmt.Sprintf("%s %d", verb, len(p.ops)),
	}
	if asks && rapid.IntRange(0, 5).Draw(t, "out of time") == 0 {
		req.Policy, req.Expired = recall.Stop, closedChannel() // Wait, without time left
	}
	if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
		req.Limit = rapid.IntRange(1, 5).Draw(t, "limit")
	}
	if rapid.IntRange(0, 3).Draw(t, "guarded") == 0 {
		least := rapid.IntRange(0, 3).Draw(t, "least")
		req.Guard = recall.Guard{Set: true, Least: least, Most: least + rapid.IntRange(0, 5).Draw(t, "beyond")}
	}
	return req
}

func (p *pair) change(t *rapid.T) {
	rc, xc := skipUnless[recall.Changer](t, p)
	rf, xf := p.filter(t)
	kind := rapid.SampledFrom(changeKinds).Draw(t, "kind")
	req := recall.ChangeRequest{CancelMatchingRequest: p.request(t, string(kind), rf, false), Kind: kind}
	if kind == recall.OperationReschedule {
		req.Due = p.now().Add(genDelay.Draw(t, "due"))
	}
	req.Filter = rf
	r, rerr := rc.Change(p.ref.ctx, req)
	req.Filter = xf
	e, eerr := xc.Change(p.x.ctx, req)
	call := fmt.Sprintf("%s of %s", kind, xf)
	p.same(call, answer(rerr, p.refIDs), answer(eerr, p.xs))
	p.same(call, r.Changed, e.Changed)
	p.same(call, p.refNumbers(r.Skipped), p.xNumbers(e.Skipped))
	p.did(r.Operation, e.Operation)
}

// drawOperation returns the number of an operation.
func (p *pair) drawOperation(t *rapid.T) int {
	if len(p.ops) == 0 {
		t.Skip("no operations")
	}
	// The newest are the likeliest to be undoable.
	return len(p.ops) - 1 - rapid.IntRange(0, min(6, len(p.ops)-1)).Draw(t, "operation")
}

func (p *pair) restore(t *rapid.T) {
	ref, x := skipUnless[recall.Restorer](t, p)
	o := p.ops[p.drawOperation(t)]
	e, eerr := x.Restore(p.x.ctx, o.x, p.now())
	if o.vague {
		if op := p.model.operation(o.ref); op.Kind == recall.OperationCancel {
			op.until = far // the reference follows
			if errors.Is(eerr, recall.ErrUndoExpired) {
				op.until = time.Time{}
			}
		}
	}
	r, rerr := ref.Restore(p.ref.ctx, o.ref, p.now())
	p.same("Restore", answer(rerr, nil), answer(eerr, nil))
	p.same("Restore", r, e)
}

func (p *pair) cancelFuture(t *rapid.T) {
	ref, x := skipUnless[recall.Stander](t, p)
	rf, xf := p.filter(t)
	if rf.IsZero() {
		t.Skip("it would take everything")
	}
	until := p.now().Add(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour}).Draw(t, "until"))
	r, err := ref.CancelFuture(p.ref.ctx, rf, until, "standing", p.now())
	p.ref.check(err, "CancelFuture")
	e, err := x.CancelFuture(p.x.ctx, xf, until, "standing", p.now())
	p.x.check(err, "CancelFuture")
	p.did(r, e)
}

func (p *pair) lift(t *rapid.T) {
	ref, x := skipUnless[recall.Stander](t, p)
	o := p.ops[p.drawOperation(t)]
	rerr := ref.LiftCancellation(p.ref.ctx, o.ref, p.now())
	p.same("LiftCancellation", answer(rerr, nil), answer(x.LiftCancellation(p.x.ctx, o.x, p.now()), nil))
}

// whoCancelled asks about a message that is not in flight: a request is no
// cancellation yet.
func (p *pair) whoCancelled(t *rapid.T) {
	ref, x := skipUnless[recall.Auditor](t, p)
	n := p.draw(t)
	if p.model != nil && p.model.asked(p.refIDs[n]) || p.model == nil && p.asked[n] {
		t.Skip("its cancellation was requested")
	}
	r, rerr := ref.WhoCancelled(p.ref.ctx, p.refIDs[n])
	e, eerr := x.WhoCancelled(p.x.ctx, p.xs[n])
	p.same("WhoCancelled", answer(rerr, nil), answer(eerr, nil))
	p.same("WhoCancelled", p.operation(r.ID, ""), p.operation("", e.ID))
}

// asked tells whether a cancellation that was not undone has requested that of
// a message.
func (r *Reference) asked(id recall.MessageID) bool {
	return slices.ContainsFunc(r.operations, func(op *operation) bool {
		return op.RestoredAt.IsZero() && slices.ContainsFunc(op.asked, func(e *entry) bool { return e.m.ID == id })
	})
}
