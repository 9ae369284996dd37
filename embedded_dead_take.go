package recall

import (
	"context"
	"slices"
)

// takenDead are dead letters that a call has marked, so that no other call takes
// them too. What becomes of them is certain once it is settled.
type takenDead struct {
	mark *marking
	seqs []uint64 // ascending
}

// takeDead marks the dead letters that ids name. It holds no mark while it waits
// for another call, so no two can wait for each other.
func (e *embedded) takeDead(ctx context.Context, ids []DeadLetterID) (t takenDead, err error) {
	if t.mark, err = e.newMarking(); err != nil {
		return t, err
	}
	for wait := e.takeNamedDead(ids, &t); wait != nil; wait = e.takeNamedDead(ids, &t) {
		if err := wait(ctx); err != nil {
			t.settle(e, err)
			return t, err
		}
	}
	slices.Sort(t.seqs)
	return t, nil
}

// takeNamedDead marks all in one lock hold, or none if another call has one of
// them and may yet give it back: then it returns how to wait for that.
func (e *embedded) takeNamedDead(ids []DeadLetterID, t *takenDead) (wait func(context.Context) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		if _, en, _ := e.deadLocked(id); en.exists() && en.phase == phaseMarked {
			if wait := e.unsettledLocked(en); wait != nil {
				return wait
			}
		}
	}
	for _, id := range ids {
		if p, en, seq := e.deadLocked(id); en.exists() && en.phase == phasePending {
			t.takeLocked(e, p, en, seq)
		}
	}
	return nil
}

// deadLocked returns the entry that an id names, if there is one.
func (e *embedded) deadLocked(id DeadLetterID) (*page, entry, uint64) {
	died, seq, err := id.parse()
	if err != nil || seq > e.dead.visible {
		return nil, entry{}, 0
	}
	p, en := e.dead.lookup(seq)
	if !en.exists() {
		return nil, entry{}, 0
	}
	if created, _ := p.timesOf(seq, en); created != died {
		return nil, entry{}, 0
	}
	return p, en, seq
}

func (t *takenDead) takeLocked(e *embedded, p *page, en entry, seq uint64) {
	e.dead.move(p, en, phaseMarked)
	en.mark = t.mark.number
	t.seqs = append(t.seqs, seq)
}

// settle gives back what a call has taken and that is still there; if the outcome
// of its last commit is unknown, it all stays as it is until the next open.
func (t *takenDead) settle(e *embedded, err error) {
	unknown := isUnknown(err)
	if !unknown {
		t.giveBack(e)
	}
	e.settleMarking(t.mark, !unknown)
}

func (t *takenDead) giveBack(e *embedded) {
	for part := range slices.Chunk(t.seqs, applySlice) {
		e.mu.Lock()
		for _, seq := range part {
			if p, en := e.dead.lookup(seq); en.exists() && en.mark == t.mark.number {
				en.mark = 0
				e.dead.move(p, en, phasePending)
			}
		}
		e.mu.Unlock()
	}
}
