package enginetest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// operation is the record of a bulk call on a [Reference].
type operation struct {
	recall.Operation
	filter recall.Filter // of a standing one
	took   []*entry      // cancelled, as they were
	asked  []*entry
	gone   []recall.MessageID // taken on arrival
	result recall.RestoreResult
	until  time.Time // a cancellation can be undone before that
	runs   bool      // its call has not returned
}

// undoWindow is how long a Reference can undo: as long as an engine by default.
const undoWindow = recall.DefaultUndoWindow

// bulk is one call that walks.
type bulk struct {
	r      *Reference
	req    recall.CancelMatchingRequest
	kind   recall.OperationKind
	due    time.Time
	last   uint64 // what is published from now on is not touched
	walked uint64
	op     *operation
	res    recall.CancelResult
	id     recall.OperationID // that was told at the start; empty: none
}

// CancelMatching implements [recall.Engine].
func (r *Reference) CancelMatching(ctx context.Context, req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	return r.bulk(ctx, req, recall.OperationCancel, time.Time{})
}

// Change implements [recall.Changer].
func (r *Reference) Change(ctx context.Context, req recall.ChangeRequest) (recall.ChangeResult, error) {
	due := millis(req.Due)
	if req.Kind == recall.OperationRetryNow {
		due = millis(req.Now)
	}
	if !slices.Contains(changeKinds, req.Kind) {
		return recall.ChangeResult{}, &recall.InvalidError{Field: "Kind", Reason: "it is no change"}
	}
	req.Expired, req.Asked = nil, nil
	res, err := r.bulk(ctx, req.CancelMatchingRequest, req.Kind, due)
	return recall.ChangeResult{
		Changed: res.Cancelled, Skipped: res.Skipped, Operation: res.Operation, Index: res.Index, Scanned: res.Scanned,
	}, err
}

func (r *Reference) bulk(ctx context.Context, req recall.CancelMatchingRequest, kind recall.OperationKind, due time.Time) (recall.CancelResult, error) {
	if !req.All && req.Filter.IsZero() {
		return recall.CancelResult{Index: indexName}, recall.ErrEmptyFilter
	}
	if err := r.begin(ctx); err != nil {
		return recall.CancelResult{Index: indexName}, err
	}
	defer r.mu.Unlock()
	c := &bulk{r: r, req: req, kind: kind, due: due, last: r.seq, res: recall.CancelResult{Index: indexName}}
	if found := c.pending(); req.Guard.Set && (found < req.Guard.Least || found > req.Guard.Most) {
		return c.res, &recall.UnexpectedCountError{Found: found, Least: req.Guard.Least, Most: req.Guard.Most}
	}
	if req.Started != nil {
		c.id = r.nextOperation(req.Now)
		req.Started(c.id)
	}
	err := c.run(ctx)
	c.op.runs = false
	if n := c.op.Count + c.op.Requested; n > 0 && kind == recall.OperationCancel {
		r.log(nil, recall.EventCancelled, req.Now, recall.Event{Operation: c.op.ID, Count: c.op.Count, Requested: c.op.Requested})
	}
	r.wake()
	if len(c.op.asked) > 0 && req.Asked != nil {
		var ids []recall.MessageID
		for _, e := range c.op.asked {
			ids = append(ids, e.m.ID)
		}
		req.Asked(ids)
	}
	return c.res, err
}

// pending counts what the call would change if nothing stopped it.
func (c *bulk) pending() (n int) {
	for _, e := range c.r.live {
		if c.matches(e) && !e.inFlight() && c.wants(e) {
			n++
		}
	}
	return n
}

func (c *bulk) matches(e *entry) bool {
	return c.req.All && !e.requested || !c.req.All && c.r.matches(e, c.req.Filter, c.req.Now)
}

// wants tells whether the call would change a message.
func (c *bulk) wants(e *entry) bool {
	switch c.kind {
	case recall.OperationHold:
		return !e.held
	case recall.OperationRelease:
		return e.held
	case recall.OperationReschedule:
		return !e.m.DueAt.Equal(c.due)
	case recall.OperationRetryNow:
		return !e.inFlight() && e.m.Attempts > 0 && e.m.DueAt.After(c.due)
	}
	return true
}

// run walks until nothing is in the way any more, or no longer waits.
func (c *bulk) run(ctx context.Context) error {
	r := c.r
	c.op = &operation{}
	for {
		blocker := c.walk()
		if blocker == nil {
			return nil
		}
		if c.req.Expired == nil || c.req.DryRun || c.req.Self == blocker.m.ID {
			c.op.Blocker = blocker.m.ID
			return &recall.NotCancellableError{ID: blocker.m.ID, State: recall.StateInFlight, Cancelled: c.res.Cancelled}
		}
		changed := r.changed
		r.mu.Unlock()
		expired := false
		select {
		case <-changed:
		case <-c.req.Expired:
			expired = true
		case <-ctx.Done():
		}
		r.mu.Lock()
		switch {
		case r.closed:
			return recall.ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		case expired:
			c.req.Expired = nil
		}
	}
}

// walk takes the pending matches, oldest first, up to the first one in flight
// that stops it, which it returns. What matches is decided before: a message that is
// gone may let others go on, and their state is another one then.
func (c *bulk) walk() *entry {
	matching := map[*entry]bool{}
	for _, e := range c.r.live {
		matching[e] = c.matches(e) && c.wants(e)
	}
	for _, e := range slices.Clone(c.r.live) {
		if e.seq <= c.walked || e.seq > c.last {
			continue
		}
		if matching[e] {
			if c.req.Limit > 0 && c.res.Cancelled+c.res.Requested >= c.req.Limit {
				return nil
			}
			if e.inFlight() && c.req.Policy == recall.Stop {
				return e
			}
			c.take(e)
		}
		c.walked = e.seq
		c.res.Scanned++
	}
	return nil
}

func (c *bulk) take(e *entry) {
	switch {
	case e.inFlight() && c.req.Policy == recall.Skip:
		c.res.Skipped = append(c.res.Skipped, e.m.ID)
		return
	case e.inFlight():
		c.res.Requested++
	default:
		c.res.Cancelled++
	}
	if c.req.DryRun {
		return
	}
	c.record()
	switch {
	case e.inFlight():
		c.op.asked = append(c.op.asked, e)
		c.r.ask(e)
	case c.kind == recall.OperationCancel:
		c.op.took = append(c.op.took, e)
		c.r.ended.cancelled++
		c.r.remove(e)
	case c.kind == recall.OperationHold, c.kind == recall.OperationRelease:
		e.held = c.kind == recall.OperationHold
		hint(c.r.claim)
	default:
		e.m.DueAt = c.due
		hint(c.r.claim)
	}
	c.op.Count, c.op.Requested = c.res.Cancelled, c.res.Requested
}

// record begins the record of the call with the first message that it takes.
func (c *bulk) record() {
	if c.res.Operation != "" {
		return
	}
	if c.id == "" {
		c.id = c.r.nextOperation(c.req.Now)
	}
	c.op = c.r.newOperation(c.id, c.kind, c.req.Now, c.req.Reason, c.req.Filter.String())
	c.op.Policy, c.op.Index, c.op.runs = c.req.Policy, indexName, true
	if c.req.All {
		c.op.Filter = recall.Filter{}.String()
	}
	c.res.Operation = c.op.ID
}

// nextOperation returns the id of a new operation.
func (r *Reference) nextOperation(now time.Time) recall.OperationID {
	r.ops++
	if r.opTime.Before(now) {
		r.opTime = now
	}
	return operationID(r.ops, r.opTime)
}

func (r *Reference) newOperation(id recall.OperationID, kind recall.OperationKind, now time.Time, reason, filter string) *operation {
	r.commits++
	op := &operation{Operation: recall.Operation{
		ID: id, Kind: kind, At: millis(now), Reason: reason, Filter: filter,
	}}
	if kind == recall.OperationCancel {
		op.until = op.At.Add(undoWindow)
	}
	r.operations = append(r.operations, op)
	slices.SortFunc(r.operations, func(a, b *operation) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return op
}

// expire ends the undo of what is old enough. If the clock has gone back, the
// time that is left is not longer than it was.
func (r *Reference) expire(now time.Time) {
	for _, op := range r.operations {
		if op.Kind != recall.OperationCancel {
			continue
		}
		if most := millis(now).Add(undoWindow); op.until.After(most) {
			op.until = most
		}
		if !now.Before(op.until) {
			op.until = time.Time{}
		}
	}
}

// ask requests the cancellation of a message in flight.
func (r *Reference) ask(e *entry) {
	e.requested = true
	r.wake() // a walk that waits for it may pass it now
}

// wake lets who waits look again.
func (r *Reference) wake() {
	if r.closed {
		return
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// settled returns an operation once its call has returned.
func (r *Reference) settled(ctx context.Context, id recall.OperationID) (*operation, error) {
	for {
		op := r.operation(id)
		if op == nil || !op.runs {
			return op, nil
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		r.mu.Lock()
		switch {
		case r.closed:
			return nil, recall.ErrClosed
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
	}
}

func (r *Reference) operation(id recall.OperationID) *operation {
	for _, op := range r.operations {
		if op.ID == id {
			return op
		}
	}
	return nil
}

func (op *operation) record() recall.Operation {
	o := op.Operation
	o.Undoable = !op.until.IsZero() && op.RestoredAt.IsZero()
	return o
}

// Restore implements [recall.Restorer].
func (r *Reference) Restore(ctx context.Context, id recall.OperationID, now time.Time) (recall.RestoreResult, error) {
	if err := r.begin(ctx); err != nil {
		return recall.RestoreResult{}, err
	}
	defer r.mu.Unlock()
	op, err := r.settled(ctx, id)
	switch {
	case err != nil:
		return recall.RestoreResult{}, err
	case op == nil:
		return recall.RestoreResult{}, recall.ErrNotFound
	case op.Kind != recall.OperationCancel:
		return recall.RestoreResult{}, &recall.InvalidError{Field: "OperationID", Reason: "it is no cancellation"}
	case !op.RestoredAt.IsZero():
		return op.result, nil
	case !now.Before(op.until):
		op.until = time.Time{}
		return recall.RestoreResult{}, recall.ErrUndoExpired
	}
	for _, e := range op.took {
		r.byID[e.m.ID] = e
		r.makeQueue(e.m.Queue, now)
	}
	r.live = append(r.live, op.took...)
	slices.SortFunc(r.live, func(a, b *entry) int { return int(a.seq) - int(b.seq) })
	op.result.Restored = len(op.took)
	r.ended.restored += int64(len(op.took))
	for _, e := range op.asked {
		if r.byID[e.m.ID] == e && e.requested && !r.askedBeside(op, e) {
			e.requested = false
			op.result.Lifted++
		}
	}
	op.RestoredAt = millis(now)
	r.commits++
	hint(r.claim)
	return op.result, nil
}

// askedBeside tells whether another operation has asked for the cancellation of a
// message, too.
func (r *Reference) askedBeside(op *operation, e *entry) bool {
	return slices.ContainsFunc(r.operations, func(o *operation) bool {
		return o != op && o.RestoredAt.IsZero() && slices.Contains(o.asked, e)
	})
}

// Operations implements [recall.Auditor].
func (r *Reference) Operations(ctx context.Context, after recall.OperationID, limit int) (page []recall.Operation, err error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	if err := checkAfter(after, "op_"); err != nil {
		return nil, err
	}
	for _, op := range r.operations {
		if op.ID > after && len(page) < limit {
			page = append(page, op.record())
		}
	}
	return page, nil
}

// WhoCancelled implements [recall.Auditor].
func (r *Reference) WhoCancelled(ctx context.Context, id recall.MessageID) (recall.Operation, error) {
	if err := r.begin(ctx); err != nil {
		return recall.Operation{}, err
	}
	defer r.mu.Unlock()
	for _, op := range slices.Backward(r.operations) {
		took := slices.ContainsFunc(op.took, func(e *entry) bool { return e.m.ID == id })
		if op.RestoredAt.IsZero() && (took || slices.Contains(op.gone, id)) {
			return op.record(), nil
		}
	}
	return recall.Operation{}, recall.ErrNotFound
}

// CancelFuture implements [recall.Stander].
func (r *Reference) CancelFuture(ctx context.Context, f recall.Filter, until time.Time, reason string, now time.Time) (recall.OperationID, error) {
	if err := r.begin(ctx); err != nil {
		return "", err
	}
	defer r.mu.Unlock()
	op := r.newOperation(r.nextOperation(now), recall.OperationStanding, now, reason, f.String())
	op.filter, op.Until = f, millis(until)
	return op.ID, nil
}

// StandingCancellations implements [recall.Stander].
func (r *Reference) StandingCancellations(ctx context.Context, _ time.Time) (list []recall.StandingCancellation, err error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	for _, op := range r.operations {
		if op.Kind == recall.OperationStanding {
			list = append(list, recall.StandingCancellation{
				ID: op.ID, Filter: op.filter, Reason: op.Reason, At: op.At, Until: op.Until, LiftedAt: op.LiftedAt, Count: op.Count,
			})
		}
	}
	return list, nil
}

// LiftCancellation implements [recall.Stander].
func (r *Reference) LiftCancellation(ctx context.Context, id recall.OperationID, now time.Time) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	defer r.mu.Unlock()
	op := r.operation(id)
	if op == nil || op.Kind != recall.OperationStanding {
		return recall.ErrNotFound
	}
	if op.LiftedAt.IsZero() && now.Before(op.Until) {
		op.LiftedAt = millis(now)
	}
	return nil
}

// arrive returns the standing cancellation that takes a message, and counts it.
func (r *Reference) arrive(m *recall.Message, now time.Time) recall.OperationID {
	for _, op := range r.operations {
		active := op.Kind == recall.OperationStanding && op.LiftedAt.IsZero() && now.Before(op.Until)
		if active && op.filter.Matches(m) {
			op.Count++
			op.gone = append(op.gone, m.ID)
			return op.ID
		}
	}
	return ""
}

// restart takes over what a restart finds of the operations of old.
func (r *Reference) restart(old *Reference) {
	for _, op := range old.operations {
		for i, e := range op.asked {
			gone := *e
			op.asked[i] = &gone // what was to be cancelled is cancelled: no request is open
		}
		r.operations = append(r.operations, op)
	}
}

// changeKinds are all changes.
var changeKinds = []recall.OperationKind{
	recall.OperationHold, recall.OperationRelease, recall.OperationReschedule, recall.OperationRetryNow,
}
