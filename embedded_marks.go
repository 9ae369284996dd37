package recall

import (
	"context"
	"errors"
	"slices"
)

// marking is what the entries that one pass has marked point to, by number.
type marking struct {
	number  uint16
	settled bool          // guarded by mu: what was marked is durable or undone
	durable chan struct{} // closed then
}

// newMarking gives a pass its marks. Numbers are given out in turn, so one is
// free again long before its turn comes.
func (e *embedded) newMarking() (*marking, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for range 1 << 16 {
		e.last++
		if e.last != 0 && e.marks[e.last] == nil {
			m := &marking{number: e.last, durable: make(chan struct{})}
			e.marks[m.number] = m
			return m, nil
		}
	}
	return nil, errTooManyOperations
}

var errTooManyOperations = errors.New("recall: too many bulk operations at once")

// settleMarking says that what a pass has marked is durable, or undone: then
// its number is free. Otherwise it is free when no entry bears it.
func (e *embedded) settleMarking(m *marking, free bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m.settled = true
	close(m.durable)
	if len(e.queues.list) > 0 { // what is gone now may have kept others waiting
		e.allChangedLocked()
		hint(e.claimHint)
	}
	if free {
		delete(e.marks, m.number)
	}
}

// unsettledLocked returns how to wait until it is certain what becomes of a
// marked entry; nil if it is certain.
func (e *embedded) unsettledLocked(en entry) func(context.Context) error {
	if en.mark == 0 {
		return e.flush
	}
	m := e.marks[en.mark]
	if m.settled {
		return nil
	}
	return func(ctx context.Context) error { return await(ctx, m.durable) }
}

// flush waits until everything queued so far is durable.
func (e *embedded) flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.submit(ctx, flushWork{})
}

// awaitEnds waits until the decided ends of some messages are durable. One flush
// may not do: what ends a message is perhaps not queued yet.
func (e *embedded) awaitEnds(ctx context.Context, seqs []uint64) error {
	for {
		if seqs = e.stillEnding(seqs); len(seqs) == 0 {
			return nil
		}
		if err := e.flush(ctx); err != nil {
			return err
		}
	}
}

// stillEnding returns those whose end is not durable.
func (e *embedded) stillEnding(seqs []uint64) (left []uint64) {
	for part := range slices.Chunk(seqs, applySlice) {
		e.mu.Lock()
		for _, seq := range part {
			_, en := e.live.lookup(seq)
			l := e.leases[seq]
			if en.exists() && (en.phase == phaseFinishing || l != nil && l.final) {
				left = append(left, seq)
			}
		}
		e.mu.Unlock()
	}
	return left
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// eachEntry visits the entries of some messages, a slice per lock hold.
func (e *embedded) eachEntry(seqs []uint64, visit func(*page, entry, uint64)) {
	for part := range slices.Chunk(seqs, applySlice) {
		e.mu.Lock()
		e.live.touch(part, true)
		for _, seq := range part {
			if p, en := e.live.lookup(seq); p != nil {
				visit(p, en, seq)
			}
		}
		e.mu.Unlock()
	}
}

// unmarkLocked makes a marked message pending again.
func (e *embedded) unmarkLocked(p *page, en entry, seq uint64) {
	if en.flags&flagUncounted != 0 && en.flags&flagAside != 0 {
		e.lanesDeadLocked(en) // nobody has yet, and queueLocked takes it off
	}
	en.mark = 0
	e.live.move(p, en, phasePending)
	e.queueLocked(en, seq)
}

// lanesDeadLocked counts an item that a lane will have to step over.
func (e *embedded) lanesDeadLocked(en entry) {
	if en.flags&flagQueued != 0 {
		ln := e.laneOf(en)
		ln.dead++
		ln.fresh++
	}
}
