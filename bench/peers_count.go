package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/recallmq/recall/bench/peer"
)

// mostCount is target 19, in ms.
const mostCount = 0.2

// peerCounts is how often a label is counted; those that take long are asked for
// the patience of a second.
const peerCounts = 21

// count times exact counts, and checks each.
func (w *peerWaiting) count(i int, q peer.Queue) error {
	label := peer.Labels[0]
	want := labelled(w.b.Peers, label)
	var took []time.Duration
	for begin := time.Now(); len(took) < peerCounts && (len(took) < 3 || time.Since(begin) < time.Second); {
		got := 0
		one, err := timed(func() (err error) { got, err = q.Count(bg, label); return err })
		if err != nil {
			return w.counts[i].unlessCannot(err)
		}
		if got != want {
			return fmt.Errorf("counted %d messages with %s, not %d", got, label, want)
		}
		took = append(took, one)
	}
	w.counts[i].add(ms(exact(took).P50))
	w.counts[i].note(took)
	return nil
}

// unlessCannot keeps the reason of a peer that cannot, which is no failure.
func (f *figure) unlessCannot(err error) error {
	if !errors.As(err, &f.cannot) {
		return err
	}
	return nil
}

// note adds latencies.
func (f *figure) note(took []time.Duration) {
	s := &sampler{to: f.lat}
	defer s.flush()
	for _, d := range took {
		s.add(d)
	}
}
