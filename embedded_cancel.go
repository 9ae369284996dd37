package recall

import (
	"cmp"
	"context"
	"errors"

	"github.com/recallmq/recall/store"
)

// Cancel implements [Engine].
func (e *embedded) Cancel(ctx context.Context, req CancelRequest) error {
	if err := e.checkOpen(ctx); err != nil {
		return err
	}
	r, ok := e.resolve(req.ID)
	if !ok {
		return ErrNotFound
	}
	if err := e.gate.enter(ctx); err != nil {
		return err
	}
	defer e.gate.leave()
	for {
		done, wait, err := e.cancelOne(ctx, r, req)
		if done || err != nil {
			return err
		}
		if err := wait(ctx); err != nil {
			return err
		}
	}
}

// cancelOne takes the message if it is pending, or asks for its cancellation
// if it is in flight. Otherwise its state is certain after wait.
func (e *embedded) cancelOne(ctx context.Context, r resolvedID, req CancelRequest) (done bool, wait func(context.Context) error, err error) {
	var asking *marking
	if req.Sticky {
		if asking, err = e.newMarking(); err != nil {
			return true, nil, err
		}
		defer func() { e.settleMarking(asking, true) }()
	}
	w, wait, err := e.takeOne(r, req, asking)
	if w == nil {
		return false, wait, err
	}
	if w.sticky {
		e.begun(w.op.ID)
		defer e.ended(w.op.ID)
	}
	err = e.submit(ctx, w)
	w.settle(err)
	return true, nil, err
}

// takeOne marks the message, or requests its cancellation, in one lock hold.
func (e *embedded) takeOne(r resolvedID, req CancelRequest, asking *marking) (w *cancelOneWork, wait func(context.Context) error, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, en := e.findLocked(r)
	if !en.exists() {
		return nil, nil, ErrNotFound
	}
	switch {
	case en.phase == phasePending:
		e.lanesDeadLocked(en)
		e.live.move(p, en, phaseMarked)
		w = &cancelOneWork{e: e, seq: r.seq, subject: e.subjectLocked(p, en, r.seq)}
		w.event = store.Event{Kind: eventCancelled, At: req.Now.UnixMilli()}
		return w, nil, nil
	case en.phase == phaseMarked || en.mark != 0:
		if wait := e.unsettledLocked(en); wait != nil {
			return nil, wait, nil
		}
		return nil, nil, cmp.Or(e.store.Err(), ErrNotFound) // it may be there again after the next open
	case en.phase != phaseInFlight:
		return nil, e.flush, nil
	case !req.Sticky:
		return nil, nil, &NotCancellableError{ID: req.ID, State: StateInFlight}
	}
	again := en.flags&flagRequested != 0 // and durably: then a request of its own, should the other be lifted
	switch l := e.leases[r.seq]; {
	case l.final:
		ended := e.endedLocked(l)
		return nil, func(ctx context.Context) error { return await(ctx, ended) }, nil
	case l.finishing:
		return nil, e.flush, nil // it will be pending in a moment
	}
	if !again {
		e.live.request(p, en, true)
	}
	en.mark = asking.number
	op := e.newOperation(verbCancel, req.Now, req.Reason, "id="+string(req.ID))
	op.Policy = uint8(Sticky)
	w = &cancelOneWork{e: e, seq: r.seq, sticky: true, again: again, op: op, subject: e.subjectLocked(p, en, r.seq)}
	w.event = store.Event{Kind: eventCancelRequested, At: op.At, Attempt: uint32(en.attempts()), Operation: op.ID}
	return w, nil, nil
}

// isUnknown tells whether a commit failed with its outcome unknown: marks stay
// until the file is opened again.
func isUnknown(err error) bool { return errors.Is(err, ErrFailed) }

// cancelOneWork makes the cancellation of one message durable. A pending one
// is a finished message like any other; a request for one in flight is a
// record of its own, because the message may still be delivered.
type cancelOneWork struct {
	e      *embedded
	seq    uint64
	sticky bool
	again  bool // it was requested before
	op     store.Operation

	subject store.Subject // for the log
	event   store.Event
}

func (w *cancelOneWork) bound() store.Bound {
	return store.Bound{Rows: 1, Bytes: 512 + int64(len(w.op.Reason)) + eventBytes(&w.subject, nil), Essential: true}
}

func (w *cancelOneWork) write(t *turn) error {
	if err := t.log(&w.subject, w.event); err != nil {
		return err
	}
	switch {
	case w.sticky:
		return t.tx.Tombstone(w.op, 0, nil, []uint64{w.seq})
	case w.seq != 0:
		t.finished = append(t.finished, w.seq)
	}
	return nil
}

func (w *cancelOneWork) apply(*embedded) {}

// settle follows the outcome of the commit.
func (w *cancelOneWork) settle(err error) {
	if w.seq == 0 {
		return
	}
	if err == nil && !w.sticky {
		w.e.tally.cancelled.Add(1)
		return
	}
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	p, en := w.e.live.lookup(w.seq)
	switch {
	case !en.exists():
	case w.sticky:
		en.mark = 0
		if err != nil && !isUnknown(err) {
			if !w.again {
				w.e.live.request(p, en, false)
			}
		} else if err == nil {
			if en.phase == phaseInFlight && en.flags&flagRequested == 0 { // the other was lifted meanwhile
				w.e.live.request(p, en, true)
			}
			w.e.undo.askedLocked(w.op, []uint64{w.seq})
		}
	case en.phase == phaseMarked && !isUnknown(err):
		w.e.unmarkLocked(p, en, w.seq)
		hint(w.e.claimHint)
	}
}

// CancelMatching implements [Engine].
func (e *embedded) CancelMatching(ctx context.Context, req CancelMatchingRequest) (CancelResult, error) {
	if err := e.checkOpen(ctx); err != nil {
		return CancelResult{}, err
	}
	if !req.All && req.Filter.IsZero() {
		return CancelResult{}, ErrEmptyFilter
	}
	c := e.newBulk(req, verbCancel)
	err := c.run(ctx)
	return c.result, err
}

// tombstoneWork is the durable record of a cancellation: one commit, whatever
// the number of messages.
type tombstoneWork bulk

func (w *tombstoneWork) bound() store.Bound {
	n := len(w.seqs) + len(w.asked)
	return store.Bound{Rows: 2 + n/1024, Bytes: int64(n)*3 + 8192 + int64(len(w.op.Filter)+len(w.op.Reason)), Essential: true}
}

func (w *tombstoneWork) write(t *turn) error {
	if err := t.logOperation(&w.op, len(w.seqs), len(w.asked)); err != nil {
		return err
	}
	return t.tx.Tombstone(w.op, w.part, w.seqs, w.asked)
}

func (w *tombstoneWork) apply(*embedded) {}

// settleCancel follows a durable cancellation: what was in flight may be
// finished by its attempt, and the rest is undoable for a while.
func (c *bulk) settleCancel() {
	c.e.tally.cancelled.Add(int64(len(c.seqs)))
	c.unmarkAsked()
	if c.req.Asked != nil && len(c.askedIDs) > 0 {
		c.req.Asked(c.askedIDs)
	}
	c.e.bury(c.op, c.mark.number, c.seqs, c.asked)
	c.e.settleMarking(c.mark, len(c.seqs) == 0)
}
