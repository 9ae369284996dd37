package recall

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/recallmq/recall/store"
)

// loan is a turn of the committer that a transaction asks for. The committer
// lends itself to the goroutine of the caller and waits: while it does, nobody
// else writes.
type loan struct {
	lent chan *committer
	back chan struct{}
}

func (*loan) bound() store.Bound { return store.Bound{} }
func (*loan) write(*turn) error  { return nil }
func (*loan) apply(*embedded)    {}

// lend hands the committer over and waits until it is back.
func (c *committer) lend(l *loan) {
	l.lent <- c
	<-l.back
}

// Update implements [Transactor].
func (e *embedded) Update(ctx context.Context, fn func(EngineTx) error) error {
	if err := e.checkOpen(ctx); err != nil {
		return err
	}
	if err := e.gate.enterAlone(ctx); err != nil {
		return err
	}
	defer e.gate.leaveAlone()
	l := &loan{lent: make(chan *committer), back: make(chan struct{})}
	r, err := e.send(ctx, l, true)
	if err != nil {
		return err
	}
	ending, err := e.borrow(ctx, <-l.lent, l, fn)
	<-r.ack
	e.requests.Put(r)
	if err != nil {
		return err
	}
	return e.awaitEnds(context.WithoutCancel(ctx), ending)
}

// borrow runs a transaction in the committer's place and gives it back, also
// when fn panics or ends its goroutine. It returns the messages that it met with
// their end decided but not durable.
func (e *embedded) borrow(ctx context.Context, c *committer, l *loan, fn func(EngineTx) error) (ending []uint64, err error) {
	defer close(l.back)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tx, err := e.store.Begin(smallTransaction)
	if err != nil {
		return nil, err
	}
	x := &embeddedTx{e: e, c: c, left: MaxTransaction}
	defer x.end()
	defer tx.Rollback() // does nothing after Commit
	c.start(tx)
	if err := x.run(fn); err != nil {
		return nil, err
	}
	if x.err != nil {
		return nil, x.err
	}
	return x.ending, x.commit()
}

// run calls fn, after which what it has kept of the transaction is of no use.
func (x *embeddedTx) run(fn func(EngineTx) error) error {
	defer func() { x.over = true }()
	return fn(x)
}

// smallTransaction is the room that every transaction begins with. What it
// writes beyond that is known at its end only; the most that it may write would
// refuse one that cancels in a file which is nearly full.
var smallTransaction = store.Bound{Rows: 64, Bytes: 256 << 10, Essential: true}

// bound is the room that the transaction needs. Without messages and data of
// the program it is a cancellation like any other.
func (x *embeddedTx) bound() store.Bound {
	return store.Bound{Rows: 4096, Bytes: MaxTransaction - x.left, Essential: x.own == nil && !x.keeps}
}

// embeddedTx is a transaction under way. Its changes are in the write
// transaction of the store; memory only has marks until it is committed.
type embeddedTx struct {
	e       *embedded
	c       *committer
	works   []work // to apply
	bulks   []*bulk
	singles []*cancelOneWork
	asking  *marking              // of those that are requests; nil: none
	own     map[uint64]*insertRow // published here, by number
	ownMsgs []ownMessage
	left    int64
	ending  []uint64
	err     error // a write has failed: nothing can be committed
	done    bool
	over    bool // fn has returned
	keeps   bool // it has written to buckets of the program
}

type ownMessage struct {
	m   Message
	seq uint64
	now int64
}

// spend keeps the transaction within its bound.
func (x *embeddedTx) spend(bytes int64) error {
	switch {
	case x.over:
		return ErrClosed
	case x.err != nil:
		return x.err
	}
	if bytes > x.left {
		return invalid("Tx", "it writes more than %d bytes", MaxTransaction)
	}
	x.left -= bytes
	return nil
}

// try notes a failed write: some of it may have been done.
func (x *embeddedTx) try(err error) error {
	if err != nil {
		x.err = err
	}
	return err
}

// commit makes the transaction durable and brings memory up to it.
func (x *embeddedTx) commit() error {
	c, watch := x.c, startStopwatch()
	bound := x.bound()
	room := x.e.startRoom()
	bound.Bytes += room
	if err := c.turn.tx.Room(bound); err != nil {
		if noRoom(err) {
			x.e.noteFull()
		}
		return err
	}
	begun := x.e.takeStarts(room, nil)
	c.turn.notes = x.e.takeNotes(c.turn.notes[:0], nil)
	if err := c.turn.logStarts(begun.before); err != nil {
		return err
	}
	if err := c.turn.flush(); err != nil {
		return err
	}
	err := c.turn.tx.Commit()
	x.done = err == nil || isUnknown(err)
	switch {
	case isUnknown(err):
		x.abandon(err)
		return err
	case err != nil:
		return err
	}
	x.e.tally.note(rowsOf(x.works), watch.ran(), c.turn.tx.WriteTime())
	c.batch = c.batch[:0]
	for _, w := range x.works {
		c.batch = append(c.batch, &request{work: w})
	}
	c.apply()
	x.settle()
	return nil
}

// settle follows the commit: marks are durable.
func (x *embeddedTx) settle() {
	x.settleSingles(nil)
	for _, b := range x.bulks {
		b.settle()
	}
}

// settleSingles tells who waits for a request how it has ended.
func (x *embeddedTx) settleSingles(err error) {
	for _, w := range x.singles {
		w.settle(err)
	}
	if x.asking != nil {
		x.e.settleMarking(x.asking, true)
	}
}

// abandon leaves the marks of a commit whose outcome is unknown, and lets
// nobody wait for it.
func (x *embeddedTx) abandon(err error) {
	x.settleSingles(err)
	for _, b := range x.bulks {
		b.abandon()
	}
}

// end undoes what is in memory of a transaction that was not committed.
func (x *embeddedTx) end() {
	if x.done {
		return
	}
	x.c.next = max(x.c.next, x.c.turn.head.NextSeq) // fn has seen the ids up to there
	x.settleSingles(errUncommitted)
	for _, b := range x.bulks {
		b.undo()
	}
}

// errUncommitted stands for a transaction that was rolled back.
var errUncommitted = invalid("Tx", "it was rolled back")

// Insert implements [EngineTx].
func (x *embeddedTx) Insert(msgs []Message, now time.Time) ([]Receipt, error) {
	w := new(insertWork)
	if err := w.encode(msgs, now.UnixMilli()); err != nil {
		return nil, err
	}
	w.identify(&x.e.reserved)
	x.e.measure(w)
	if err := x.spend(w.bound().Bytes + int64(64*len(msgs))); err != nil {
		return nil, err
	}
	if err := x.try(w.write(&x.c.turn)); err != nil {
		return nil, err
	}
	if w.isRefused() {
		return nil, &DeduplicationFullError{w.refused}
	}
	x.works = append(x.works, w)
	x.remember(w)
	return w.receipts(now), nil
}

// remember keeps what the transaction's own cancellations have to look at.
func (x *embeddedTx) remember(w *insertWork) {
	if x.own == nil {
		x.own = map[uint64]*insertRow{}
	}
	for i := range w.rows {
		r := &w.rows[i]
		if r.taken != nil || r.seq == 0 {
			continue
		}
		x.own[r.seq] = r
		m := w.msgs[i]
		m.ID, m.State = messageID(r.id), StateDelayed
		if m.DueAt.UnixMilli() <= w.now {
			m.State = StateReady
		}
		x.ownMsgs = append(x.ownMsgs, ownMessage{m, r.seq, w.now})
	}
}

// Cancel implements [EngineTx].
func (x *embeddedTx) Cancel(req CancelRequest) error {
	r, ok := x.e.resolve(req.ID)
	if !ok {
		return ErrNotFound
	}
	if err := x.spend(1024); err != nil {
		return err
	}
	if row := x.own[r.seq]; row != nil && messageID(row.id) == req.ID {
		return x.cancelOwn(r.seq, row, req.Now.UnixMilli())
	}
	w, err := x.takeOne(r, req)
	if w == nil || err != nil {
		return err
	}
	x.singles = append(x.singles, w)
	if err := x.spend(w.bound().Bytes); err != nil {
		return x.try(err)
	}
	return x.try(w.write(&x.c.turn))
}

// takeOne is that of the engine, but cannot wait for the committer, whose place
// the transaction has. It returns nothing at all for a message that the
// transaction has asked for before.
func (x *embeddedTx) takeOne(r resolvedID, req CancelRequest) (w *cancelOneWork, err error) {
	if req.Sticky && x.asking == nil {
		if x.asking, err = x.e.newMarking(); err != nil {
			return nil, err
		}
	}
	for {
		w, wait, err := x.e.takeOne(r, req, x.asking)
		if wait == nil || err != nil {
			return w, err
		}
		if again, err := x.uncertain(r, req); !again {
			return nil, err
		}
	}
}

// uncertain says what is known of a message that others would have to wait for;
// again, that this has changed meanwhile.
func (x *embeddedTx) uncertain(r resolvedID, req CancelRequest) (again bool, err error) {
	x.e.mu.Lock()
	defer x.e.mu.Unlock()
	_, en := x.e.findLocked(r)
	switch {
	case !en.exists() || en.phase == phaseMarked:
		return false, ErrNotFound
	case en.phase == phasePending:
		return true, nil
	case en.phase == phaseFinishing || x.e.leases[r.seq].final: // its end waits for this transaction
		x.ending = append(x.ending, r.seq)
		return false, ErrNotFound
	case en.mark != 0 && req.Sticky:
		return false, nil
	}
	return false, &NotCancellableError{ID: req.ID, State: StateInFlight}
}

// cancelOwn takes back a message of the transaction: its row is dead from the
// beginning.
func (x *embeddedTx) cancelOwn(seq uint64, row *insertRow, now int64) error {
	if row.gone || row.mark != 0 {
		return ErrNotFound
	}
	row.gone = true
	s := row.subject()
	if err := x.spend(eventBytes(&s, nil)); err != nil {
		return x.try(err)
	}
	if err := x.try(x.c.turn.log(&s, store.Event{Kind: eventCancelled, At: now})); err != nil {
		return err
	}
	x.c.turn.finished = append(x.c.turn.finished, seq)
	return nil
}

// CancelMatching implements [EngineTx].
func (x *embeddedTx) CancelMatching(req CancelMatchingRequest) (CancelResult, error) {
	req.Expired, req.Asked = nil, nil
	b := x.e.newBulk(req, verbCancel)
	b.tx = x
	if err := b.pass(context.Background()); err != nil {
		return b.result, err
	}
	x.ending = append(x.ending, b.ending...)
	err := x.record(b)
	b.result.Scanned = b.walk.scanned
	if err == nil && b.blocker != 0 {
		err = b.awaitAttempt(context.Background()) // says who is in the way
	}
	return b.result, err
}

// record writes the tombstone of a walk, own messages included.
func (x *embeddedTx) record(b *bulk) error {
	n := len(b.seqs) + len(b.asked)
	if req := &b.req; req.DryRun || n == 0 {
		b.count()
		x.e.settleMarking(b.mark, true)
		return nil
	}
	x.bulks = append(x.bulks, b)
	if err := x.spend(b.work().bound().Bytes); err != nil {
		return x.try(err)
	}
	err := x.try(b.record().write(&x.c.turn))
	b.result.Cancelled += len(b.seqs)
	b.result.Requested += len(b.asked)
	b.result.Operation = operationID(b.op.ID)
	return err
}

// takeOwn lets a walk go over the messages of the transaction, which are newer
// than all others.
func (x *embeddedTx) takeOwn(b *bulk) {
	for _, o := range x.ownMsgs {
		row := x.own[o.seq]
		if row.gone || row.mark != 0 || !b.req.All && !b.req.Filter.Matches(&o.m) {
			continue
		}
		if !b.counting && b.full() && b.enough(o.seq) == stopAt {
			return
		}
		if b.found++; b.counting {
			continue
		}
		b.seqs = append(b.seqs, o.seq)
		if !b.req.DryRun {
			row.mark = b.mark.number
		}
	}
}

// unmarkOwn undoes takeOwn.
func (x *embeddedTx) unmarkOwn(seqs []uint64) {
	for _, seq := range seqs {
		if row := x.own[seq]; row != nil {
			row.mark = 0
		}
	}
}

// Bucket implements [EngineTx].
func (x *embeddedTx) Bucket(name string) (Bucket, error) {
	if err := x.spend(pageBytes); err != nil {
		return nil, err
	}
	x.keeps = true
	b, err := x.c.turn.tx.App(name)
	if err != nil {
		return nil, x.try(err)
	}
	return &embeddedBucket{x, b}, nil
}

const pageBytes = 4096

type embeddedBucket struct {
	x *embeddedTx
	b store.Bucket
}

func (b *embeddedBucket) Get(key []byte) []byte {
	if b.x.over {
		return nil
	}
	return b.b.Get(key)
}

func (b *embeddedBucket) Put(key, value []byte) error {
	if len(key) == 0 || len(key) > store.MaxKey {
		return invalid("key", "%d bytes are not between 1 and %d", len(key), store.MaxKey)
	}
	if err := b.x.spend(max(pageBytes, int64(len(key)+len(value)))); err != nil {
		return err
	}
	return b.x.try(b.b.Put(key, value))
}

func (b *embeddedBucket) Delete(key []byte) error {
	if err := b.x.spend(pageBytes); err != nil {
		return err
	}
	return b.x.try(b.b.Delete(key))
}

func (b *embeddedBucket) All(from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		if !b.x.over {
			b.b.All(from)(yield)
		}
	}
}

func (b *embeddedBucket) NextSequence() (uint64, error) {
	if err := b.x.spend(pageBytes); err != nil {
		return 0, err
	}
	n, err := b.b.NextSequence()
	return n, b.x.try(err)
}

// Lookup implements [Transactor].
func (e *embedded) Lookup(ctx context.Context, bucket string, key []byte) (value []byte, err error) {
	if err := e.checkOpen(ctx); err != nil {
		return nil, err
	}
	err = e.store.View(func(v *store.View) error {
		if b, ok := v.App(bucket); ok {
			value = slices.Clone(b.Get(key))
		}
		return nil
	})
	return value, err
}
