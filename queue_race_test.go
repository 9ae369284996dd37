package recall_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestQueueWaitsForCallbackFromTheFirstMoment: who asks for messages again and again
// never gets the next one of a queue before the callback of the one that has just ended.
func TestQueueWaitsForCallbackFromTheFirstMoment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	n := 100
	if os.Getenv("RECALL_SOAK") != "" {
		n = 2000
	}
	var msgs []recall.Message
	for i := range n {
		m := storyMessage(fmt.Sprintf("m%d", i), storyBase)
		m.Queue = "q"
		msgs = append(msgs, m)
	}
	if _, err := e.Insert(t.Context(), msgs, storyBase); err != nil {
		t.Fatal(err)
	}
	now := storyBase.Add(time.Hour)
	leases := make(chan recall.Lease, n)
	var askers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		askers.Go(func() { claimUntil(t, e, now, stop, leases) })
	}
	defer askers.Wait()
	defer close(stop)
	for i := range n {
		l := <-leases
		if l.Message.Source != "" {
			t.Fatalf("message %d is the callback %s", i, l.Message.ID)
		}
		call := storyMessage("callback", now)
		call.Source, call.Blocks = l.Message.ID, "q"
		f := recall.Finish{Outcome: recall.Delivered, Now: now, Follow: []recall.Message{call}}
		if err := e.Finish(t.Context(), l, f); err != nil {
			t.Fatal(err)
		}
		c := <-leases
		if c.Message.Source != l.Message.ID {
			t.Fatalf("behind message %d, %s, its callback must come: got %s, %q", i, l.Message.ID, c.Message.ID, c.Message.Body)
		}
		if err := e.Finish(t.Context(), c, recall.Finish{Outcome: recall.Delivered, Now: now}); err != nil {
			t.Fatal(err)
		}
	}
}

// claimUntil asks for messages without a pause.
func claimUntil(t *testing.T, e recall.Engine, now time.Time, stop <-chan struct{}, leases chan<- recall.Lease) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: now, Max: 1})
		if err != nil {
			t.Error(err)
			return
		}
		for _, l := range res.Leases {
			leases <- l
		}
	}
}
