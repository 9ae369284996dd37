package recall_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestStoppedChangesSayTheirVerb: the error of a bulk call that a message in flight
// has ended says what the call does, and did before.
func TestStoppedChangesSayTheirVerb(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		publish(t, b, recall.Message{URL: "local:slow", Labels: []string{"x"}, Delay: time.Hour})
		end := make(chan struct{})
		handle(t, b, "local:slow", func(context.Context, *recall.Delivery) error { <-end; return nil })
		blocker := publish(t, b, recall.Message{URL: "local:slow", Labels: []string{"x"}})
		synctest.Wait()
		x := recall.Filter{Labels: []string{"x"}}
		for _, c := range []struct {
			kind recall.OperationKind
			text string
			do   func() (recall.ChangeResult, error)
		}{
			{recall.OperationReschedule, "cannot be rescheduled; 1 messages were rescheduled before it", func() (recall.ChangeResult, error) {
				return b.Reschedule(t.Context(), x, time.Now().Add(2*time.Hour), recall.Stop)
			}},
			{recall.OperationHold, "cannot be held; 1 messages were held before it", func() (recall.ChangeResult, error) {
				return b.Hold(t.Context(), x, recall.Stop)
			}},
		} {
			_, err := c.do()
			var stop *recall.NotCancellableError
			if !errors.As(err, &stop) || stop.ID != blocker || stop.Operation != c.kind || !strings.HasSuffix(err.Error(), c.text) {
				t.Errorf("%s: got %v, want it to end in %q", c.kind, err, c.text)
			}
		}
		close(end)
		synctest.Wait()
	})
}
