package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
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
		msgs = append(msgs, recall.Message{
			URL: "http://host/" + n, Method: "POST", Body: []byte(n), Labels: []string{n[:1]}, Retries: recall.Retries(1),
			DueAt: storyBase, CreatedAt: storyBase,
		})
	}
	receipts, err := s.e.Insert(context.Background(), msgs, storyBase)
	for i, r := range receipts {
		s.ids[names[i]] = r.ID
	}
	return err
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
	for range 20 {
		if _, err := s.e.Maintain(context.Background(), storyBase.Add(time.Hour)); err != nil {
			return err
		}
	}
	return nil
}

var faultSteps = []storyStep{
	{"publish one", func(s *story) error { return s.insert("a1") }, []string{"a1"}, 0},
	{"publish several", func(s *story) error { return s.insert("b1", "b2", "c1", "d1", "d2") }, []string{"a1", "b1", "b2", "c1", "d1", "d2"}, 0},
	{"deliver", func(s *story) error {
		return errors.Join(s.claim(3), s.finish("a1", recall.Finish{Outcome: recall.Delivered}))
	}, []string{"b1", "b2", "c1", "d1", "d2"}, 0},
	{"retry", func(s *story) error {
		return s.finish("b1", recall.Finish{Outcome: recall.Retry, Due: storyBase.Add(time.Minute)})
	}, []string{"b1", "b2", "c1", "d1", "d2"}, 0},
	{"dead letter", func(s *story) error {
		return s.finish("b2", recall.Finish{Outcome: recall.Dead, Reason: "no"})
	}, []string{"b1", "c1", "d1", "d2"}, 1},
	{"cancel one", func(s *story) error {
		return s.e.Cancel(context.Background(), recall.CancelRequest{ID: s.ids["c1"], Now: storyBase})
	}, []string{"b1", "d1", "d2"}, 1},
	{"cancel by filter", func(s *story) error {
		_, err := s.e.CancelMatching(context.Background(), recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"d"}}, Now: storyBase})
		return err
	}, []string{"b1"}, 1},
	{"upkeep", (*story).upkeep, []string{"b1"}, 1},
	{"publish again", func(s *story) error { return s.insert("e1", "e2") }, []string{"b1", "e1", "e2"}, 1},
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
		if len(met) < 8 {
			t.Errorf("failures met only %d of the steps: %v", len(met), met)
		}
	}
}

func failOne(t *testing.T, n int, before bool, met map[string]bool) (clean bool) {
	t.Helper()
	left := n
	seam := func() error {
		left--
		if left == -1 {
			return errInjected
		}
		return nil
	}
	var first, second func() error
	if before {
		first = seam
	} else {
		second = seam
	}
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
	if err := s.insert("z1"); !errors.Is(err, recall.ErrFailed) {
		t.Fatalf("a publish after the failure: %v", err)
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
	msgs, err := e.List(context.Background(), recall.Filter{}, "", 100, storyBase)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range msgs {
		got = append(got, string(m.Body))
	}
	if !slices.Equal(got, want.expect) {
		t.Errorf("%s: live %v, want %v", name, got, want.expect)
	}
	if dead := e.Stats().DeadLetters; dead != want.dead {
		t.Errorf("%s: %d dead letters, want %d", name, dead, want.dead)
	}
}

// TestFull fills a file: publishing is refused and changes nothing, deliveries
// and cancellations go on, and publishing works again when there is room.
func TestFull(t *testing.T) {
	ctx := context.Background()
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &recall.Options{
		Durability: recall.SyncNever, MaxFileSize: 32 << 20, Logger: quietLogger,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	body := make([]byte, 3000)
	fill := func() (n int) {
		for {
			batch := make([]recall.Message, 100)
			for i := range batch {
				batch[i] = recall.Message{URL: "http://host/", Labels: []string{"l"}, Delay: time.Hour, Body: body}
			}
			_, err := b.PublishBatch(ctx, batch)
			if errors.Is(err, recall.ErrFull) {
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
			n += len(batch)
		}
	}
	n := fill()
	if count, err := b.Count(ctx, recall.Filter{}); err != nil || count.Pending != n || n < 4096 {
		t.Fatalf("%d were published, %+v are there, %v", n, count, err)
	}
	res, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{"l"}})
	if err != nil || res.Cancelled != n {
		t.Fatalf("cancelled %d of %d, %v", res.Cancelled, n, err)
	}
	awaitBackground(b)
	if again := fill(); again < 4096 {
		t.Errorf("after cancelling only %d more found room, %d at first", again, n)
	}
}

// awaitBackground waits until the commits of the background have ended.
func awaitBackground(b *recall.Broker) {
	for last := int64(-1); ; {
		now := b.Stats().Commits
		if now == last && b.Stats().Backlog == 0 {
			return
		}
		last = now
		time.Sleep(20 * time.Millisecond) // the background is real work of this process
	}
}

var quietLogger = slog.New(slog.DiscardHandler)
