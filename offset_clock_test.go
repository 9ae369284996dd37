package recall_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// offsetClock is that of a server.
type offsetClock time.Duration

func (c offsetClock) Now() time.Time { return time.Now().Add(time.Duration(c)) }

func (offsetClock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

func (c offsetClock) Offset() time.Duration { return time.Duration(c) }

// clockedEngine is an engine that has one.
type clockedEngine struct {
	*enginetest.Reference
	clock offsetClock
}

func (e clockedEngine) Clock() recall.Clock { return e.clock }

// TestClockOfEngine has a broker go by the clock of its engine, which is another one
// than that of this machine, and its attempts be bounded by what really passes.
func TestClockOfEngine(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			b, err := recall.New(clockedEngine{enginetest.NewReference(), offsetClock(off)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close(context.Background())
			left := make(chan time.Duration, 1)
			err = b.Handle("local:job", func(ctx context.Context, _ *recall.Delivery) error {
				deadline, _ := ctx.Deadline()
				left <- time.Until(deadline)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			r, err := b.Publish(t.Context(), recall.Message{URL: "local:job", Delay: time.Minute, Timeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.CreatedAt.Sub(began); got != off {
				t.Errorf("it was created %v from now, want %v", got, off)
			}
			if got := <-left; got != 10*time.Second {
				t.Errorf("an attempt has %v, want 10s", got)
			}
			if got := time.Since(began); got != time.Minute {
				t.Errorf("it was delivered after %v, want a minute", got)
			}
		})
	}
}

// TestClockOfOptions has Options.Clock come first.
func TestClockOfOptions(t *testing.T) {
	want := offsetClock(time.Minute)
	b, err := recall.New(clockedEngine{enginetest.NewReference(), offsetClock(time.Hour)}, &recall.Options{Clock: want})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	if got := b.Options().Clock; got != want {
		t.Errorf("the clock is %v, want %v", got, want)
	}
}
