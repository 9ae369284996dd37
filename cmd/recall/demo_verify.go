package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/recallmq/recall"
)

// found is what the file holds after the crash.
type found struct {
	live      map[recall.MessageID]bool
	cancelled int // that are back
}

// verify lists the whole file and holds it against what was acknowledged.
func (d *demo) verify(ctx context.Context, b *recall.Broker) error {
	have := found{live: map[recall.MessageID]bool{}}
	for m, err := range b.List(ctx, recall.Filter{}) {
		if err != nil {
			return err
		}
		have.live[m.ID] = true
		if m.Labels[0] == badLabel {
			have.cancelled++
		}
	}
	count, err := b.Count(ctx, recall.Filter{Labels: []string{badLabel}})
	if err != nil {
		return err
	}
	lost, kept := 0, 0
	for id, label := range d.acks.delayed {
		switch {
		case label == badLabel:
		case have.live[id]:
			kept++
		default:
			lost++
		}
	}
	undelivered := 0
	for id := range d.acks.immediate {
		if !have.live[id] && !d.receiver.has(id) {
			undelivered++
		}
	}
	return d.judge(have, count, kept, lost, undelivered)
}

func (d *demo) judge(have found, count recall.Count, kept, lost, undelivered int) error {
	messages, repeats := d.receiver.count()
	extra := 0
	for id := range have.live {
		if _, acked := d.acks.delayed[id]; !acked && !d.acks.immediate[id] {
			extra++
		}
	}
	d.say("  acknowledged and cancelled: %d; back in the file: %d (by the index: %d)", d.acks.cancelled, have.cancelled, count.Pending+count.InFlight)
	d.say("  acknowledged and not cancelled: %d; still there: %d; lost: %d", kept+lost, kept, lost)
	d.say("  acknowledged and immediate: %d; delivered: %d, of which repeated: %d; lost: %d", len(d.acks.immediate), messages, repeats, undelivered)
	d.say("  under way at the kill, not acknowledged, and nevertheless durable: %d", extra)
	var errs []error
	if have.cancelled+count.Pending+count.InFlight > 0 {
		errs = append(errs, fmt.Errorf("%d cancelled messages are back", have.cancelled))
	}
	if lost+undelivered > 0 {
		errs = append(errs, fmt.Errorf("%d messages are lost", lost+undelivered))
	}
	if len(errs) == 0 {
		d.say("Nothing cancelled is back, and nothing else is gone.")
	}
	return errors.Join(errs...)
}
