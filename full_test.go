package recall_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// fullStory is a story in a small file, in which a1 to an are in flight and
// nothing more can be published.
func fullStory(t *testing.T, n int) *story {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, MaxFileSize: 32 << 20, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(recall.CheckInvariants(e, path), e.Close()); err != nil {
			t.Error(err)
		}
	})
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprint("a", i+1))
	}
	if err := errors.Join(s.insert(names...), s.insertDue(storyBase.Add(2*time.Hour), "c1"), s.claim(n)); err != nil {
		t.Fatal(err)
	}
	s.fill(t)
	return s
}

func died(size int) recall.Finish {
	return recall.Finish{
		Outcome: recall.Dead, Now: storyBase, Reason: "no",
		Response: &recall.HTTPResponse{Status: 500, Body: make([]byte, size)},
	}
}

// TestOneOutcomeWithoutRoom has dead letters in one commit that do not fit
// together: what needs little room goes on, and all of them get in once there is
// some.
func TestOneOutcomeWithoutRoom(t *testing.T) {
	const letters = 6
	s := fullStory(t, letters)
	release, err := recall.Occupy(s.e)
	if err != nil {
		t.Fatal(err)
	}
	for i := range letters {
		if err := s.e.Finish(t.Context(), s.lease[fmt.Sprint("a", i+1)], died(2<<20)); err != nil {
			t.Fatal(err)
		}
	}
	release()
	if err := s.e.Cancel(t.Context(), recall.CancelRequest{ID: s.ids["c1"], Now: storyBase}); err != nil {
		t.Errorf("a cancellation beside them: %v", err)
	}
	if ids, err := s.dead(); err != nil || len(ids) == 0 || len(ids) == letters {
		t.Errorf("%d of them are dead letters, %v, want some", len(ids), err)
	}
	if err := s.cancelLabel("f"); err != nil {
		t.Fatal(err)
	}
	for range 20 { // the file shrinks as background work goes on
		if err := s.upkeep(); err != nil {
			t.Fatal(err)
		}
	}
	if ids, err := s.dead(); err != nil || len(ids) != letters {
		t.Errorf("at last %d are dead letters, %v, want %d", len(ids), err, letters)
	}
}

// TestDurableOutcomeWithoutRoom refuses an outcome whose caller waits for it: it
// is kept all the same, since the attempt is over.
func TestDurableOutcomeWithoutRoom(t *testing.T) {
	s := fullStory(t, 1)
	if err := s.finish("a1", died(6<<20)); !errors.Is(err, recall.ErrFull) {
		t.Fatalf("Finish: got %v, want ErrFull", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.e.Get(ctx, s.ids["a1"], storyBase); !errors.Is(err, recall.ErrFull) {
		t.Errorf("Get: got %v, want ErrFull: its end is not durable", err)
	}
	if err := s.e.Cancel(ctx, recall.CancelRequest{ID: s.ids["a1"], Now: storyBase}); !errors.Is(err, recall.ErrFull) {
		t.Errorf("Cancel: got %v, want ErrFull", err)
	}
	gone, end := context.WithCancel(ctx)
	end()
	if _, err := s.e.Get(gone, s.ids["a1"], storyBase); !errors.Is(err, context.Canceled) {
		t.Errorf("Get with a context that has ended: got %v", err)
	}
	if err := errors.Join(s.cancelLabel("f"), s.upkeep()); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.dead(); err != nil || len(ids) != 1 {
		t.Errorf("with room it is one of %d dead letters, %v", len(ids), err)
	}
}

// TestLongDeadLetter lets a message die whose names leave no room for the reason
// in its row: it must not take the commits of others with it.
func TestLongDeadLetter(t *testing.T) {
	s := fullStory(t, 1)
	if err := errors.Join(s.cancelLabel("f"), s.upkeep()); err != nil {
		t.Fatal(err)
	}
	long := storyMessage("long", storyBase)
	long.URL = "http://host/" + strings.Repeat("u", 3600)
	receipts, err := s.e.Insert(t.Context(), []recall.Message{long}, storyBase)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.claim(1); err != nil {
		t.Fatal(err)
	}
	end := recall.Finish{Outcome: recall.Dead, Reason: strings.Repeat("r", 400)}
	if err := errors.Join(s.finish("long", end), s.finish("a1", recall.Finish{Outcome: recall.Delivered})); err != nil {
		t.Fatal(err)
	}
	list, err := s.e.ListDead(t.Context(), recall.Filter{}, "", 10)
	if err != nil || len(list) != 1 || list[0].Message.ID != receipts[0].ID || !strings.HasPrefix(end.Reason, list[0].Reason) {
		t.Errorf("got %d dead letters, %v", len(list), err)
	}
}

// TestFailedCancellation fails the commit of a cancellation: whether its messages
// are gone only the next open can tell, and nobody says so before.
func TestFailedCancellation(t *testing.T) {
	fail := false
	e, err := recall.OpenFaulty(filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger},
		func() error {
			if fail {
				return errors.New("the disk is gone")
			}
			return nil
		}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	if err := s.insert("a1", "a2"); err != nil {
		t.Fatal(err)
	}
	fail = true
	for _, try := range []string{"at first", "again"} {
		if err := s.cancelLabel("a"); !errors.Is(err, recall.ErrFailed) {
			t.Errorf("CancelMatching %s: got %v, want ErrFailed", try, err)
		}
	}
	if _, err := e.Get(t.Context(), s.ids["a1"], storyBase); !errors.Is(err, recall.ErrFailed) {
		t.Errorf("Get: got %v, want ErrFailed", err)
	}
	if err := e.Cancel(t.Context(), recall.CancelRequest{ID: s.ids["a2"], Now: storyBase}); !errors.Is(err, recall.ErrFailed) {
		t.Errorf("Cancel: got %v, want ErrFailed", err)
	}
}
