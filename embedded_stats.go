package recall

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// tally counts what commits have made durable, since open, and how long they took.
type tally struct {
	published, duplicates, cancelled, restored, died atomic.Int64

	commitTime, writeTime durationHistogram
	commitRows            rowHistogram
}

// note counts a commit that has begun some time ago.
func (t *tally) note(rows int, took, wrote time.Duration) {
	t.commitRows.observe(rows)
	t.commitTime.observe(took)
	t.writeTime.observe(wrote)
}

// row counts what has become of a message that was published.
func (t *tally) row(r *insertRow) {
	if r.seq == 0 {
		t.duplicates.Add(1)
		return
	}
	t.published.Add(1)
	if r.taken != nil || r.gone { // what a walk of its transaction took is in the set of that
		t.cancelled.Add(1)
	}
}

// rowsOf is how many rows works bring to their commit.
func rowsOf(works []work) (n int) {
	for _, w := range works {
		n += w.bound().Rows
	}
	return n
}

// Stats implements [Engine].
func (e *embedded) Stats() EngineStats {
	s := EngineStats{
		Published: e.tally.published.Load(), Duplicates: e.tally.duplicates.Load(),
		Cancelled: e.tally.cancelled.Load(), Restored: e.tally.restored.Load(), Died: e.tally.died.Load(),
		CommitTime: e.tally.commitTime.read(), WriteTime: e.tally.writeTime.read(), CommitRows: e.tally.commitRows.read(),
		Waiting: int(e.undurable.Load()), Broken: e.store.Err() != nil,
	}
	disk := e.store.Stats()
	s.FileBytes, s.FreeBytes, s.Segments = disk.FileBytes, disk.FreeBytes, disk.Segments
	s.Events, _ = e.store.Log()
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Pending, s.InFlight, s.DeadLetters = e.live.live-e.live.inFlight, e.live.inFlight, e.dead.live
	s.Commits, s.ClockClamp = e.stats.commits, e.stats.clamp
	s.Backlog, s.Undoable, s.UndoBytes = e.backlogLocked(), e.undo.undoable, e.undo.bytes
	s.DeduplicationIDs = e.reserved.count
	return s
}

// CountStates implements [StateCounter].
func (e *embedded) CountStates(ctx context.Context, now time.Time) (StateCounts, error) {
	out := StateCounts{Counts: make(map[State]int, len(allStates))}
	if err := e.checkOpen(ctx); err != nil {
		return out, err
	}
	for _, s := range allStates {
		out.Counts[s] = 0
	}
	w, _ := e.planWalk(Filter{}, now)
	since, run, last := int64(math.MaxInt64), 0, StateDelayed // neighbours are often in one state
	w.run(&e.mu, func(_ *page, en entry, seq uint64) verdict {
		if !en.countable() {
			return goOn
		}
		s := e.stateLocked(en, seq, now)
		if s != last {
			out.Counts[last] += run
			run, last = 0, s
		}
		if run++; s == StateReady {
			since = min(since, en.due())
		}
		return goOn
	})
	if out.Counts[last] += run; since != math.MaxInt64 {
		out.ReadySince = time.UnixMilli(since)
	}
	return out, nil
}
