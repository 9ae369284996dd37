package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// fifoQueues are how many queues are drained at once.
var fifoQueues = []int{1, 64}

// leastFIFO is target 14: deliveries per second, against small commits per second
// of one publisher in the same file.
var leastFIFO = map[int]float64{1: 0.5, 64: 20}

// benchFIFO drains queues that hand out one message at a time: the next one waits
// until the end of the one before is durable.
func benchFIFO(b *bench) error {
	for _, queues := range fifoQueues {
		var small, rate series
		limit := b.newLimits()
		for range b.Reps {
			if err := limit.put(); err != nil {
				return err
			}
			s, r, err := b.fifoPair(queues)
			if err != nil {
				return err
			}
			small, rate = append(small, s), append(rate, r)
		}
		b.report.rates("small commits, one publisher", "commits/s", small)
		limit.perSecond().share("small commits, one publisher", "commits/s", barePut, small)
		b.report.rates("in order from "+plural(queues, "queue"), "msg/s", rate).
			ratio("small commits", rate.per(small)...).atLeast(14, leastFIFO[queues])
	}
	return nil
}

// fifoPair measures single publishes, and then how fast queues are worked off.
func (b *bench) fifoPair(queues int) (small, rate float64, err error) {
	b.settle()
	err = b.withFreshBroker(max(fewSlots, queues), func(br *recall.Broker) error {
		small, err = parallel(1, b.Window/2, nil, func(n int) error {
			_, err := br.Publish(bg, recall.Message{URL: "local:nobody", Body: bodyOf(n)})
			return err
		})
		if err != nil {
			return err
		}
		rate, err = b.drainQueues(br, queues)
		return err
	})
	return small, rate, err
}

// drainQueues preloads queues and hands their messages out; each handler checks the
// order.
func (b *bench) drainQueues(br *recall.Broker, queues int) (float64, error) {
	each := max(64, b.Drain/200/queues)
	msgs := make([]recall.Message, 0, each*queues)
	for i := range each {
		for q := range queues {
			msgs = append(msgs, recall.Message{
				URL: sink, Queue: fmt.Sprintf("fifo-%d", q), Body: []byte{byte(i >> 8), byte(i), byte(q)},
			})
		}
	}
	for from := 0; from < len(msgs); from += 2000 {
		if _, err := br.PublishBatch(bg, msgs[from:min(from+2000, len(msgs))]); err != nil {
			return 0, err
		}
	}
	o := newOrder(queues)
	start := time.Now()
	if err := br.Handle(sink, o.handle); err != nil {
		return 0, err
	}
	if err := waitUntil("the queues", func() bool { return o.handled.Load() >= int64(len(msgs)) }); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if n := o.wrong.Load(); n > 0 {
		return 0, fmt.Errorf("%d messages came out of order", n)
	}
	return float64(len(msgs)) / took.Seconds(), nil
}

// order checks that the messages of each queue come one after the other.
type order struct {
	next           []atomic.Int64
	handled, wrong atomic.Int64
}

func newOrder(queues int) *order { return &order{next: make([]atomic.Int64, queues)} }

func (o *order) handle(_ context.Context, d *recall.Delivery) error {
	n, q := int64(d.Body[0])<<8|int64(d.Body[1]), d.Body[2]
	if !o.next[q].CompareAndSwap(n, n+1) {
		o.wrong.Add(1)
	}
	o.handled.Add(1)
	return nil
}
