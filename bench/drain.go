package main

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// benchDrain delivers a full file to a handler that does nothing, once with
// due times in the order of creation and once shuffled: then messages finish
// all over the file, as delayed ones do.
func benchDrain(b *bench) error {
	var ordered, shuffled drainRun
	limit := b.newLimits()
	for range b.Reps {
		if err := limit.outcomes(); err != nil {
			return err
		}
		if err := ordered.add(b, false); err != nil {
			return err
		}
		if err := shuffled.add(b, true); err != nil {
			return err
		}
	}
	b.report.rates("finishing in creation order", "msg/s", ordered.rate)
	b.report.rates("finishing in random order", "msg/s", shuffled.rate).
		ratio("creation order", shuffled.rate.per(ordered.rate)...).atLeast(10, 0.6)
	limit.share("finishing in creation order", "msg/s", bareOutcomes, ordered.rate)
	limit.share("finishing in random order", "msg/s", bareOutcomes, shuffled.rate)
	if _, ok := writtenBytes(); ok {
		b.report.rates("  written per finish, creation order", "B", ordered.written)
		b.report.rates("  written per finish, random order", "B", shuffled.written).atMost(10, 300)
		b.report.rates("  the same, until all is folded", "B", shuffled.folded)
		b.limitOf(outcomeBytes).share("written per finish, random order", "B", "an outcome", shuffled.written)
	}
	b.report.note("%s messages, %d slots", short(float64(b.Drain)), manySlots)
	return nil
}

type drainRun struct{ rate, written, folded series }

func (d *drainRun) add(b *bench, shuffled bool) error {
	path := b.path("drain.db")
	defer os.Remove(path)
	if err := preload(path, shape{n: b.Drain, local: true, due: overdue(b.Drain, shuffled)}); err != nil {
		return err
	}
	b.settle()
	return withBroker(path, manySlots, func(br *recall.Broker) error { return d.drain(b, br) })
}

// drain starts when the handler is registered: until then nothing is claimed.
func (d *drainRun) drain(b *bench, br *recall.Broker) error { return d.drainOf(b.Drain, br) }

// isForgotten tells whether all that was delivered is durably gone.
func isForgotten(br *recall.Broker) bool {
	s := br.Stats()
	return s.InFlight == 0 && s.Waiting == 0
}

func (d *drainRun) drainOf(n int, br *recall.Broker) error {
	var handled atomic.Int64
	want, before, start := int64(n), wrote(), time.Now()
	if err := br.Handle(sink, counting(&handled)); err != nil {
		return err
	}
	err := waitUntil("the drain", func() bool { return handled.Load() >= want && isForgotten(br) })
	took := time.Since(start)
	drained := wrote()
	if err := errors.Join(err, waitIdle(br), checkHandled(handled.Load(), want)); err != nil {
		return err
	}
	if left := br.Stats().Pending; left != 0 {
		return fmt.Errorf("%d messages are left", left)
	}
	d.rate = append(d.rate, float64(want)/took.Seconds())
	d.written = append(d.written, float64(drained-before)/float64(want))
	d.folded = append(d.folded, float64(wrote()-before)/float64(want))
	return nil
}
