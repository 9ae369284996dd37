package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// fewSlots and manySlots are the two widths that target 9 names.
const (
	fewSlots  = 64
	manySlots = 256
)

// benchDeliver publishes and delivers at once. The rate is over the time until
// the last message has been handled, so a backlog is no advantage.
func benchDeliver(b *bench) error {
	var alone, few, many, writtenMany series
	lat, latMany, limit := newLatencies(), newLatencies(), b.newLimits()
	for range b.Reps {
		if err := limit.log(b.Publishers, 1, bodyOf); err != nil {
			return err
		}
		one, _, err := b.publishAndDeliver(0, lat)
		if err != nil {
			return err
		}
		alone = append(alone, one)
		if one, _, err = b.publishAndDeliver(fewSlots, nil); err != nil {
			return err
		}
		few = append(few, one)
		one, bytes, err := b.publishAndDeliver(manySlots, latMany)
		if err != nil {
			return err
		}
		many, writtenMany = append(many, one), append(writtenMany, bytes)
	}
	b.report.rates(fmt.Sprintf("publish alone, %d publishers", b.Publishers), "msg/s", alone).latency(lat.quantiles())
	b.report.rates(fmt.Sprintf("publish and deliver, %d slots", manySlots), "msg/s", many).latency(latMany.quantiles()).
		ratio("publish alone", many.per(alone)...).atLeast(9, 0.6)
	b.report.rates(fmt.Sprintf("publish and deliver, %d slots", fewSlots), "msg/s", few).
		ratio(fmt.Sprintf("%d slots", manySlots), few.per(many)...).atLeast(9, 0.7)
	limit.share(fmt.Sprintf("publish and deliver, %d slots", manySlots), "msg/s", bareLog+" of the publishes", many)
	limit.share(fmt.Sprintf("publish and deliver, %d slots", fewSlots), "msg/s", bareLog+" of the publishes", few)
	b.report.rates("bytes written per message", "B", writtenMany)
	b.limitOf(bodyMean).share("bytes written per message", "B", bareBody, writtenMany)
	b.report.note("latencies are those of publish; a slot is free again when the outcome is queued")
	return nil
}

// publishAndDeliver returns messages per second and bytes written per message.
func (b *bench) publishAndDeliver(slots int, lat *latencies) (rate, bytes float64, err error) {
	b.settle()
	err = b.withFreshBroker(slots, func(br *recall.Broker) error {
		rate, bytes, err = b.traffic(br, slots > 0, lat)
		return err
	})
	return rate, bytes, err
}

func (b *bench) traffic(br *recall.Broker, deliver bool, lat *latencies) (rate, bytes float64, err error) {
	var handled atomic.Int64
	if deliver {
		if err := br.Handle(sink, counting(&handled)); err != nil {
			return 0, 0, err
		}
	}
	s := shape{n: b.N, local: true}
	before, start := wrote(), time.Now()
	var next atomic.Int64
	published, _, err := stretch(b.Publishers, b.Window, lat, &next, func(n int) error { return publishUnit(br, s, n, 1) })
	if err != nil {
		return 0, 0, err
	}
	if deliver {
		err = waitUntil("the deliveries", func() bool { return handled.Load() >= published })
	}
	took := time.Since(start)
	if deliver {
		err = errors.Join(err, waitIdle(br), checkHandled(handled.Load(), published))
	}
	return float64(published) / took.Seconds(), float64(wrote()-before) / float64(published), err
}

func counting(handled *atomic.Int64) recall.Handler {
	return func(context.Context, *recall.Delivery) error { handled.Add(1); return nil }
}

// checkHandled: without a crash, at-least-once is exactly once.
func checkHandled(got, want int64) error {
	if got != want {
		return fmt.Errorf("%d messages were handled, %d published", got, want)
	}
	return nil
}
