package recall_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// sharedEngine is an engine that several brokers work on: the last one closes it.
type sharedEngine struct{ *enginetest.Reference }

func (sharedEngine) Close() error { return nil }

// TestScheduleOfTwoBrokers has two brokers follow one schedule of a queue that they
// share: each time is met once, also when one of them has changed it or deleted it
// without the other knowing.
func TestScheduleOfTwoBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ref := enginetest.NewReference()
		defer ref.Close()
		broker := func() *recall.Broker {
			b, err := recall.New(sharedEngine{ref}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		one := broker()
		setSchedule(t, one, recall.Schedule{ID: "s", Cron: "* * * * *", Message: recall.Message{URL: "local:nobody"}})
		two := broker()
		defer one.Close(context.Background())
		defer two.Close(context.Background())
		synctest.Wait()
		messages := func() int {
			synctest.Wait()
			c, err := one.Count(t.Context(), recall.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			return c.Pending
		}
		time.Sleep(10 * time.Minute)
		if got := messages(); got != 10 {
			t.Fatalf("%d messages of 10 times", got)
		}
		if err := one.DeleteSchedule(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if got := messages(); got != 10 {
			t.Fatalf("%d messages of 10 times before the schedule was deleted", got)
		}
	})
}
