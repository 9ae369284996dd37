package recall

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/recallmq/recall/store"
)

// upkeepState is the background work that is waiting. It is guarded by the
// engine's mu.
type upkeepState struct {
	foldable  int       // finished messages whose journal rows are not folded
	sweep     bool      // bitmaps have changed since the last sweep
	full      bool      // a publish was refused since the last fold
	state     bool      // retries or claims were journalled since the last fold of them
	audit     time.Time // when to look for records that are old enough to go, behind auditFrom
	auditFrom [16]byte

	logFull    bool // a publish was refused since the log was last looked at
	logShrinks bool // to logKeep events
	logKeep    int

	lane   laneKey // the lane that is being shed, at
	laneAt dueItem
}

const (
	noteAfter   = time.Second // a claim is noted by then, if no commit came earlier
	foldBatch   = 100_000     // messages folded in one commit
	stateBatch  = 1 << 20     // journal bytes folded in one commit
	unlinkBatch = 64          // slices unlinked or cleaned in one step
	shedItems   = 256         // items of a lane looked at in one lock hold
)

func (e *embedded) backlogLocked() int { return e.upkeep.foldable + e.undo.backlog() }

// upkeepPaysLocked tells whether there is background work worth starting, beside
// folding what is finished.
func (e *embedded) upkeepPaysLocked() bool {
	u := &e.upkeep
	return len(e.undo.buried) > e.undo.undoable || u.sweep || u.state
}

// noteFull starts background work when a publish was refused: segments that may
// still be written to are sealed then, and can be given back.
func (e *embedded) noteFull() {
	e.mu.Lock()
	e.upkeep.full, e.upkeep.sweep, e.upkeep.logFull = true, true, true
	e.mu.Unlock()
	hint(e.upkeepHint)
}

// Maintain implements [Engine]: one step of noting claims, unlinking,
// counting, cleaning, folding or sweeping, the most urgent first.
func (e *embedded) Maintain(ctx context.Context, now time.Time) (time.Time, error) {
	if err := e.checkOpen(ctx); err != nil {
		return time.Time{}, err
	}
	next, err := e.noteClaims(ctx, now)
	if err != nil {
		return time.Time{}, err
	}
	next = earlier(next, e.expireStep(now))
	for _, step := range []func(context.Context) (bool, error){
		// What is unlinked is counted with that: both touch the same values.
		e.unlinkStep, e.countStep, e.cleanStep, e.shedStep, e.foldTombstoneStep, e.foldFinishedStep, e.foldStateStep, e.sweepStep, e.keptStep,
	} {
		did, err := step(ctx)
		if noRoom(err) { // a later step may make some
			next = earlier(next, now.Add(fullPause))
			continue
		}
		if err != nil {
			return time.Time{}, err
		}
		if did {
			return now, nil
		}
	}
	for _, step := range []func(context.Context, time.Time) (time.Time, bool, error){
		e.trimStep, e.auditStep, e.dropReservedStep,
	} {
		at, did, err := step(ctx, now)
		if err != nil {
			return time.Time{}, err
		}
		if did {
			return now, nil
		}
		next = earlier(next, at)
	}
	return next, nil
}

// earlier is the first of two times; the zero time stands for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// noteClaims makes a commit for claims that none has noted in time.
func (e *embedded) noteClaims(ctx context.Context, now time.Time) (at time.Time, err error) {
	e.mu.Lock()
	waiting, since := len(e.notes) > 0, e.noted
	e.mu.Unlock()
	if !waiting {
		return time.Time{}, nil
	}
	if at = since.Add(noteAfter); now.Before(at) {
		return at, nil
	}
	return time.Time{}, e.submit(ctx, flushWork{})
}

// unlinkStep takes cancelled messages out of the index, a slice per lock hold.
func (e *embedded) unlinkStep(context.Context) (bool, error) {
	for i := range unlinkBatch {
		if !e.unlinkSlice() {
			return i > 0, nil
		}
		runtime.Gosched()
	}
	return true, nil
}

// cleanStep rids posting lists of unlinked entries, once they are mostly that.
func (e *embedded) cleanStep(context.Context) (bool, error) {
	for i := range unlinkBatch {
		if !e.cleanSlice() {
			return i > 0, nil
		}
		runtime.Gosched()
	}
	return true, nil
}

func (e *embedded) cleanSlice() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.live.clean() || e.dead.clean()
}

// shedStep takes cancelled items out of a lane that is mostly made of them.
func (e *embedded) shedStep(context.Context) (bool, error) {
	for i := range unlinkBatch {
		if !e.shedSlice() {
			return i > 0, nil
		}
		runtime.Gosched()
	}
	return true, nil
}

func (e *embedded) shedSlice() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := &e.upkeep
	ln := e.lanes.byKey[u.lane]
	if u.laneAt == (dueItem{}) {
		if u.lane, ln = e.lanes.mostlyDead(); ln == nil {
			return false
		}
		ln.fresh = 0
	}
	if ln == nil {
		u.laneAt = dueItem{}
		return true
	}
	next, done := ln.shed(u.laneAt, shedItems, func(it dueItem) bool {
		_, en := e.live.lookup(it.seq)
		if en.exists() && en.waits(it.due) {
			return true
		}
		e.leftLaneLocked(en, it.due)
		return false
	})
	if u.laneAt = next; done {
		// What came since may be among what was passed over.
		u.laneAt, ln.dead = dueItem{}, min(ln.dead, ln.fresh)
	}
	return true
}

// maintWork is background work inside a commit.
type maintWork struct {
	step func(*store.Tx) error
	need store.Bound
}

func (w *maintWork) bound() store.Bound { return w.need }

// upkeepBound is what a step of background work may write.
func upkeepBound(bytes int64) store.Bound {
	return store.Bound{Rows: 1, Bytes: bytes, Essential: true}
}

func (w *maintWork) write(t *turn) error { return w.step(t.tx) }
func (w *maintWork) apply(*embedded)     {}

// keptStep tries outcomes again that have found no room.
func (e *embedded) keptStep(ctx context.Context) (bool, error) {
	if e.kept.Load() == 0 {
		return false, nil
	}
	err := e.flush(ctx)
	return err == nil, err
}

// foldTombstoneStep folds the oldest cancellations whose messages are unlinked
// into the bitmaps, or a part of one.
func (e *embedded) foldTombstoneStep(ctx context.Context) (bool, error) {
	e.mu.Lock()
	ops := e.undo.foldable()
	e.mu.Unlock()
	if len(ops) == 0 {
		return false, nil
	}
	var folded [][16]byte
	err := e.fold(ctx, func(tx *store.Tx, limit int) error {
		left := limit
		folded = folded[:0]
		for _, op := range ops {
			seqs, more, err := tx.FoldTombstone(op, left)
			if err != nil {
				return err
			}
			if !more {
				folded = append(folded, op)
			}
			if left -= len(seqs); left <= 0 {
				break
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upkeep.sweep = true
	e.undo.forget(folded...)
	return true, nil
}

// fold runs a step that sets bits for many messages, or for a few where there is
// no room for more: folding is what makes room.
func (e *embedded) fold(ctx context.Context, step func(tx *store.Tx, limit int) error) error {
	const few = 256 // in a segment each, at worst
	work := func(limit int, bytes int64) error {
		return e.submit(ctx, &maintWork{need: upkeepBound(bytes), step: func(tx *store.Tx) error { return step(tx, limit) }})
	}
	err := work(foldBatch, 2<<20)
	if noRoom(err) {
		err = work(few, few<<10)
	}
	return err
}

// foldFinishedStep folds the journal's finished sets into the bitmaps, once it
// pays.
func (e *embedded) foldFinishedStep(ctx context.Context) (bool, error) {
	e.mu.Lock()
	full := e.upkeep.full && e.upkeep.foldable > 0
	e.upkeep.full = false
	e.mu.Unlock()
	if !full && !e.store.FoldPays() {
		return false, nil
	}
	var folded int
	var more bool
	err := e.fold(ctx, func(tx *store.Tx, limit int) (err error) {
		folded, more, err = tx.FoldFinished(limit)
		return err
	})
	if err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upkeep.sweep, e.upkeep.state = true, true
	e.upkeep.foldable = max(0, e.upkeep.foldable-folded)
	if !more && folded == 0 {
		e.upkeep.foldable = 0
	}
	return true, nil
}

// foldStateStep folds retries and claims into the overlay, when the store
// finds that it pays.
func (e *embedded) foldStateStep(ctx context.Context) (bool, error) {
	e.mu.Lock()
	todo := e.upkeep.state
	e.upkeep.state = false
	e.mu.Unlock()
	if !todo || !e.store.FoldStatePays() {
		return false, nil
	}
	var more bool
	err := e.submit(ctx, &maintWork{need: upkeepBound(stateBatch), step: func(tx *store.Tx) (err error) {
		more, err = tx.FoldState(stateBatch)
		return err
	}})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upkeep.state = more
	return true, err
}

// sweepStep drops or rewrites a segment in which little or nothing lives.
func (e *embedded) sweepStep(ctx context.Context) (bool, error) {
	e.mu.Lock()
	todo := e.upkeep.sweep
	e.mu.Unlock()
	if !todo {
		return false, nil
	}
	next, ok := e.store.NextSweep()
	var result store.SweepResult
	var err error
	if ok {
		err = e.submit(ctx, &maintWork{need: next.Bound, step: func(tx *store.Tx) (err error) {
			result, err = tx.Sweep(next)
			return err
		}})
	}
	if errors.Is(err, ErrFull) && !errors.Is(err, ErrFailed) {
		err, result.More = nil, e.store.SweepRefused(next) // a rewrite needs room: after the next fold, perhaps
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upkeep.sweep = err == nil && result.More
	return ok, err
}
