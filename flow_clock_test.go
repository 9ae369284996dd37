package recall_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestPeriodWithClockSetBack: a period that began at a time which has not come again
// keeps what waits for its end no longer than another period.
func TestPeriodWithClockSetBack(t *testing.T) {
	for name, open := range map[string]func(*testing.T, *recall.Options) *recall.Broker{"reference": newBroker, "file": newFileBroker} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := &stepClock{}
				b := open(t, &recall.Options{Clock: clock})
				r := &recorder{}
				handle(t, b, "local:r", r.handle)
				for range 3 {
					publish(t, b, recall.Message{URL: "local:r", FlowKey: "k", Flow: &recall.FlowLimit{Rate: 1, Period: time.Hour}})
				}
				want := func(after time.Duration, n int) {
					t.Helper()
					sleep(after)
					if got := len(r.delivered()); got != n {
						t.Errorf("delivered %d, want %d", got, n)
					}
				}
				want(61*time.Minute, 2)
				clock.step.Add(int64(-50 * time.Minute))
				want(58*time.Minute, 2)
				want(4*time.Minute, 3)
			})
		})
	}
}
