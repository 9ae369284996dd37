package main

import (
	"fmt"
	"os"
	"time"

	"github.com/recallmq/recall"
)

// eventWriters are the numbers of publishers that target 8 is about.
var eventWriters = []int{64, 256}

// benchEvents measures what the log of events costs, with and without it in turn,
// so that a slow minute of the disk falls on both.
func benchEvents(b *bench) error {
	for _, writers := range eventWriters {
		if err := b.publishEvents(writers); err != nil {
			return err
		}
	}
	return b.deliverEvents()
}

func (b *bench) publishEvents(writers int) error {
	var with, without series
	lat, limit := newLatencies(), b.newLimits()
	for range b.Reps {
		if err := limit.log(writers, 1, bodyOf); err != nil {
			return err
		}
		for _, off := range []bool{true, false} {
			var one float64
			err := b.withEvents(0, off, func(br *recall.Broker) (err error) {
				one, err = b.publishRate(br, writers, 1, lat)
				return err
			})
			if err != nil {
				return err
			}
			if off {
				without = append(without, one)
			} else {
				with = append(with, one)
			}
		}
	}
	b.report.rates(fmt.Sprintf("publish, %d goroutines, no log", writers), "msg/s", without)
	b.report.rates(fmt.Sprintf("publish, %d goroutines", writers), "msg/s", with).latency(lat.quantiles()).
		ratio("no log", with.per(without)...).atLeast(8, 0.9)
	limit.share(fmt.Sprintf("publish, %d goroutines", writers), "msg/s", bareLog, with)
	return nil
}

// deliverEvents publishes and delivers at once: three events for each message.
func (b *bench) deliverEvents() error {
	var with, without, wrote, wroteNone series
	limit := b.newLimits()
	for range b.Reps {
		if err := limit.log(b.Publishers, 1, bodyOf); err != nil {
			return err
		}
		for _, off := range []bool{true, false} {
			var one, bytes float64
			err := b.withEvents(fewSlots, off, func(br *recall.Broker) (err error) {
				one, bytes, err = b.traffic(br, true, nil)
				return err
			})
			if err != nil {
				return err
			}
			if off {
				without, wroteNone = append(without, one), append(wroteNone, bytes)
			} else {
				with, wrote = append(with, one), append(wrote, bytes)
			}
		}
	}
	b.report.rates(fmt.Sprintf("publish and deliver, %d slots, no log", fewSlots), "msg/s", without)
	b.report.rates(fmt.Sprintf("publish and deliver, %d slots", fewSlots), "msg/s", with).
		ratio("no log", with.per(without)...).atLeast(8, 0.65)
	limit.share(fmt.Sprintf("publish and deliver, %d slots", fewSlots), "msg/s", bareLog+" of the publishes", with)
	b.report.rates("bytes written per message, no log", "B", wroteNone)
	b.report.rates("bytes written per message", "B", wrote)
	return nil
}

// withEvents runs fn on a broker with a new file, and checks that it has logged, or
// that it has not.
func (b *bench) withEvents(slots int, off bool, fn func(*recall.Broker) error) error {
	b.settle()
	path := b.path("events.db")
	defer os.Remove(path)
	o := options(slots)
	o.Slots, o.NoEvents = max(1, slots), off
	br, err := recall.Open(path, o)
	if err != nil {
		return err
	}
	if err = fn(br); err == nil && (br.Stats().Events == 0) != off {
		err = fmt.Errorf("the log has %d events", br.Stats().Events)
	}
	if err == nil && !off {
		err = b.readEvents(br)
	}
	if closeErr := closeBroker(br); err == nil {
		err = closeErr
	}
	return err
}

// readEvents looks for what is not there, which reads all of the log.
func (b *bench) readEvents(br *recall.Broker) error {
	start := time.Now()
	f := recall.EventFilter{Filter: recall.Filter{Labels: []string{"there is no such label"}}}
	if page, err := br.EventPage(bg, f, "", 1); err != nil || len(page.Events) > 0 {
		return fmt.Errorf("searching the log: %d events, %w", len(page.Events), err)
	}
	took, n := time.Since(start), br.Stats().Events
	b.report.note("%d events searched in %v, %.1f million in a second", n, took.Round(time.Millisecond), float64(n)/took.Seconds()/1e6)
	return nil
}
