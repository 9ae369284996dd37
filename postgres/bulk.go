package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// bulk is one call that walks: through the matches of a filter in the order of
// publication, in chunks. A chunk locks its rows without looking at their states, and
// waits for those that others have locked. So what was claimed a moment ago is seen in
// flight, and what is claimed afterwards finds the row locked: each message is either
// claimed or taken. Skipping locked rows, or asking for pending ones only, would pass
// over what is in flight in silence.
type bulk struct {
	e    *Engine
	req  recall.CancelMatchingRequest
	kind recall.OperationKind
	due  time.Time

	asOf int64 // what is published from now on is not touched
	late int64 // the same, of what transactions of programs publish
	// unnumbered are those that were there and have no number yet.
	unnumbered [][16]byte
	within     bool     // it is part of a transaction, and sees what that has published
	cursor     [16]byte // the last message that was passed
	op         operation
	kept       bool // the record is written
	doubt      bool // it is not known whether a chunk was taken, and with it the record written
	// counted are the matches that a guard has locked in this transaction, and counted;
	// nil: it was not asked here.
	counted []row

	elsewhere recall.CancelResult // what the same call has taken in other shards
	silent    bool                // the event is written in another shard

	res   recall.CancelResult
	asked []recall.MessageID
}

// row is a message that a walk has come to.
type row struct {
	id       [16]byte
	inFlight bool
	queue    string
	blocks   string
	flow     string
	size     int64
}

// step is what a walk makes of one chunk.
type step struct {
	took, asked []row
	skipped     []recall.MessageID
	scanned     int
	last        [16]byte
	blocker     *recall.MessageID
	end         bool // there is nothing behind it
	cancelled   int
}

// undoRow is what a message takes in tables and indexes beside its body and headers.
const undoRow = 300

// bytes is what the messages hold that were taken.
func (s *step) bytes() (n int64) {
	for i := range s.took {
		n += s.took[i].size + undoRow
	}
	return n
}

// CancelMatching implements [recall.Engine]. Its chunks are durable one by one; see the
// package.
func (e *Engine) CancelMatching(ctx context.Context, req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	return e.bulk(ctx, req, recall.OperationCancel, time.Time{})
}

func (e *Engine) bulk(ctx context.Context, req recall.CancelMatchingRequest, kind recall.OperationKind, due time.Time) (recall.CancelResult, error) {
	if !req.All && req.Filter.IsZero() {
		return recall.CancelResult{Index: indexTime}, recall.ErrEmptyFilter
	}
	if err := e.enter(ctx); err != nil {
		return recall.CancelResult{Index: indexTime}, err
	}
	defer e.leave()
	b := e.newBulk(req, kind, due)
	if err := b.begin(ctx); err != nil {
		return b.res, err
	}
	err := b.run(ctx)
	if err := b.finish(ctx); err != nil {
		return b.res, err
	}
	if len(b.asked) > 0 && req.Asked != nil {
		req.Asked(b.asked)
	}
	return b.res, err
}

func (e *Engine) newBulk(req recall.CancelMatchingRequest, kind recall.OperationKind, due time.Time) *bulk {
	if req.All {
		req.Filter = recall.Filter{}
	}
	b := &bulk{e: e, req: req, kind: kind, due: due, res: recall.CancelResult{Index: indexTime}}
	b.op = operation{id: e.numbers.newOperation(req.Now), Operation: recall.Operation{
		Kind: kind, At: req.Now, Filter: req.Filter.String(), Reason: req.Reason, Policy: req.Policy,
	}}
	if kind == recall.OperationCancel {
		b.op.undo = e.undoUntil(req.Now)
	}
	return b
}

// begin fixes what is looked at, and finds the index.
func (b *bulk) begin(ctx context.Context) error {
	if err := b.beginWalk(ctx); err != nil {
		return err
	}
	return b.plan(ctx, b.e.pool)
}

// beginWalk fixes what is looked at.
func (b *bulk) beginWalk(ctx context.Context) error {
	var unnumbered bool
	err := b.e.pool.QueryRow(ctx, b.e.sql(boundaries), b.e.shard).Scan(&b.asOf, &b.late, &unnumbered)
	if err == nil && unnumbered {
		b.late, b.unnumbered, err = b.e.numberApart(ctx)
	}
	return err
}

// boundaries are the newest numbers, and whether there is something without one.
const boundaries = `SELECT (SELECT n FROM @counters WHERE shard = $1 AND name = '` + counterMessage + `'),
	(SELECT n FROM @counters WHERE shard = $1 AND name = '` + counterApart + `'),
	EXISTS (SELECT 1 FROM @messages WHERE shard = $1 AND seq = 0)`

// bounded adds that a message was there at the boundaries. within: what has no number was,
// too; otherwise that holds for some.
func (w *where) bounded(asOf, late int64, within bool, unnumbered [][16]byte) {
	least, some := 1, ""
	if within {
		least = 0
	}
	a, l := w.with(asOf), w.with(late)
	if len(unnumbered) > 0 {
		some = " OR m.id = ANY(" + w.with(unnumbered) + "::uuid[])"
	}
	w.also("(m.seq >= " + strconv.Itoa(least) + " AND m.seq <= " + a + " OR m.seq < 0 AND m.seq >= -" + l + "::bigint" + some + ")")
}

func (b *bulk) plan(ctx context.Context, q querier) error {
	name, err := b.e.narrowest(ctx, q, b.req.Filter)
	if err != nil {
		return err
	}
	b.res.Index, b.op.Index = name, name
	return nil
}

// run walks until nothing is in the way any more, or no longer waits.
func (b *bulk) run(ctx context.Context) error {
	for {
		ended := b.e.ended()
		var s step
		err := b.e.do(ctx, func(u *unit) (err error) {
			s, err = b.chunk(u)
			return err
		})
		if err != nil {
			b.doubts(err)
			return err
		}
		b.passed(&s)
		switch {
		case s.blocker != nil:
			if stop, err := b.wait(ctx, *s.blocker, ended); stop || err != nil {
				return err
			}
		case s.end:
			return nil
		}
	}
}

// doubts notes that it is not known what a transaction has done.
func (b *bulk) doubts(err error) {
	var unknown *recall.UnknownError
	b.doubt = b.doubt || errors.As(err, &unknown)
}

// wait waits for the attempt that is in the way, as long as the call may. It reports
// whether the walk ends there.
func (b *bulk) wait(ctx context.Context, blocker recall.MessageID, ended <-chan struct{}) (stop bool, err error) {
	if b.req.Expired == nil || b.req.DryRun || b.req.Self == blocker {
		b.op.Blocker = blocker
		return true, &recall.NotCancellableError{ID: blocker, State: recall.StateInFlight, Cancelled: b.res.Cancelled}
	}
	poll, cancel := context.WithTimeout(ctx, b.e.opts.PollInterval)
	defer cancel()
	select {
	case <-ended: // here; attempts of other processes are polled for
	case <-b.req.Expired:
		b.req.Expired = nil
	case <-poll.Done():
	}
	if b.e.isClosed() {
		return true, recall.ErrClosed
	}
	return ctx.Err() != nil, ctx.Err()
}

// passed adds up what a chunk, whose transaction is committed, has done.
func (b *bulk) passed(s *step) {
	b.res.Cancelled += s.cancelled
	b.res.Requested += len(s.asked)
	b.res.Skipped = append(b.res.Skipped, s.skipped...)
	b.res.Scanned += s.scanned
	b.cursor = s.last
	b.req.Guard = recall.Guard{} // it was judged
	if b.req.DryRun {
		return
	}
	for _, r := range s.asked {
		b.asked = append(b.asked, messageID(r.id))
	}
	b.op.bytes += s.bytes()
	if s.cancelled+len(s.asked) > 0 {
		b.kept = true
		b.res.Operation = operationID(b.op.id)
	}
}

// chunk locks the next matches and takes them up to the first in flight that stops the
// walk.
func (b *bulk) chunk(u *unit) (step, error) {
	rows, whole, err := b.next(u)
	if err != nil {
		return step{}, err
	}
	s := step{last: b.cursor, end: whole}
	for i := range rows {
		if b.full(&s) {
			s.end = true
			break
		}
		r := &rows[i]
		if r.inFlight && b.req.Policy == recall.Stop {
			id := messageID(r.id)
			s.blocker, s.end = &id, true
			break
		}
		b.take(&s, r)
		s.last = r.id
		s.scanned++
	}
	return s, b.apply(u, &s)
}

// next locks what the next chunk takes, and reports whether nothing is behind it. What a
// guard has counted is all, and what is taken then: nothing that has come to match since.
func (b *bulk) next(u *unit) (rows []row, whole bool, err error) {
	switch {
	case b.counted != nil:
		rows, b.counted = b.counted, nil
		return rows, true, nil
	case b.req.Guard.Set:
		if rows, err = b.guard(u); err == nil {
			b.started()
		}
		return rows, true, err
	}
	b.started() // nothing is locked: it may end attempts
	rows, err = b.lock(u, b.e.opts.ChunkSize)
	return rows, len(rows) < b.e.opts.ChunkSize, err
}

// started tells the caller that the call begins.
func (b *bulk) started() {
	if b.req.Started != nil {
		b.req.Started(operationID(b.op.id))
		b.req.Started = nil
	}
}

func (b *bulk) full(s *step) bool {
	return b.req.Limit > 0 && b.res.Cancelled+b.res.Requested+s.cancelled+len(s.asked) >= b.req.Limit
}

func (b *bulk) take(s *step, r *row) {
	switch {
	case r.inFlight && b.req.Policy == recall.Skip:
		s.skipped = append(s.skipped, messageID(r.id))
	case r.inFlight:
		s.asked = append(s.asked, *r)
	default:
		s.took = append(s.took, *r)
		s.cancelled++
	}
}

// matches are what the call would change, in every state.
func (b *bulk) matches() *where {
	w := walkMatches(&b.req.Filter, b.req.Now, &b.cursor)
	w.bounded(b.asOf, b.late, b.within, b.unnumbered)
	due := func() string { return w.with(toMS(b.due)) + "::bigint" }
	switch b.kind {
	case recall.OperationHold:
		w.also("NOT m.held")
	case recall.OperationRelease:
		w.also("m.held")
	case recall.OperationReschedule:
		w.also("m.due_ms <> " + due())
	case recall.OperationRetryNow:
		w.also("m.state = 0 AND m.attempts > 0 AND m.due_ms > " + due())
	}
	return w
}

// lock locks the next matches, oldest first. A dry run locks nothing.
func (b *bulk) lock(u *unit, limit int) ([]row, error) {
	text, args := b.lockText(limit)
	return collect(u, func(c pgx.CollectableRow) (r row, err error) {
		var state int
		err = c.Scan(&r.id, &state, &r.queue, &r.blocks, &r.flow, &r.size)
		r.inFlight = state == 1
		return r, err
	}, text, args...)
}

// lockText is the statement of that.
func (b *bulk) lockText(limit int) (text string, args []any) {
	w := b.matches()
	locking := " FOR UPDATE OF m"
	if b.req.DryRun {
		locking = ""
	}
	return `SELECT m.id, m.state, m.queue, m.blocks, m.flow_key, m.size FROM @messages m WHERE ` + w.String() + `
		ORDER BY m.id LIMIT ` + strconv.Itoa(limit) + locking, w.args
}

// guard refuses a call, before anything is changed, that finds another number of
// pending matches than it expects. It returns them, locked, so the number stays.
func (b *bulk) guard(u *unit) ([]row, error) {
	rows, err := b.lock(u, b.e.opts.MaxGuarded+1)
	if err != nil {
		return nil, err
	}
	if len(rows) > b.e.opts.MaxGuarded {
		return nil, errMostGuarded(b.e.opts.MaxGuarded, "messages")
	}
	found := 0
	for i := range rows {
		if !rows[i].inFlight {
			found++
		}
	}
	if g := b.req.Guard; found < g.Least || found > g.Most {
		return nil, &recall.UnexpectedCountError{Found: found, Least: g.Least, Most: g.Most}
	}
	return rows, nil
}

// apply queues what was taken, and the record of it.
func (b *bulk) apply(u *unit, s *step) error {
	if b.req.DryRun || s.cancelled+len(s.asked) == 0 {
		return nil
	}
	o := u.batch()
	b.write(o, s)
	if len(s.asked) > 0 {
		ask(o, idsOf(s.asked), b.op.id)
		u.wake = true
	}
	r := newRooms()
	for i := range s.took {
		r.add(s.took[i].queue, s.took[i].blocks, s.took[i].flow)
	}
	b.change(u, o, s)
	r.open(o)
	u.claim = true
	return o.sendLast()
}

// write queues the record with what the call has taken so far.
func (b *bulk) write(o *batch, s *step) {
	op := b.op
	op.Count, op.Requested = b.res.Cancelled+s.cancelled, b.res.Requested+len(s.asked)
	op.Scanned, op.running = b.res.Scanned+s.scanned, b.e.epoch.Load()
	op.Took = b.took()
	op.bytes += s.bytes()
	op.add(o, nil)
}

func (b *bulk) took() time.Duration {
	if b.req.Elapsed == nil {
		return 0
	}
	return b.req.Elapsed()
}

// change queues what becomes of the messages that were taken.
func (b *bulk) change(u *unit, o *batch, s *step) {
	ids := idsOf(s.took)
	switch b.kind {
	case recall.OperationCancel:
		o.add(`DELETE FROM @labels l USING @messages m WHERE l.shard = $1 AND m.shard = $1 AND m.id = ANY($2::uuid[])
			AND l.id = m.id AND l.label = ANY(m.labels)`, ids)
		o.add(`UPDATE @messages SET state = 2, op = $3 WHERE shard = $1 AND id = ANY($2::uuid[])`, ids, b.op.id)
		u.ends.cancelled += int64(len(ids))
	case recall.OperationHold, recall.OperationRelease:
		o.add(`UPDATE @messages SET held = $3 WHERE shard = $1 AND id = ANY($2::uuid[])`, ids, b.kind == recall.OperationHold)
	default:
		o.add(`UPDATE @messages SET due_ms = $3 WHERE shard = $1 AND id = ANY($2::uuid[])`, ids, toMS(b.due))
	}
}

func idsOf(rows []row) [][16]byte {
	ids := make([][16]byte, len(rows))
	for i := range rows {
		ids[i] = rows[i].id
	}
	return ids
}

// finish writes how the call has ended, if it has taken something, and the event of
// it.
func (b *bulk) finish(ctx context.Context) error {
	switch {
	case b.doubt: // the outcome may be asked for a long time: not now
		b.e.endLater(b)
		return nil
	case !b.kept:
		return nil
	}
	err := b.e.do(context.WithoutCancel(ctx), b.end)
	if err != nil && !errors.Is(err, errUndone) {
		b.e.endLater(b)
	}
	return err
}

// endLater notes a call whose end could not be written: as long as its record says that it
// is running nobody can undo it.
func (e *Engine) endLater(b *bulk) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.late = append(e.late, b)
}

// endLate writes how such calls have ended.
func (e *Engine) endLate(ctx context.Context) {
	e.mu.Lock()
	list := e.late
	e.late = nil
	e.mu.Unlock()
	for _, b := range list {
		if err := e.do(ctx, b.end); err != nil && !errors.Is(err, errUndone) {
			e.endLater(b)
		}
	}
}

func (b *bulk) end(u *unit) error {
	o := u.batch()
	if b.doubt { // the record, if there is one, says what was taken
		o.add(`UPDATE @operations SET running = 0 WHERE shard = $1 AND id = $2`, b.op.id)
		return o.sendLast()
	}
	op := b.op
	op.Count, op.Requested, op.Scanned, op.Took = b.res.Cancelled, b.res.Requested, b.res.Scanned, b.took()
	op.add(o, nil)
	if b.kind == recall.OperationCancel && !b.silent {
		o.log(nil, nil, recall.Event{
			State: recall.EventCancelled, At: b.req.Now, Operation: operationID(op.id),
			Count: op.Count + b.elsewhere.Cancelled, Requested: op.Requested + b.elsewhere.Requested,
		}, 0)
	}
	u.wake, u.maintain = true, true
	// It reads the record of everything that can be undone: few bytes are left to the
	// background, which does that too.
	if b.op.undo != nil && !u.apart && b.op.bytes > b.e.opts.UndoBytes/giveWayPart { // others write those records
		o.add(giveWay, b.e.opts.UndoBytes)
	}
	return o.sendLast()
}

// ended is closed when a lease ends in this process, or a call does.
func (e *Engine) ended() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wake
}

func (e *Engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}
