package recall_test

import (
	"errors"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestPinOnePart pins the rate and the parallelism of a key one by one.
func TestPinOnePart(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	ctx := t.Context()
	bring := func(l recall.FlowLimit) {
		t.Helper()
		publish(t, b, recall.Message{URL: "local:x", FlowKey: "k", Flow: &l})
	}
	want := func(rate int, period time.Duration, parallelism int, pinnedRate, pinnedParallelism bool) {
		t.Helper()
		got, err := b.FlowKey(ctx, "k")
		want := recall.FlowSettings{
			Limit:      recall.FlowLimit{Rate: rate, Period: period, Parallelism: parallelism},
			PinnedRate: pinnedRate, PinnedParallelism: pinnedParallelism,
		}
		if err != nil || got.FlowSettings != want {
			t.Errorf("got %+v, %v, want %+v", got.FlowSettings, err, want)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	bring(recall.FlowLimit{Rate: 5, Period: time.Minute, Parallelism: 6})
	check(b.PinFlow(ctx, "k", recall.FlowLimit{Parallelism: 2}, recall.FlowParallelism))
	want(5, time.Minute, 2, false, true)
	bring(recall.FlowLimit{Rate: 7, Parallelism: 8})
	want(7, 0, 2, false, true)
	check(b.PinFlow(ctx, "k", recall.FlowLimit{Rate: 1, Period: time.Hour}, recall.FlowRate))
	bring(recall.FlowLimit{Rate: 9, Parallelism: 9})
	want(1, time.Hour, 2, true, true)
	check(b.UnpinFlow(ctx, "k", recall.FlowParallelism))
	bring(recall.FlowLimit{Parallelism: 9})
	want(1, time.Hour, 9, true, false)
	check(b.PinFlow(ctx, "k", recall.FlowLimit{Rate: 3}))
	bring(recall.FlowLimit{Parallelism: 9})
	want(3, 0, 0, true, true)
	check(b.UnpinFlow(ctx, "k"))
	bring(recall.FlowLimit{Parallelism: 9})
	want(0, 0, 9, false, false)
	if err := b.PinFlow(ctx, "k", recall.FlowLimit{Rate: 3}, 7); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("an unknown part: %v", err)
	}
	if err := b.UnpinFlow(ctx, "k", 0); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("an unknown part: %v", err)
	}
}
