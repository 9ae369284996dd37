package recall_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// bury makes dead letters: some with label a, some with b.
func bury(t *testing.T, b *recall.Broker, n int) {
	t.Helper()
	handle(t, b, "local:bad", func(context.Context, *recall.Delivery) error {
		return recall.Permanent(errors.New("refused"))
	})
	for i := range n {
		publish(t, b, recall.Message{URL: "local:bad", Labels: []string{string(rune('a' + i%2))}})
	}
	synctest.Wait()
}

func TestDeadLettersByFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		bury(t, b, 2600)
		labelled := func(l string) recall.Filter { return recall.Filter{Labels: []string{l}} }
		if n, err := b.DeleteDeadMatching(t.Context(), labelled("a"), recall.Limit(3)); n != 3 || err != nil {
			t.Fatalf("delete with a limit: %d, %v", n, err)
		}
		if n, err := b.DeleteDeadMatching(t.Context(), labelled("a")); n != 1297 || err != nil {
			t.Fatalf("delete: %d, %v", n, err)
		}
		for _, d := range deadLetters(t, b) {
			if d.Message.Labels[0] != "b" {
				t.Fatalf("%s is left, with label %q", d.ID, d.Message.Labels)
			}
		}
		// They die again at once, and are not taken again.
		if n, err := b.RetryDeadMatching(t.Context(), labelled("b")); n != 1300 || err != nil {
			t.Fatalf("retry: %d, %v", n, err)
		}
		synctest.Wait()
		if all := deadLetters(t, b); len(all) != 1300 {
			t.Fatalf("%d dead letters after the retry, want 1300", len(all))
		}
		if n, err := b.DeleteDeadMatching(t.Context(), labelled("none")); n != 0 || err != nil {
			t.Fatalf("delete of nothing: %d, %v", n, err)
		}
	})
}

// stepSizes is an engine that notes how many dead letters each call deletes.
type stepSizes struct {
	*enginetest.Reference
	deleted []int
}

func (e *stepSizes) DeleteDead(ctx context.Context, ids []recall.DeadLetterID) (int, error) {
	e.deleted = append(e.deleted, len(ids))
	return e.Reference.DeleteDead(ctx, ids)
}

// TestRetryDeadMatchingInMemory publishes large bodies again a few at a time; to
// delete them nobody has to read them.
func TestRetryDeadMatchingInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		handle(t, f.Broker, "local:bad", func(context.Context, *recall.Delivery) error { return recall.Permanent(errNoRoom) })
		publishMany(t, f.Broker, 34, recall.Message{URL: "local:bad", Body: make([]byte, 1<<20), Labels: []string{"a"}})
		synctest.Wait()
		f.opts.NoDispatch, f.opts.UpkeepRate = true, 1 // nobody else commits, but for upkeep once
		f.reopen(t)
		some := recall.Filter{Labels: []string{"a"}}
		for _, step := range []struct {
			do          func(context.Context, recall.Filter, ...recall.CancelOption) (int, error)
			limit       int
			least, most int64
		}{{f.DeleteDeadMatching, 10, 1, 2}, {f.RetryDeadMatching, 24, 3, 4}} {
			sleep(time.Hour)
			before := f.Stats().Commits
			if n, err := step.do(t.Context(), some, recall.Limit(step.limit)); n != step.limit || err != nil {
				t.Errorf("got %d, %v, want %d", n, err, step.limit)
			}
			if n := f.Stats().Commits - before; n < step.least || n > step.most {
				t.Errorf("%d entries: got %d commits, want %d to %d", step.limit, n, step.least, step.most)
			}
		}
	})
}

// TestExpectDeadLetters: a guard refuses a call before it takes anything.
func TestExpectDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		bury(t, b, 6)
		a := recall.Filter{Labels: []string{"a"}}
		for _, opt := range []recall.CancelOption{recall.ExpectAtMost(2), recall.ExpectExactly(2), recall.ExpectExactly(6)} {
			for name, do := range map[string]func(context.Context, recall.Filter, ...recall.CancelOption) (int, error){
				"delete": b.DeleteDeadMatching, "retry": b.RetryDeadMatching,
			} {
				n, err := do(t.Context(), a, opt, recall.Limit(1))
				var refused *recall.UnexpectedCountError
				if n != 0 || !errors.As(err, &refused) || refused.Found != 3 {
					t.Errorf("%s: got %d, %v, want it refused with 3 found", name, n, err)
				}
			}
		}
		if got := len(deadLetters(t, b)); got != 6 {
			t.Errorf("%d dead letters are left of 6", got)
		}
		if n, err := b.DeleteDeadMatching(t.Context(), a, recall.ExpectAtMost(3), recall.Limit(1)); n != 1 || err != nil {
			t.Errorf("delete one of at most 3: got %d, %v", n, err)
		}
		if n, err := b.RetryDeadMatching(t.Context(), a, recall.ExpectExactly(2)); n != 2 || err != nil {
			t.Errorf("retry exactly 2: got %d, %v", n, err)
		}
	})
}

func TestBadDeadMatching(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	if _, err := b.DeleteDeadMatching(t.Context(), recall.Filter{}); !errors.Is(err, recall.ErrEmptyFilter) {
		t.Errorf("delete with an empty filter: %v", err)
	}
	if _, err := b.RetryDeadMatching(t.Context(), recall.Filter{}); !errors.Is(err, recall.ErrEmptyFilter) {
		t.Errorf("retry with an empty filter: %v", err)
	}
	_, err := b.DeleteDeadMatching(t.Context(), recall.Filter{Labels: []string{"a"}}, recall.DryRun())
	checkInvalid(t, "delete with DryRun", err, "CancelOption")
	_, err = b.RetryDeadMatching(t.Context(), recall.Filter{IDs: []recall.MessageID{"no id"}})
	checkInvalid(t, "retry with a bad filter", err, "Filter.IDs")
}

// TestRedriveStartsOver: a dead letter that is published again has made no
// attempts, also for a standing cancellation.
func TestRedriveStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		handle(t, f.Broker, "local:h", func(context.Context, *recall.Delivery) error { return recall.Permanent(errNoRoom) })
		publish(t, f.Broker, recall.Message{URL: "local:h"})
		synctest.Wait()
		handle(t, f.Broker, "local:h", nil)
		if _, err := f.CancelFuture(t.Context(), recall.Filter{MinAttempts: 1}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		receipts, err := f.RetryDeadLetters(t.Context(), onlyDead(t, f.Broker).ID)
		if err != nil || len(receipts) != 1 || receipts[0].CancelledBy != "" {
			t.Errorf("RetryDeadLetters: got %+v, %v, want a message that waits", receipts, err)
		}
		checkCount(t, f.Broker, recall.Count{Pending: 1})
	})
}
