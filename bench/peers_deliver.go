package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall/bench/peer"
)

// leastEndToEnd is target 16: Recall's rate to that of the best peer.
const leastEndToEnd = 3

// benchPeerDeliver publishes the fastest durable way and then delivers to a
// handler that does nothing.
func benchPeerDeliver(b *bench) error {
	taken, whole := b.newFigures(), b.newFigures()
	log, outcomes := b.newLimits(), b.newLimits()
	what := fmt.Sprintf("publish and deliver %s", short(float64(b.Peers)))
	err := b.inTurn(b.longReps(), what, func(i int, p *peer.Peer) error {
		if i == 0 {
			if err := errors.Join(log.log(peerBatches, peerBatch, peerText), outcomes.outcomes()); err != nil {
				return err
			}
		}
		return b.withPeer(p, peerSingles, func(q peer.Queue) error {
			published, err := timed(func() error { return publishFast(q, b.Peers, atOnce) })
			if err != nil {
				return err
			}
			d, err := b.peerDrain(q, b.Peers)
			if err != nil {
				return err
			}
			taken[i].add(float64(b.Peers) / d.took.Seconds())
			whole[i].add(float64(b.Peers) / (published + d.took).Seconds())
			taken[i].cut, whole[i].cut = taken[i].cut || d.cut, whole[i].cut || d.cut
			return nil
		})
	})
	if err != nil {
		return err
	}
	taken.print(b.report, "deliver", "msg/s")
	outcomes.share("deliver", "msg/s", bareOutcomes, taken[0].values)
	whole.print(b.report, "end to end", "msg/s")
	log.share("end to end", "msg/s", bareLog+" of the publishes", whole[0].values)
	whole.holdRate(b.report, 16, leastEndToEnd, "end to end: Recall to the best peer", "msg/s", whole.best(anyPeer, true))
	b.notePeers(whole)
	return nil
}

// longReps is how often that is measured which takes long with some peers.
func (b *bench) longReps() int { return max(1, b.PeerReps/2) }

// drained is how long it took to handle everything, or would have taken.
type drained struct {
	took time.Duration
	cut  bool
}

// peerDrain delivers what waits, n messages, but not for longer than the cap.
func (b *bench) peerDrain(q peer.Queue, n int) (drained, error) {
	var handled atomic.Int64
	start := time.Now()
	stop, err := q.Deliver(func([]byte) { handled.Add(1) })
	if err != nil {
		return drained{}, err
	}
	d := b.waitDrained(&handled, n, start)
	return d, errors.Join(b.waitForgotten(q, &d, start), stop())
}

// waitForgotten adds the time until a peer has forgotten all that was handled.
func (b *bench) waitForgotten(q peer.Queue, d *drained, start time.Time) error {
	f, ok := q.(peer.Finisher)
	if !ok || d.cut {
		return nil
	}
	for time.Since(start) < b.DrainCap+patience {
		left, err := f.Unfinished(bg)
		if d.took = time.Since(start); err != nil || left == 0 {
			return err
		}
		time.Sleep(500 * time.Microsecond)
	}
	return fmt.Errorf("handled messages are not forgotten after %v", patience)
}

// waitDrained waits until n are handled, since start, or reckons how long it
// would take when the time is up.
func (b *bench) waitDrained(handled *atomic.Int64, n int, start time.Time) drained {
	for {
		done, took := handled.Load(), time.Since(start)
		switch {
		case done >= int64(n):
			return drained{took: took}
		case took > b.DrainCap:
			return drained{took: time.Duration(float64(took) * float64(n) / float64(max(done, 1))), cut: true}
		}
		time.Sleep(500 * time.Microsecond)
	}
}
