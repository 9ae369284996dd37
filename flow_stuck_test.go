package recall_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestRoomIsNotGivenToTheBlocked: the room of a flow-control key goes to a message
// that can use it, not to one whose queue was paused while it waited for the key.
func TestRoomIsNotGivenToTheBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := logFile(t, filepath.Join(t.TempDir(), "q.db"), recall.Options{})
		defer func() { closeNow(t, b, done()) }()
		r := &recorder{}
		handle(t, b, "local:r", r.handle)
		if err := b.PauseFlow(t.Context(), "f"); err != nil {
			t.Fatal(err)
		}
		limit := &recall.FlowLimit{Parallelism: 1}
		publish(t, b, recall.Message{URL: "local:r", FlowKey: "f", Flow: limit, Queue: "q", Body: []byte("blocked")})
		publish(t, b, recall.Message{URL: "local:r", FlowKey: "f", Body: []byte("free")})
		synctest.Wait()
		if err := b.PauseQueue(t.Context(), "q"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := b.ResumeFlow(t.Context(), "f"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.delivered(); len(got) != 1 || got[0] != "free" {
			t.Errorf("delivered %q, want the free one", got)
		}
	})
}

// TestRoomIsNotKeptByWhatNobodyAsksFor: a message whose handler has gone, or whose
// queue has no consumer at the moment, does not have the room of its key.
func TestRoomIsNotKeptByWhatNobodyAsksFor(t *testing.T) {
	limit := &recall.FlowLimit{Parallelism: 1}
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t)
				gone, stays := &recorder{takes: time.Minute}, &recorder{}
				handle(t, b, "local:gone", gone.handle)
				handle(t, b, "local:stays", stays.handle)
				for range 2 {
					publish(t, b, recall.Message{URL: "local:gone", FlowKey: "k", Flow: limit})
				}
				publish(t, b, recall.Message{URL: "local:stays", FlowKey: "k"})
				sleep(time.Second)
				handle(t, b, "local:gone", nil)
				sleep(time.Hour)
				if len(gone.delivered()) != 1 || len(stays.delivered()) != 1 {
					t.Errorf("delivered %d before the handler went, and then %d", len(gone.delivered()), len(stays.delivered()))
				}
				handle(t, b, "local:gone", gone.handle)
				sleep(time.Hour)
				if len(gone.delivered()) != 2 {
					t.Errorf("the handler is back, and got %d", len(gone.delivered()))
				}
			})
		})
		t.Run(name+", consumers", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t)
				if err := b.SetQueue(t.Context(), "q", 2); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					publish(t, b, recall.Message{Queue: "q", FlowKey: "k", Flow: limit})
				}
				first := receiveOne(t, b, "q")
				checkNone(t, b, "q") // the second waits for the key from now on
				r := &recorder{}
				handle(t, b, "local:r", r.handle)
				publish(t, b, recall.Message{URL: "local:r", FlowKey: "k"})
				synctest.Wait()
				if err := first.Ack(t.Context()); err != nil {
					t.Fatal(err)
				}
				sleep(time.Second)
				if len(r.delivered()) != 1 {
					t.Error("what nobody asks for has the room")
				}
				if err := receiveOne(t, b, "q").Ack(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestShorterPeriod: a period that becomes shorter ends sooner for what waits
// already, and one that becomes longer later.
func TestShorterPeriod(t *testing.T) {
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t)
				r := &recorder{}
				handle(t, b, "local:r", r.handle)
				for range 4 {
					publish(t, b, recall.Message{URL: "local:r", FlowKey: "k", Flow: &recall.FlowLimit{Rate: 1, Period: time.Hour}})
				}
				want := func(after time.Duration, n int) {
					t.Helper()
					sleep(after)
					if got := len(r.delivered()); got != n {
						t.Errorf("delivered %d, want %d", got, n)
					}
				}
				pin := func(period time.Duration) {
					t.Helper()
					if err := b.PinFlow(t.Context(), "k", recall.FlowLimit{Rate: 1, Period: period}); err != nil {
						t.Fatal(err)
					}
				}
				want(10*time.Second, 1)
				pin(time.Minute)
				want(49*time.Second, 1)
				want(time.Second, 2)
				want(time.Minute, 3)
				pin(time.Hour)
				want(59*time.Minute, 3)
				want(time.Minute, 4)
			})
		})
	}
}
