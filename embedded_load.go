package recall

import (
	"context"
	"errors"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// recovery is what an engine remembers of an unclean end. Until what may have
// been in flight then is through, claims are noted before their attempts
// start: a message that kills its process at once must not do so for ever.
type recovery struct {
	pending bool
	before  uint64 // numbers below were there at the open
	due     int64  // ms: the first claim's time; what was due by then may have been in flight
}

// carefulLocked tells whether a claim has to be durable before its attempt.
func (r *recovery) carefulLocked(it dueItem, now int64) bool {
	if !r.pending {
		return false
	}
	if r.due == 0 {
		r.due = now
	}
	return it.seq < r.before && it.due <= r.due
}

// crashed is a message that the end of the process has finished.
type crashed struct {
	seq       uint64
	attempts  uint32
	cancelled bool // its cancellation was requested; otherwise its attempts are used up
}

// rebuild makes the index from the file and returns the messages that the last
// crash has finished.
func (e *embedded) rebuild(now int64) (todo []crashed, err error) {
	head := e.store.Head()
	clean := e.store.Clean()
	e.crash = recovery{pending: !clean, before: head.NextSeq}
	l := &loading{e: e, undoable: map[[16]byte]*burial{}, due: map[*lane][]dueItem{}}
	rows := startPipeline(l.take)
	err = e.store.Load(store.LoadFuncs{
		Row: rows.passRow,
		Object: func(kind byte, name string, value []byte) error {
			e.setObjectLocked(Object{Kind: ObjectKind(kind), Name: name, Value: append([]byte{}, value...)})
			return nil
		},
		Reserved:  func(p store.ReservedPart, r store.Reservation) { e.reserved.takeIn(p, r) },
		Tombstone: func(op store.Operation, progress store.Progress) error { return e.loadOperation(op, progress, now) },
		Undoable: func(op store.Operation) bool {
			b := e.loadUndoable(op, now)
			l.undoable[op.ID] = b
			return b != nil
		},
	})
	if err := errors.Join(err, rows.endRows()); err != nil {
		return nil, err
	}
	for ln, items := range l.due {
		ln.fill(items)
	}
	e.live.last, e.dead.last = head.NextSeq-1, head.NextDead-1
	e.live.visible, e.dead.visible = e.live.last, e.dead.last
	e.loadFlows(now, clean)
	e.upkeep.sweep, e.upkeep.state = true, true
	e.upkeep.foldable = e.store.Stats().Foldable
	e.weighUndoable()
	return l.todo, nil
}

// loading takes the rows of a file into the index.
type loading struct {
	e        *embedded
	undoable map[[16]byte]*burial // cancellations that can be undone; all are known before the first row
	due      map[*lane][]dueItem  // sorted once, at the end
	todo     []crashed
}

func (l *loading) take(row *loadedRow) {
	e, rec, st := l.e, &row.rec, row.state
	if row.table == store.Dead {
		e.insertDeadLocked(row.seq, rec)
		return
	}
	attempts := max(st.Attempts, st.Claimed)
	if st.Cancelled { // by what can be undone
		e.loadCancelled(l.undoable[st.Operation], row.seq, e.loadRow(row.seq, rec, st, attempts))
		return
	}
	if st.Requested || st.Claimed > st.Attempts && attempts > rec.Retries {
		l.todo = append(l.todo, crashed{row.seq, attempts, st.Requested})
	}
	en := e.loadRow(row.seq, rec, st, attempts)
	if q := e.queueOf(en); q != nil || st.Held {
		return
	}
	en.flags |= flagQueued
	ln := e.laneOf(en)
	l.due[ln] = append(l.due[ln], dueItem{en.due(), row.seq})
}

func (e *embedded) loadRow(seq uint64, rec *store.Record, st store.State, attempts uint32) entry {
	created := int64(ulid.ULID(rec.ID).Time())
	if rec.Foreign {
		created = rec.Created
		e.aliases.add(resolvedID{seq, created}, rec.ID)
	}
	t := times{created: created, wall: rec.Wall, due: rec.Due}
	if st.HasRetry || st.HasDue {
		t.due = st.Due
	}
	en := e.live.insert(seq, rec, t)
	if len(rec.Blocks) > 0 {
		e.blocksLocked(rec, seq)
	}
	en.setAttempts(int(min(attempts, mostAttempts)))
	if attempts > 0 {
		en.flags |= flagRetried
	}
	if st.Held {
		en.flags |= flagHeld
	}
	return en
}

// loadOperation takes up what an operation has left to do: a standing one goes
// on, and a cancellation that is not folded goes to the background. Its messages
// are not in the index, unless it can still be undone.
func (e *embedded) loadOperation(op store.Operation, progress store.Progress, now int64) error {
	e.opIDs.begin(op.ID)
	switch verb(op.Kind) {
	case verbStanding:
		if op.Lifted != 0 {
			return nil
		}
		s, err := loadStanding(op)
		if err == nil {
			e.standing = append(e.standing, s)
		}
		return err
	case verbCancel:
		switch u := &e.undo; {
		case progress == store.SetFolded || op.Restored != 0:
		case !e.canUndo(op, progress, now):
			u.buried = append(u.buried, &burial{op: op.ID, size: int(op.Count), state: burialUnlinked})
		case len(u.buried) == 0 || u.buried[len(u.buried)-1].op != op.ID: // it has no set, only requests
			u.buried = append(u.buried, &burial{op: op.ID, until: e.undo.endOf(op, now)})
			u.undoable++
		}
	}
	return nil
}

// endOf is when an operation can no longer be undone. The clock may have gone
// back since.
func (u *undoState) endOf(op store.Operation, now int64) int64 {
	return min(op.At, now) + u.window.Milliseconds()
}

func (e *embedded) canUndo(op store.Operation, progress store.Progress, now int64) bool {
	return progress == store.SetWhole && e.undo.window > 0 && e.undo.endOf(op, now) > now
}

// loadUndoable begins the part of a cancellation that can still be undone: its
// messages are loaded with its mark. Nil if it cannot.
func (e *embedded) loadUndoable(op store.Operation, now int64) *burial {
	if verb(op.Kind) != verbCancel || !e.canUndo(op, store.SetWhole, now) {
		return nil
	}
	b := &burial{op: op.ID, size: int(op.Count), until: e.undo.endOf(op, now)}
	e.undo.buried = append(e.undo.buried, b)
	m, err := e.newMarking()
	if err != nil { // it cannot be undone, then
		b.state = burialUnlinked
		return nil
	}
	e.settleMarking(m, false)
	b.mark = m.number
	e.undo.undoable++
	return b
}

func (e *embedded) loadCancelled(b *burial, seq uint64, en entry) {
	p, _ := e.live.lookup(seq)
	e.live.move(p, en, phaseMarked)
	en.mark = b.mark
	b.seqs = append(b.seqs, seq)
}

// weighUndoable applies the bounds of what can be undone, now that the sizes
// are known.
func (e *embedded) weighUndoable() {
	each := e.bytesPerMessage()
	for _, b := range e.undo.buried {
		if b.state == burialUndoable {
			b.size, b.bytes = len(b.seqs), int64(len(b.seqs))*each
			e.undo.bytes += b.bytes
		}
	}
	e.undo.makeRoom()
}

// settleCrash ends what the crash has finished: cancelled, or dead letter.
func (e *embedded) settleCrash(todo []crashed, now int64) error {
	for _, c := range todo {
		w := &finishWork{seq: c.seq, end: endGone, log: e.crashLog(c, now)}
		if !c.cancelled {
			w.end = endDead
			if err := e.crashLetter(w, c, now); errors.Is(err, ErrCorrupt) {
				continue // whoever claims it sets it aside
			} else if err != nil {
				return err
			}
		}
		e.mu.Lock()
		if p, en := e.live.lookup(c.seq); en.exists() {
			e.live.move(p, en, phaseFinishing)
		}
		e.mu.Unlock()
		// Without room it is tried again with every commit.
		if err := e.submit(context.Background(), w); err != nil && !noRoom(err) {
			return err
		}
	}
	return nil
}
