package recall_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// farClock is one that a program has set.
type farClock struct{ at time.Time }

func (c farClock) Now() time.Time { return c.at }

func (c farClock) AfterFunc(time.Duration, func()) (stop func() bool) {
	return func() bool { return true }
}

// TestQueueTimes: a queue comes into being at any time that a clock can show, and
// its settings can be read.
func TestQueueTimes(t *testing.T) {
	zone := time.FixedZone("", 14*60*60)
	for _, at := range []time.Time{
		time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(10000, 1, 1, 0, 0, 0, 0, zone), // 9999 in UTC
		time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 1, 1, 0, 0, 0, 0, zone),
	} {
		text, err := json.Marshal(recall.QueueSettings{Parallelism: 2, CreatedAt: at, UpdatedAt: at})
		if err != nil {
			t.Errorf("%v: %v", at, err)
			continue
		}
		var got recall.QueueSettings
		if err := json.Unmarshal(text, &got); err != nil || got.Parallelism != 2 || got.CreatedAt.IsZero() || !got.CreatedAt.Equal(got.UpdatedAt) {
			t.Errorf("%v: got %s, %+v, %v", at, text, got, err)
		}
		if y := at.UTC().Year(); y >= 0 && y <= 9999 && !got.CreatedAt.Equal(at) {
			t.Errorf("%v: got %v", at, got.CreatedAt)
		}
	}
	b := openFile(t, &recall.Options{NoDispatch: true, Clock: farClock{at: time.Date(10500, 1, 1, 0, 0, 0, 0, time.UTC)}}).Broker
	if _, err := b.Publish(t.Context(), recall.Message{URL: "https://api.test", Queue: "q", Delay: time.Hour}); err != nil {
		t.Error(err)
	}
}
