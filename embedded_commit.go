package recall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/recallmq/recall/store"
)

// work is one change that the committer makes durable. It is written within
// the commit's transaction and applied to the index after it.
type work interface {
	// bound returns the most that write will add.
	bound() store.Bound
	// write adds rows to the transaction. An error fails the whole commit.
	write(t *turn) error
	// apply changes the index. It takes mu itself, for a slice at a time.
	apply(e *embedded)
}

// request carries work to the committer and its outcome back. Requests whose
// outcome is awaited are pooled by who receives it, the others by the committer.
type request struct {
	work    work
	ack     chan error // one slot
	wait    bool
	err     error
	refused bool // it could not be written, and would not be if it were tried again
}

func newPooledRequest() any { return &request{ack: make(chan error, 1)} }

// submit sends work to the committer and waits for its outcome. ctx counts
// only until the work is queued.
func (e *embedded) submit(ctx context.Context, w work) error {
	r, err := e.send(ctx, w, true)
	if err != nil {
		return err
	}
	return e.outcomeOf(r)
}

// outcomeOf waits for the outcome of a request, and gives it back.
func (e *embedded) outcomeOf(r *request) error {
	err := <-r.ack
	r.work = nil
	e.requests.Put(r)
	return err
}

// send queues work. The queue's length bounds the backlog: when it is full,
// send waits.
func (e *embedded) send(ctx context.Context, w work, wait bool) (*request, error) {
	r := e.requests.Get().(*request)
	r.work, r.wait, r.err, r.refused = w, wait, nil, false
	e.senders.RLock()
	defer e.senders.RUnlock()
	if e.closed {
		return nil, ErrClosed
	}
	e.undurable.Add(changes(w))
	select {
	case e.queue <- r:
		return r, nil
	default:
	}
	select {
	case e.queue <- r:
		return r, nil
	case <-ctx.Done():
		e.undurable.Add(-changes(w))
		return nil, ctx.Err()
	}
}

// turn is one commit in the making. What requests have in common is collected
// here and written once.
type turn struct {
	e         *embedded
	tx        *store.Tx
	head      store.Head
	moved     bool // head has changed
	finished  []uint64
	deleted   []uint64 // numbers of dead letters
	retries   []store.Retry
	notes     []store.Claim
	standing  []*standing           // as of this point of the commit
	objects   map[objectKey][]byte  // that change, and what becomes of them; nil: nothing
	taken     map[[16]byte][]uint64 // by standing cancellations
	reserving reserving

	inserts []*insertWork // that were written
}

// committer is the state of the committer goroutine.
type committer struct {
	e        *embedded
	batch    []*request
	kept     []*request // outcomes that found no room: they are part of every later commit until they do
	loan     *request   // a transaction that is next
	culprit  *request   // of a batch that could not be written
	turn     turn
	starts   starts // of attempts, for the log
	begun    bool   // they were taken
	room     int64  // for them
	rows     int    // of the batch
	company  company
	patience patience
	next     uint64 // numbers below were given out, by transactions that have left nothing
}

// commitLoop takes everything that is queued or about to be, makes it one commit, and
// starts over: group commit, in which only outcomes that nobody waits for wait for company,
// see patience. It leaves when the queue is closed and empty.
func (e *embedded) commitLoop() {
	defer close(e.committed)
	c := &committer{e: e, patience: patience{gathering: &e.gathering}}
	defer c.patience.end()
	for first := range e.queue {
		c.gather(first)
		if len(c.batch) > 0 {
			c.commit()
			c.acknowledge()
		}
		if r := c.loan; r != nil {
			c.loan = nil
			c.lend(r.work.(*loan))
			e.undurable.Add(-1)
			r.ack <- nil
		}
	}
	c.commitKept()
}

// commitKept tries once more, at the end.
func (c *committer) commitKept() {
	if len(c.kept) == 0 {
		return
	}
	c.batch = append(c.batch[:0], c.kept...)
	c.commit()
	c.e.undurable.Add(-int64(len(c.batch)))
	for _, r := range c.batch {
		c.drop(r)
	}
}

// gather collects requests until no more come or the commit is large. A request is
// never split: a large one makes a large commit.
func (c *committer) gather(first *request) {
	c.batch = append(c.batch[:0], c.kept...)
	c.kept = c.kept[:0]
	c.company.begin()
	c.patience.begin()
	rows := 0
	for r, ok := first, true; ok; r, ok = c.more() {
		if _, alone := r.work.(*loan); alone {
			c.loan = r
			return
		}
		c.batch = append(c.batch, r)
		c.patience.note(r)
		if rows += r.work.bound().Rows; rows >= commitRows {
			return
		}
	}
}

// more returns the next request of this commit.
func (c *committer) more() (r *request, ok bool) {
	switch {
	case len(c.e.queue) > 0 || c.patience.over && c.company.comes(c.e.queue):
		r, ok = <-c.e.queue
		return r, ok
	case c.patience.over:
		return nil, false
	}
	return c.patience.nextRequest(c.e.queue)
}

// acknowledge tells whoever waits how each request has ended. What is durable by then is
// counted before, so that nobody who was told still counts.
func (c *committer) acknowledge() {
	c.e.undurable.Add(-c.ended())
	for i, r := range c.batch {
		c.batch[i] = nil
		err, lasts := r.err, c.keeps(r)
		switch {
		case r.wait && lasts: // its caller takes the request back
			kept := c.e.requests.Get().(*request)
			kept.work, kept.wait, kept.err, kept.refused = r.work, false, nil, false
			c.kept = append(c.kept, kept)
			r.ack <- err
		case r.wait:
			c.abandon(r)
			r.ack <- err
		case lasts:
			r.err = nil
			c.kept = append(c.kept, r)
		default:
			c.drop(r)
		}
	}
	if n := int64(len(c.kept)); c.e.kept.Swap(n) < n {
		hint(c.e.upkeepHint) // it tries them again from time to time
	}
}

// ended is how many changes of the batch are not tried again.
func (c *committer) ended() (n int64) {
	for _, r := range c.batch {
		if !c.keeps(r) {
			n += changes(r.work)
		}
	}
	return n
}

// changes is 1, and 0 for what only waits for others.
func changes(w work) int64 {
	if _, barrier := w.(flushWork); barrier {
		return 0
	}
	return 1
}

// abandon forgets what was expected of a request that is not tried again.
func (c *committer) abandon(r *request) {
	if w, ok := r.work.(*finishWork); ok && r.err != nil {
		c.e.settleRetry(w)
	}
}

// keeps tells whether a request is tried again with later commits: the end of an
// attempt was decided, and its message waits for it.
func (c *committer) keeps(r *request) bool {
	_, outcome := r.work.(*finishWork)
	return outcome && r.err != nil && !r.refused && !errors.Is(r.err, ErrFailed)
}

// drop ends a request that nobody waits for.
func (c *committer) drop(r *request) {
	c.abandon(r)
	if r.err != nil {
		c.e.log.Error("recall: an outcome could not be made durable", "error", r.err)
	}
	r.work = nil
	c.e.requests.Put(r)
}

// commit writes the batch in one transaction and applies it. Errors are left
// in the requests.
func (c *committer) commit() {
	if c.idle() {
		// A barrier must not call durable what a failed commit has lost.
		c.outcome(c.e.store.Err())
		return
	}
	c.begun, c.starts = false, starts{}
	defer func() { clear(c.turn.inserts) }() // their memory is not the turn's to keep
	c.turn.tx = nil
	watch := startStopwatch()
	err := c.write()
	for err != nil && c.culprit != nil {
		err = c.write() // without it
	}
	if err == nil && c.turn.tx != nil {
		c.e.tally.note(c.rows, watch.ran(), c.turn.tx.WriteTime())
	}
	c.outcome(err)
	if err == nil {
		c.apply()
	}
}

// outcome is that of every request which has none of its own.
func (c *committer) outcome(err error) {
	for _, r := range c.batch {
		if r.err == nil {
			r.err = err
		}
	}
}

// write makes the batch one transaction. A request that cannot be written is
// the culprit, with its error: the others must not fail with it.
func (c *committer) write() error {
	c.culprit = nil
	tx, err := c.begin()
	if err != nil || tx == nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	c.start(tx)
	if !c.begun { // what a culprit has kept from being written is written without it
		c.begun, c.starts = true, c.e.takeStarts(c.room, retriesOf(c.batch))
	}
	if err := c.turn.logStarts(c.starts.before); err != nil {
		return fmt.Errorf("recall: write: %w", err)
	}
	for _, r := range c.batch {
		if r.err != nil {
			continue
		}
		if err := r.work.write(&c.turn); err != nil {
			c.culprit, r.refused = r, true
			r.err = fmt.Errorf("recall: write: %w", err)
			return r.err
		}
	}
	c.turn.notes = c.e.takeNotes(c.turn.notes, retriesOf(c.batch))
	if err := c.turn.logStarts(c.starts.after); err != nil {
		return fmt.Errorf("recall: write: %w", err)
	}
	if err := c.turn.flush(); err != nil {
		return fmt.Errorf("recall: write: %w", err)
	}
	return tx.Commit()
}

// start begins a turn.
func (c *committer) start(tx *store.Tx) {
	c.turn = turn{
		e: c.e, tx: tx, head: c.e.store.Head(),
		finished: c.turn.finished[:0], deleted: c.turn.deleted[:0],
		retries: c.turn.retries[:0], notes: c.turn.notes[:0], inserts: c.turn.inserts[:0],
		standing: c.e.standing,
	}
	c.turn.head.NextSeq = max(c.turn.head.NextSeq, c.next)
}

// idle tells whether there is nothing to write: only barriers, no notes.
func (c *committer) idle() bool {
	for _, r := range c.batch {
		if _, barrier := r.work.(flushWork); !barrier {
			return false
		}
	}
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	return len(c.e.notes) == 0
}

// begin reserves room for the batch. Without room for all of it, what is not
// essential is refused, so that deliveries and cancellations go on; and if that
// is not enough, the larger half of what is left, again and again: one dead
// letter that finds no room must not keep the sweep from making some. Of an
// odd number more than half stay, so a dead letter gets in beside a cancellation that
// needs next to nothing.
func (c *committer) begin() (*store.Tx, error) {
	sum := c.sum()
	tx, err := c.e.store.Begin(sum)
	if !noRoom(err) {
		return tx, err
	}
	if !sum.Essential {
		c.e.noteFull()
	}
	left := c.refuse(func(r *request) bool { return !r.work.bound().Essential })
	for len(left) > 0 {
		if tx, err = c.e.store.Begin(c.sum()); !noRoom(err) {
			return tx, err
		}
		slices.SortStableFunc(left, func(a, b *request) int { return cmp.Compare(a.work.bound().Bytes, b.work.bound().Bytes) })
		large := left[min((len(left)+1)/2, len(left)-1):]
		left = c.refuse(func(r *request) bool {
			_, barrier := r.work.(flushWork) // it answers for all of them
			return barrier || slices.Contains(large, r)
		})
	}
	return nil, ErrFull
}

func noRoom(err error) bool { return errors.Is(err, ErrFull) && !errors.Is(err, ErrFailed) }

// refuse gives some requests the error that there is no room, and returns the
// others.
func (c *committer) refuse(which func(*request) bool) (left []*request) {
	for _, r := range c.batch {
		switch {
		case r.err != nil:
		case which(r):
			r.err = ErrFull
		default:
			left = append(left, r)
		}
	}
	return left
}

func (c *committer) sum() store.Bound {
	c.room = c.e.startRoom()
	sum := store.Bound{Essential: true, Bytes: c.room}
	for _, r := range c.batch {
		if r.err != nil {
			continue
		}
		b := r.work.bound()
		sum.Rows += b.Rows
		sum.Bytes += b.Bytes
		sum.Essential = sum.Essential && b.Essential
	}
	c.rows = sum.Rows
	return sum
}

// flush writes what the requests have in common.
func (t *turn) flush() error {
	if t.moved {
		if err := t.tx.SetHead(t.head); err != nil {
			return err
		}
	}
	if len(t.finished) > 0 {
		if err := t.tx.Finish(store.Live, t.finished); err != nil {
			return err
		}
	}
	if len(t.deleted) > 0 {
		if err := t.tx.Finish(store.Dead, t.deleted); err != nil {
			return err
		}
	}
	if len(t.retries) > 0 {
		if err := t.tx.Retry(t.retries); err != nil {
			return err
		}
	}
	if err := t.writeObjects(); err != nil {
		return err
	}
	if err := t.writeReserved(); err != nil {
		return err
	}
	for op, seqs := range t.taken {
		slices.Sort(seqs)
		if err := t.tx.Taken(op, seqs); err != nil {
			return err
		}
	}
	if len(t.notes) > 0 {
		return t.tx.Claims(t.notes)
	}
	return nil
}

// apply brings the index up to the commit: first everything in slices, then
// the one store that makes all new messages visible, then their due times.
func (c *committer) apply() {
	e := c.e
	fold, trim := e.store.FoldPays(), e.trimPays()
	e.applyInserts(c.turn.inserts) // before messages are gone: who looks whether a queue goes on knows of its callbacks
	e.settleFinished(c.turn.finished)
	for _, r := range c.batch {
		if r.err == nil {
			r.work.apply(e)
		}
	}
	e.applyReserved(c.turn.reserving.placed)
	e.mu.Lock()
	died := e.dead.last != e.dead.visible
	e.live.visible, e.dead.visible = e.live.last, e.dead.last
	e.standing = c.turn.standing
	for key, value := range c.turn.objects {
		e.setObjectLocked(Object{Kind: key.kind, Name: key.name, Value: value})
	}
	e.stats.commits++
	e.upkeep.foldable += len(c.turn.finished) + len(c.turn.deleted)
	pays := fold || died || e.upkeepPaysLocked() || trim
	ready := e.openedLocked()
	e.mu.Unlock()
	if pays {
		hint(e.upkeepHint)
	}
	e.enqueueDue(c.turn.inserts)
	if ready || len(c.turn.inserts) > 0 {
		hint(e.claimHint)
	}
}

// settleFinished unlinks messages whose end is durable.
func (e *embedded) settleFinished(seqs []uint64) {
	for len(seqs) > 0 {
		n := min(applySlice, len(seqs))
		e.mu.Lock()
		for _, seq := range seqs[:n] {
			e.settleLocked(seq)
		}
		e.mu.Unlock()
		seqs = seqs[n:]
	}
}

func (e *embedded) settleLocked(seq uint64) {
	p, en := e.live.lookup(seq)
	if !en.exists() {
		return
	}
	e.endLeaseLocked(seq)
	e.leftQueueLocked(en, seq)
	e.live.unlink(p, en, seq)
}

func (e *embedded) endLeaseLocked(seq uint64) {
	l := e.leases[seq]
	if l == nil {
		return
	}
	delete(e.leases, seq)
	if l.queue != nil {
		l.queue.out--
		e.changedLocked(l.queue)
	}
	if l.flow != nil {
		l.flow.inFlight--
		e.flowChangedLocked(l.flow)
	}
	if l.ended != nil {
		close(l.ended)
	}
}

// flushWork writes nothing of its own: it carries the claims that wait to be
// noted, and as a barrier it is acknowledged after everything queued before.
type flushWork struct{}

func (flushWork) bound() store.Bound { return store.Bound{Essential: true} }
func (flushWork) write(*turn) error  { return nil }
func (flushWork) apply(*embedded)    {}
