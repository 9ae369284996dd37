package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/recallmq/recall"
)

// errVerification is matched by the error of a check that failed.
var errVerification = errors.New("the file is not what was promised")

// contents is what the file holds after the crash: all of it, as listed, and
// the counts of the indexes.
type contents struct {
	live      map[recall.MessageID]string // label
	queues    map[sample]int
	pending   int
	inFlight  int
	cancelled int // that the index still finds
}

// sample is a filter that matches something in the file.
type sample struct{ label, queue string }

// verify reads the whole file, holds it against what was acknowledged, and
// returns a filter that finds many messages in it.
func (d *demo) verify(ctx context.Context, b *recall.Broker) (sample, error) {
	have, err := read(ctx, b)
	if err != nil {
		return sample{}, err
	}
	f := compare(d.acks, d.receiver.ids(), have)
	d.printFindings(f)
	if err := f.err(); err != nil {
		return sample{}, err
	}
	d.say("Nothing cancelled is back, and nothing else is gone.")
	return have.largest(), nil
}

func read(ctx context.Context, b *recall.Broker) (*contents, error) {
	c := &contents{live: map[recall.MessageID]string{}, queues: map[sample]int{}}
	for m, err := range b.List(ctx, recall.Filter{}) {
		if err != nil {
			return nil, err
		}
		c.live[m.ID] = m.Labels[0]
		c.queues[sample{m.Labels[0], m.Queue}]++
	}
	all, err := b.Count(ctx, recall.Filter{})
	if err != nil {
		return nil, err
	}
	gone, err := b.Count(ctx, recall.Filter{Labels: []string{labelCancelled}})
	c.pending, c.inFlight, c.cancelled = all.Pending, all.InFlight, gone.Pending+gone.InFlight
	return c, err
}

func (c *contents) largest() (best sample) {
	for s, n := range c.queues {
		if n > c.queues[best] || n == c.queues[best] && s.label+s.queue > best.label+best.queue {
			best = s
		}
	}
	return best
}

// findings are the numbers of the check, each counted over single ids.
type findings struct {
	acked     int // publishes that were acknowledged
	busy      int // of them, after the cancellation
	delivered int // of them, to the receiver and out of the file
	repeats   int // of them, to the receiver but still in the file
	matched   int // of them, with the label that was cancelled
	expected  int // of them, that have to be in the file: neither cancelled nor delivered
	found     int // of expected, in the file
	changed   int // of found, with another label
	stranded  int // immediate ones neither in the file nor at the receiver
	extra     int // in the file and never acknowledged: under way at the kill
	back      int // in the file, with the label that was cancelled

	cancelled int // as the cancellation said
	pending   int // as the index says, for everything
	inFlight  int // likewise
	indexed   int // as the index says, for the label that was cancelled
}

func compare(acks *acknowledged, arrived map[recall.MessageID]bool, have *contents) findings {
	f := findings{
		acked: len(acks.delayed) + len(acks.immediate), busy: acks.busy, cancelled: acks.cancelled,
		pending: have.pending, inFlight: have.inFlight, indexed: have.cancelled,
	}
	f.compareDelayed(acks, have)
	for id := range acks.immediate {
		_, there := have.live[id]
		switch {
		case there && arrived[id]:
			f.repeats++
		case there:
			f.expected++
			f.found++
		case arrived[id]:
			f.delivered++
		default:
			f.stranded++
		}
	}
	for id, label := range have.live {
		if _, acked := acks.delayed[id]; !acked && !acks.immediate[id] {
			f.extra++
		}
		if label == labelCancelled {
			f.back++
		}
	}
	return f
}

func (f *findings) compareDelayed(acks *acknowledged, have *contents) {
	for id, label := range acks.delayed {
		if label == labelCancelled {
			f.matched++
			continue
		}
		f.expected++
		if now, there := have.live[id]; there {
			f.found++
			if now != label {
				f.changed++
			}
		}
	}
}

func (d *demo) printFindings(f findings) {
	d.say("  acknowledged publishes      %7d   %d of them after the cancellation", f.acked, f.busy)
	d.say("  cancelled                 - %7d   found in the file again: %d, by its index: %d", f.cancelled, f.back, f.indexed)
	d.say("  delivered                 - %7d", f.delivered)
	if f.repeats > 0 {
		d.say("    %d more were delivered, and the record of it was lost in the kill: they are pending and will be delivered again", f.repeats)
	}
	d.say("  have to be in the file    = %7d   each id looked for: %d there, %d missing", f.acked-f.cancelled-f.delivered, f.found+f.repeats, f.expected-f.found)
	d.say("  not acknowledged, yet kept  %7d   of at most %d publishes under way at the kill", f.extra, singlePublishers)
	d.say("  pending in the file       = %7d", f.pending)
}

// err reports every promise that the findings break.
func (f findings) err() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w: %s", errVerification, fmt.Sprintf(format, args...)))
		}
	}
	check(f.found == f.expected, "%d acknowledged messages are lost", f.expected-f.found)
	check(f.stranded == 0, "%d immediate messages are lost", f.stranded)
	check(f.changed == 0, "%d messages are not what was published", f.changed)
	check(f.back == 0 && f.indexed == 0, "%d cancelled messages are back, %d by the index", f.back, f.indexed)
	check(f.cancelled == f.matched, "%d messages were cancelled, but %d matched", f.cancelled, f.matched)
	// Each publisher has one message under way at a time.
	check(f.extra <= singlePublishers, "%d messages were not acknowledged, from %d publishers", f.extra, singlePublishers)
	check(f.inFlight == 0, "%d messages are in flight, but nobody delivers", f.inFlight)
	want := f.acked - f.cancelled - f.delivered + f.extra
	check(f.pending == want, "%d messages are pending instead of %d", f.pending, want)
	return errors.Join(errs...)
}
