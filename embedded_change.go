package recall

import (
	"context"

	"github.com/recallmq/recall/store"
)

// Change implements [Changer]: the walk of a cancellation, with another end.
func (e *embedded) Change(ctx context.Context, req ChangeRequest) (ChangeResult, error) {
	if err := e.checkOpen(ctx); err != nil {
		return ChangeResult{}, err
	}
	kind := verbOf(req.Kind)
	if kind == 0 {
		return ChangeResult{}, invalid("Kind", "%q is no change", req.Kind)
	}
	if req.Filter.IsZero() && !req.All {
		return ChangeResult{}, ErrEmptyFilter
	}
	req.Expired, req.Asked = nil, nil
	c := e.newBulk(req.CancelMatchingRequest, kind)
	c.due = req.Due.UnixMilli()
	if kind == verbRetryNow {
		c.due = req.Now.UnixMilli()
	}
	err := c.run(ctx)
	r := c.result
	return ChangeResult{r.Cancelled, r.Skipped, r.Operation, r.Index, r.Scanned}, err
}

// verbOf returns the verb of a change, 0 if it is none.
func verbOf(kind OperationKind) verb {
	for v := verbHold; v <= verbRetryNow; v++ {
		if v.name() == kind {
			return v
		}
	}
	return 0
}

// wants tells whether the call would change a message.
func (c *bulk) wants(en entry) bool {
	switch c.verb {
	case verbHold:
		return en.flags&flagHeld == 0
	case verbRelease:
		return en.flags&flagHeld != 0
	case verbReschedule:
		return en.due() != c.due
	case verbRetryNow:
		return en.phase == phasePending && en.flags&flagRetried != 0 && en.due() > c.due
	}
	return true
}

// work is what makes a pass durable.
func (c *bulk) work() work {
	if c.verb == verbCancel {
		return (*tombstoneWork)(c)
	}
	return (*changeWork)(c)
}

// settle follows a durable pass.
func (c *bulk) settle() {
	if c.verb == verbCancel {
		c.settleCancel()
		return
	}
	c.eachMarked(c.seqs, c.changeLocked)
	c.e.settleMarking(c.mark, true)
	hint(c.e.claimHint)
}

// changeLocked makes a marked message pending again, as the verb wants it.
func (c *bulk) changeLocked(p *page, en entry, seq uint64) {
	c.e.takeParkedLocked(en, seq)
	en.flags &^= flagQueued // in another lane its item stays, to be stepped over
	switch c.verb {
	case verbHold:
		en.flags |= flagHeld
	case verbRelease:
		en.flags &^= flagHeld
	default:
		en.setDue(c.due)
	}
	c.e.unmarkLocked(p, en, seq)
}

// changeWork is the durable record of a change: who asked for it, and what it
// did to which messages.
type changeWork bulk

func (w *changeWork) bound() store.Bound { return (*tombstoneWork)(w).bound() }

func (w *changeWork) write(t *turn) error {
	op := w.op
	op.Count = uint64(len(w.seqs))
	if err := t.tx.PutOperation(op); err != nil {
		return err
	}
	if w.verb == verbHold || w.verb == verbRelease {
		return t.tx.Hold(w.seqs, w.verb == verbHold)
	}
	return t.tx.Reschedule(w.seqs, w.due)
}

func (w *changeWork) apply(*embedded) {}
