package recall_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

func TestUpkeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		hint := make(chan struct{}, 1)
		engine := &maintained{hooked: newHooked(), hint: hint}
		next := []time.Duration{0, time.Hour, time.Hour, 0} // after the first call, the second, …; 0 for the next hint
		engine.maintain = func(now time.Time) (time.Time, error) {
			if !now.Equal(time.Now()) {
				t.Errorf("now: got %v, want %v", now, time.Now())
			}
			at = append(at, time.Since(start))
			if d := next[len(at)-1]; d != 0 {
				return now.Add(d), nil
			}
			return time.Time{}, nil
		}
		newBrokerOn(t, engine, &recall.Options{NoDispatch: true})
		sleep(24 * time.Hour)
		hint <- struct{}{}
		sleep(30 * time.Minute)
		hint <- struct{}{}
		sleep(24 * time.Hour)
		want := []time.Duration{0, 24 * time.Hour, 24*time.Hour + 30*time.Minute, 25*time.Hour + 30*time.Minute}
		if len(at) != len(want) {
			t.Fatalf("calls at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Errorf("call %d: got %v, want %v", i, at[i], want[i])
			}
		}
	})
}

// maintained is an engine that hints by hand.
type maintained struct {
	*hooked
	hint chan struct{}
}

func (m *maintained) Hints() recall.Hints {
	return recall.Hints{Claim: m.hooked.Hints().Claim, Maintain: m.hint}
}

// TestUpkeepGoesOn has steps that want to be followed at once, at a time that
// stands still.
func TestUpkeepGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		engine := newHooked()
		engine.maintain = func(now time.Time) (time.Time, error) {
			if calls.Add(1) == 5 {
				return time.Time{}, nil
			}
			return now, nil
		}
		newBrokerOn(t, engine, &recall.Options{NoDispatch: true})
		synctest.Wait()
		if got := calls.Load(); got != 5 {
			t.Errorf("calls: got %d, want 5", got)
		}
	})
}

// TestCloseWaitsForUpkeep closes during a step, which must end before the
// engine is closed.
func TestCloseWaitsForUpkeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newHooked()
		engine.maintain = func(time.Time) (time.Time, error) {
			time.Sleep(time.Minute)
			if _, err := engine.Count(context.Background(), recall.Filter{}, time.Now()); err != nil {
				t.Errorf("the engine was closed during a step: %v", err)
			}
			return time.Time{}, nil
		}
		b := newBrokerOn(t, engine, &recall.Options{NoDispatch: true})
		synctest.Wait()
		closeNow(t, b, done())
		time.Sleep(time.Hour)
	})
}

func TestUpkeepFails(t *testing.T) {
	for _, test := range []struct {
		err         error
		least, most int64
	}{
		{errPassing, 10, 30}, {recall.ErrFailed, 1, 1}, {recall.ErrClosed, 1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			var calls atomic.Int64
			engine := newHooked()
			engine.maintain = func(time.Time) (time.Time, error) {
				calls.Add(1)
				return time.Time{}, test.err
			}
			newBrokerOn(t, engine, &recall.Options{NoDispatch: true, Logger: l.logger()})
			sleep(2 * time.Minute)
			if got := calls.Load(); got < test.least || got > test.most {
				t.Errorf("%v: got %d calls, want %d to %d", test.err, got, test.least, test.most)
			}
			if got := l.count("level=ERROR"); int64(got) != calls.Load() {
				t.Errorf("%v: got %d errors in the log for %d calls", test.err, got, calls.Load())
			}
		})
	}
}
