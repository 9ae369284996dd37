package recall_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
)

// modelOp is a cancellation in bulk.
type modelOp struct {
	id          recall.OperationID
	at          time.Time
	took, asked []*modelMessage
	result      *recall.RestoreResult // nil: it was not undone
}

// modelStanding is a standing cancellation.
type modelStanding struct {
	id     recall.OperationID
	filter recall.Filter
	until  time.Time
	lifted bool
}

// taker returns the oldest standing cancellation that takes a message.
func (m *model) taker(x *modelMessage, at time.Time) recall.OperationID {
	msg := x.at(at)
	for _, s := range m.standing {
		if !s.lifted && at.Before(s.until) && s.filter.Matches(&msg) {
			return s.id
		}
	}
	return ""
}

// bulkCall is one call with its options, and what it should do.
type bulkCall struct {
	opts   []recall.CancelOption
	policy recall.Policy
	limit  int
	dryRun bool
	guard  *[2]int // least and most

	taken   []*modelMessage // pending
	asked   []*modelMessage // in flight
	skipped []recall.MessageID
	blocker *modelMessage
	found   int
}

func drawBulk(t *rapid.T, standard recall.Policy, policies ...recall.Policy) *bulkCall {
	c := &bulkCall{policy: standard}
	if rapid.Bool().Draw(t, "with a policy") {
		c.policy = rapid.SampledFrom(policies).Draw(t, "policy")
		c.opts = append(c.opts, c.policy)
	}
	if rapid.IntRange(0, 4).Draw(t, "limited") == 0 {
		c.limit = rapid.IntRange(1, 3).Draw(t, "limit")
		c.opts = append(c.opts, recall.Limit(c.limit))
	}
	if c.dryRun = rapid.IntRange(0, 5).Draw(t, "dry") == 0; c.dryRun {
		c.opts = append(c.opts, recall.DryRun())
	}
	if rapid.IntRange(0, 3).Draw(t, "guarded") == 0 {
		n := rapid.IntRange(0, 4).Draw(t, "expected")
		if rapid.Bool().Draw(t, "exactly") {
			c.guard = &[2]int{n, n}
			c.opts = append(c.opts, recall.ExpectExactly(n))
		} else {
			c.guard = &[2]int{0, n}
			c.opts = append(c.opts, recall.ExpectAtMost(n))
		}
	}
	return c
}

// walk finds out what the call should do.
func (c *bulkCall) walk(live []*modelMessage, f recall.Filter, wants func(*modelMessage) bool) {
	over := false
	for _, x := range live {
		if msg := x.at(time.Now()); x.requested || !f.Matches(&msg) || !wants(x) {
			continue
		}
		if !x.inFlight {
			c.found++
		}
		switch {
		case over || c.limit > 0 && len(c.taken)+len(c.asked) == c.limit:
			over = true
		case !x.inFlight:
			c.taken = append(c.taken, x)
		case c.policy == recall.Stop:
			over, c.blocker = true, x
		case c.policy == recall.Skip:
			c.skipped = append(c.skipped, x.id)
		default:
			c.asked = append(c.asked, x)
		}
	}
}

// refused tells whether the guard refuses the call.
func (c *bulkCall) refused() bool {
	return c.guard != nil && (c.found < c.guard[0] || c.found > c.guard[1])
}

// check compares the outcome of the call, and reports whether it has changed
// anything.
func (c *bulkCall) check(t *rapid.T, call string, taken, asked int, skipped []recall.MessageID, op recall.OperationID, err error) bool {
	if c.refused() {
		var unexpected *recall.UnexpectedCountError
		if !errors.As(err, &unexpected) || unexpected.Found != c.found || taken+asked != 0 || op != "" {
			t.Fatalf("%s: got %d taken, %d asked, %q, %v; want it refused because of %d", call, taken, asked, op, err, c.found)
		}
		return false
	}
	var stop *recall.NotCancellableError
	switch {
	case c.blocker == nil && err != nil:
		t.Fatalf("%s: got %v, want no error", call, err)
	case c.blocker != nil && (!errors.As(err, &stop) || stop.ID != c.blocker.id || stop.Cancelled != len(c.taken)):
		t.Fatalf("%s: got %v, want it stopped by %s after %d", call, err, c.blocker.id, len(c.taken))
	}
	some := !c.dryRun && len(c.taken)+len(c.asked) > 0
	if taken != len(c.taken) || asked != len(c.asked) || !slices.Equal(skipped, c.skipped) || (op != "") != some {
		t.Fatalf("%s: got %d taken, %d asked, skipped %q, operation %q; want %d, %d, %q, %v",
			call, taken, asked, skipped, op, len(c.taken), len(c.asked), c.skipped, some)
	}
	return some
}

func anything(*modelMessage) bool { return true }

func (m *model) cancelMatching(t *rapid.T) {
	f := recall.Filter{}
	if rapid.IntRange(0, 3).Draw(t, "everything") > 0 {
		f = m.filter(t)
	}
	c := drawBulk(t, recall.Stop, recall.Stop, recall.Skip, recall.Sticky, recall.Abort)
	c.walk(m.live, f, anything)
	var res recall.CancelResult
	var err error
	if f.IsZero() {
		res, err = m.broker.CancelMatching(context.Background(), f, c.opts...)
		if !errors.Is(err, recall.ErrEmptyFilter) || !reflect.DeepEqual(res, recall.CancelResult{}) {
			t.Fatalf("CancelMatching of nothing: got %+v, %v", res, err)
		}
		res, err = m.broker.CancelAll(context.Background(), c.opts...)
	} else {
		res, err = m.broker.CancelMatching(context.Background(), f, c.opts...)
	}
	call := fmt.Sprintf("CancelMatching of %s, %+v", f, c.opts)
	if c.check(t, call, res.Cancelled, res.Requested, res.Skipped, res.Operation, err) {
		m.took(c, res.Operation)
	}
	m.settle(time.Now())
}

// took is what a cancellation does.
func (m *model) took(c *bulkCall, op recall.OperationID) {
	m.ops = append(m.ops, &modelOp{id: op, at: time.Now(), took: c.taken, asked: c.asked})
	for _, x := range c.taken {
		x.by = op
		m.drop(x)
	}
	for _, x := range c.asked {
		x.requested = true
	}
	if c.policy == recall.Abort {
		synctest.Wait()
		for _, x := range c.asked {
			m.endAttempt(x, "f", time.Now())
		}
	}
}

// restore undoes a cancellation: a new one, an old one, one that was undone.
func (m *model) restore(t *rapid.T) {
	if len(m.ops) == 0 {
		t.Skip("no operations")
	}
	op := rapid.SampledFrom(m.ops).Draw(t, "operation")
	res, err := m.broker.Restore(context.Background(), op.id)
	switch {
	case op.result != nil: // the same again
	case !time.Now().Before(op.at.Add(recall.DefaultUndoWindow)):
		if !errors.Is(err, recall.ErrUndoExpired) {
			t.Fatalf("Restore of what is too old: got %+v, %v", res, err)
		}
		return
	default:
		m.back(op)
	}
	if err != nil || res != *op.result {
		t.Fatalf("Restore: got %+v, %v, want %+v", res, err, *op.result)
	}
	m.settle(time.Now())
}

func (m *model) back(op *modelOp) {
	op.result = &recall.RestoreResult{Restored: len(op.took)}
	for _, x := range op.took {
		x.by, x.after = "", time.Now()
		m.gone = slices.DeleteFunc(m.gone, func(o *modelMessage) bool { return o == x })
		m.live = append(m.live, x)
	}
	slices.SortFunc(m.live, func(a, b *modelMessage) int { return a.number - b.number })
	for _, x := range op.asked {
		if x.requested && !x.single && x.inFlight && slices.Contains(m.live, x) {
			x.requested = false
			op.result.Lifted++
		}
	}
}

func (m *model) cancelFuture(t *rapid.T) {
	time.Sleep(time.Millisecond) // after an open, those of one millisecond are in any order
	synctest.Wait()
	m.settle(time.Now())
	s := &modelStanding{filter: m.filter(t)}
	s.until = time.Now().Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "for"))
	id, err := m.broker.CancelFuture(context.Background(), s.filter, s.until)
	if s.filter.IsZero() {
		if !errors.Is(err, recall.ErrEmptyFilter) {
			t.Fatalf("CancelFuture of everything: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("CancelFuture: %v", err)
	}
	s.id = id
	m.standing = append(m.standing, s)
}

func (m *model) lift(t *rapid.T) {
	if len(m.standing) == 0 {
		t.Skip("none is standing")
	}
	s := rapid.SampledFrom(m.standing).Draw(t, "standing cancellation")
	if err := m.broker.LiftCancellation(context.Background(), s.id); err != nil {
		t.Fatalf("LiftCancellation: %v", err)
	}
	s.lifted = true
}

// change holds, releases, reschedules or retries.
func (m *model) change(t *rapid.T) {
	f := m.filter(t)
	if f.IsZero() {
		t.Skip("no filter")
	}
	now, ctx := time.Now(), context.Background()
	due := now.Add(rapid.SampledFrom([]time.Duration{-time.Hour, 0, time.Second, time.Hour}).Draw(t, "due"))
	if due.Before(now) {
		due = now
	}
	c := drawBulk(t, recall.Skip, recall.Stop, recall.Skip)
	verbs := map[string]struct {
		call  func() (recall.ChangeResult, error)
		wants func(*modelMessage) bool
		do    func(*modelMessage)
	}{
		"Hold": {
			func() (recall.ChangeResult, error) { return m.broker.Hold(ctx, f, c.opts...) },
			func(x *modelMessage) bool { return !x.held },
			func(x *modelMessage) { x.held = true },
		},
		"Release": {
			func() (recall.ChangeResult, error) { return m.broker.Release(ctx, f, c.opts...) },
			func(x *modelMessage) bool { return x.held },
			func(x *modelMessage) { x.held, x.after = false, now },
		},
		"Reschedule": {
			func() (recall.ChangeResult, error) { return m.broker.Reschedule(ctx, f, due, c.opts...) },
			func(x *modelMessage) bool { return !x.due.Equal(due) },
			func(x *modelMessage) { x.due = due },
		},
		"RetryNow": {
			func() (recall.ChangeResult, error) { return m.broker.RetryNow(ctx, f, c.opts...) },
			func(x *modelMessage) bool { return !x.inFlight && x.attempts > 0 && x.due.After(now) },
			func(x *modelMessage) { x.due = now },
		},
	}
	name := rapid.SampledFrom([]string{"Hold", "Release", "Reschedule", "RetryNow"}).Draw(t, "verb")
	v := verbs[name]
	c.walk(m.live, f, v.wants)
	res, err := v.call()
	if c.check(t, fmt.Sprintf("%s of %s, %+v", name, f, c.opts), res.Changed, 0, res.Skipped, res.Operation, err) {
		for _, x := range c.taken {
			v.do(x)
		}
	}
	m.settle(now)
}

// update publishes and cancels in a transaction, which may fail at its end.
func (m *model) update(t *rapid.T) {
	added, msgs := m.draw(t)
	f := m.filter(t)
	c := drawBulk(t, recall.Stop, recall.Stop, recall.Skip, recall.Sticky)
	fails := rapid.IntRange(0, 3).Draw(t, "fails") == 0
	var receipts []recall.Receipt
	var res recall.CancelResult
	var cancelErr error
	err := m.broker.Update(context.Background(), func(tx *recall.Tx) (err error) {
		if receipts, err = tx.PublishBatch(msgs); err != nil {
			return err
		}
		if !f.IsZero() {
			res, cancelErr = tx.CancelMatching(f, c.opts...)
		}
		if fails {
			return errNoRoom
		}
		return nil
	})
	if errors.Is(err, recall.ErrUnsupported) {
		t.Skip("no transactions")
	}
	if fails != errors.Is(err, errNoRoom) || !fails && err != nil {
		t.Fatalf("Update: %v", err)
	}
	live, gone, number := slices.Clone(m.live), slices.Clone(m.gone), m.number
	for i, r := range receipts {
		m.add(t, added[i], r)
	}
	some := false
	if !f.IsZero() {
		c.walk(m.live, f, anything)
		some = c.check(t, fmt.Sprintf("CancelMatching of %s, %+v in a transaction", f, c.opts), res.Cancelled, res.Requested, res.Skipped, res.Operation, cancelErr)
	}
	switch {
	case fails:
		m.live, m.gone, m.number = live, gone, number
	case some:
		m.took(c, res.Operation)
	}
	m.settle(time.Now())
}

func (m *model) deleteDead(t *rapid.T) {
	f := recall.Filter{Labels: []string{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "label")}}
	matches := func(x *modelMessage) bool { return f.Matches(&x.msg) }
	want := 0
	for _, x := range m.dead {
		if matches(x) {
			want++
		}
	}
	var opts []recall.CancelOption
	if rapid.Bool().Draw(t, "guarded") {
		expected := rapid.IntRange(0, 3).Draw(t, "expected")
		opts = append(opts, recall.ExpectExactly(expected))
		if expected != want {
			n, err := m.broker.DeleteDeadMatching(context.Background(), f, opts...)
			if n != 0 || !errors.Is(err, recall.ErrUnexpectedCount) {
				t.Fatalf("DeleteDeadMatching of %d, of which there are %d: got %d, %v", expected, want, n, err)
			}
			return
		}
	}
	for _, x := range m.dead {
		if matches(x) {
			m.gone = append(m.gone, x)
		}
	}
	m.dead = slices.DeleteFunc(m.dead, matches)
	if n, err := m.broker.DeleteDeadMatching(context.Background(), f, opts...); err != nil || n != want {
		t.Fatalf("DeleteDeadMatching: got %d, %v, want %d", n, err, want)
	}
}
