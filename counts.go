package recall

import (
	"context"
	"runtime"
	"slices"

	"github.com/recallmq/recall/internal/polite"
)

// Counts are exact whenever someone looks at them. A walk that marks a hundred
// thousand entries takes them out of the counts of time at once, which lie next
// to each other, and leaves those of their values, eight for each, to be counted
// later: while its commit is under way, by background work, or by the first who
// reads a count. An entry that waits for that has flagUncounted; one that goes
// on before, because its mark is undone or it is unlinked, settles its own.

// countSlice is how many entries are counted at a time: less than 100 µs of work.
const countSlice = 1024

// uncounted are the entries that one pass has marked, from at on.
type uncounted struct {
	seqs []uint64 // the pass appends to it
	at   int
	over bool // the pass is
}

// count takes an entry into (+1) or out of (-1) the live counts.
func (ix *index) count(p *page, e entry, by int32) {
	ix.countTimeOf(p, by)
	if e.flags&flagUncounted != 0 { // it was marked, and its values are as they were
		e.flags &^= flagUncounted
		return
	}
	ix.countValuesOf(e, by)
}

func (ix *index) countTimeOf(p *page, by int32) {
	ix.lives[p.base>>pageBits-ix.firstPage] += by
	ix.live += int(by)
}

func (ix *index) countValuesOf(e entry, by int32) {
	for f, n := range e.values {
		if n != 0 {
			ix.fields[f].live[n] += by
		}
	}
	if host := ix.hostNumber(e.values[fieldURL]); host != 0 {
		ix.fields[fieldHost].live[host] += by
	}
	if e.labels != 0 {
		for _, n := range ix.sets.slab[e.labels].labels {
			ix.fields[fieldLabel].live[n] += by
		}
	}
}

// mark is move to phaseMarked for a pass, which has its entries counted by late.
func (ix *index) mark(p *page, e entry, number uint16) {
	if onMove != nil {
		onMove(e.phase, phaseMarked)
	}
	if e.countable() {
		ix.countTimeOf(p, -1)
		e.flags |= flagUncounted
	}
	e.phase, e.mark = phaseMarked, number
}

// countSomeLocked counts up to limit of the entries that were marked, and reports
// whether some are left.
func (ix *index) countSomeLocked(limit int) (more bool) {
	for _, u := range ix.late {
		for limit > 0 && u.at < len(u.seqs) {
			n := min(limit, len(u.seqs)-u.at, walkTouch)
			ix.countLate(u.seqs[u.at : u.at+n])
			u.at += n
			limit -= n
		}
		more = more || u.at < len(u.seqs)
	}
	ix.late = slices.DeleteFunc(ix.late, func(u *uncounted) bool { return u.over && u.at == len(u.seqs) })
	return more
}

// countLate takes entries that were marked out of the counts of their values.
func (ix *index) countLate(seqs []uint64) {
	ix.touch(seqs, true)
	for _, seq := range seqs {
		if _, e := ix.lookup(seq); e.exists() && e.flags&flagUncounted != 0 {
			ix.countOff(e)
		}
	}
}

// countOff takes an entry that was marked out of the counts of its values.
func (ix *index) countOff(e entry) {
	e.flags &^= flagUncounted
	ix.countValuesOf(e, -1)
	if ix.countedOff != nil && e.flags&flagAside != 0 {
		ix.countedOff(e)
	}
}

// beginCounting and endCounting bracket a pass that marks entries.
func (e *embedded) beginCounting() *uncounted {
	u := &uncounted{}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live.late = append(e.live.late, u)
	return u
}

func (e *embedded) endCounting(u *uncounted) {
	e.mu.Lock()
	defer e.mu.Unlock()
	u.over = true
}

// lockCounted takes the lock with every count as it has to be.
func (e *embedded) lockCounted() {
	for {
		e.mu.Lock()
		if !e.live.countSomeLocked(countSlice) {
			return
		}
		e.mu.Unlock()
		runtime.Gosched()
	}
}

// countSome counts a slice of what was marked, and reports whether some is left, and
// whether a cancellation is under way, whose commit may want the processor.
func (e *embedded) countSome() (more, awaited bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.live.countSomeLocked(countSlice), len(e.undo.running) > 0
}

// countStep is background work: what a pass has marked and had no time to count.
func (e *embedded) countStep(context.Context) (bool, error) {
	more, awaited := e.countSome()
	if !more {
		return false, nil
	}
	for range unlinkBatch {
		if awaited {
			polite.Yield()
		} else {
			runtime.Gosched()
		}
		if more, awaited = e.countSome(); !more {
			break
		}
	}
	return true, nil
}

// submitCounting is submit that counts while the commit is under way, and keeps no
// processor from it.
func (e *embedded) submitCounting(ctx context.Context, w work) error {
	r, err := e.send(ctx, w, true)
	if err != nil {
		return err
	}
	for more := true; more && len(r.ack) == 0; polite.Yield() {
		more, _ = e.countSome()
	}
	return e.outcomeOf(r)
}
