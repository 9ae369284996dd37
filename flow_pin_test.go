package recall_test

import (
	"errors"
	"testing"
	"testing/synctest"
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

// TestPinMeanwhile: what a commit has of messages and of calls on their key counts in
// its order. The transaction keeps them for one commit.
func TestPinMeanwhile(t *testing.T) {
	limit := func(rate int) recall.FlowLimit { return recall.FlowLimit{Rate: rate, Period: time.Hour} }
	bring := func(rate int) func(*testing.T, *recall.Broker) {
		return func(t *testing.T, b *recall.Broker) {
			l := limit(rate)
			publish(t, b, recall.Message{URL: "local:later", FlowKey: "k", Flow: &l})
		}
	}
	pin := func(t *testing.T, b *recall.Broker) {
		if err := b.PinFlow(t.Context(), "k", limit(7)); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		calls []func(*testing.T, *recall.Broker)
		want  int
	}{
		"message, pin":     {[]func(*testing.T, *recall.Broker){bring(2), pin}, 7},
		"pin, message":     {[]func(*testing.T, *recall.Broker){pin, bring(2)}, 7},
		"message, message": {[]func(*testing.T, *recall.Broker){bring(2), bring(1)}, 1}, // as it was before
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := openFile(t, nil)
				bring(1)(t, f.Broker)
				err := f.Update(t.Context(), func(*recall.Tx) error {
					for _, call := range c.calls {
						go call(t, f.Broker)
						time.Sleep(time.Second)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for _, when := range []string{"at once", "opened again"} {
					if k, err := f.FlowKey(t.Context(), "k"); err != nil || k.Limit != limit(c.want) {
						t.Errorf("%s: got %+v, %v; want %+v", when, k.FlowSettings, err, limit(c.want))
					}
					if err := f.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					f.open(t)
				}
			})
		})
	}
}
