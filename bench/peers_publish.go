package main

import (
	"fmt"
	"time"

	"github.com/recallmq/recall/bench/peer"
)

// leastPublish is target 15: Recall's rate to that of the best peer, with so
// many publishers.
const (
	leastPublish   = 2.5
	leastPublishAt = 256
)

// benchPeerPublish publishes durably, one by one from more and more goroutines,
// and then in batches from one.
func benchPeerPublish(b *bench) error {
	for _, publishers := range b.Writers {
		if err := b.peerSingles(publishers); err != nil {
			return err
		}
	}
	all, err := b.peerPublish(1, peerBatch, fmt.Sprintf("batches of %s", short(peerBatch)))
	if err != nil {
		return err
	}
	b.notePeers(all)
	return nil
}

func (b *bench) peerSingles(publishers int) error {
	what := "publish, " + plural(publishers, "publisher")
	all, err := b.peerPublish(publishers, 1, what)
	if err == nil && publishers == leastPublishAt {
		all.holdRate(b.report, 15, leastPublish, what+": Recall to the best peer", "msg/s", all.best(anyPeer, true))
	}
	return err
}

func (b *bench) peerPublish(publishers, size int, what string) (figures, error) {
	all, limit := b.newFigures(), b.newLimits()
	err := b.inTurn(b.PeerReps, what, func(i int, p *peer.Peer) error {
		if i == 0 {
			if err := limit.log(publishers, size, peerText); err != nil {
				return err
			}
		}
		return all[i].noteCannot(b.withPeer(p, publishers, func(q peer.Queue) error {
			rate, err := parallel(publishers, b.Window, all[i].lat, func(n int) error { return peerUnit(q, n, size) })
			if err == nil {
				all[i].add(rate * float64(size))
			}
			return err
		}))
	})
	if err == nil {
		all.print(b.report, what, "msg/s")
		limit.share(what, "msg/s", bareLog, all[0].values)
	}
	return all, err
}

// peerUnit publishes message n, or the n-th batch, for a time long from now:
// nobody is to take it.
func peerUnit(q peer.Queue, n, size int) error {
	if size == 1 {
		return q.Publish(bg, peerMessage(n, time.Time{}))
	}
	return q.PublishBatch(bg, peerMessages(n*size, (n+1)*size, atOnce))
}
