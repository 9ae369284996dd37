package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// tell is what has happened, in one line, oldest first.
func tell(events []recall.Event) string {
	var words []string
	for _, ev := range events {
		words = append(words, string(ev.State))
	}
	return strings.Join(words, ", ")
}

// logFile opens a broker on a file in a bubble. Closing it is the caller's.
func logFile(t *testing.T, path string, o recall.Options) *recall.Broker {
	t.Helper()
	o.Durability, o.Logger = recall.SyncNever, slog.New(slog.DiscardHandler)
	b, err := recall.Open(path, &o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func messageEvents(t *testing.T, b *recall.Broker, id recall.MessageID) []recall.Event {
	t.Helper()
	list, err := b.MessageEvents(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func wantTold(t *testing.T, b *recall.Broker, id recall.MessageID, want string) {
	t.Helper()
	if got := tell(messageEvents(t, b, id)); got != want {
		t.Errorf("events: got %q, want %q", got, want)
	}
}

// TestEvents follows messages through a broker on a file, and over restarts.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "q.db")
		b := logFile(t, path, recall.Options{})
		fails := 1
		handle(t, b, "local:a", func(context.Context, *recall.Delivery) error {
			if fails--; fails >= 0 {
				return errors.New("not yet")
			}
			return nil
		})
		handle(t, b, "local:never", func(context.Context, *recall.Delivery) error { return errors.New("never") })
		second := publish(t, b, recall.Message{URL: "local:a", Labels: []string{"x"}})
		sleep(time.Hour)
		dead := publish(t, b, recall.Message{URL: "local:never", Retries: recall.Retries(0)})
		sleep(time.Second)
		single := publish(t, b, recall.Message{URL: "local:a", Delay: time.Hour})
		if err := b.Cancel(t.Context(), single); err != nil {
			t.Fatal(err)
		}
		bulk := publish(t, b, recall.Message{URL: "local:a", Delay: time.Hour, Labels: []string{"bulk"}})
		res, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{"bulk"}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			wantTold(t, b, second, "created, active, error, retry, active, delivered")
			wantTold(t, b, dead, "created, active, error, failed")
			wantTold(t, b, single, "created, cancelled")
			wantTold(t, b, bulk, "created, cancelled")
			if list := messageEvents(t, b, second); !strings.Contains(list[2].Reason, "not yet") || list[3].Due.Sub(list[3].At) != recall.DefaultBackoff(0) {
				t.Errorf("error and retry: %+v", list[2:4])
			}
			if ev := messageEvents(t, b, bulk)[1]; ev.ID != "" || ev.Operation != res.Operation || ev.URL != "local:a" || ev.Count != 0 {
				t.Errorf("a message of a bulk cancellation: %+v", ev)
			}
			if n := b.Stats().Events; n != 14 {
				t.Errorf("Stats says %d events, want 14", n)
			}
			closeNow(t, b, t.Context())
			b = logFile(t, path, recall.Options{})
		}
		if _, err := b.Restore(t.Context(), res.Operation); err != nil {
			t.Fatal(err)
		}
		wantTold(t, b, bulk, "created")
		closeNow(t, b, t.Context())
	})
}

// TestBulkRequestIsTold: a message in flight that a bulk cancellation asks for.
func TestBulkRequestIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := logFile(t, filepath.Join(t.TempDir(), "q.db"), recall.Options{})
		end := make(chan error)
		handle(t, b, "local:slow", func(context.Context, *recall.Delivery) error { return <-end })
		id := publish(t, b, recall.Message{URL: "local:slow", Labels: []string{"x"}})
		sleep(2 * time.Second)
		if _, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{"x"}}, recall.Sticky); err != nil {
			t.Fatal(err)
		}
		wantTold(t, b, id, "created, active, cancel requested")
		end <- errors.New("no")
		sleep(time.Second)
		wantTold(t, b, id, "created, active, error, cancelled")
		closeNow(t, b, t.Context())
	})
}

// TestEventsOfTransactions: a transaction is told of as a whole, or not at all.
func TestEventsOfTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := logFile(t, filepath.Join(t.TempDir(), "q.db"), recall.Options{})
		old := publish(t, b, recall.Message{URL: "local:a"})
		n := b.Stats().Events
		var kept, own recall.MessageID
		for _, end := range []error{errors.New("no"), nil} {
			err := b.Update(t.Context(), func(tx *recall.Tx) error {
				r, err := tx.PublishBatch([]recall.Message{{URL: "local:b"}, {URL: "local:c"}})
				if err != nil {
					return err
				}
				kept, own = r[0].ID, r[1].ID
				return errors.Join(tx.Cancel(own), tx.Cancel(old), end)
			})
			if !errors.Is(err, end) {
				t.Fatal(err)
			}
			if end != nil && b.Stats().Events != n {
				t.Errorf("what was rolled back has left %d events", b.Stats().Events-n)
			}
		}
		wantTold(t, b, kept, "created")
		wantTold(t, b, own, "created, cancelled")
		wantTold(t, b, old, "created, cancelled")
		closeNow(t, b, t.Context())
	})
}

// TestEventsAreKept: for a while, and not too many.
func TestEventsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "q.db")
		b := logFile(t, path, recall.Options{MaxEvents: 1000, EventRetention: time.Hour})
		for range 30 {
			batch := make([]recall.Message, 100)
			for i := range batch {
				batch[i] = recall.Message{URL: "local:a", Delay: 100 * time.Hour}
			}
			if _, err := b.PublishBatch(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := b.Stats().Events; n > 1000+256+100 {
				t.Fatalf("there are %d events", n)
			}
		}
		if n := b.Stats().Events; n < 1000 {
			t.Errorf("only %d events are left", n)
		}
		sleep(30 * time.Minute)
		last := publish(t, b, recall.Message{URL: "local:a", Delay: 100 * time.Hour})
		sleep(35 * time.Minute)
		if n := b.Stats().Events; n != 1 {
			t.Errorf("after their time there are %d events, want 1", n)
		}
		closeNow(t, b, t.Context())
		b = logFile(t, path, recall.Options{NoEvents: true})
		publish(t, b, recall.Message{URL: "local:a", Delay: 100 * time.Hour})
		wantTold(t, b, last, "created")
		if n := b.Stats().Events; n != 1 {
			t.Errorf("without a log there are %d events, want the one of before", n)
		}
		sleep(4 * 24 * time.Hour)
		if n := b.Stats().Events; n != 0 {
			t.Errorf("there are still %d events", n)
		}
		closeNow(t, b, t.Context())
	})
}

// TestLogGivesWay: it must not keep a full file full.
func TestLogGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 24 << 20
		b := logFile(t, filepath.Join(t.TempDir(), "q.db"), recall.Options{MaxFileSize: limit, UndoWindow: -1})
		full, refused := 0, false
		for i := 0; i < 400 && full < 5; i++ {
			batch := make([]recall.Message, 1000)
			for j := range batch {
				batch[j] = recall.Message{URL: fmt.Sprint("https://host", i, ".test/", j), Delay: time.Hour}
			}
			_, err := b.PublishBatch(t.Context(), batch)
			if errors.Is(err, recall.ErrFull) {
				full, refused = full+1, true
			} else if err != nil {
				t.Fatal(err)
			}
			if _, err := b.CancelAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			sleep(time.Second)
			if err == nil {
				full = 0
			}
		}
		if full > 0 || !refused {
			t.Errorf("the file stays full (or was never: %v), with %d events: %+v", !refused, b.Stats().Events, b.Stats())
		}
		closeNow(t, b, t.Context())
	})
}

// TestEventsArguments: what is refused.
func TestEventsArguments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		publish(t, b, recall.Message{URL: "local:a"})
		now := time.Now()
		for name, f := range map[string]recall.EventFilter{
			"states": {Filter: recall.Filter{States: []recall.State{recall.StateReady}}}, "due": {Filter: recall.Filter{DueBefore: now}},
			"attempts": {Filter: recall.Filter{MinAttempts: 1}}, "id": {Filter: recall.Filter{IDs: []recall.MessageID{"x"}}},
			"state": {States: []recall.EventState{"lost"}}, "empty state": {States: []recall.EventState{""}},
			"order": {From: now, To: now.Add(-time.Second)},
		} {
			if _, err := b.EventPage(t.Context(), f, "", 10); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("%s: got %v, want ErrInvalid", name, err)
			}
			for _, err := range b.Events(t.Context(), f) {
				if !errors.Is(err, recall.ErrInvalid) {
					t.Errorf("%s: the iterator says %v, want ErrInvalid", name, err)
				}
			}
		}
		for _, limit := range []int{0, -1, recall.MaxEventPage + 1} {
			if _, err := b.EventPage(t.Context(), recall.EventFilter{}, "", limit); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("limit %d: got %v", limit, err)
			}
		}
		for _, after := range []recall.EventID{"x", "1", "1-", "-1", "1-0", "-5-1", "1-2-3", "99999999999999999999-1"} {
			if _, err := b.EventPage(t.Context(), recall.EventFilter{}, after, 1); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("cursor %q: got %v", after, err)
			}
		}
		if _, err := b.MessageEvents(t.Context(), "x"); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("an id that is none: got %v", err)
		}
		in := recall.EventFilter{States: []recall.EventState{recall.EventInProgress}}
		if page, err := b.EventPage(t.Context(), in, "", 10); err != nil || len(page.Events) != 0 {
			t.Errorf("in progress: got %v, %v", page, err)
		}
		for _, o := range []recall.Options{{MaxEvents: -1}, {EventRetention: -1}} {
			if _, err := recall.New(enginetest.NewReference(), &o); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("options: got %v", err)
			}
		}
	})
}

// TestEventInProgress finds what QStash calls so.
func TestEventInProgress(t *testing.T) {
	for s, want := range map[recall.EventState]bool{
		recall.EventCreated: false, recall.EventActive: true, recall.EventError: true, recall.EventRetry: true,
		recall.EventDelivered: false, recall.EventFailed: false, recall.EventCancelRequested: false, recall.EventCancelled: false,
	} {
		f := recall.EventFilter{States: []recall.EventState{recall.EventInProgress}}
		if got := f.Matches(&recall.Event{State: s}); got != want {
			t.Errorf("%s: got %v, want %v", s, got, want)
		}
	}
}

// TestEventsOfFailedCommits: whatever becomes of a commit, its events share it.
func TestEventsOfFailedCommits(t *testing.T) {
	for _, durable := range []bool{false, true} {
		for fail := 1; fail <= 4; fail++ {
			path := filepath.Join(t.TempDir(), "q.db")
			publishUntilFault(t, path, fail, durable)
			b := logFile(t, path, recall.Options{NoDispatch: true})
			live := map[recall.MessageID]bool{}
			for m, err := range b.List(t.Context(), recall.Filter{}) {
				if err != nil {
					t.Fatal(err)
				}
				live[m.ID] = true
			}
			for ev, err := range b.Events(t.Context(), recall.EventFilter{OldestFirst: true}) {
				if err != nil {
					t.Fatal(err)
				}
				switch created := ev.State == recall.EventCreated; {
				case created:
					live[ev.Message] = !live[ev.Message] // the log agrees, unless something takes it back
				case !live[ev.Message]:
					t.Errorf("commit %d, durable %v: the log says %s, and the message lives", fail, durable, ev.State)
				default:
					live[ev.Message] = false
				}
			}
			for id, odd := range live {
				if odd {
					t.Errorf("commit %d, durable %v: file and log do not agree about %s: %s", fail, durable, id, tell(messageEvents(t, b, id)))
				}
			}
			closeNow(t, b, t.Context())
		}
	}
}

// publishUntilFault publishes and cancels until one of the commits fails, before
// or after it is durable.
func publishUntilFault(t *testing.T, path string, fail int, durable bool) {
	t.Helper()
	n := 0
	seam := func() error {
		if n++; n == fail {
			return errors.New("fault")
		}
		return nil
	}
	before, after := seam, func() error { return nil }
	if durable {
		before, after = after, seam
	}
	e, err := recall.OpenFaulty(path, &recall.Options{Durability: recall.SyncNever, Logger: slog.New(slog.DiscardHandler)}, before, after)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	now := time.Now()
	for range 3 {
		m := recall.Message{URL: "local:a", Method: "POST", Retries: recall.Retries(0), CreatedAt: now, DueAt: now.Add(time.Hour)}
		receipts, err := e.Insert(t.Context(), []recall.Message{m}, now)
		if err == nil {
			err = e.Cancel(t.Context(), recall.CancelRequest{ID: receipts[0].ID, Now: now})
		}
		if errors.Is(err, recall.ErrFailed) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no commit has failed")
}
