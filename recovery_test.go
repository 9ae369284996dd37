package recall_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// crashed returns an engine on what a killed process would have left of one, and
// closes that.
func crashed(t *testing.T, e recall.Engine, path string) recall.Engine {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(t.TempDir(), "left.db")
	if err := errors.Join(e.Close(), os.WriteFile(left, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	next, err := recall.OpenEngine(left, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	})
	return next
}

// TestCarefulClaims: after a crash the claim of whatever was due by then is
// durable before its attempt, however late its handler is registered and
// whatever newer was claimed before.
func TestCarefulClaims(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	var msgs []recall.Message
	for name, due := range map[string]time.Duration{"local:late": 0, "http://host/due": 0, "http://host/later": time.Minute} {
		m := storyMessage("x", storyBase.Add(due))
		m.URL = name
		msgs = append(msgs, m)
	}
	if _, err := e.Insert(t.Context(), msgs, storyBase); err != nil {
		t.Fatal(err)
	}
	e = crashed(t, e, path)
	for _, claim := range []struct {
		url      string
		at       time.Duration
		careful  bool
		handlers []string
	}{{"http://host/due", 0, true, nil}, {"http://host/later", time.Hour, false, nil}, {"local:late", time.Hour, true, []string{"local:late"}}} {
		before := e.Stats().Commits
		res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: storyBase.Add(claim.at), Max: 1, Handlers: claim.handlers})
		if err != nil || len(res.Leases) != 1 || res.Leases[0].Message.URL != claim.url {
			t.Fatalf("%s: got %+v, %v", claim.url, res.Leases, err)
		}
		if careful := e.Stats().Commits > before; careful != claim.careful {
			t.Errorf("%s: its claim was durable before its attempt: %v", claim.url, careful)
		}
	}
}

// newStory is a story in a new file.
func newStory(t *testing.T) *story {
	t.Helper()
	e, err := recall.OpenEngine(filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
}

// TestSecondRequest asks for a message in flight for the second time, while the
// first request is being lifted: it holds.
func TestSecondRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStory(t)
		e := s.e
		if err := errors.Join(s.insert("a1"), s.claim(1), s.cancelSticky("a")); err != nil {
			t.Fatal(err)
		}
		release, err := recall.Occupy(e)
		if err != nil {
			t.Fatal(err)
		}
		outcomes := make(chan error, 3)
		for _, call := range []func() error{
			func() error {
				return e.Cancel(context.Background(), recall.CancelRequest{ID: s.ids["a1"], Sticky: true, Now: storyBase})
			},
			s.restore,
			func() error { return s.finish("a1", recall.Finish{Outcome: recall.Retry, Due: storyBase}) },
		} {
			go func() { outcomes <- call() }()
			synctest.Wait()
		}
		release()
		for range cap(outcomes) {
			if err := <-outcomes; err != nil {
				t.Error(err)
			}
		}
		if _, err := e.Get(t.Context(), s.ids["a1"], storyBase); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("Get: got %v, want ErrNotFound", err)
		}
	})
}

// TestRestoreBesideTransaction: a transaction that comes while a large set is
// being restored sees all of it.
func TestRestoreBesideTransaction(t *testing.T) {
	const n = 30_000
	synctest.Test(t, func(t *testing.T) {
		s := newStory(t)
		e := s.e
		for range n / len(many) {
			if err := s.insert(many...); err != nil {
				t.Fatal(err)
			}
		}
		all := recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"m"}}, Now: storyBase}
		res, err := e.CancelMatching(t.Context(), all)
		if err != nil || res.Cancelled != n {
			t.Fatalf("got %+v, %v", res, err)
		}
		s.op = res.Operation
		release, err := recall.Occupy(e)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, seen := make(chan error, 2), 0
		go func() { outcomes <- s.restore() }()
		synctest.Wait()
		go func() {
			outcomes <- e.(recall.Transactor).Update(context.Background(), func(tx recall.EngineTx) error {
				dry := all
				dry.DryRun = true
				res, err := tx.CancelMatching(dry)
				seen = res.Cancelled
				return err
			})
		}()
		synctest.Wait()
		release()
		for range cap(outcomes) {
			if err := <-outcomes; err != nil {
				t.Error(err)
			}
		}
		if seen != n {
			t.Errorf("the transaction has seen %d of %d", seen, n)
		}
	})
}
