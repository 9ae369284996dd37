package enginetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
)

// lockstep makes the same random calls on an engine and on the reference, and
// compares every answer. A failure comes back as the shortest such story.
func lockstep(t *testing.T, open func(t *testing.T) Harness) {
	Checks(t, size(25), 40)
	rapid.Check(t, func(rt *rapid.T) {
		ref := NewReference()
		story(rt, newPair(rt, Harness{Engine: ref}, open(t)))
	})
}

// Lockstep makes the same random calls on two engines and compares every answer, and the
// logs of events. The clock does not go back there, and an engine ends only when nothing is
// in flight: what such things are to it is for each engine to decide, within bounds that
// only the reference knows.
func Lockstep(t *testing.T, one, other func(t *testing.T) Harness) {
	Checks(t, size(10), 40)
	rapid.Check(t, func(rt *rapid.T) { story(rt, newPair(rt, one(t), other(t))) })
}

// story tells one story.
func story(rt *rapid.T, p *pair) {
	defer func() {
		_ = p.x.e.Close()
		_ = p.ref.e.Close()
	}()
	rt.Repeat(p.verbs())
	for _, h := range []Harness{p.ref.h, p.x.h} {
		if h.Check != nil {
			if err := h.Check(); err != nil {
				rt.Errorf("invariants: %v", err)
			}
		}
	}
}

func (p *pair) verbs() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"insert":         p.insert,
		"claim":          p.claim,
		"finish":         p.finish,
		"cancel":         p.cancel,
		"cancelMatching": p.cancelMatching,
		"change":         p.change,
		"restore":        p.restore,
		"cancelFuture":   p.cancelFuture,
		"lift":           p.lift,
		"whoCancelled":   p.whoCancelled,
		"deadLetters":    p.deadLetters,
		"deadMatching":   p.deadMatching,
		"list":           p.list,
		"settings":       p.settings,
		"advance":        p.advance,
		"maintain":       p.maintain,
		"reopen":         p.reopen,
		"":               p.compare,
	}
}

// storyFlags is held while a test has set the flags of package rapid, which are of
// the process: tests run in parallel.
var storyFlags sync.Mutex

// Checks sets how many random stories package rapid tells during a test, and
// how long they are, unless a flag of the command line says so. Another test that
// calls it waits for the end of this one, so no test may call it twice.
func Checks(t *testing.T, checks, steps int) {
	storyFlags.Lock()
	t.Cleanup(storyFlags.Unlock)
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, n := range map[string]int{"rapid.checks": checks, "rapid.steps": steps} {
		f := flag.Lookup(name)
		if f == nil || given[name] {
			continue
		}
		was := f.Value.String()
		if err := f.Value.Set(strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Value.Set(was) })
	}
}

// pair is two engines that are told the same. Ids differ between them, so a
// message goes by its number in the order of publication.
type pair struct {
	ref, x     *fixture
	model      *Reference         // the engine of ref, if it is one
	refIDs, xs []recall.MessageID // by number
	leases     []leasePair        // all that were given out, stale ones too
	ops        []opPair           // in the order of the calls
	asked      map[int]bool       // whose cancellation was requested
	latest     time.Time          // that it has been
	back       int                // how often the clock was set back
}

type leasePair struct{ ref, x recall.Lease }

// opPair is one operation. Once the clock has gone back, how long it can be
// undone is the engine's business, within bounds.
type opPair struct {
	ref, x recall.OperationID
	vague  bool
}

func newPair(rt *rapid.T, ref, x Harness) *pair {
	p := &pair{
		ref:   &fixture{TB: rt, e: ref.Engine, h: ref, ctx: context.Background(), now: base},
		x:     &fixture{TB: rt, e: x.Engine, h: x, ctx: context.Background(), now: base},
		asked: map[int]bool{},
	}
	p.model, _ = ref.Engine.(*Reference)
	return p
}

// skipUnless ends a step that one of the engines cannot make.
func skipUnless[E any](t *rapid.T, p *pair) (ref, x E) {
	ref, one := p.ref.e.(E)
	x, other := p.x.e.(E)
	if !one || !other {
		t.Skipf("an engine is no %T", (*E)(nil))
	}
	return ref, x
}

// number returns the number of a message, or -1.
func number(ids []recall.MessageID, id recall.MessageID) int { return slices.Index(ids, id) }

func (p *pair) refNumbers(ids []recall.MessageID) (n []int) {
	for _, id := range ids {
		n = append(n, number(p.refIDs, id))
	}
	return n
}

func (p *pair) xNumbers(ids []recall.MessageID) (n []int) {
	for _, id := range ids {
		n = append(n, number(p.xs, id))
	}
	return n
}

// answer turns an error into what the contract says about it, with a message's
// number in place of its id.
func answer(err error, ids []recall.MessageID) string {
	var stop *recall.NotCancellableError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &stop):
		return fmt.Sprintf("message %d is %s, %d cancelled before", number(ids, stop.ID), stop.State, stop.Cancelled)
	case errors.Is(err, recall.ErrNotFound):
		return "not found"
	case errors.Is(err, recall.ErrLeaseLost):
		return "lease lost"
	case errors.Is(err, recall.ErrInvalid):
		return "invalid"
	}
	return err.Error()
}

// same fails the story if the two engines answered differently.
func (p *pair) same(call string, ref, x any) {
	p.x.Helper()
	if r, e := fmt.Sprint(ref), fmt.Sprint(x); r != e {
		p.x.Fatalf("%s:\nreference %s\nengine    %s", call, r, e)
	}
}

func (p *pair) now() time.Time { return p.ref.now }

var (
	genLabels = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2, rapid.ID[string])
	genQueue  = rapid.SampledFrom([]string{"", "q1", "q2"})
	genURL    = rapid.SampledFrom([]string{"https://a.test/x", "https://b.test:81/y", "http://a.test/y", "local:job", "pull:q1"})
	genIP     = rapid.SampledFrom([]string{"", "10.0.0.1", "10.0.0.2"})
	genDedup  = rapid.SampledFrom([]string{"", "", "", "a", "b"})
	genDelay  = rapid.SampledFrom([]time.Duration{0, 0, -time.Minute, time.Second, time.Minute, time.Hour})
)

func (p *pair) insert(t *rapid.T) {
	msgs := make([]recall.Message, rapid.IntRange(1, 4).Draw(t, "messages"))
	for i := range msgs {
		msgs[i] = p.x.message(label(genLabels.Draw(t, "labels")...), queue(genQueue.Draw(t, "queue")), url(genURL.Draw(t, "url")),
			due(p.now().Add(genDelay.Draw(t, "delay"))))
		msgs[i].Priority = rapid.SampledFrom([]int{0, 0, 0, 5, -5}).Draw(t, "priority")
		msgs[i].FlowKey = rapid.SampledFrom([]string{"", "", "f1", "f2"}).Draw(t, "flow")
		if msgs[i].FlowKey != "" && rapid.IntRange(0, 2).Draw(t, "limits") == 0 {
			msgs[i].Flow = genLimit.Draw(t, "limit")
		}
		msgs[i].CallerIP = genIP.Draw(t, "ip")
		msgs[i].Retries = recall.Retries(recall.MaxRetries)
		msgs[i].Body = []byte(numbered("body ", len(p.xs)+i))
		if id := genDedup.Draw(t, "id"); id != "" { // when the clock goes back, an engine may have given up ids
			msgs[i].DeduplicationID = numbered(id, p.back)
		}
	}
	r, err := p.ref.e.Insert(p.ref.ctx, msgs, p.now())
	p.ref.check(err, "Insert")
	e, err := p.x.e.Insert(p.x.ctx, msgs, p.now())
	p.x.check(err, "Insert")
	p.arrived(r, e)
}

// No rates: what a restart makes of a period is for each engine to decide, within
// its bounds.
var genLimit = rapid.SampledFrom([]*recall.FlowLimit{{Parallelism: 1}, {Parallelism: 2}, {Parallelism: 3}})

// settings changes a queue or a flow-control key.
func (p *pair) settings(t *rapid.T) {
	o := recall.Object{Kind: recall.ObjectQueue, Name: rapid.SampledFrom([]string{"q1", "q2"}).Draw(t, "queue")}
	paused := rapid.IntRange(0, 3).Draw(t, "paused") == 0
	if rapid.Bool().Draw(t, "flow") {
		o = recall.Object{Kind: recall.ObjectFlow, Name: rapid.SampledFrom([]string{"f1", "f2"}).Draw(t, "key")}
		o.Value = asJSON(recall.FlowSettings{
			Limit: *genLimit.Draw(t, "limit"), PinnedRate: rapid.Bool().Draw(t, "pinned rate"),
			PinnedParallelism: rapid.Bool().Draw(t, "pinned"), Paused: paused,
		})
	} else {
		o.Value = asJSON(recall.QueueSettings{Parallelism: rapid.IntRange(1, 3).Draw(t, "parallelism"), Paused: paused})
	}
	if rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
		o.Value = nil
	}
	p.same("Apply", kept(p.ref, o), kept(p.x, o))
}

// kept applies a change, and reports whether the engine has refused it because
// messages wait in the queue that it would delete.
func kept(x *fixture, o recall.Object) bool {
	_, err := can[recall.Keeper](x).Apply(x.ctx, recall.Change{Objects: []recall.Object{o}, Now: x.now})
	if errors.Is(err, recall.ErrQueueNotEmpty) {
		return true
	}
	x.check(err, "Apply")
	return false
}

// arrived notes what was published, and compares who has taken it.
func (p *pair) arrived(ref, x []recall.Receipt) {
	p.same("receipts", len(ref), len(x))
	for i := range ref {
		p.same("duplicate", ref[i].Deduplicated, x[i].Deduplicated)
		if ref[i].Deduplicated {
			p.same("first", number(p.refIDs, ref[i].ID), number(p.xs, x[i].ID))
			p.same("first published", ref[i].CreatedAt.UnixMilli(), x[i].CreatedAt.UnixMilli())
			continue
		}
		p.refIDs, p.xs = append(p.refIDs, ref[i].ID), append(p.xs, x[i].ID)
		p.same("taken on arrival", p.operation(ref[i].CancelledBy, ""), p.operation("", x[i].CancelledBy))
	}
}

// operation returns the number of an operation, by either id; -1 for none.
func (p *pair) operation(ref, x recall.OperationID) int {
	return slices.IndexFunc(p.ops, func(o opPair) bool { return o.ref == ref || o.x == x })
}

// did notes an operation, if there was one.
func (p *pair) did(ref, x recall.OperationID) {
	p.same("operation", ref != "", x != "")
	if ref != "" {
		p.ops = append(p.ops, opPair{ref: ref, x: x})
	}
}

func (p *pair) claim(t *rapid.T) {
	most := rapid.IntRange(0, 4).Draw(t, "max")
	req := recall.ClaimRequest{Now: p.now(), Max: most, Only: rapid.Bool().Draw(t, "only")}
	if rapid.Bool().Draw(t, "handled") {
		req.Handlers = []string{"local:job"}
	}
	if rapid.Bool().Draw(t, "pulled") {
		req.Handlers = append(req.Handlers, "pull:q1")
	}
	r, err := p.ref.e.Claim(p.ref.ctx, req)
	p.ref.check(err, "Claim")
	e, err := p.x.e.Claim(p.x.ctx, req)
	p.x.check(err, "Claim")
	p.same("Claim", p.refNumbers(leaseIDs(r.Leases)), p.xNumbers(leaseIDs(e.Leases)))
	p.sameNext(req, r.Next, e.Next)
	for i := range r.Leases {
		p.same("lease", outline(r.Leases[i].Message), outline(e.Leases[i].Message))
		p.leases = append(p.leases, leasePair{r.Leases[i], e.Leases[i]})
	}
}

// sameNext compares when there is more. A time that has passed means now: of what is due,
// one engine names the earliest, another what it would claim first. After the clock was set back, what was found
// due and its key closed is not due, perhaps: an engine need not look at it again
// before its key opens.
func (p *pair) sameNext(req recall.ClaimRequest, ref, x time.Time) {
	ref, x = millis(ref), millis(x)
	if p.model != nil && p.now().Before(p.latest) && !ref.Equal(x) {
		open := p.model.nextOpen(req)
		if !ref.IsZero() && (x.IsZero() || x.After(ref)) && (open.IsZero() || !x.IsZero() && !x.After(open)) {
			return
		}
	}
	p.same("Next", millisOf(notBefore(ref, p.now())), millisOf(notBefore(x, p.now())))
}

// notBefore returns the later of two times, and no time for none.
func notBefore(t, least time.Time) time.Time {
	if !t.IsZero() && t.Before(least) {
		return least
	}
	return t
}

func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// outline is what two engines must agree on about a message, but for its id.
func outline(m recall.Message) string {
	return fmt.Sprintf("%s %q attempts=%d due=%d created=%d %s queue=%q labels=%q ip=%q",
		m.State, m.Body, m.Attempts, m.DueAt.UnixMilli(), m.CreatedAt.UnixMilli(), m.URL, m.Queue, m.Labels, m.CallerIP)
}

func (p *pair) finish(t *rapid.T) {
	if len(p.leases) == 0 {
		t.Skip("no leases")
	}
	// The newest are the likeliest to be valid.
	l := p.leases[len(p.leases)-1-rapid.IntRange(0, min(5, len(p.leases)-1)).Draw(t, "lease")]
	f := p.x.ending(rapid.SampledFrom([]recall.Outcome{recall.Delivered, recall.Retry, recall.Dead, recall.Release}).Draw(t, "outcome"))
	f.Due = p.now().Add(genDelay.Draw(t, "backoff"))
	// A queue goes on when the end is durable, and the engines take their time for that.
	f.Durable = f.Outcome == recall.Dead || l.x.Message.Queue != "" || rapid.Bool().Draw(t, "durable") || p.model == nil
	p.same("Finish", answer(p.ref.e.Finish(p.ref.ctx, l.ref, f), nil), answer(p.x.e.Finish(p.x.ctx, l.x, f), nil))
}

// draw returns the number of a message that was published.
func (p *pair) draw(t *rapid.T) int {
	if len(p.xs) == 0 {
		t.Skip("no messages")
	}
	return rapid.IntRange(0, len(p.xs)-1).Draw(t, "message")
}

// maintain lets all of the background work happen, or one step of it.
func (p *pair) maintain(t *rapid.T) {
	if rapid.Bool().Draw(t, "all of it") {
		p.x.settle()
		p.x.fold()
		p.ref.now = p.x.now
		if p.model == nil {
			p.ref.settle()
			p.ref.fold()
			p.x.now = p.ref.now
			_, err := p.x.e.Maintain(p.x.ctx, p.now())
			p.x.check(err, "Maintain")
			p.compareEvents()
		}
	} else {
		_, err := p.x.e.Maintain(p.x.ctx, p.now())
		p.x.check(err, "Maintain")
	}
	_, err := p.ref.e.Maintain(p.ref.ctx, p.now())
	p.ref.check(err, "Maintain")
}

func (p *pair) deadLetters(t *rapid.T) {
	r, e := p.ref.listDead(recall.Filter{}), p.x.listDead(recall.Filter{})
	if len(r) == 0 || len(r) != len(e) {
		t.Skip("no dead letters")
	}
	var rids, xids []recall.DeadLetterID
	for i := range r {
		if rapid.Bool().Draw(t, "this one") {
			rids, xids = append(rids, r[i].ID), append(xids, e[i].ID)
		}
	}
	if rapid.Bool().Draw(t, "delete") {
		rn, err := p.ref.e.DeleteDead(p.ref.ctx, rids)
		p.ref.check(err, "DeleteDead")
		xn, err := p.x.e.DeleteDead(p.x.ctx, xids)
		p.x.check(err, "DeleteDead")
		p.same("DeleteDead", rn, xn)
		return
	}
	rr, err := p.ref.e.RetryDead(p.ref.ctx, rids, p.now())
	p.ref.check(err, "RetryDead")
	xr, err := p.x.e.RetryDead(p.x.ctx, xids, p.now())
	p.x.check(err, "RetryDead")
	p.arrived(rr, xr)
}

func (p *pair) list(t *rapid.T) {
	rf, xf := p.filter(t)
	p.same("List of "+xf.String(), p.refNumbers(p.ref.list(rf)), p.xNumbers(p.x.list(xf)))
	p.same("Count of "+xf.String(), p.ref.count(rf), p.x.count(xf))
	var rd, xd []int
	for _, d := range p.ref.listDead(rf) {
		rd = append(rd, number(p.refIDs, d.Message.ID))
	}
	for _, d := range p.x.listDead(xf) {
		xd = append(xd, number(p.xs, d.Message.ID))
	}
	p.same("ListDead of "+xf.String(), rd, xd)
	if len(p.xs) > 0 {
		n, limit := p.draw(t), rapid.IntRange(0, 3).Draw(t, "limit")
		r, err := p.ref.e.List(p.ref.ctx, rf, p.refIDs[n], limit, p.now())
		p.ref.check(err, "List")
		e, err := p.x.e.List(p.x.ctx, xf, p.xs[n], limit, p.now())
		p.x.check(err, "List")
		p.same("List after a message", p.refNumbers(messageIDs(r)), p.xNumbers(messageIDs(e)))
	}
}

func (p *pair) advance(t *rapid.T) {
	steps := []time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour}
	if p.model != nil {
		steps = append(steps, -time.Second, -time.Hour)
	}
	d := rapid.SampledFrom(steps).Draw(t, "by")
	if p.x.now.After(p.latest) {
		p.latest = p.x.now
	}
	p.x.advance(d)
	p.ref.now = p.x.now
	if d < 0 {
		p.back++
	}
	if p.x.now.Before(p.latest) {
		for i := range p.ops {
			p.ops[i].vague = true
		}
	}
}

// reopen restarts both. Whether an attempt that was cut short counts is the
// engine's business: the reference follows.
func (p *pair) reopen(t *rapid.T) {
	if p.x.h.Reopen == nil {
		t.Skip("the harness cannot reopen")
	}
	// So that ids of operations from before and after are not of one time.
	p.x.advance(time.Millisecond)
	p.ref.now = p.x.now
	crash := rapid.Bool().Draw(t, "crash")
	if p.model == nil {
		p.finishAll()
		p.ref.reopen(crash)
		p.x.reopen(crash)
		return
	}
	p.x.reopen(crash)
	old := p.model
	cut := map[recall.MessageID]bool{}
	for _, e := range old.live {
		cut[e.m.ID] = e.inFlight() && !e.requested
	}
	ref := old.Reopen()
	p.ref.e, p.model = ref, ref
	for _, e := range ref.live {
		if cut[e.m.ID] {
			got := p.x.get(p.xs[number(p.refIDs, e.m.ID)])
			if got.Attempts == e.m.Attempts+1 {
				e.m.Attempts++
			}
		}
	}
}
