package recall_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestFlowInFullFile: where nothing can be published any more, a key with a long
// period still delivers, and what it uses is durable before.
func TestFlowInFullFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	opts := &recall.Options{Durability: recall.SyncNever, MaxFileSize: 32 << 20, Logger: quietLogger}
	e, err := recall.OpenEngine(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	for i := range 8 {
		m := storyMessage(fmt.Sprint("k", i), storyBase)
		m.FlowKey, m.Flow = "k", &recall.FlowLimit{Rate: 32, Period: time.Hour}
		if _, err := e.Insert(t.Context(), []recall.Message{m}, storyBase); err != nil {
			t.Fatal(err)
		}
	}
	s.fill(t)
	res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: storyBase, Max: 3})
	if err != nil || len(res.Leases) != 3 {
		t.Fatalf("claimed %d, %v, want 3", len(res.Leases), err)
	}
	if used := usedAfterCrash(t, path, opts); used < 3 {
		t.Errorf("after a crash %d of the rate are used, want 3 at least", used)
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if used := usedAfterCrash(t, path, opts); used != 3 {
		t.Errorf("after an orderly end %d of the rate are used, want 3", used)
	}
}

// usedAfterCrash opens a copy of a file, as a crash would leave it.
func usedAfterCrash(t *testing.T, path string, opts *recall.Options) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(again, data, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := recall.OpenEngine(again, opts)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.(recall.FlowController).FlowStates(t.Context(), storyBase.Add(time.Minute))
	if err := errors.Join(err, e.Close()); err != nil || len(list) != 1 {
		t.Fatalf("%d keys, %v, want 1", len(list), err)
	}
	return list[0].Used
}

// TestReservedBeforeUse: of two claims at a time neither hands out what only the
// other is about to reserve.
func TestReservedBeforeUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := recall.OpenEngine(filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
		if err != nil {
			t.Fatal(err)
		}
		s := &story{e: e, ids: map[string]recall.MessageID{}}
		for i := range 4 {
			m := storyMessage(fmt.Sprint("k", i), storyBase)
			m.FlowKey, m.Flow = "k", &recall.FlowLimit{Rate: 32, Period: time.Hour}
			if _, err := s.e.Insert(t.Context(), []recall.Message{m}, storyBase); err != nil {
				t.Fatal(err)
			}
		}
		release, err := recall.Occupy(e)
		if err != nil {
			t.Fatal(err)
		}
		var claimed atomic.Int64
		for range 2 {
			go func() {
				res, err := e.Claim(context.Background(), recall.ClaimRequest{Now: storyBase, Max: 1})
				if err == nil {
					claimed.Add(int64(len(res.Leases)))
				}
			}()
			synctest.Wait()
		}
		if n := claimed.Load(); n != 0 {
			t.Errorf("%d attempts may begin before what they use is durable", n)
		}
		release()
		synctest.Wait()
		if n := claimed.Load(); n != 2 {
			t.Errorf("claimed %d, want 2", n)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}
