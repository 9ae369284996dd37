package recall_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// crashedAtLast leaves a file as a process leaves it that was killed during the
// last attempt at a message with callbacks, its second. With sticky the
// cancellation of the message was requested.
func crashedAtLast(t *testing.T, sticky bool) (path string, id recall.MessageID) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	m := storyMessage("a1", storyBase)
	m.Callback = &recall.Callback{URL: "http://c.test/callback"}
	m.FailureCallback = &recall.Callback{URL: "http://c.test/failure", Callback: m.Callback}
	m.Queue = "q"
	receipts, err := e.Insert(t.Context(), []recall.Message{m}, storyBase)
	if err != nil {
		t.Fatal(err)
	}
	id = receipts[0].ID
	retry := recall.Finish{Outcome: recall.Retry, Due: storyBase.Add(time.Minute)}
	if err := errors.Join(s.claim(1), s.finish("a1", retry), s.claim(1)); err != nil {
		t.Fatal(err)
	}
	if sticky {
		err = e.Cancel(t.Context(), recall.CancelRequest{ID: id, Sticky: true, Now: storyBase})
	}
	if err := errors.Join(err, s.insert("b1")); err != nil { // a commit that notes the claim
		t.Fatal(err)
	}
	left := filepath.Join(t.TempDir(), "left.db")
	copyFile(t, path, left)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return left, id
}

// callbacksIn returns the callbacks that live in an engine by their destination.
func callbacksIn(t *testing.T, e recall.Engine) map[string][]recall.Message {
	t.Helper()
	got := map[string][]recall.Message{}
	list, err := e.List(t.Context(), recall.Filter{Hosts: []string{"c.test"}}, "", 100, storyBase)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		got[m.URL] = append(got[m.URL], m)
	}
	return got
}

// wantToldOfCrash: the callbacks of the crash are there, each once.
func wantToldOfCrash(t *testing.T, e recall.Engine, id recall.MessageID) {
	t.Helper()
	dead, err := e.ListDead(t.Context(), recall.Filter{}, "", 10)
	if err != nil || len(dead) != 1 || dead[0].Message.ID != id {
		t.Fatalf("dead letters: got %+v, %v", dead, err)
	}
	got := callbacksIn(t, e)
	if len(got) != 2 || len(got["http://c.test/callback"]) != 1 || len(got["http://c.test/failure"]) != 1 {
		t.Fatalf("callbacks: got %+v", got)
	}
	for url, list := range got {
		m := list[0]
		var c told
		if err := json.Unmarshal(m.Body, &c); err != nil {
			t.Fatal(err)
		}
		if (url == "http://c.test/failure") != (c.DLQID == string(dead[0].ID)) || c.Status != 0 || *c.Retried != 1 || c.MaxRetries != 1 ||
			string(c.Body) != "the process ended during the last attempt" || c.SourceMessageID != string(id) || string(c.SourceBody) != "a1" {
			t.Errorf("%s: got %s", url, m.Body)
		}
		if m.Source != id || m.Blocks != "q" || *m.Retries != 1 || m.Timeout != recall.DefaultTimeout || !slices.Equal(m.Labels, []string{"a"}) {
			t.Errorf("%s: got %+v", url, m)
		}
	}
}

func reopened(t *testing.T, path string) recall.Engine {
	t.Helper()
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestCallbackOfCrash: who dies with the process is told of by the next open, and
// once also if that is killed too.
func TestCallbackOfCrash(t *testing.T) {
	path, id := crashedAtLast(t, false)
	e := reopened(t, path)
	wantToldOfCrash(t, e, id)
	e = crashed(t, e, path)
	wantToldOfCrash(t, e, id)
}

// TestNoCallbackOfCancelledByCrash: a message that was to be cancelled did not
// fail for good.
func TestNoCallbackOfCancelledByCrash(t *testing.T) {
	path, _ := crashedAtLast(t, true)
	e := reopened(t, path)
	defer e.Close()
	if got := callbacksIn(t, e); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	if n := e.Stats().DeadLetters; n != 0 {
		t.Errorf("got %d dead letters", n)
	}
}

// TestCallbackOfCrashWhenCommitFails: the dead letter and the callbacks are one
// unit, whether or not the commit got through.
func TestCallbackOfCrashWhenCommitFails(t *testing.T) {
	left, id := crashedAtLast(t, false)
	for n := range 3 {
		for _, before := range []bool{true, false} {
			path := filepath.Join(t.TempDir(), "q.db")
			copyFile(t, left, path)
			first, second := seams(n, before)
			e, err := recall.OpenFaulty(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}, first, second)
			if (n == 0) == (err == nil) {
				t.Fatalf("open with commit %d failing: %v", n, err)
			}
			if e != nil {
				_ = e.Close() // its own commit may be the one
			}
			again := reopened(t, path)
			wantToldOfCrash(t, again, id)
			if err := errors.Join(recall.CheckInvariants(again, path), again.Close()); err != nil {
				t.Error(err)
			}
			_ = os.Remove(path)
		}
	}
}

// TestCallbackWithoutRoom: an outcome that waits for room brings its callbacks
// with it, each once.
func TestCallbackWithoutRoom(t *testing.T) {
	s := fullStory(t, 1)
	end := died(6 << 20)
	for _, name := range []string{"n-any", "n-dead "} {
		m := storyMessage(name, storyBase)
		if name == "n-any" {
			end.Follow = append(end.Follow, m)
		} else {
			end.FollowDead = append(end.FollowDead, recall.DeadFollow{Message: m, IDAt: len(name)})
		}
	}
	if err := s.finish("a1", end); !errors.Is(err, recall.ErrFull) {
		t.Fatalf("Finish: got %v, want ErrFull", err)
	}
	notices := func() (bodies []string) {
		list, err := s.e.List(t.Context(), recall.Filter{Labels: []string{"n"}}, "", 10, storyBase)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			bodies = append(bodies, string(m.Body))
		}
		return bodies
	}
	if got := notices(); len(got) != 0 {
		t.Errorf("before there is room: got %q", got)
	}
	if err := errors.Join(s.cancelLabel("f"), s.upkeep(), s.insert("z1"), s.upkeep()); err != nil {
		t.Fatal(err)
	}
	ids, err := s.dead()
	if err != nil || len(ids) != 1 {
		t.Fatalf("dead letters: got %v, %v", ids, err)
	}
	if got, want := notices(), []string{"n-any", "n-dead " + string(ids[0])}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := s.claim(10); err != nil {
		t.Fatal(err)
	}
	if _, claimed := s.lease["n-any"]; !claimed {
		t.Error("what followed is not delivered")
	}
}
