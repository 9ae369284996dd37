package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/recallmq/recall/bench/peer"
)

// Targets 17 and 18: what a cancellation takes elsewhere, to Recall's; and what
// a publisher notices of Recall's.
const (
	leastCancelEmbedded = 50
	leastCancelPostgres = 20
	mostPublishMeanwhile,
	mostGrowth = 2, 1 << 20
)

// peerCancels is how many labels are taken back from a queue, one after the
// other, each a tenth of what was there at first.
const peerCancels = 3

// cancel takes labels back beside a publisher of messages that are not meant.
func (w *peerWaiting) cancel(i int, q peer.Queue) error {
	if i == 0 {
		if err := w.sync.sync(); err != nil {
			return err
		}
	}
	t := newTraffic()
	t.publisher(func(n int) error {
		m := peerMessage(n, time.Time{})
		m.Label = peer.Aside
		return q.Publish(bg, m)
	})
	err := w.cancelLabels(i, q, t)
	if failed := t.finish(); failed != nil {
		return fmt.Errorf("publishing beside cancellations: %w", failed)
	}
	return w.answers[i].unlessCannot(err)
}

func (w *peerWaiting) cancelLabels(i int, q peer.Queue, t *traffic) error {
	var cancels []span
	for k, label := range peer.Labels[:peerCancels] {
		s, grown, err := w.cancelOne(q, t, label)
		if err != nil {
			return err
		}
		cancels = append(cancels, s)
		w.answers[i].add(ms(s.length()))
		if k == 0 { // a log that has grown does not grow again
			w.growth[i].add(float64(grown))
		}
	}
	if err := w.afterCheckpoint(i, q, t); err != nil {
		return err
	}
	w.noticed(i, t, cancels)
	return nil
}

func (w *peerWaiting) cancelOne(q peer.Queue, t *traffic, label string) (s span, grown int64, err error) {
	time.Sleep(w.b.Gap)
	before, err := q.Size()
	if err != nil {
		return s, 0, err
	}
	s.from = t.now()
	n, err := q.Cancel(bg, label)
	s.to = t.now()
	if err != nil {
		return s, 0, err
	}
	after, err := q.Size()
	if err != nil {
		return s, 0, err
	}
	time.Sleep(afterAnswer * w.b.Gap / 2)
	if want := labelled(w.b.Peers, label); n != want {
		return s, 0, fmt.Errorf("cancelling %s took %d messages, not %d", label, n, want)
	}
	left, err := q.Count(bg, label)
	if err == nil && left != 0 {
		err = fmt.Errorf("%d messages with %s are left", left, label)
	}
	return s, after - before, ignoreCannot(err)
}

func ignoreCannot(err error) error { return (&figure{}).unlessCannot(err) }

// afterCheckpoint takes one more label back where that makes a difference: the
// first change of a page then writes all of it to the log.
func (w *peerWaiting) afterCheckpoint(i int, q peer.Queue, t *traffic) error {
	c, ok := q.(peer.Checkpointer)
	if !ok {
		return nil
	}
	if err := c.Checkpoint(bg); err != nil {
		return err
	}
	s, _, err := w.cancelOne(q, t, peer.Labels[peerCancels])
	if err == nil {
		w.checkpoints[i].add(ms(s.length()))
	}
	return err
}

// noticed looks at what the publisher met.
func (w *peerWaiting) noticed(i int, t *traffic, cancels []span) {
	t.mu.Lock()
	publishes := slices.Clone(t.publishes)
	t.mu.Unlock()
	for _, c := range cancels {
		w.stalls[i].add(ms(exact(within(publishes, []span{c})).Max))
		if i == 0 {
			w.during = append(w.during, within(publishes, []span{c})...)
			w.before = append(w.before, within(publishes, []span{c.before(c.from, w.b.Gap/10)})...)
		}
	}
}

// hold looks at the targets.
func (w *peerWaiting) hold(share string) {
	r := w.b.report
	if w.b.Peers >= fullPeers { // with fewer it is little more than a commit
		w.holdAnswers(share)
	}
	if len(w.during) > 0 && len(w.before) > 0 {
		during, before := ms(exact(w.during).P50), ms(exact(w.before).P50)
		r.rates("publish p50 during Recall's cancellations", "ms", series{during}).ratio("before", during/before).atMost(18, mostPublishMeanwhile)
	}
	r.rates("growth of Recall's file at the answer", "B", w.growth[0].values).atMost(18, mostGrowth)
	r.rates("count a label: Recall", "ms", w.counts[0].values).atMost(19, mostCount)
}

func (w *peerWaiting) holdAnswers(share string) {
	r := w.b.report
	w.answers.holdTime(r, 17, leastCancelEmbedded, share+": the best embedded peer", "ms", w.answers.best((*peer.Peer).Embedded, false))
	w.answers.holdTime(r, 17, leastCancelPostgres, share+": PostgreSQL", "ms", w.answers.named(peer.PostgresName))
}
