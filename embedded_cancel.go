package recall

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// Cancel implements [Engine].
func (e *embedded) Cancel(ctx context.Context, req CancelRequest) error {
	if err := e.checkOpen(ctx); err != nil {
		return err
	}
	r, ok := e.ids.resolve(req.ID)
	if !ok {
		return ErrNotFound
	}
	for {
		w, wait, err := e.cancelOne(r, req)
		switch {
		case err != nil:
			return err
		case w != nil:
			return e.finishCancel(ctx, w)
		}
		if err := wait(ctx); err != nil {
			return err
		}
	}
}

// cancelOne marks the message, or asks for its cancellation if it is in
// flight. It returns no work when the end of the message is being decided:
// then the state is certain after wait.
func (e *embedded) cancelOne(r resolvedID, req CancelRequest) (w *cancelOneWork, wait func(context.Context) error, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, en := e.findLocked(r)
	if en == nil {
		return nil, nil, ErrNotFound
	}
	switch {
	case en.phase == phasePending:
		e.live.move(p, en, phaseMarked)
		e.lanesDeadLocked(en)
		return &cancelOneWork{e: e, seq: r.seq}, nil, nil
	case en.phase == phaseMarked:
		owner := e.marks[en.mark]
		if owner != nil && owner.settled {
			return nil, nil, ErrNotFound
		}
		return nil, func(ctx context.Context) error { return e.settled(ctx, owner) }, nil
	case en.phase != phaseInFlight:
		return nil, func(ctx context.Context) error { return e.settled(ctx, nil) }, nil
	case !req.Sticky:
		return nil, nil, &NotCancellableError{ID: req.ID, State: StateInFlight}
	case en.flags&flagRequested != 0:
		return &cancelOneWork{}, nil, nil // requested already: durable with the next commit
	case e.leases[r.seq].final:
		ended := e.endedLocked(e.leases[r.seq])
		return nil, func(ctx context.Context) error { return await(ctx, ended) }, nil
	}
	e.live.request(p, en, true)
	return &cancelOneWork{e: e, seq: r.seq, sticky: true, op: operation(req.Now, req.Reason, nil)}, nil, nil
}

func (e *embedded) finishCancel(ctx context.Context, w *cancelOneWork) error {
	err := e.submit(ctx, w)
	if err != nil && !isUnknown(err) {
		w.undo()
	}
	return err
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
	op     store.Operation
}

func (w *cancelOneWork) bound() store.Bound {
	return store.Bound{Rows: 1, Bytes: 256 + int64(len(w.op.Reason)), Essential: true}
}

func (w *cancelOneWork) write(t *turn) error {
	switch {
	case w.sticky:
		return t.tx.Requested(w.op, 0, []uint64{w.seq})
	case w.seq != 0:
		t.finished = append(t.finished, w.seq)
	}
	return nil
}

func (w *cancelOneWork) apply(*embedded) {}

func (w *cancelOneWork) undo() {
	if w.seq == 0 {
		return
	}
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	p, en := w.e.live.lookup(w.seq)
	switch {
	case en == nil:
	case w.sticky:
		w.e.live.request(p, en, false)
	case en.phase == phaseMarked:
		w.e.unmarkLocked(p, en, w.seq)
	}
}

// unmarkLocked makes a marked message pending again.
func (e *embedded) unmarkLocked(p *page, en *entry, seq uint64) {
	en.mark = 0
	e.live.move(p, en, phasePending)
	e.queueLocked(en, seq)
	hint(e.claimHint)
}

// operation starts the record of a cancellation.
func operation(now time.Time, reason string, filter []byte) store.Operation {
	var id ulid.ULID
	_ = id.SetTime(uint64(now.UnixMilli()))
	_, _ = rand.Read(id[6:]) // never fails
	return store.Operation{ID: id, Kind: opCancel, At: now.UnixMilli(), Reason: []byte(reason), Filter: filter}
}

// opCancel is the kind of a cancellation among the operations of a file.
const opCancel = 1

func operationID(id [16]byte) OperationID { return OperationID("op_" + ulid.ULID(id).String()) }

// cancellation is one CancelMatching call.
type cancellation struct {
	e       *embedded
	req     CancelMatchingRequest
	walk    *walk
	op      store.Operation
	part    int           // parts of the operation that are durable
	seqs    []uint64      // marked since the last part, ascending
	barrier bool          // met a message whose end is decided but not durable
	blocker MessageID     // of the last pass
	mark    uint16        // names the call in the entries that it has marked
	settled bool          // guarded by mu: this part's marks are durable or undone
	durable chan struct{} // closed then
	result  CancelResult
}

// CancelMatching implements [Engine]. The walk marks what it takes; one
// tombstone then makes the whole set durable. Only waiting for an attempt cuts
// a call in parts.
func (e *embedded) CancelMatching(ctx context.Context, req CancelMatchingRequest) (CancelResult, error) {
	if err := e.checkOpen(ctx); err != nil {
		return CancelResult{}, err
	}
	if !req.All && req.Filter.IsZero() {
		return CancelResult{}, ErrEmptyFilter
	}
	c := e.newCancellation(req)
	for {
		blocker, err := c.pass(ctx)
		if err == nil {
			err = c.commit(ctx, blocker)
		}
		c.result.Scanned = c.walk.scanned
		if err != nil || blocker == 0 {
			return c.result, err
		}
		if err := c.awaitAttempt(ctx, blocker); err != nil {
			return c.result, err
		}
	}
}

func (e *embedded) newCancellation(req CancelMatchingRequest) *cancellation {
	f := req.Filter
	if req.All {
		f = Filter{}
	}
	c := &cancellation{e: e, req: req, op: operation(req.Now, req.Reason, []byte(auditText(f)))}
	c.op.Policy = uint8(req.Policy)
	q := e.newQuery(e.live, f, req.Now)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live.compile(q)
	c.walk = e.live.newWalk(q)
	c.op.AsOf = e.live.visible
	c.result.Index = c.walk.src.name
	return c
}

// auditText is the filter as the record of the operation keeps it: readable,
// and short enough for a row.
func auditText(f Filter) string {
	const most = 2048
	text := f.String()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// pass walks until the end or the first match in flight, which it returns, and
// marks what can be cancelled on the way. If it fails the marks are undone.
func (c *cancellation) pass(ctx context.Context) (blocker uint64, err error) {
	if err := c.e.enter(c); err != nil {
		return 0, err
	}
	if c.seqs == nil {
		// The count of the index bounds the set: growing it step by step would
		// take longer than the walk.
		c.seqs = make([]uint64, 0, c.walk.src.count)
	}
	for {
		done, foreign, owner := c.slice(&blocker)
		switch {
		case done || blocker != 0:
			return blocker, nil
		case foreign:
			err = c.e.settled(ctx, owner)
		default:
			runtime.Gosched()
			err = ctx.Err()
		}
		if err != nil {
			c.undo()
			return 0, err
		}
	}
}

// slice is one lock hold of a pass. It ends early at a blocker, and at a
// message that another call has marked but not made durable yet: that one may
// still come back, so the walk has to wait for its owner. Walks meet messages
// in one order, so they cannot wait for each other in a circle.
func (c *cancellation) slice(blocker *uint64) (done, foreign bool, owner *cancellation) {
	e := c.e
	limited := false
	e.mu.Lock()
	defer e.mu.Unlock()
	done, _ = c.walk.sliceLocked(func(p *page, en *entry, seq uint64) verdict {
		switch {
		case en.countable() && c.full():
			limited = true
			return stop
		case en.phase == phasePending:
			e.live.move(p, en, phaseMarked)
			en.mark = c.mark
			c.seqs = append(c.seqs, seq)
			e.lanesDeadLocked(en)
		case en.phase == phaseMarked:
			if owner = e.marks[en.mark]; owner == nil || !owner.settled {
				foreign = true
				return stopAt
			}
		case en.phase == phaseFinishing:
			c.barrier = true
		case en.phase == phaseInFlight && en.flags&flagRequested == 0:
			*blocker = seq
			created, _ := p.timesOf(seq, en)
			c.blocker = messageID(e.ids.make(seq, created))
			return stopAt
		}
		return goOn
	})
	return done || limited, foreign, owner
}

// full tells whether the call has taken as many as it may.
func (c *cancellation) full() bool {
	return c.req.Limit > 0 && c.result.Cancelled+len(c.seqs) >= c.req.Limit
}

// lanesDeadLocked counts an item that a lane will have to step over.
func (e *embedded) lanesDeadLocked(en *entry) {
	if en.flags&flagQueued != 0 {
		e.laneOf(en).dead++
	}
}

// enter gives a pass its mark.
func (e *embedded) enter(c *cancellation) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.durable, c.settled = make(chan struct{}), false
	for c.mark = 1; c.mark != 0; c.mark++ {
		if e.marks[c.mark] == nil {
			e.marks[c.mark] = c
			return nil
		}
	}
	return errTooManyCancellations
}

var errTooManyCancellations = errors.New("recall: too many cancellations at once")

// exit says that the marks of a pass are durable, or undone: then the mark is
// free, otherwise it is free when the entries that bear it are unlinked.
func (e *embedded) exit(c *cancellation, undone bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.settled = true
	close(c.durable)
	if undone {
		delete(e.marks, c.mark)
	}
}

// settled waits until the marks of a call are durable or undone, and, with
// none given, until everything queued so far is durable.
func (e *embedded) settled(ctx context.Context, owner *cancellation) error {
	if owner == nil {
		return e.submit(ctx, flushWork{})
	}
	return await(ctx, owner.durable)
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit makes the marks of a pass durable with one tombstone. A pass that
// marked nothing but met a decided end waits for that to be durable.
func (c *cancellation) commit(ctx context.Context, blocker uint64) error {
	if len(c.seqs) == 0 {
		c.e.exit(c, true)
		if c.barrier {
			return c.e.submit(ctx, flushWork{})
		}
		return nil
	}
	c.op.Blocker, c.op.Count = blocker, uint64(len(c.seqs))
	err := c.e.submit(ctx, (*tombstoneWork)(c))
	if err != nil {
		if !isUnknown(err) {
			c.undo()
		} else {
			c.e.exit(c, false)
		}
		return err
	}
	c.e.exit(c, false)
	c.e.buried(c.op.ID, c.mark, c.seqs)
	c.result.Cancelled += len(c.seqs)
	c.result.Operation = operationID(c.op.ID)
	c.seqs, c.barrier = nil, false
	c.part++
	return nil
}

// undo takes the marks of a pass back.
func (c *cancellation) undo() {
	for seqs := c.seqs; len(seqs) > 0; {
		n := min(applySlice, len(seqs))
		c.e.mu.Lock()
		for _, seq := range seqs[:n] {
			if p, en := c.e.live.lookup(seq); en != nil && en.phase == phaseMarked {
				c.e.unmarkLocked(p, en, seq)
			}
		}
		c.e.mu.Unlock()
		seqs = seqs[n:]
	}
	c.seqs = nil
	c.e.exit(c, true)
}

// awaitAttempt waits until the attempt of the blocker is over, so that the
// walk can go on. It holds no mark that is not durable. Its error is that of
// the stop rule, if the call is not or no longer willing to wait.
func (c *cancellation) awaitAttempt(ctx context.Context, blocker uint64) error {
	stopped := &NotCancellableError{ID: c.blocker, State: StateInFlight, Cancelled: c.result.Cancelled}
	if c.req.Expired == nil || c.isSelf(blocker) {
		return stopped
	}
	ended := c.e.attemptEnd(blocker)
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-c.req.Expired:
		return stopped
	case <-ctx.Done():
		return ctx.Err()
	case <-c.e.closing:
		return ErrClosed
	}
}

func (c *cancellation) isSelf(blocker uint64) bool {
	r, ok := c.e.ids.resolve(c.req.Self)
	return ok && r.seq == blocker
}

// attemptEnd returns a channel that is closed when the attempt is over, or nil
// if it is over already.
func (e *embedded) attemptEnd(seq uint64) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.leases[seq]
	if l == nil {
		return nil
	}
	return e.endedLocked(l)
}

func (e *embedded) endedLocked(l *lease) <-chan struct{} {
	if l.ended == nil {
		l.ended = make(chan struct{})
	}
	return l.ended
}

// tombstoneWork is the durable record of a cancellation.
type tombstoneWork cancellation

func (w *tombstoneWork) bound() store.Bound {
	return store.Bound{Rows: 1 + len(w.seqs)/1024, Bytes: int64(len(w.seqs))*3 + 4096 + int64(len(w.op.Filter)+len(w.op.Reason)), Essential: true}
}

func (w *tombstoneWork) write(t *turn) error {
	return t.tx.Tombstone(w.op, w.part, w.seqs)
}

func (w *tombstoneWork) apply(*embedded) {}
