package recall_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestWaitOverRetries: a cancellation that waits for an attempt takes the message when that
// has failed, though its next attempt is due at once. Where the cancellation gave up, the
// message goes on.
func TestWaitOverRetries(t *testing.T) {
	for name, m := range map[string]recall.Message{
		"alone": {}, "in a queue": {Queue: "q"}, "with a key": {FlowKey: "k", Flow: &recall.FlowLimit{Parallelism: 1}},
	} {
		m.URL, m.Labels, m.Retries = "local:fails", []string{"a"}, recall.Retries(5)
		t.Run(name, func(t *testing.T) {
			for range 30 {
				synctest.Test(t, func(t *testing.T) { waitOverRetries(t, m) })
			}
		})
	}
}

func waitOverRetries(t *testing.T, m recall.Message) {
	b := openFile(t, &recall.Options{Slots: 4, Backoff: func(int) time.Duration { return 0 }}).Broker
	var tries atomic.Int64
	handle(t, b, m.URL, func(context.Context, *recall.Delivery) error {
		tries.Add(1)
		time.Sleep(10 * time.Millisecond)
		return errors.New("no")
	})
	publish(t, b, m)
	synctest.Wait()
	var stop *recall.NotCancellableError
	if res, err := b.CancelMatching(t.Context(), label("a"), recall.Wait(15*time.Millisecond), recall.Limit(1)); err != nil || res.Cancelled != 1 {
		t.Errorf("got %+v, %v", res, err)
	}
	if n := tries.Load(); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
	publish(t, b, m)
	synctest.Wait()
	if res, err := b.CancelMatching(t.Context(), label("a"), recall.Wait(5*time.Millisecond)); !errors.As(err, &stop) {
		t.Errorf("with little patience: got %+v, %v", res, err)
	}
	time.Sleep(time.Second)
	if n := tries.Load(); n != 1+6 {
		t.Errorf("the other one was tried %d times", n-1)
	}
	if dead := deadLetters(t, b); len(dead) != 1 {
		t.Errorf("%d dead letters", len(dead))
	}
}
