package recall_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// endless is an engine that always has another message, so that what is
// measured is the dispatcher.
type endless struct {
	recall.Engine
	left     atomic.Int64
	finished atomic.Int64
	want     int64
	done     chan struct{}
}

func (e *endless) Claim(_ context.Context, req recall.ClaimRequest) (res recall.ClaimResult, err error) {
	if len(req.Handlers) == 0 {
		return res, nil
	}
	for range req.Max {
		if e.left.Add(-1) < 0 {
			break
		}
		res.Leases = append(res.Leases, recall.Lease{Message: recall.Message{
			ID: "msg_01J00000000000000000000000", URL: "local:h", Method: "POST", Attempts: 1, Timeout: time.Minute,
		}})
	}
	return res, nil
}

func (e *endless) Finish(context.Context, recall.Lease, recall.Finish) error {
	if e.finished.Add(1) == e.want {
		close(e.done)
	}
	return nil
}

// BenchmarkDispatch is the cost of an attempt without storage: one operation
// is one message claimed, handled and finished.
func BenchmarkDispatch(b *testing.B) {
	for _, slots := range []int{1, 16, 64, 1024} {
		b.Run("slots="+strconv.Itoa(slots), func(b *testing.B) {
			e := &endless{Engine: enginetest.NewReference(), want: int64(b.N), done: make(chan struct{})}
			e.left.Store(int64(b.N))
			broker, err := recall.New(e, &recall.Options{Slots: slots})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := broker.Handle("local:h", func(context.Context, *recall.Delivery) error { return nil }); err != nil {
				b.Fatal(err)
			}
			<-e.done
			b.StopTimer()
			if err := broker.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
