package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/recallmq/recall"
)

// perSecond is how many messages fall due in each second of the lateness run.
const perSecond = 1000

// benchDue measures how late messages are when many fall due: a thousand each
// second, and all of a file in one.
func benchDue(b *bench) error {
	timers := b.newLimits()
	timers.timers(perSecond, b.Window)
	late, err := b.lateness()
	if err != nil {
		return err
	}
	what := fmt.Sprintf("late, %d due per second", perSecond)
	b.report.times(what, exact(late))
	timers.share(what+", p99", "ms", "timers of the process", series{ms(exact(late).P99)})
	return b.sameSecond()
}

// lateness publishes messages ahead, and notes how long after its time each one
// reaches its handler.
func (b *bench) lateness() (late []time.Duration, err error) {
	seconds := max(2, int(b.Window/time.Second)*2)
	err = b.withFreshBroker(fewSlots, func(br *recall.Broker) error {
		var mu sync.Mutex
		err := br.Handle(sink, func(_ context.Context, d *recall.Delivery) error {
			after := time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(d.Body))))
			mu.Lock()
			late = append(late, after)
			mu.Unlock()
			return nil
		})
		if err != nil {
			return err
		}
		begin := time.Now().Add(time.Second).Truncate(time.Millisecond)
		msgs := make([]recall.Message, seconds*perSecond)
		for i := range msgs {
			at := begin.Add(time.Duration(i) * time.Second / perSecond)
			msgs[i] = recall.Message{URL: sink, NotBefore: at, Body: binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano()))}
		}
		for from := 0; from < len(msgs); from += 1000 {
			if _, err := br.PublishBatch(bg, msgs[from:from+1000]); err != nil {
				return err
			}
		}
		return waitUntil("the due messages", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(late) == len(msgs)
		})
	})
	return late, err
}

// sameSecond drains a file in which everything is due in the same second, and
// looks at the memory meanwhile.
func (b *bench) sameSecond() error {
	path := b.path("due.db")
	defer os.Remove(path)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := preload(path, shape{n: b.N, local: true, due: func(i int) time.Time { return at.Add(time.Duration(i%1000) * time.Millisecond) }}); err != nil {
		return err
	}
	b.settle()
	limit := b.newLimits()
	if err := limit.outcomes(); err != nil {
		return err
	}
	var run drainRun
	var before, top uint64
	err := withBroker(path, manySlots, func(br *recall.Broker) error {
		before = heap()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					top = max(top, heap())
				}
			}
		}()
		err := run.drainOf(b.N, br)
		close(stop)
		<-done
		return err
	})
	if err != nil {
		return errors.Join(errors.New("due in one second"), err)
	}
	what := short(float64(b.N)) + " due in one second"
	b.report.rates(what, "msg/s", run.rate)
	limit.share(what, "msg/s", bareOutcomes, run.rate)
	b.report.rates("  heap meanwhile, against before", "MB", series{float64(top) / (1 << 20)}).
		ratio("before", float64(top)/float64(before))
	return nil
}

// heap is what lives, and what is not collected yet.
func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
