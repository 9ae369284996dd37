package recall_test

import (
	"context"
	"errors"
	"slices"
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

// diesAtOnce is an engine whose RetryDead returns when what it published has
// died again.
type diesAtOnce struct{ *enginetest.Reference }

func (e diesAtOnce) RetryDead(ctx context.Context, ids []recall.DeadLetterID, now time.Time) ([]recall.Receipt, error) {
	defer synctest.Wait()
	return e.Reference.RetryDead(ctx, ids, now)
}

// TestRetryDeadMatchingOnce has more dead letters than match, and takes several
// steps: what dies again in the first is not taken by a later one.
func TestRetryDeadMatchingOnce(t *testing.T) {
	for _, test := range []struct {
		opts []recall.CancelOption
		want int
	}{
		{nil, 1300},
		{[]recall.CancelOption{recall.Limit(1200)}, 1200},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBrokerOn(t, diesAtOnce{enginetest.NewReference()}, nil)
			bury(t, b, 2600)
			n, err := b.RetryDeadMatching(t.Context(), recall.Filter{Labels: []string{"b"}}, test.opts...)
			if n != test.want || err != nil {
				t.Errorf("retry: got %d, %v, want %d", n, err, test.want)
			}
			if all := deadLetters(t, b); len(all) != 2600 {
				t.Errorf("%d dead letters after the retry, want 2600", len(all))
			}
		})
	}
}

// stepSizes is an engine that notes how many dead letters each commit takes.
type stepSizes struct {
	*enginetest.Reference
	retried, deleted []int
}

func (e *stepSizes) RetryDead(ctx context.Context, ids []recall.DeadLetterID, now time.Time) ([]recall.Receipt, error) {
	e.retried = append(e.retried, len(ids))
	return e.Reference.RetryDead(ctx, ids, now)
}

func (e *stepSizes) DeleteDead(ctx context.Context, ids []recall.DeadLetterID) (int, error) {
	e.deleted = append(e.deleted, len(ids))
	return e.Reference.DeleteDead(ctx, ids)
}

// TestRetryDeadMatchingInMemory publishes large bodies again a few at a time; to
// delete them nobody has to read them.
func TestRetryDeadMatchingInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const letters, size = 20, 1 << 20
		engine := &stepSizes{Reference: enginetest.NewReference()}
		b := newBrokerOn(t, engine, nil)
		handle(t, b, "local:bad", func(context.Context, *recall.Delivery) error { return recall.Permanent(errNoRoom) })
		publishMany(t, b, letters, recall.Message{URL: "local:bad", Body: make([]byte, size), Labels: []string{"a"}})
		synctest.Wait()
		f := recall.Filter{Labels: []string{"a"}}
		if n, err := b.RetryDeadMatching(t.Context(), f); n != letters || err != nil {
			t.Errorf("retry: got %d, %v, want %d", n, err, letters)
		}
		synctest.Wait()
		if n, err := b.DeleteDeadMatching(t.Context(), f); n != letters || err != nil {
			t.Errorf("delete: got %d, %v, want %d", n, err, letters)
		}
		if want := []int{8, 8, 4}; !slices.Equal(engine.retried, want) || !slices.Equal(engine.deleted, []int{letters}) {
			t.Errorf("steps: got %v and %v, want %v and all", engine.retried, engine.deleted, want)
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
