package recall

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/recallmq/recall/store"
)

// Restore implements [Restorer].
func (e *embedded) Restore(ctx context.Context, id OperationID, now time.Time) (RestoreResult, error) {
	if err := e.checkOpen(ctx); err != nil {
		return RestoreResult{}, err
	}
	op, err := id.parse()
	if err != nil {
		return RestoreResult{}, err
	}
	if err := e.gate.pass(ctx); err != nil { // a transaction may be about to bury it
		return RestoreResult{}, err
	}
	w, err := e.beginRestore(ctx, op, now.UnixMilli())
	if err != nil {
		return RestoreResult{}, err
	}
	if len(w.parts) == 0 {
		return e.restored(op)
	}
	w.findQueues()
	end, err := e.commitRestore(ctx, w)
	for _, seq := range end {
		// Its request holds after all, and its attempt has failed meanwhile.
		if sent := e.finishGone(seq); sent != nil {
			return RestoreResult{}, errors.Join(err, sent)
		}
	}
	switch {
	case w.refused != nil: // decided by the file: nothing was written
		return RestoreResult{}, w.refused
	case err != nil:
		return RestoreResult{}, err
	}
	return w.result, nil
}

// commitRestore makes an undo durable and memory follow it, while it shares the
// gate: a transaction sees the whole set or nothing of it. Before, it must not
// have the gate, since the call that it waits for may have to pass it.
func (e *embedded) commitRestore(ctx context.Context, w *restoreWork) (end []uint64, err error) {
	if err = e.gate.enter(ctx); err == nil {
		defer e.gate.leave()
		err = e.submit(ctx, w)
	}
	return w.settle(err), err
}

// restored is the answer about an operation that there is nothing left to undo
// of: what its undo brought back, or why it cannot be undone.
func (e *embedded) restored(op [16]byte) (RestoreResult, error) {
	if err := e.store.Err(); err != nil {
		return RestoreResult{}, err
	}
	o, _, found, err := e.store.Operation(op)
	switch {
	case err != nil:
		return RestoreResult{}, err
	case !found:
		return RestoreResult{}, ErrNotFound
	case verb(o.Kind) != verbCancel:
		return RestoreResult{}, invalid("OperationID", "it names a %s, not a cancellation", verb(o.Kind).name())
	case o.Restored == 0:
		return RestoreResult{}, ErrUndoExpired
	}
	return RestoreResult{Restored: int(o.Back), Lifted: int(o.Lifts)}, nil
}

// beginRestore takes the operation out of the background's hands.
func (e *embedded) beginRestore(ctx context.Context, op [16]byte, now int64) (*restoreWork, error) {
	for {
		e.mu.Lock()
		wait := e.undo.running[op]
		if wait == nil {
			w, again, err := e.claimBurialsLocked(op, now)
			e.mu.Unlock()
			if again == nil || err != nil {
				return w, err
			}
			wait = again
		} else {
			e.mu.Unlock()
		}
		if err := await(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// claimBurialsLocked is all parts of an operation or none. Requests are lifted
// at once for those whose attempt is still running: if the process ends before
// the commit, they hold again.
func (e *embedded) claimBurialsLocked(op [16]byte, now int64) (w *restoreWork, wait chan struct{}, err error) {
	w = &restoreWork{e: e, op: op, now: now, done: make(chan struct{})}
	for _, b := range e.undo.buried {
		if b.op != op {
			continue
		}
		switch b.state {
		case burialRestoring:
			return nil, b.restoring(), nil
		case burialUndoable:
			if now < b.until {
				w.parts = append(w.parts, b)
				continue
			}
			e.undo.expire(op)
			hint(e.upkeepHint)
			fallthrough
		default:
			return nil, nil, ErrUndoExpired
		}
	}
	if ended := e.endingLocked(w.parts); ended != nil {
		return nil, ended, nil
	}
	for _, b := range w.parts {
		e.undo.state(b, burialRestoring)
		b.restore = w
		for _, seq := range b.asked {
			p, en := e.live.lookup(seq)
			l := e.leases[seq]
			if l != nil && !l.final && en.exists() && en.flags&flagRequested != 0 && !e.asksLocked(seq, op) {
				e.live.request(p, en, false)
				w.lifted = append(w.lifted, seq)
			}
		}
	}
	return w, nil, nil
}

// endingLocked returns when the attempt is over of a message that was asked for,
// and whose end is decided but not to be seen yet: the request has had its
// effect, and an undo comes after that. Nil if there is none.
func (e *embedded) endingLocked(parts []*burial) chan struct{} {
	for _, b := range parts {
		for _, seq := range b.asked {
			if l := e.leases[seq]; l != nil && l.final {
				e.endedLocked(l)
				return l.ended
			}
		}
	}
	return nil
}

// asksLocked tells whether another operation than op has asked for the
// cancellation of a message. The file knows: what can no longer be undone is
// forgotten here, and asks all the same.
func (e *embedded) asksLocked(seq uint64, op [16]byte) bool {
	return slices.ContainsFunc(e.store.Requests(seq), func(other [16]byte) bool {
		return other != op && !slices.ContainsFunc(e.undo.buried, func(b *burial) bool {
			return b.op == other && b.state == burialRestoring
		})
	})
}

// restoreWork undoes one cancellation.
type restoreWork struct {
	e       *embedded
	op      [16]byte
	now     int64
	parts   []*burial
	queues  []string // that the messages may be of
	sure    bool     // and are
	lifted  []uint64 // requests lifted, if the commit holds
	done    chan struct{}
	result  RestoreResult
	refused error
}

func (b *burial) restoring() chan struct{} { return b.restore.done }

func (w *restoreWork) bound() store.Bound {
	return store.Bound{Rows: 1 + len(w.queues), Bytes: 64<<10 + int64(len(w.queues))*settingsRoom, Essential: true}
}

func (w *restoreWork) write(t *turn) error {
	back, lifted, err := t.tx.Restore(w.op, w.now, len(w.lifted))
	switch {
	case errors.Is(err, store.ErrNoOperation):
		w.refused = ErrNotFound
	case errors.Is(err, store.ErrFolded):
		w.refused = ErrUndoExpired
	case err != nil:
		return err
	default:
		w.makeQueues(t)
	}
	w.result = RestoreResult{Restored: back, Lifted: lifted}
	return nil
}

// makeQueues has queues that were deleted come into being again.
func (w *restoreWork) makeQueues(t *turn) {
	lost := t.lostQueues(w.queues)
	if len(lost) > 0 && !w.sure {
		of := w.e.queuesOf(w.parts)
		lost = slices.DeleteFunc(lost, func(name string) bool { return !slices.Contains(of, name) })
	}
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	for _, name := range lost {
		t.makeQueueLocked(name, w.now)
	}
}

// lostQueues returns those that are not there as of this point of the commit.
func (t *turn) lostQueues(names []string) (lost []string) {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	for _, name := range names {
		if t.objectLocked(ObjectQueue, name) == nil {
			lost = append(lost, name)
		}
	}
	return lost
}

// fewQueues is how many queues are looked at without asking which of them a
// cancellation has to do with.
const fewQueues = 256

// findQueues looks for the queues that may have to be made again. That is seldom one
// at all, and looking at a hundred thousand messages takes longer than a commit.
func (w *restoreWork) findQueues() {
	e := w.e
	if w.queues = e.fewQueues(); w.queues == nil {
		w.queues, w.sure = e.queuesOf(w.parts), true
	}
}

// fewQueues returns the queues of all messages, nil if they are many.
func (e *embedded) fewQueues() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.live.fields[fieldQueue].all(fewQueues)
}

// queuesOf returns the queues of the messages in some parts.
func (e *embedded) queuesOf(parts []*burial) (names []string) {
	seen := map[uint32]bool{0: true} // 0: in no queue
	last := uint32(0)
	for _, b := range parts {
		e.eachEntry(b.seqs, func(_ *page, en entry, _ uint64) {
			n := en.values[fieldQueue]
			if n != last && !seen[n] {
				seen[n], names = true, append(names, e.live.fields[fieldQueue].slab[n].name)
			}
			last = n
		})
	}
	return names
}

func (w *restoreWork) apply(*embedded) {}

// settle follows the outcome of the commit: what was cancelled is pending
// again, or stays cancelled.
func (w *restoreWork) settle(err error) (end []uint64) {
	e := w.e
	back := err == nil && w.refused == nil
	if back {
		e.tally.restored.Add(int64(w.result.Restored))
		for _, b := range w.parts {
			e.unbury(b)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	defer close(w.done)
	for _, b := range w.parts {
		b.state, b.restore = burialUndoable, nil
		e.undo.undoable++
		e.undo.bytes += b.bytes
	}
	switch {
	case back:
		for _, b := range w.parts {
			e.undo.state(b, burialUnlinked)
			delete(e.marks, b.mark)
		}
		e.undo.forget(w.op)
	case !isUnknown(err):
		end = e.askAgainLocked(w.lifted)
		e.undo.makeRoom()
	}
	hint(e.claimHint)
	hint(e.upkeepHint)
	return end
}

// askAgainLocked puts requests back that could not be lifted. It returns the
// messages that went back to pending meanwhile: they end now.
func (e *embedded) askAgainLocked(seqs []uint64) (end []uint64) {
	for _, seq := range seqs {
		p, en := e.live.lookup(seq)
		switch {
		case !en.exists():
		case en.phase == phaseInFlight:
			e.live.request(p, en, true)
		case en.phase == phasePending:
			e.lanesDeadLocked(en)
			e.live.move(p, en, phaseFinishing)
			end = append(end, seq)
		}
	}
	return end
}

// finishGone ends a message that is finishing.
func (e *embedded) finishGone(seq uint64) error {
	_, err := e.send(context.Background(), &finishWork{seq: seq, end: endGone, cancelled: true}, false)
	return err
}

// unbury makes the messages of a part pending again, a slice per lock hold.
func (e *embedded) unbury(b *burial) {
	e.eachEntry(b.seqs, func(p *page, en entry, seq uint64) {
		if en.phase == phaseMarked {
			e.unmarkLocked(p, en, seq)
		}
	})
}
