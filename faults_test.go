package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

var errInjected = errors.New("injected")

// storyBase is when the stories of faults happen.
var storyBase = time.UnixMilli(1_700_000_000_000)

// story changes an engine step by step. expect is what lives after each step,
// by body, and dead how many dead letters there are.
type story struct {
	e     recall.Engine
	ids   map[string]recall.MessageID
	lease map[string]recall.Lease
	op    recall.OperationID // of the last cancellation that can be undone, or of the standing one
}

type storyStep struct {
	name   string
	do     func(*story) error
	expect []string
	dead   int
}

func (s *story) insert(names ...string) error {
	var msgs []recall.Message
	for _, n := range names {
		msgs = append(msgs, storyMessage(n, storyBase))
	}
	receipts, err := s.e.Insert(context.Background(), msgs, storyBase)
	for i, r := range receipts {
		s.ids[names[i]] = r.ID
	}
	return err
}

func storyMessage(name string, due time.Time) recall.Message {
	return recall.Message{
		URL: "http://host/" + name, Method: "POST", Body: []byte(name), Labels: []string{name[:1]}, Retries: recall.Retries(1),
		DueAt: due, CreatedAt: storyBase,
	}
}

func (s *story) claim(n int) error {
	res, err := s.e.Claim(context.Background(), recall.ClaimRequest{Now: storyBase.Add(time.Hour), Max: n})
	for _, l := range res.Leases {
		s.lease[string(l.Message.Body)] = l
	}
	return err
}

func (s *story) finish(name string, f recall.Finish) error {
	f.Now, f.Durable = storyBase, true
	return s.e.Finish(context.Background(), s.lease[name], f)
}

func (s *story) upkeep() error {
	now := storyBase.Add(time.Hour)
	for {
		next, err := s.e.Maintain(context.Background(), now)
		if err != nil || !next.Equal(now) {
			return err
		}
	}
}

func (s *story) cancelLabel(label string) error {
	_, err := s.e.CancelMatching(context.Background(), recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{label}}, Now: storyBase})
	return err
}

// cancelSticky cancels what waits, and asks for what is in flight.
func (s *story) cancelSticky(label string) error {
	res, err := s.e.CancelMatching(context.Background(), recall.CancelMatchingRequest{
		Filter: recall.Filter{Labels: []string{label}}, Policy: recall.Sticky, Now: storyBase,
	})
	s.op = res.Operation
	return err
}

func (s *story) restore() error {
	_, err := s.e.(recall.Restorer).Restore(context.Background(), s.op, storyBase)
	return err
}

func (s *story) change(kind recall.OperationKind, label string) error {
	req := recall.ChangeRequest{Kind: kind, Due: storyBase.Add(time.Minute)}
	req.Filter, req.Policy, req.Now = recall.Filter{Labels: []string{label}}, recall.Skip, storyBase
	_, err := s.e.(recall.Changer).Change(context.Background(), req)
	return err
}

func (s *story) cancelFuture(label string) (err error) {
	s.op, err = s.e.(recall.Stander).CancelFuture(context.Background(), recall.Filter{Labels: []string{label}}, storyBase.Add(time.Hour), "", storyBase)
	return err
}

func (s *story) lift() error {
	return s.e.(recall.Stander).LiftCancellation(context.Background(), s.op, storyBase)
}

// transaction publishes t1, cancels h in bulk, e2, and e1 in flight, and notes in
// a bucket that it did.
func (s *story) transaction() error {
	return s.e.(recall.Transactor).Update(context.Background(), func(tx recall.EngineTx) error {
		_, published := tx.Insert([]recall.Message{storyMessage("t1", storyBase), storyMessage("h2", storyBase)}, storyBase)
		_, bulk := tx.CancelMatching(recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"h"}}, Now: storyBase})
		b, made := tx.Bucket("app")
		return errors.Join(published, bulk, made, b.Put([]byte("t"), []byte("done")),
			tx.Cancel(recall.CancelRequest{ID: s.ids["e2"], Now: storyBase}),
			tx.Cancel(recall.CancelRequest{ID: s.ids["e1"], Sticky: true, Now: storyBase}))
	})
}

func (s *story) dead() (ids []recall.DeadLetterID, err error) {
	return s.e.DeadIDs(context.Background(), recall.Filter{}, "", 10)
}

func (s *story) retryDead() error {
	ids, err := s.dead()
	if err != nil {
		return err
	}
	_, err = s.e.RetryDead(context.Background(), ids, storyBase)
	return err
}

func (s *story) deleteDead() error {
	ids, err := s.dead()
	if err != nil {
		return err
	}
	_, err = s.e.DeleteDead(context.Background(), ids)
	return err
}

// many are the names of a large batch.
var many = func() (names []string) {
	for i := range 3000 {
		names = append(names, fmt.Sprint("m", i))
	}
	return names
}()

// faultSteps: what lives is told with the minutes until it is due, if there
// are any, and the large batch by its number.
var faultSteps = []storyStep{
	{"publish one", func(s *story) error { return s.insert("a1") }, []string{"a1"}, 0},
	{"publish several", func(s *story) error { return s.insert("b1", "b2", "c1", "d1", "d2") }, []string{"a1", "b1", "b2", "c1", "d1", "d2"}, 0},
	{"deliver", func(s *story) error {
		return errors.Join(s.claim(3), s.finish("a1", recall.Finish{Outcome: recall.Delivered}))
	}, []string{"b1", "b2", "c1", "d1", "d2"}, 0},
	{"retry", func(s *story) error {
		return s.finish("b1", recall.Finish{Outcome: recall.Retry, Due: storyBase.Add(time.Minute)})
	}, []string{"b1+1m", "b2", "c1", "d1", "d2"}, 0},
	{"dead letter", func(s *story) error {
		return s.finish("b2", recall.Finish{Outcome: recall.Dead, Reason: "no"})
	}, []string{"b1+1m", "c1", "d1", "d2"}, 1},
	{"cancel one", func(s *story) error {
		return s.e.Cancel(context.Background(), recall.CancelRequest{ID: s.ids["c1"], Now: storyBase})
	}, []string{"b1+1m", "d1", "d2"}, 1},
	{"cancel by filter", func(s *story) error { return s.cancelLabel("d") }, []string{"b1+1m"}, 1},
	{"upkeep", (*story).upkeep, []string{"b1+1m"}, 1},
	{"publish many", func(s *story) error { return s.insert(many...) }, []string{"b1+1m", "3000 m"}, 1},
	{"cancel many", func(s *story) error { return s.cancelLabel("m") }, []string{"b1+1m"}, 1},
	{"fold many", (*story).upkeep, []string{"b1+1m"}, 1},
	{"request to cancel", func(s *story) error {
		return errors.Join(s.claim(1), s.e.Cancel(context.Background(), recall.CancelRequest{ID: s.ids["b1"], Sticky: true, Now: storyBase}))
	}, nil, 1},
	{"end of the requested", func(s *story) error {
		return s.finish("b1", recall.Finish{Outcome: recall.Retry, Due: storyBase})
	}, nil, 1},
	{"retry the dead letter", (*story).retryDead, []string{"b2"}, 0},
	{"dead letter again", func(s *story) error {
		return errors.Join(s.claim(1), s.finish("b2", recall.Finish{Outcome: recall.Dead, Reason: "no"}))
	}, nil, 1},
	{"delete the dead letter", (*story).deleteDead, nil, 0},
	{"publish again", func(s *story) error { return s.insert("e1", "e2") }, []string{"e1", "e2"}, 0},
	{"cancel with Sticky", func(s *story) error { return errors.Join(s.claim(1), s.cancelSticky("e")) }, nil, 0},
	{"restore", (*story).restore, []string{"e1", "e2"}, 0},
	{"hold", func(s *story) error { return s.change(recall.OperationHold, "e") }, []string{"e1", "e2 held"}, 0},
	{"reschedule", func(s *story) error { return s.change(recall.OperationReschedule, "e") }, []string{"e1", "e2+1m held"}, 0},
	{"release", func(s *story) error { return s.change(recall.OperationRelease, "e") }, []string{"e1", "e2+1m"}, 0},
	{"cancel the future", func(s *story) error { return s.cancelFuture("g") }, []string{"e1", "e2+1m"}, 0},
	{"publish into it", func(s *story) error { return s.insert("g1", "h1") }, []string{"e1", "e2+1m", "h1"}, 0},
	{"lift", (*story).lift, []string{"e1", "e2+1m", "h1"}, 0},
	{"publish after it", func(s *story) error { return s.insert("g2") }, []string{"e1", "e2+1m", "h1", "g2"}, 0},
	{"transaction", (*story).transaction, []string{"g2", "t1"}, 0},
	{"end of the requested in it", func(s *story) error {
		return s.finish("e1", recall.Finish{Outcome: recall.Dead, Reason: "no"})
	}, []string{"g2", "t1"}, 0},
	{"fold the transaction", (*story).upkeep, []string{"g2", "t1"}, 0},
	{"dead letter with callbacks", func(s *story) error {
		named := storyMessage("named", storyBase)
		return errors.Join(s.claim(1), s.finish("g2", recall.Finish{
			Outcome: recall.Dead, Reason: "no", Follow: []recall.Message{storyMessage("told", storyBase)},
			FollowDead: []recall.DeadFollow{{Message: named, IDAt: len(named.Body)}},
		}))
	}, []string{"t1", "told", "named1700000000000-3"}, 1},
}

// TestFailEveryCommit fails the n-th commit of a story, for every n until one
// meets no failure, before and after it is written. What was acknowledged
// stays; what failed is there as a whole or not at all; and the engine takes no
// further change until it is opened again.
func TestFailEveryCommit(t *testing.T) {
	for _, before := range []bool{true, false} {
		met := map[string]bool{}
		for n, clean := 0, false; !clean; n++ {
			clean = failOne(t, n, before, met)
			if n > 100 {
				t.Fatal("the story has no end")
			}
		}
		for _, step := range faultSteps {
			if !met[step.name] {
				t.Errorf("no commit of %q has failed", step.name)
			}
		}
	}
}

// seams returns what fails the n-th commit, before or after it is written.
func seams(n int, before bool) (first, second func() error) {
	seam := func() error {
		n--
		if n == -1 {
			return errInjected
		}
		return nil
	}
	if before {
		return seam, nil
	}
	return nil, seam
}

func failOne(t *testing.T, n int, before bool, met map[string]bool) (clean bool) {
	t.Helper()
	first, second := seams(n, before)
	path := filepath.Join(t.TempDir(), "q.db")
	opts := &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}
	e, err := recall.OpenFaulty(path, opts, first, second)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	step := 0
	for ; step < len(faultSteps) && err == nil; step++ {
		err = faultSteps[step].do(s)
	}
	if err == nil {
		return e.Close() == nil
	}
	failed := faultSteps[step-1]
	met[failed.name] = true
	if !errors.Is(err, recall.ErrFailed) || !errors.Is(err, errInjected) {
		t.Fatalf("%s: got %v, want ErrFailed with its cause", failed.name, err)
	}
	s.wantFailed(t, failed.name)
	if err := recall.CheckInvariants(e, path); err != nil {
		t.Errorf("after %q has failed: %v", failed.name, err)
	}
	if err := e.Close(); err != nil && !errors.Is(err, recall.ErrFailed) {
		t.Fatal(err)
	}
	done := step
	if before {
		done-- // nothing of the failed step was written
	}
	var want storyStep
	if done > 0 {
		want = faultSteps[done-1]
	}
	wantAfterReopen(t, path, opts, fmt.Sprintf("before %v, commit %d, in %q", before, n, failed.name), want)
	return false
}

// wantFailed makes sure that nothing can be changed any more.
func (s *story) wantFailed(t *testing.T, after string) {
	t.Helper()
	ctx := context.Background()
	refused := func(call string, err error) {
		t.Helper()
		if !errors.Is(err, recall.ErrFailed) {
			t.Errorf("%s after %q has failed: %v, want ErrFailed", call, after, err)
		}
	}
	refused("publish", s.insert("z1"))
	refused("cancel the future", s.cancelFuture("z"))
	refused("transaction", s.e.(recall.Transactor).Update(ctx, func(recall.EngineTx) error { return nil }))
	refused("claim", s.claim(1))
	live, err := s.e.List(ctx, recall.Filter{}, "", 10, storyBase)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { // attempts that fail now, requested ones too
		for name := range s.lease {
			if err := s.finish(name, recall.Finish{Outcome: recall.Retry}); !errors.Is(err, recall.ErrFailed) && !errors.Is(err, recall.ErrLeaseLost) {
				t.Errorf("retry of %s after %q has failed: %v", name, after, err)
			}
		}
	}()
	for _, m := range live {
		if m.State == recall.StateInFlight {
			refused("finish", s.finish(string(m.Body), recall.Finish{Outcome: recall.Delivered}))
			continue
		}
		refused("cancel", s.e.Cancel(ctx, recall.CancelRequest{ID: m.ID, Now: storyBase}))
	}
	// What these calls took stays taken, and the rest cannot be cancelled in bulk.
	if len(live) == 10 {
		_, err := s.e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"m"}}, Now: storyBase})
		refused("bulk cancel", err)
	}
	if ids, err := s.dead(); err != nil {
		t.Fatal(err)
	} else if len(ids) > 0 {
		_, err := s.e.DeleteDead(ctx, ids)
		refused("delete dead letters", err)
	}
}

func wantAfterReopen(t *testing.T, path string, opts *recall.Options, name string, want storyStep) {
	t.Helper()
	e, err := recall.OpenEngine(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	msgs, err := e.List(context.Background(), recall.Filter{}, "", 10_000, storyBase)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	large := 0
	for _, m := range msgs {
		switch late := m.DueAt.Sub(storyBase); {
		case m.Body[0] == 'm':
			large++
		case late > 0:
			got = append(got, fmt.Sprintf("%s+%.0fm", m.Body, late.Minutes()))
		default:
			got = append(got, string(m.Body))
		}
		if m.State == recall.StateHeld {
			got[len(got)-1] += " held"
		}
	}
	noted, err := e.(recall.Transactor).Lookup(context.Background(), "app", []byte("t"))
	if err != nil || (noted != nil) != slices.Contains(got, "t1") {
		t.Errorf("%s: the bucket has %q, %v; live %v", name, noted, err, got)
	}
	if large > 0 {
		got = append(got, fmt.Sprint(large, " m"))
	}
	if !slices.Equal(got, want.expect) {
		t.Errorf("%s: live %v, want %v", name, got, want.expect)
	}
	if dead := e.Stats().DeadLetters; dead != want.dead {
		t.Errorf("%s: %d dead letters, want %d", name, dead, want.dead)
	}
	if err := recall.CheckInvariants(e, path); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// TestFailWait fails every commit of a cancellation that waits for an attempt
// in its middle: what it has taken is a prefix of its messages, to the end or
// to the message in flight.
func TestFailWait(t *testing.T) {
	for _, before := range []bool{true, false} {
		for n, clean := 0, false; !clean; n++ {
			clean = failWait(t, n, before)
		}
	}
}

func failWait(t *testing.T, n int, before bool) (clean bool) {
	t.Helper()
	path, opts := filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}
	first, second := seams(n, before)
	e, err := recall.OpenFaulty(path, opts, first, second)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	names := []string{"w0", "w1", "w2", "w3", "w4", "w5"}
	const slow = 2
	err = errors.Join(s.insert(names[:slow]...), s.insertDue(storyBase.Add(-time.Hour), names[slow]), s.insert(names[slow+1:]...), s.claim(1))
	published := err == nil
	if published {
		ended := make(chan error, 1)
		go func() {
			_, err := e.CancelMatching(context.Background(), recall.CancelMatchingRequest{
				Filter: recall.Filter{Labels: []string{"w"}}, Now: storyBase, Expired: make(chan struct{}),
			})
			ended <- err
		}()
		for e.Stats().Pending > len(names)-1-slow { // until the walk has come to the message in flight
			runtime.Gosched()
		}
		finished := s.finish(names[slow], recall.Finish{Outcome: recall.Retry, Due: storyBase})
		err = errors.Join(<-ended, finished)
	}
	if err != nil && !errors.Is(err, recall.ErrFailed) {
		t.Fatal(err)
	}
	if closed := e.Close(); closed != nil && !errors.Is(closed, recall.ErrFailed) {
		t.Fatal(closed)
	}
	left := bodiesAfterReopen(t, path, opts)
	prefix := len(left) == 0 || slices.Equal(left, names) || slices.Equal(left, names[slow:])
	if published && !prefix || err == nil && len(left) > 0 {
		t.Errorf("before %v, commit %d, %v: %v are left", before, n, err, left)
	}
	return err == nil
}

// insertDue publishes one message that is due at a time of its own.
func (s *story) insertDue(due time.Time, name string) error {
	r, err := s.e.Insert(context.Background(), []recall.Message{storyMessage(name, due)}, storyBase)
	if err == nil {
		s.ids[name] = r[0].ID
	}
	return err
}

func bodiesAfterReopen(t *testing.T, path string, opts *recall.Options) (names []string) {
	t.Helper()
	e, err := recall.OpenEngine(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := e.List(context.Background(), recall.Filter{}, "", 100, storyBase)
	if err := errors.Join(err, recall.CheckInvariants(e, path), e.Close()); err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		names = append(names, string(m.Body))
	}
	return names
}

// TestCancelledWalk ends a bulk cancellation's context at every point where the
// walk looks at it: then nothing is cancelled, and what was marked is claimable
// as before.
func TestCancelledWalk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	total := 5 * len(many) // more than three lock holds
	for range total / len(many) {
		if err := s.insert(many...); err != nil {
			t.Fatal(err)
		}
	}
	for n, clean := 0, false; !clean; n++ {
		res, err := e.CancelMatching(&endingContext{t.Context(), n}, recall.CancelMatchingRequest{
			Filter: recall.Filter{Labels: []string{"m"}}, Now: storyBase,
		})
		clean = err == nil
		if !clean && (!errors.Is(err, context.Canceled) || res.Cancelled != 0) {
			t.Fatalf("after %d looks at the context: %+v, %v", n, res, err)
		}
		s.wantPending(t, total-res.Cancelled)
		if err := recall.CheckInvariants(e, path); err != nil {
			t.Fatalf("after %d looks at the context: %v", n, err)
		}
		if clean && (n < 3 || res.Cancelled != total) {
			t.Errorf("the walk has looked at its context %d times, and cancelled %d", n, res.Cancelled)
		}
	}
}

// endingContext is done once it was looked at a number of times.
type endingContext struct {
	context.Context
	looks int
}

func (c *endingContext) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestFull fills a file: publishing is refused and changes nothing, deliveries
// and cancellations go on, and publishing works again when there is room.
func TestFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, MaxFileSize: 32 << 20, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(recall.CheckInvariants(e, path), e.Close()); err != nil {
			t.Error(err)
		}
	}()
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.insert("a1", "a2", "a3", "c1"))
	n := s.fill(t)
	s.wantPending(t, n+4)
	must(recall.CheckInvariants(e, path))

	must(s.claim(3))
	must(s.finish("a1", recall.Finish{Outcome: recall.Delivered}))
	must(s.finish("a2", recall.Finish{Outcome: recall.Dead, Reason: "no"}))
	must(s.finish("a3", recall.Finish{Outcome: recall.Retry, Due: storyBase.Add(time.Hour)}))
	must(s.e.Cancel(t.Context(), recall.CancelRequest{ID: s.ids["c1"], Now: storyBase}))
	s.wantPending(t, n+1)
	must(s.cancelLabel("f"))
	s.wantPending(t, 1)
	must(s.upkeep())
	if again := s.fill(t); again < n/2 {
		t.Errorf("after the cancellation %d found room, %d at first", again, n)
	}
}

// TestFullOfLargeMessages fills a file with messages so large that all of them
// would have numbers of one segment. When they are gone, publishing works again,
// also after the next open.
func TestFullOfLargeMessages(t *testing.T) {
	for _, mostBytes := range []int64{100 << 20, 20 << 20} {
		for name, empty := range map[string]func(*story, int) error{
			"cancel": func(s *story, _ int) error { return s.cancelLabel("f") },
			"deliver": func(s *story, n int) error {
				if err := s.claim(n); err != nil {
					return err
				}
				for body := range s.lease {
					if err := s.finish(body, recall.Finish{Outcome: recall.Delivered}); err != nil {
						return err
					}
				}
				return nil
			},
		} {
			for _, reopen := range []bool{false, true} {
				fullOfLarge(t, fmt.Sprintf("%d MiB, %s, reopen %v", mostBytes>>20, name, reopen), mostBytes, empty, reopen)
			}
		}
	}
}

func fullOfLarge(t *testing.T, name string, mostBytes int64, empty func(*story, int) error, reopen bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.db")
	opts := &recall.Options{Durability: recall.SyncNever, MaxFileSize: mostBytes, UndoWindow: -1, Logger: quietLogger}
	e, err := recall.OpenEngine(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	n := s.fillLarge(t)
	if err := empty(s, n); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if reopen {
		if err = s.e.Close(); err == nil {
			s.e, err = recall.OpenEngine(path, opts)
		}
		if err != nil {
			t.Fatal(err)
		}
		if mostBytes < 32<<20 { // nothing tells it that the file was full
			_ = s.fillLarge(t)
			if err := s.cancelLabel("f"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.upkeep(); err != nil {
		t.Fatal(err)
	}
	if again := s.fillLarge(t); again < n/2 {
		t.Errorf("%s: %d found room again, %d at first", name, again, n)
	}
	if err := errors.Join(recall.CheckInvariants(s.e, path), s.e.Close()); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// fillLarge publishes messages of 1 MiB until there is no room.
func (s *story) fillLarge(t *testing.T) (n int) {
	t.Helper()
	for ; ; n++ {
		m := storyMessage("f", storyBase)
		m.Body = append(make([]byte, 1<<20-8), fmt.Sprintf("%08d", n)...)
		_, err := s.e.Insert(t.Context(), []recall.Message{m}, storyBase)
		if errors.Is(err, recall.ErrFull) && !errors.Is(err, recall.ErrFailed) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRefusedCancellation cancels in a file in which even the reserve is used
// up: it is refused, its marks and requests are taken back, and an attempt that
// has failed meanwhile goes on as if nobody had asked.
func TestRefusedCancellation(t *testing.T) {
	for name, cancel := range map[string]func(*story) error{
		"bulk": func(s *story) error { return s.cancelSticky("a") },
		"single": func(s *story) error {
			return errors.Join(
				s.e.Cancel(context.Background(), recall.CancelRequest{ID: s.ids["a1"], Sticky: true, Now: storyBase}),
				s.e.Cancel(context.Background(), recall.CancelRequest{ID: s.ids["a2"], Now: storyBase}))
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "q.db")
			opts := &recall.Options{Durability: recall.SyncNever, MaxFileSize: 12 << 20, Logger: quietLogger}
			e, err := recall.OpenEngine(path, opts)
			if err != nil {
				t.Fatal(err)
			}
			s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
			s.fillReserve(t)
			release, err := recall.Occupy(e)
			if err != nil {
				t.Fatal(err)
			}
			cancelled, failed := make(chan error, 1), make(chan error, 1)
			go func() { cancelled <- cancel(s) }()
			synctest.Wait()
			go func() {
				failed <- e.Finish(context.Background(), s.lease["a1"], recall.Finish{Outcome: recall.Retry, Due: storyBase.Add(time.Minute), Now: storyBase})
			}()
			synctest.Wait()
			release()
			if err := <-cancelled; !errors.Is(err, recall.ErrFull) || errors.Is(err, recall.ErrFailed) {
				t.Errorf("%s: got %v, want ErrFull", name, err)
			}
			if err := <-failed; err != nil {
				t.Errorf("%s: the attempt: %v", name, err)
			}
			if n, err := e.Count(t.Context(), recall.Filter{Labels: []string{"a"}}, storyBase); err != nil || n != (recall.Count{Pending: 2}) {
				t.Errorf("%s: got %+v, %v, want both pending", name, n, err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			opts.MaxFileSize = 0
			for _, left := range bodiesAfterReopen(t, path, opts) {
				delete(s.ids, left)
			}
			if s.ids["a1"] != "" || s.ids["a2"] != "" {
				t.Errorf("%s: after the next open %v are gone", name, s.ids)
			}
		})
	}
}

// fillReserve publishes a1 and a2, of which the first is in flight then, and lets
// other messages die with an answer that takes room, until there is none for the
// smallest.
func (s *story) fillReserve(t *testing.T) {
	t.Helper()
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprint("x", i))
	}
	if err := errors.Join(s.insert("a1"), s.insertDue(storyBase.Add(2*time.Hour), "a2"), s.insert(names...), s.claim(1+len(names))); err != nil {
		t.Fatal(err)
	}
	size := 1 << 20
	for _, name := range names {
		err := s.finish(name, recall.Finish{Outcome: recall.Dead, Response: &recall.HTTPResponse{Status: 500, Body: make([]byte, size)}})
		switch {
		case err == nil:
		case !errors.Is(err, recall.ErrFull) || errors.Is(err, recall.ErrFailed):
			t.Fatal(err)
		case size == 0:
			return
		default:
			size /= 4
		}
	}
	t.Fatal("there is still room")
}

// fill publishes until there is no room, not for the smallest message.
func (s *story) fill(t *testing.T) (n int) {
	t.Helper()
	for _, size := range []struct{ messages, body int }{{100, 3000}, {1, 3000}, {1, 0}} {
		batch := make([]recall.Message, size.messages)
		for i := range batch {
			batch[i] = recall.Message{
				URL: "http://host/", Method: "POST", Labels: []string{"f"}, Retries: recall.Retries(0),
				DueAt: storyBase.Add(time.Hour), Body: make([]byte, size.body),
			}
		}
		for {
			_, err := s.e.Insert(t.Context(), batch, storyBase)
			if errors.Is(err, recall.ErrFull) && !errors.Is(err, recall.ErrFailed) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n += len(batch)
		}
	}
	return n
}

func (s *story) wantPending(t *testing.T, want int) {
	t.Helper()
	count, err := s.e.Count(t.Context(), recall.Filter{}, storyBase)
	if err != nil || count != (recall.Count{Pending: want}) {
		t.Fatalf("%+v are there, want %d pending, %v", count, want, err)
	}
}

var quietLogger = slog.New(slog.DiscardHandler)
