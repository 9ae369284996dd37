package recall_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestAnswersAfterTheCommit delivers a message whose commit is held up, and
// looks at what says that it is gone: after a crash it would be back.
func TestAnswersAfterTheCommit(t *testing.T) {
	asks := map[string]func(recall.Engine, recall.MessageID, recall.Filter) error{
		"CancelMatching": func(e recall.Engine, _ recall.MessageID, f recall.Filter) error {
			_, err := e.CancelMatching(context.Background(), recall.CancelMatchingRequest{Filter: f, Now: time.Now()})
			return err
		},
		"Cancel": func(e recall.Engine, id recall.MessageID, _ recall.Filter) error {
			return e.Cancel(context.Background(), recall.CancelRequest{ID: id, Now: time.Now()})
		},
		"Get": func(e recall.Engine, id recall.MessageID, _ recall.Filter) error {
			_, err := e.Get(context.Background(), id, time.Now())
			return err
		},
	}
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { answersAfterTheCommit(t, ask) })
		})
	}
}

func answersAfterTheCommit(t *testing.T, ask func(recall.Engine, recall.MessageID, recall.Filter) error) {
	var stall chan struct{}
	var mu sync.Mutex
	hold := func() error {
		mu.Lock()
		c := stall
		mu.Unlock()
		if c != nil {
			<-c
		}
		return nil
	}
	e, err := recall.OpenFaulty(filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}, hold, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	now := time.Now()
	receipts, err := e.Insert(t.Context(), []recall.Message{engineMessage(now)}, now)
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := e.Claim(t.Context(), recall.ClaimRequest{Now: now, Max: 1})
	if err != nil || len(claimed.Leases) != 1 {
		t.Fatalf("Claim: %+v, %v", claimed, err)
	}
	c := make(chan struct{})
	mu.Lock()
	stall = c
	mu.Unlock()
	if err := e.Finish(t.Context(), claimed.Leases[0], recall.Finish{Outcome: recall.Delivered, Now: now}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- ask(e, receipts[0].ID, recall.Filter{Labels: []string{"l"}}) }()
	synctest.Wait()
	select {
	case err := <-answered:
		t.Errorf("answered %v before the delivery was durable", err)
	default:
	}
	mu.Lock()
	stall = nil
	mu.Unlock()
	close(c)
	synctest.Wait()
}

// engineMessage is one as a broker hands it to an engine.
func engineMessage(now time.Time) recall.Message {
	return recall.Message{
		URL: "https://a.test/x", Method: "POST", Labels: []string{"l"}, Retries: recall.Retries(3),
		Timeout: time.Second, CreatedAt: now, DueAt: now,
	}
}

// TestNumbersAreNotUsedAgain opens a file of which nothing but the numbering
// tells that it had messages: all of them are delivered, and their segment is
// dropped. The next id sorts after theirs within one millisecond all the same.
func TestNumbersAreNotUsedAgain(t *testing.T) {
	const n = 4095 // numbers start at 1: they fill the first segment
	path := filepath.Join(t.TempDir(), "q.db")
	opts := &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}
	now := time.Now()
	e, err := recall.OpenEngine(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	msgs := make([]recall.Message, n)
	for i := range msgs {
		msgs[i] = engineMessage(now)
	}
	receipts, err := e.Insert(t.Context(), msgs, now)
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := e.Claim(t.Context(), recall.ClaimRequest{Now: now, Max: n})
	if err != nil || len(claimed.Leases) != n {
		t.Fatalf("Claim: %d, %v", len(claimed.Leases), err)
	}
	for _, l := range claimed.Leases {
		if err := e.Finish(t.Context(), l, recall.Finish{Outcome: recall.Delivered, Now: now}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(recall.Settle(e), recall.FoldAll(e)); err != nil {
		t.Fatal(err)
	}
	for next := now; next.Equal(now); {
		if next, err = e.Maintain(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.Stats().Segments; got != 0 {
		t.Fatalf("%d segments are left", got)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = recall.OpenEngine(path, opts); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	again, err := e.Insert(t.Context(), msgs[:1], now)
	if err != nil {
		t.Fatal(err)
	}
	if last := receipts[n-1].ID; again[0].ID <= last {
		t.Errorf("%s follows %s", again[0].ID, last)
	}
}
