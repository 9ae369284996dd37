package enginetest

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
)

// Harness is an engine under test and what else it can do. Only Engine is
// needed.
type Harness struct {
	// Engine is empty. The suite closes it.
	Engine recall.Engine
	// Reopen ends the engine that was handed out last, as a crash would or by
	// Close, and returns a new one on what it left, at the given time. Nil if
	// there is no such thing; then what has to survive a restart is not tested.
	Reopen func(crash bool, now time.Time) (recall.Engine, error)
	// Crash, if set, is Reopen of a crash that may come in the middle of calls,
	// and does not wait until what was queued is durable.
	Crash func(now time.Time) (recall.Engine, error)
	// Another, if set, opens one more engine on what the one that was handed out last
	// works on, as another process would. The suite closes it.
	Another func() (recall.Engine, error)
	// Stall, if set, keeps everything from becoming durable until Crash: calls
	// that wait for that hang, all others go on.
	Stall func()
	// Fold, if set, makes the engine that was handed out last do the background
	// work that does not pay yet.
	Fold func() error
	// Check, if set, looks into the engine that was handed out last for broken
	// invariants, at the end of every test and before it is closed.
	Check func() error
	// Fewer, if set, divides how many messages the tests of a great many have, but
	// under RECALL_SOAK: for an engine to which each costs a round trip, and which
	// has little that is as large as a segment, or can be told to have it small.
	Fewer int
	// Walk, if set, compares two messages by the order in which bulk calls come to them;
	// nil: that of their ids.
	Walk func(a, b recall.MessageID) int
	// Unlike names promises, as "Group/promise", that the engine keeps in another way than
	// the suite asks for, and why: its documentation says how. Their tests are skipped.
	// "Lockstep" is the comparison with the reference engine.
	Unlike map[string]string
}

// Run tests that engines keep the contract of [recall.Engine]. open is called
// for each test.
func Run(t *testing.T, open func(t *testing.T) Harness) { run(t, open, func(*testing.T) {}) }

// RunParallel is Run with the parts of the suite at the same time, for engines that
// spend it waiting. What open returns must have nothing in common with the others.
func RunParallel(t *testing.T, open func(t *testing.T) Harness) { run(t, open, (*testing.T).Parallel) }

func run(t *testing.T, open func(t *testing.T) Harness, begin func(*testing.T)) {
	groups := []group{
		{"Insert", insertTests},
		{"Filter", slices.Concat(filterTests, momentTests)},
		{"Page", pageTests},
		{"Claim", claimTests},
		{"Pull", pullTests},
		{"Finish", finishTests},
		{"Cancel", cancelTests},
		{"CancelMatching", bulkTests},
		{"Wait", waitTests},
		{"Policy", policyTests},
		{"Guard", guardTests},
		{"Undo", undoTests},
		{"Audit", auditTests},
		{"Standing", standingTests},
		{"Change", changeTests},
		{"DeadLetter", deadTests},
		{"DeadMatching", deadMatchingTests},
		{"Object", objectTests},
		{"Shared", sharedTests},
		{"Queue", queueTests},
		{"Flow", flowTests},
		{"Priority", priorityTests},
		{"Deduplication", dedupTests},
		{"Follow", followTests},
		{"Event", eventTests},
		{"Stats", statsTests},
		{"Import", importTests},
		{"Close", closeTests},
		{"Concurrent", concurrentTests},
		{"Reopen", reopenTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			begin(t)
			for _, test := range g.tests {
				t.Run(test.promise, func(t *testing.T) {
					h := open(t)
					x := newFixture(t, h)
					if why, ok := h.Unlike[g.name+"/"+test.promise]; ok {
						t.Skip(why)
					}
					test.run(x)
				})
			}
		})
	}
	t.Run("Lockstep", func(t *testing.T) {
		begin(t)
		if why, ok := open(t).Unlike[lockstepPromise]; ok {
			t.Skip(why)
		}
		lockstep(t, open)
	})
	t.Run("Unlike", func(t *testing.T) {
		h := open(t)
		newFixture(t, h)
		for promise := range h.Unlike {
			if promise != lockstepPromise && !slices.ContainsFunc(groups, func(g group) bool {
				return slices.ContainsFunc(g.tests, func(test contractTest) bool { return g.name+"/"+test.promise == promise })
			}) {
				t.Errorf("there is no promise %q", promise)
			}
		}
	})
	t.Run("Linearizable", func(t *testing.T) {
		begin(t)
		linearizable(t, open)
	})
}

// lockstepPromise is what Harness.Unlike calls the comparison with the reference engine.
const lockstepPromise = "Lockstep"

// group is promises about one thing.
type group struct {
	name  string
	tests []contractTest
}

// contractTest is one promise of the contract, and the test of it.
type contractTest struct {
	promise string
	run     func(*fixture)
}

// soak makes the concurrent and random tests larger.
var soak = os.Getenv("RECALL_SOAK") != ""

// size returns small, or a multiple of it under RECALL_SOAK.
func size(small int) int {
	if soak {
		return small * 20
	}
	return small
}

// many is n, or less for an engine that asks for that.
func (x *fixture) many(n int) int {
	if soak || x.h.Fewer == 0 {
		return n
	}
	return n / x.h.Fewer
}

// base is when every test begins.
var base = time.UnixMilli(1_800_000_000_000)

// far is a time at which everything is due.
var far = base.Add(10 * 365 * 24 * time.Hour)

// fixture is one engine in one test, with a clock that the test moves.
type fixture struct {
	rapid.TB // the test, or one case of a random one
	e        recall.Engine
	h        Harness
	ctx      context.Context
	now      time.Time
}

func newFixture(t *testing.T, h Harness) *fixture {
	x := &fixture{TB: t, e: h.Engine, h: h, ctx: context.Background(), now: base}
	t.Cleanup(func() {
		if !t.Failed() {
			x.checkWhole()
		}
		if h.Check != nil {
			if err := h.Check(); err != nil {
				t.Errorf("invariants: %v", err)
			}
		}
		if err := x.e.Close(); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	return x
}

// checkWhole compares what the ways to look at an engine say.
func (x *fixture) checkWhole() {
	x.Helper()
	all, err := x.e.List(x.ctx, recall.Filter{}, "", 1<<30, x.now)
	if errors.Is(err, recall.ErrClosed) {
		return
	}
	x.check(err, "List")
	var want recall.Count
	for i, m := range all {
		if i > 0 && all[i-1].ID >= m.ID {
			x.Errorf("List: %s comes before %s", all[i-1].ID, m.ID)
		}
		if m.State == recall.StateInFlight {
			want.InFlight++
		} else {
			want.Pending++
		}
		got, err := x.e.Get(x.ctx, m.ID, x.now)
		if err != nil {
			x.Errorf("List has %s; Get: %v", m.ID, err)
		}
		sameMessage(x, got, m)
	}
	if got := x.count(recall.Filter{}); got != want {
		x.Errorf("Count of everything: got %+v, List has %+v", got, want)
	}
	if s := x.e.Stats(); s.Pending != want.Pending || s.InFlight < want.InFlight {
		x.Errorf("Stats: got %d pending and %d in flight, List has %+v", s.Pending, s.InFlight, want)
	}
	if got, dead := x.e.Stats().DeadLetters, len(x.listDead(recall.Filter{})); got != dead {
		x.Errorf("Stats: got %d dead letters, ListDead has %d", got, dead)
	}
}

// sameMessage compares what List and Get must agree on.
func sameMessage(x *fixture, got, want recall.Message) {
	x.Helper()
	if got.ID != want.ID || got.State != want.State || !got.DueAt.Equal(want.DueAt) || got.Attempts != want.Attempts ||
		got.URL != want.URL || !slices.Equal(got.Labels, want.Labels) || !got.CreatedAt.Equal(want.CreatedAt) {
		x.Errorf("message %s: got %+v, want %+v", want.ID, got, want)
	}
}

// check stops the test if err is one.
func (x *fixture) check(err error, call string) {
	x.Helper()
	if err != nil {
		x.Fatalf("%s: %v", call, err)
	}
}

func (x *fixture) wantError(err, want error, call string) {
	x.Helper()
	if !errors.Is(err, want) {
		x.Fatalf("%s: got error %v, want %v", call, err, want)
	}
}

func (x *fixture) advance(d time.Duration) { x.now = x.now.Add(d) }

// message returns a message as a broker hands it to an engine, due now.
func (x *fixture) message(set ...func(*recall.Message)) recall.Message {
	m := recall.Message{URL: "https://api.test/hook", Method: "POST", Retries: recall.Retries(3), Timeout: 30 * time.Second}
	m.CreatedAt, m.DueAt = x.now, x.now
	for _, s := range set {
		s(&m)
	}
	return m
}

func label(labels ...string) func(*recall.Message) {
	return func(m *recall.Message) { m.Labels = labels }
}

func queue(name string) func(*recall.Message) { return func(m *recall.Message) { m.Queue = name } }

func url(u string) func(*recall.Message) { return func(m *recall.Message) { m.URL = u } }

func due(at time.Time) func(*recall.Message) { return func(m *recall.Message) { m.DueAt = at } }

// insert publishes msgs as one unit.
func (x *fixture) insert(msgs ...recall.Message) []recall.MessageID {
	x.Helper()
	receipts, err := x.e.Insert(x.ctx, msgs, x.now)
	x.check(err, "Insert")
	if len(receipts) != len(msgs) {
		x.Fatalf("Insert of %d messages: got %d receipts", len(msgs), len(receipts))
	}
	ids := make([]recall.MessageID, len(receipts))
	for i, r := range receipts {
		ids[i] = r.ID
	}
	return ids
}

// publish inserts one message.
func (x *fixture) publish(set ...func(*recall.Message)) recall.MessageID {
	x.Helper()
	return x.insert(x.message(set...))[0]
}

// publishMany inserts n messages as one unit, the i-th due i milliseconds from
// now unless set says otherwise.
func (x *fixture) publishMany(n int, set ...func(*recall.Message)) []recall.MessageID {
	x.Helper()
	msgs := make([]recall.Message, n)
	for i := range msgs {
		staggered := due(x.now.Add(time.Duration(i) * time.Millisecond))
		msgs[i] = x.message(slices.Concat([]func(*recall.Message){staggered}, set)...)
	}
	return x.insert(msgs...)
}

func (x *fixture) get(id recall.MessageID) recall.Message {
	x.Helper()
	m, err := x.e.Get(x.ctx, id, x.now)
	x.check(err, "Get "+string(id))
	return m
}

func (x *fixture) wantState(id recall.MessageID, want recall.State) {
	x.Helper()
	if got := x.get(id).State; got != want {
		x.Fatalf("%s: got state %q, want %q", id, got, want)
	}
}

func (x *fixture) wantGone(ids ...recall.MessageID) {
	x.Helper()
	for _, id := range ids {
		if m, err := x.e.Get(x.ctx, id, x.now); !errors.Is(err, recall.ErrNotFound) {
			x.Fatalf("%s should be gone: got %q, %v", id, m.State, err)
		}
	}
}

func (x *fixture) wantPending(ids ...recall.MessageID) {
	x.Helper()
	for _, id := range ids {
		if got := x.get(id).State; got == recall.StateInFlight {
			x.Fatalf("%s should be pending: it is in flight", id)
		}
	}
}

func (x *fixture) count(f recall.Filter) recall.Count {
	x.Helper()
	c, err := x.e.Count(x.ctx, f, x.now)
	x.check(err, "Count")
	return c
}

func (x *fixture) wantCount(f recall.Filter, pending, inFlight int) {
	x.Helper()
	if got, want := x.count(f), (recall.Count{Pending: pending, InFlight: inFlight}); got != want {
		x.Fatalf("Count of %s: got %+v, want %+v", f, got, want)
	}
}

func (x *fixture) list(f recall.Filter) []recall.MessageID {
	x.Helper()
	msgs, err := x.e.List(x.ctx, f, "", 1<<30, x.now)
	x.check(err, "List")
	return messageIDs(msgs)
}

func (x *fixture) wantList(f recall.Filter, want ...recall.MessageID) {
	x.Helper()
	if got := x.list(f); !slices.Equal(got, want) {
		x.Fatalf("List of %s: got %v, want %v", f, got, want)
	}
}

func messageIDs(msgs []recall.Message) []recall.MessageID {
	ids := make([]recall.MessageID, len(msgs))
	for i, m := range msgs {
		ids[i] = m.ID
	}
	return ids
}

func (x *fixture) claimResult(max int, handlers ...string) recall.ClaimResult {
	x.Helper()
	res, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: x.now, Max: max, Handlers: handlers})
	x.check(err, "Claim")
	return res
}

// claim leases up to max messages.
func (x *fixture) claim(max int, handlers ...string) []recall.Lease {
	x.Helper()
	return x.claimResult(max, handlers...).Leases
}

// claimOne leases one message, which must be the given one.
func (x *fixture) claimOne(want recall.MessageID) recall.Lease {
	x.Helper()
	leases := x.claim(1)
	if len(leases) != 1 || leases[0].Message.ID != want {
		x.Fatalf("Claim: got %v, want %s", leaseIDs(leases), want)
	}
	return leases[0]
}

func (x *fixture) wantClaim(max int, want ...recall.MessageID) []recall.Lease {
	x.Helper()
	leases := x.claim(max)
	if got := leaseIDs(leases); !slices.Equal(got, want) {
		x.Fatalf("Claim: got %v, want %v", got, want)
	}
	return leases
}

func leaseIDs(leases []recall.Lease) []recall.MessageID {
	ids := make([]recall.MessageID, len(leases))
	for i, l := range leases {
		ids[i] = l.Message.ID
	}
	return ids
}

// ending returns the end of an attempt with an outcome, durable, now.
func (x *fixture) ending(o recall.Outcome) recall.Finish {
	f := recall.Finish{Outcome: o, Now: x.now, Durable: true}
	switch o {
	case recall.Retry:
		f.Due, f.Reason, f.Failure = x.now.Add(time.Minute), "status 500", recall.FailureStatus
	case recall.Dead:
		f.Reason, f.Failure = "status 500", recall.FailureStatus
	}
	return f
}

func (x *fixture) finish(l recall.Lease, o recall.Outcome) {
	x.Helper()
	x.check(x.e.Finish(x.ctx, l, x.ending(o)), "Finish")
}

func (x *fixture) wantLeaseLost(l recall.Lease) {
	x.Helper()
	for _, o := range []recall.Outcome{recall.Delivered, recall.Retry, recall.Dead, recall.Release} {
		x.wantError(x.e.Finish(x.ctx, l, x.ending(o)), recall.ErrLeaseLost, "Finish with a stale lease")
	}
}

func (x *fixture) cancel(id recall.MessageID) error {
	return x.e.Cancel(x.ctx, recall.CancelRequest{ID: id, Now: x.now})
}

func (x *fixture) cancelSticky(id recall.MessageID) {
	x.Helper()
	x.check(x.e.Cancel(x.ctx, recall.CancelRequest{ID: id, Sticky: true, Now: x.now}), "Cancel with Sticky")
}

// cancelMatching cancels what f matches and expects that nothing is in its way.
func (x *fixture) cancelMatching(f recall.Filter, want int) recall.CancelResult {
	x.Helper()
	res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Now: x.now})
	x.check(err, "CancelMatching")
	x.wantCancelled(res, want)
	return res
}

func (x *fixture) cancelAll(want int) {
	x.Helper()
	res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{All: true, Now: x.now})
	x.check(err, "CancelMatching of all")
	x.wantCancelled(res, want)
}

func (x *fixture) wantCancelled(res recall.CancelResult, want int) {
	x.Helper()
	if res.Cancelled != want || (res.Operation != "") != (want > 0) || res.Scanned < want {
		x.Fatalf("CancelMatching: got %+v, want %d cancelled, an operation if any, and at least as many scanned", res, want)
	}
}

// wantStopped checks the answer of a bulk cancellation that met a blocker.
func (x *fixture) wantStopped(res recall.CancelResult, err error, blocker recall.MessageID, cancelled int) {
	x.Helper()
	var stop *recall.NotCancellableError
	if !errors.As(err, &stop) || !errors.Is(err, recall.ErrNotCancellable) {
		x.Fatalf("CancelMatching: got error %v, want a *NotCancellableError", err)
	}
	if want := (recall.NotCancellableError{ID: blocker, State: recall.StateInFlight, Cancelled: cancelled}); *stop != want {
		x.Fatalf("CancelMatching: got %+v, want %+v", *stop, want)
	}
	x.wantCancelled(res, cancelled)
}

func (x *fixture) listDead(f recall.Filter) (all []recall.DeadLetter) {
	x.Helper()
	for after := recall.DeadLetterID(""); ; after = all[len(all)-1].ID {
		page, err := x.e.ListDead(x.ctx, f, after, 1<<30)
		x.check(err, "ListDead")
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

// kill publishes a message and lets its only attempt fail.
func (x *fixture) kill(set ...func(*recall.Message)) recall.DeadLetter {
	x.Helper()
	id := x.publish(set...)
	x.finish(x.claimOne(id), recall.Dead)
	dead := x.listDead(recall.Filter{IDs: []recall.MessageID{id}})
	if len(dead) != 1 || dead[0].Message.ID != id {
		x.Fatalf("ListDead of %s: got %d entries", id, len(dead))
	}
	return dead[0]
}

// settle lets the engine do its background work, that for which time has to
// pass too: claims are noted, and what can be undone expires. Records are kept
// for longer.
func (x *fixture) settle() {
	x.Helper()
	const soon = time.Hour
	for range 1000 {
		next, err := x.e.Maintain(x.ctx, x.now)
		x.check(err, "Maintain")
		if next.IsZero() || next.Sub(x.now) > soon {
			return
		}
		if next.After(x.now) {
			x.now = next
		}
	}
	x.Fatalf("Maintain still wants to be called again after 1000 steps")
}

// fold lets the engine fold what it would keep for a while, if it can be made
// to.
func (x *fixture) fold() {
	x.Helper()
	if x.h.Fold != nil {
		x.check(x.h.Fold(), "Fold")
	}
}

// doneContext returns a context that is done.
func doneContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// hinted tells whether there is a hint, and takes it.
func hinted(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
