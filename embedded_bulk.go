package recall

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/recallmq/recall/internal/prefault"
	"github.com/recallmq/recall/store"
)

// bulk is one call that walks an index and changes what it meets: a
// cancellation, or one of the other verbs. The walk marks what it takes; one
// commit then makes the whole set durable, and only waiting for an attempt cuts
// a call in parts.
type bulk struct {
	e    *embedded
	req  CancelMatchingRequest
	verb verb
	due  int64 // ms, with verbReschedule
	walk *walk
	op   store.Operation
	part int // parts of the operation that are durable

	// Of the pass under way:
	mark     *marking
	seqs     []uint64    // marked, ascending
	late     *uncounted  // the same, for the counts
	asked    []uint64    // in flight, their cancellation requested
	askedIDs []MessageID // the same
	ending   []uint64    // met with their end decided but not durable
	blocker  uint64      // the message in flight that ends the pass; 0: none

	// With a guard the first pass goes on to the end of the walk to count; the
	// next one resumes where this one stopped taking.
	counting bool
	found    int // pending matches
	resume   uint64

	blockerID MessageID
	result    CancelResult
	awaits    uint64 // a message whose attempt was waited for; 0: none

	tx *embeddedTx // that the call is part of; nil: none
}

func (e *embedded) newBulk(req CancelMatchingRequest, kind verb) *bulk {
	f := req.Filter
	if req.All {
		f = Filter{}
	}
	c := &bulk{e: e, req: req, verb: kind, op: e.newOperation(kind, req.Now, req.Reason, auditText(f))}
	c.op.Policy = uint8(req.Policy)
	c.walk, c.op.AsOf = e.planWalk(f, req.Now)
	c.result.Index = c.walk.src.name
	c.op.Index = []byte(c.walk.src.name)
	if req.Started != nil {
		req.Started(operationID(c.op.ID))
	}
	return c
}

// planWalk compiles a filter and chooses the index to walk, up to the newest
// message that is visible now.
func (e *embedded) planWalk(f Filter, now time.Time) (*walk, uint64) {
	q := e.newQuery(e.live, f, now)
	e.lockCounted()
	defer e.mu.Unlock()
	e.live.compile(q)
	return e.live.newWalk(q), q.asOf
}

// run walks and commits until the walk is through or something ends it.
func (c *bulk) run(ctx context.Context) error {
	if c.verb == verbCancel {
		c.e.begun(c.op.ID)
		defer c.e.ended(c.op.ID)
	}
	defer func() {
		c.letGo()
		c.result.Scanned = c.walk.scanned
	}()
	for {
		if err := c.step(ctx); err != nil {
			return err
		}
		if c.blocker == 0 {
			return nil
		}
		if err := c.awaitAttempt(ctx); err != nil {
			return c.stopped(err)
		}
	}
}

// stopped notes who has ended a call that had waited: while it waits, its record
// has no blocker, because it may yet go on.
func (c *bulk) stopped(err error) error {
	var stop *NotCancellableError
	if c.part == 0 || !c.waits() || !errors.As(err, &stop) {
		return err
	}
	c.complete()
	c.op.Blocker, _ = c.blockerID.ulid()
	put := &maintWork{need: upkeepBound(8 << 10), step: func(tx *store.Tx) error { return tx.PutOperation(c.op) }}
	if failed := c.e.submit(context.Background(), put); failed != nil {
		return errors.Join(err, failed)
	}
	return err
}

// waits tells whether the call waits for attempts.
func (c *bulk) waits() bool { return c.req.Expired != nil && !c.req.DryRun && !c.isSelf() }

// step is one pass and its commit. It shares the gate, so that no transaction
// meets marks which may be undone.
func (c *bulk) step(ctx context.Context) error {
	if err := c.e.gate.enter(ctx); err != nil {
		return err
	}
	defer c.e.gate.leave()
	err := c.pass(ctx)
	c.letGo()
	if err != nil {
		return err
	}
	return c.commit(ctx)
}

// pass walks until the end or the first match in flight that ends it, and marks
// what can be taken on the way. If it fails the marks are undone.
func (c *bulk) pass(ctx context.Context) (err error) {
	if c.mark, err = c.e.newMarking(); err != nil {
		return err
	}
	c.blocker, c.blockerID, c.ending = 0, "", nil
	c.counting = false
	if c.seqs == nil {
		// The count of the index bounds the set: growing it step by step would
		// take longer than the walk. But a filter may match few of many.
		most := min(c.walk.src.count, 1<<20)
		if c.req.Limit > 0 {
			most = min(most, c.req.Limit)
		}
		c.seqs = prefault.Slice[uint64](most)
	}
	c.late = c.e.beginCounting()
	defer c.e.endCounting(c.late)
	for {
		done, wait := c.slice()
		switch {
		case done:
			if c.tx != nil && (c.blocker == 0 || c.counting) {
				c.tx.takeOwn(c)
			}
			return c.endPass()
		case wait != nil:
			err = wait(ctx)
		default:
			runtime.Gosched()
			err = ctx.Err()
		}
		if err != nil {
			c.undo()
			return err
		}
	}
}

// endPass holds the count against what the caller expects, the first time.
func (c *bulk) endPass() error {
	if !c.req.Guard.Set {
		return nil
	}
	if err := c.req.Guard.check(c.found); err != nil {
		c.result.Skipped = nil
		c.undo()
		return err
	}
	c.req.Guard = Guard{}
	if c.resume != 0 {
		c.walk.pos = c.resume
	}
	return nil
}

// slice is one lock hold of a pass. wait is set at a message about which
// something has to be certain before the walk can go on.
func (c *bulk) slice() (done bool, wait func(context.Context) error) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	done, stopped := c.walk.holdLocked(func(p *page, en entry, seq uint64) (v verdict) {
		v, wait = c.visit(p, en, seq)
		return v
	})
	if !c.req.DryRun {
		c.late.seqs = c.seqs
	}
	return done || stopped && wait == nil, wait
}

// visit deals with one match.
func (c *bulk) visit(p *page, en entry, seq uint64) (verdict, func(context.Context) error) {
	switch {
	case en.phase == phasePending && en.mark == 0: // nearly always
		return c.visitPending(p, en, seq), nil
	case c.tx != nil && (en.mark != 0 || en.phase == phaseMarked):
		return goOn, nil // gone for good, or by this very transaction
	case en.mark != 0 || en.phase == phaseMarked:
		// Another call has it. If that is not durable the message may come back,
		// so the walk waits for its owner. Walks meet messages in one order, so
		// they cannot wait for each other in a circle.
		if wait := c.e.unsettledLocked(en); wait != nil {
			return stopAt, wait
		}
		return goOn, nil
	case en.phase == phaseFinishing:
		c.ending = append(c.ending, seq)
		return goOn, nil
	case en.phase == phaseInFlight && en.flags&flagRequested == 0:
		return c.visitInFlight(p, en, seq)
	}
	return goOn, nil
}

func (c *bulk) visitPending(p *page, en entry, seq uint64) verdict {
	if !c.wants(en) {
		return goOn
	}
	if !c.counting && c.full() && c.enough(seq) == stopAt {
		return stopAt
	}
	c.found++
	if c.counting {
		return goOn
	}
	c.seqs = append(c.seqs, seq)
	if c.req.DryRun {
		return goOn
	}
	if en.flags&flagAside == 0 { // which lane it is otherwise, its attributes say: they are looked at later
		c.e.lanesDeadLocked(en)
	}
	c.e.live.mark(p, en, c.mark.number)
	return goOn
}

func (c *bulk) visitInFlight(p *page, en entry, seq uint64) (verdict, func(context.Context) error) {
	if c.counting || !c.wants(en) {
		return goOn, nil
	}
	if c.full() {
		return c.enough(seq), nil
	}
	id := c.idOf(p, en, seq)
	switch l := c.e.leases[seq]; {
	case c.req.Policy == Skip:
		c.result.Skipped = append(c.result.Skipped, id)
	case !c.req.Policy.asks(), c.tx != nil && l.finishing:
		// A transaction has the committer and cannot wait for it.
		c.blocker, c.blockerID = seq, id
		return c.enough(seq), nil
	case l.final: // its end is on the way to the committer, or about to be
		ended := c.e.endedLocked(l)
		return stopAt, func(ctx context.Context) error { return await(ctx, ended) }
	case l.finishing:
		return stopAt, c.e.flush // it will be pending in a moment
	default:
		c.asked, c.askedIDs = append(c.asked, seq), append(c.askedIDs, id)
		if !c.req.DryRun {
			c.e.live.request(p, en, true)
			en.mark = c.mark.number
		}
	}
	return goOn, nil
}

// enough ends the walk, or only the taking if there is still to count.
func (c *bulk) enough(seq uint64) verdict {
	if !c.req.Guard.Set {
		return stopAt
	}
	c.counting, c.resume = true, seq
	return goOn
}

// full tells whether the call has taken as many as it may.
func (c *bulk) full() bool {
	taken := c.result.Cancelled + c.result.Requested + len(c.seqs) + len(c.asked)
	return c.req.Limit > 0 && taken >= c.req.Limit
}

func (c *bulk) idOf(p *page, en entry, seq uint64) MessageID {
	created, _ := p.timesOf(seq, en)
	return messageID(c.e.idOf(seq, created))
}

// commit makes what a pass has marked durable, and waits for the decided ends
// that it has met.
func (c *bulk) commit(ctx context.Context) error {
	if c.req.DryRun || len(c.seqs)+len(c.asked) == 0 {
		c.count()
		c.e.settleMarking(c.mark, true)
		if c.req.DryRun {
			return nil
		}
		if err := c.e.awaitEnds(ctx, c.ending); err != nil {
			return err
		}
		return c.e.store.Err() // the marks of a failed commit were passed over
	}
	if err := c.e.submitCounting(ctx, c.record()); err != nil {
		if isUnknown(err) {
			c.abandon()
		} else {
			c.undo()
		}
		return err
	}
	c.settle()
	c.count()
	c.result.Operation = operationID(c.op.ID)
	c.part++
	return c.e.awaitEnds(context.WithoutCancel(ctx), c.ending)
}

// abandon leaves what a pass has marked as it is, since the outcome of its
// commit is unknown, and lets nobody wait for it.
func (c *bulk) abandon() {
	c.unmarkAsked()
	c.e.settleMarking(c.mark, false)
}

// unmarkAsked says that what becomes of the requests is as certain as it will be.
func (c *bulk) unmarkAsked() {
	c.eachMarked(c.asked, func(_ *page, en entry, _ uint64) { en.mark = 0 })
}

// count adds what a pass took to the result.
func (c *bulk) count() {
	c.result.Cancelled += len(c.seqs)
	c.result.Requested += len(c.asked)
	c.seqs, c.asked, c.askedIDs = nil, nil, nil
}

// record completes the operation for the commit.
func (c *bulk) record() work {
	c.complete()
	if !c.waits() && c.blocker != 0 {
		c.op.Blocker, _ = c.blockerID.ulid()
	}
	return c.work()
}

func (c *bulk) complete() {
	c.op.Scanned = uint64(c.walk.scanned)
	if c.req.Elapsed != nil {
		c.op.Took = c.req.Elapsed().Microseconds()
	}
}

// eachMarked visits the entries that a pass has marked, a slice per lock hold.
func (c *bulk) eachMarked(seqs []uint64, visit func(*page, entry, uint64)) {
	c.e.eachEntry(seqs, func(p *page, en entry, seq uint64) {
		if en.mark == c.mark.number {
			visit(p, en, seq)
		}
	})
}

// undo takes the marks and requests of a pass back.
func (c *bulk) undo() {
	if !c.req.DryRun {
		c.eachMarked(c.seqs, c.e.unmarkLocked)
		c.eachMarked(c.asked, func(p *page, en entry, _ uint64) {
			en.mark = 0
			c.e.live.request(p, en, false)
		})
		if c.tx != nil {
			c.tx.unmarkOwn(c.seqs)
		}
	}
	c.seqs, c.asked, c.askedIDs = nil, nil, nil
	c.e.settleMarking(c.mark, true)
	hint(c.e.claimHint)
}

// awaitAttempt waits until the attempt of the blocker is over, so that the
// walk can go on. It holds no mark that is not durable. Its error is that of
// the stop rule, if the call is not or no longer willing to wait.
func (c *bulk) awaitAttempt(ctx context.Context) error {
	stopped := &NotCancellableError{ID: c.blockerID, State: StateInFlight, Cancelled: c.result.Cancelled}
	if !c.waits() {
		return stopped
	}
	ended := c.endOf(c.blocker)
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

func (c *bulk) isSelf() bool {
	r, ok := c.e.resolve(c.req.Self)
	return ok && r.seq == c.blocker
}

func (e *embedded) endedLocked(l *lease) <-chan struct{} {
	if l.ended == nil {
		l.ended = make(chan struct{})
	}
	return l.ended
}
