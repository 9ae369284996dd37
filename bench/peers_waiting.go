package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/recallmq/recall/bench/peer"
)

// benchPeerWaiting loads N messages and asks what they cost: their room, opening
// again, counting those of a label, and taking a label back.
func benchPeerWaiting(b *bench) error {
	w := b.newPeerWaiting()
	what := fmt.Sprintf("%s waiting", short(float64(b.Peers)))
	err := b.inTurn(b.PeerReps, what, func(i int, p *peer.Peer) error {
		return b.withPeerDir(func(dir string) error { return w.one(i, p, dir) })
	})
	if err != nil {
		return err
	}
	w.print()
	return nil
}

// peerWaiting collects the figures of every step.
type peerWaiting struct {
	b                    *bench
	counts               figures // ms
	opens, disk, memory  figures // ms, and bytes per message
	answers, checkpoints figures // ms
	stalls, growth       figures // ms, bytes
	sync, reads, lookups *limits // before Recall's answers, opens and counts

	during, before []time.Duration // Recall's publishes
}

func (b *bench) newPeerWaiting() *peerWaiting {
	w := &peerWaiting{b: b, sync: b.newLimits(), reads: b.newLimits(), lookups: b.newLimits()}
	for _, f := range []*figures{&w.counts, &w.opens, &w.disk, &w.memory, &w.answers, &w.checkpoints, &w.stalls, &w.growth} {
		*f = b.newFigures()
	}
	return w
}

// one loads a peer, closes it, and works with what was left in the folder.
func (w *peerWaiting) one(i int, p *peer.Peer, dir string) error {
	empty, err := w.empty(p, dir)
	if err != nil {
		return err
	}
	err = w.b.onPeer(p, dir, peerSingles, func(q peer.Queue) error { return publishFast(q, w.b.Peers, atOnce) })
	if err != nil {
		return err
	}
	disk, err := weigh(dir)
	if err != nil {
		return err
	}
	w.disk[i].add(float64(disk-empty.disk) / float64(w.b.Peers))
	if p.Embedded() { // what loading needed is no matter of the waiting ones
		if empty.memory, err = memoryOf(nil); err != nil {
			return err
		}
	}
	if i == 0 {
		w.lookups.lookup()
		took, err := timed(func() error { return readFolder(dir) })
		if err != nil {
			return err
		}
		w.reads.add(ms(took))
	}
	start := time.Now()
	return w.b.onPeer(p, dir, 1, func(q peer.Queue) error {
		w.opens[i].add(ms(time.Since(start)))
		full, err := memoryOf(q)
		if err != nil {
			return err
		}
		w.memory[i].add(float64(full-empty.memory) / float64(w.b.Peers))
		if err := quiet(q); err != nil {
			return err
		}
		return errors.Join(w.count(i, q), w.cancel(i, q))
	})
}

// weight is what a queue takes.
type weight struct{ disk, memory int64 }

// empty is the weight of a queue without a message.
func (w *peerWaiting) empty(p *peer.Peer, dir string) (empty weight, err error) {
	err = w.b.onPeer(p, dir, 1, func(q peer.Queue) (err error) {
		empty.memory, err = memoryOf(q)
		return err
	})
	if err == nil {
		empty.disk, err = weigh(dir)
	}
	return empty, err
}

// weigh leaves out the log of PostgreSQL, whose files are used again: there are
// as many as its settings allow, whatever waits.
func weigh(dir string) (int64, error) { return peer.FolderSize(dir, "pg_wal") }

func quiet(q peer.Queue) error {
	if q, ok := q.(peer.Quieter); ok {
		return q.Quiet(bg)
	}
	return nil
}

// memoryOf is that of the processes of a queue, or of this one.
func memoryOf(q peer.Queue) (int64, error) {
	if q, ok := q.(peer.Outside); ok {
		return q.Memory()
	}
	debug.FreeOSMemory()
	return peer.ResidentBytes(os.Getpid())
}

func (w *peerWaiting) print() {
	b, r := w.b, w.b.report
	share := fmt.Sprintf("cancel %s of %s", short(float64(labelled(b.Peers, peer.Labels[0]))), short(float64(b.Peers)))
	w.answers.print(r, share, "ms")
	w.sync.share(share, "ms", bareSync, w.answers[0].values)
	for _, f := range w.checkpoints {
		if len(f.values) > 0 {
			f.print(r, share+" after a checkpoint", "ms", w.answers[0])
		}
	}
	w.stalls.print(r, "longest publish meanwhile", "ms")
	w.sync.share("longest publish meanwhile", "ms", bareSync, w.stalls[0].values)
	w.growth.print(r, "growth of the files at the first answer", "B")
	w.counts.print(r, "count a label", "ms")
	w.lookups.share("count a label", "ms", bareLookup, w.counts[0].values)
	w.opens.print(r, "open", "ms")
	w.reads.share("open", "ms", "reading its files", w.opens[0].values)
	w.disk.print(r, "disk per message", "B")
	b.limitOf(float64(len(peerText(0)))).share("disk per message", "B", bareBody, w.disk[0].values)
	if peer.CountsMemory {
		w.memory.print(r, "memory per message", "B")
		b.limitOf(idBytes).share("memory per message", "B", bareID, w.memory[0].values)
	}
	w.hold(share)
	for _, f := range w.answers {
		r.note("%s cancels by %s and counts by %s", f.of.Name, f.of.CancelBy, f.of.CountBy)
	}
	w.noteReasons()
	b.notePeers(w.answers)
}

func (w *peerWaiting) noteReasons() {
	for _, all := range []figures{w.answers, w.counts} {
		for _, f := range all {
			if f.cannot != nil {
				w.b.report.note("%s cannot: %s", f.of.Name, f.cannot.Reason)
			}
		}
	}
}
