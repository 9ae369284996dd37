package recall

import (
	"context"
	"runtime"
	"time"
)

// deadBulk is one call for the dead letters that match a filter. It marks the
// whole set before it asks the guard and before the first commit: none can come
// or go in between.
type deadBulk struct {
	e     *embedded
	req   DeadMatchingRequest
	walk  *walk
	names map[[16]byte]bool // of the filter, not met yet; nil: it has none
	found int               // matches
	takenDead
}

// DeleteDeadMatching implements [Engine].
func (e *embedded) DeleteDeadMatching(ctx context.Context, req DeadMatchingRequest) (int, error) {
	return e.eachDead(ctx, req, func(seqs []uint64) (int, error) {
		return len(seqs), e.submit(ctx, &redrive{deleted: seqs})
	})
}

// RetryDeadMatching implements [Engine]. What one commit publishes goes through
// memory, so it is no more than a page.
func (e *embedded) RetryDeadMatching(ctx context.Context, req DeadMatchingRequest) (int, error) {
	return e.eachDead(ctx, req, func(seqs []uint64) (int, error) {
		msgs, err := e.readRedrive(seqs, PageBytes, req.Now)
		if err != nil {
			return 0, err
		}
		_, err = e.publishAgain(ctx, msgs, seqs[:len(msgs)], req.Now)
		return len(msgs), err
	})
}

// eachDead takes the matches and hands them to step, which says how many of the
// first it has dealt with.
func (e *embedded) eachDead(ctx context.Context, req DeadMatchingRequest, step func([]uint64) (int, error)) (n int, err error) {
	if err := e.checkOpen(ctx); err != nil {
		return 0, err
	}
	c := &deadBulk{e: e, req: req}
	if c.mark, err = e.newMarking(); err != nil {
		return 0, err
	}
	defer func() { c.settle(e, err) }()
	if err := c.take(ctx); err != nil {
		return 0, err
	}
	for n < len(c.seqs) {
		did, err := step(c.seqs[n:min(n+deadStep, len(c.seqs))])
		if err != nil {
			return n, err
		}
		n += did
	}
	return n, nil
}

// take marks the set and asks the guard.
func (c *deadBulk) take(ctx context.Context) error {
	f := c.req.Filter
	if f.States == nil && !f.dueBounded() { // else it matches none
		c.names = namesOf(f.IDs)
		f.IDs = nil
		c.walk = c.e.readWalk(c.e.dead, f, 0, time.Time{})
		if err := c.walkAll(ctx); err != nil {
			return err
		}
	}
	return c.req.Guard.check(c.found)
}

// walkAll walks to the end, or until the call has taken as many as it may and need
// not count the others.
func (c *deadBulk) walkAll(ctx context.Context) error {
	for done := false; !done && (!c.full() || c.req.Guard.Set); runtime.Gosched() {
		var met []uint64
		met, done = c.slice()
		if c.names != nil {
			var err error
			if met, err = c.e.takeNamed(met, c.names, len(met)); err != nil {
				return err
			}
			done = done || len(c.names) == 0
		}
		if err := c.takeMet(ctx, met); err != nil {
			return err
		}
	}
	return nil
}

// slice returns the next matches, also those that other calls have marked.
func (c *deadBulk) slice() (met []uint64, done bool) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	done, _ = c.walk.sliceLocked(func(_ *page, _ entry, seq uint64) verdict {
		met = append(met, seq)
		return goOn
	})
	return met, done
}

// takeMet deals with some matches in turn. About one that another call has marked
// it must be certain what becomes of it; all calls meet them in one order, so they
// cannot wait for each other in a circle.
func (c *deadBulk) takeMet(ctx context.Context, met []uint64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		left, wait := c.takeSome(met)
		if wait == nil {
			return nil
		}
		if err := wait(ctx); err != nil {
			return err
		}
		met = left
	}
}

func (c *deadBulk) takeSome(met []uint64) (left []uint64, wait func(context.Context) error) {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	for i, seq := range met {
		p, en := c.e.dead.lookup(seq)
		switch {
		case !en.exists():
		case en.phase == phasePending:
			c.found++
			if !c.full() {
				c.takeLocked(c.e, p, en, seq)
			}
		case en.phase == phaseMarked && en.mark != c.mark.number:
			if wait := c.e.unsettledLocked(en); wait != nil {
				return met[i:], wait
			}
		}
	}
	return nil, nil
}

// full tells whether the call has taken as many as it may.
func (c *deadBulk) full() bool { return c.req.Limit > 0 && len(c.seqs) >= c.req.Limit }
