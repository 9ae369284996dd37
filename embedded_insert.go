package recall

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// insertWork publishes messages. Rows are encoded by the publisher's goroutine
// into one buffer; the committer only numbers and seals them, and applies those of
// all works of a commit together. bbolt keeps the rows until the commit, so the work
// is reused after its outcome is known.
type insertWork struct {
	msgs []Message
	now  int64 // ms
	rows []insertRow
	buf  []byte
	text texts
	logs int64 // most bytes of their events
	sets int64 // and of the objects that they change
	// imported has what messages bring from where they were, by row; nil: nothing, they
	// are new.
	imported []importedRow
	redrive
	unique
}

type insertRow struct {
	record, body []byte
	seq          uint64 // 0: a duplicate
	created      int64
	id           ulid.ULID
	rec          store.Record // its fields are views of text
	from         *importedRow // nil: it is new
	taken        *standing    // cancelled on arrival, and not stored
	gone         bool         // cancelled by the transaction that has published it
	mark         uint16       // the same, by a walk
}

var insertWorks = sync.Pool{New: func() any { return new(insertWork) }}

// Insert implements [Engine].
func (e *embedded) Insert(ctx context.Context, msgs []Message, now time.Time) ([]Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := insertWorks.Get().(*insertWork)
	defer w.recycle()
	if err := w.encode(msgs, now.UnixMilli()); err != nil {
		return nil, err
	}
	w.identify(&e.reserved)
	e.measure(w)
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	return w.outcome(now)
}

// outcome is that of work which was committed.
func (w *insertWork) outcome(now time.Time) ([]Receipt, error) {
	if w.isRefused() {
		return nil, &DeduplicationFullError{w.refused}
	}
	return w.receipts(now), nil
}

func (w *insertWork) receipts(now time.Time) []Receipt {
	out := make([]Receipt, len(w.rows))
	for i := range w.rows {
		out[i] = Receipt{ID: messageID(w.rows[i].id), CreatedAt: now}
		if s := w.rows[i].taken; s != nil {
			out[i].CancelledBy = operationID(s.op.ID)
		}
		w.deduplicated(i, &out[i])
	}
	return out
}

// recycle keeps small buffers for the next publisher.
func (w *insertWork) recycle() {
	const most = 64 << 10
	if cap(w.buf)+cap(w.text.buf) > most || cap(w.rows) > 64 {
		return
	}
	clear(w.rows)
	w.text.reset()
	*w = insertWork{rows: w.rows[:0], buf: w.buf[:0], text: w.text}
	insertWorks.Put(w)
}

// encode appends all rows to one buffer and cuts it up at the end: the buffer
// may move while it grows.
func (w *insertWork) encode(msgs []Message, now int64) error {
	w.msgs, w.now = msgs, now
	w.rows = append(w.rows[:0], make([]insertRow, len(msgs))...)
	buf := slices.Grow(w.buf[:0], sizeOf(msgs))
	w.text.reset()
	w.text.buf = slices.Grow(w.text.buf, 96*len(msgs)) // most need less
	for i := range msgs {
		start := len(buf)
		rec := recordOf(&msgs[i], now, &w.text)
		w.foreign(i, &rec)
		buf = store.AppendRecord(buf, &rec)
		if len(buf)-start > store.MaxRecord {
			return overLimit("Message", "its URL, names and labels take %d bytes; the limit is %d", len(buf)-start, store.MaxRecord)
		}
		middle := len(buf)
		body := bodyOf(&msgs[i])
		buf = store.AppendBody(buf, &body)
		w.rows[i].rec = rec
		w.rows[i].record, w.rows[i].body = buf[start:middle:middle], buf[middle:len(buf):len(buf)]
	}
	w.recut(buf)
	w.buf = buf
	w.logs = 0
	for i := range w.rows { // what the log keeps of a message is in its record
		w.logs += int64(len(w.rows[i].record)) + createdBytes
	}
	return nil
}

// createdBytes is the most that the log takes, beyond that, for a message that is
// published and for what has taken it.
const createdBytes = 64

// sizeOf is a little more than the rows of most messages take.
func sizeOf(msgs []Message) (size int) {
	for i := range msgs {
		m := &msgs[i]
		size += 192 + len(m.URL) + len(m.Queue) + len(m.Topic) + len(m.Body) + len(m.RetryDelay) + 64*len(m.Header)
	}
	return size
}

// recut points the rows into the buffer as it ended up.
func (w *insertWork) recut(buf []byte) {
	at := 0
	for i := range w.rows {
		r := &w.rows[i]
		end := at + len(r.record)
		r.record = buf[at:end:end]
		at = end + len(r.body)
		r.body = buf[end:at:at]
	}
}

// recordOf and bodyOf split a message into its hot and its cold row. The record
// is good for as long as text is.
func recordOf(m *Message, now int64, text *texts) store.Record {
	return store.Record{
		Wall: now, Due: m.DueAt.UnixMilli(), TimeoutMs: ceilMs(m.Timeout), Retries: uint32(*m.Retries),
		Method: text.bytes(m.Method), URL: text.bytes(m.URL), Topic: text.bytes(m.Topic), Queue: text.bytes(m.Queue),
		Schedule: text.bytes(m.ScheduleID), CallerIP: text.bytes(m.CallerIP), FlowKey: text.bytes(m.FlowKey),
		Labels: text.lists(m.Labels), Priority: int8(m.Priority), Blocks: blocksOf(m),
	}
}

// blocksOf puts the queue that waits for a callback, the message that this is about
// and that whose place it keeps into one field: they are needed to index it.
func blocksOf(m *Message) []byte {
	switch {
	case m.Blocks == "":
		return nil
	case m.Root == "":
		return []byte(m.Blocks + "\x00" + string(m.Source))
	default:
		return []byte(m.Blocks + "\x00" + string(m.Source) + "\x00" + string(m.Root))
	}
}

// setBlocks reads that field.
func (m *Message) setBlocks(field []byte) {
	blocks, about, ok := strings.Cut(string(field), "\x00")
	if !ok {
		return
	}
	source, root, _ := strings.Cut(about, "\x00")
	m.Blocks, m.Source, m.Root = blocks, MessageID(source), MessageID(root)
}

// ceilMs rounds up, so that a short timeout is not stored as none.
func ceilMs(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

func bodyOf(m *Message) store.Body {
	return store.Body{Header: fieldsOf(m.Header), Payload: m.Body, RetryDelay: []byte(m.RetryDelay), More: moreOf(m)}
}

func fieldsOf(h http.Header) []store.Field {
	var out []store.Field
	for name, values := range h {
		name := []byte(http.CanonicalHeaderKey(name))
		for _, v := range values {
			out = append(out, store.Field{Name: name, Value: []byte(v)})
		}
	}
	return out
}

func headerOf(fields []store.Field) http.Header {
	if len(fields) == 0 {
		return nil
	}
	h := make(http.Header, len(fields))
	for _, f := range fields {
		name := string(f.Name)
		h[name] = append(h[name], string(f.Value))
	}
	return h
}

func (w *insertWork) bound() store.Bound {
	return store.Bound{Rows: len(w.rows), Bytes: int64(len(w.buf)) + w.room() + w.logs + w.sets}
}

// write numbers, seals and stores the rows. Created never falls, so the order
// of numbers, of ids and of creation is one order, whatever the clock does.
func (w *insertWork) write(t *turn) error {
	if !w.decide(t) {
		return nil
	}
	if err := w.redrive.write(t); err != nil {
		return err
	}
	t.head.LastCreated = max(t.head.LastCreated, w.now)
	t.moved = true
	t.inserts = append(t.inserts, w)
	for i := range w.rows {
		if w.isDuplicate(i) || w.isThere(t, i) {
			continue
		}
		r := &w.rows[i]
		r.seq, r.created = t.head.NextSeq, t.head.LastCreated
		t.head.NextSeq++
		if w.imported != nil {
			if err := w.writeImported(t, i); err != nil {
				return err
			}
			continue
		}
		r.id = t.e.ids.make(r.seq, r.created)
		w.reserve(t, i)
		r.taken = t.arrival(w, i)
		if err := w.logCreated(t, i); err != nil {
			return err
		}
		if r.taken != nil {
			t.take(r.taken, r.seq)
			continue
		}
		t.settings(w, i)
		store.SealRecord(r.record, r.seq, [16]byte(r.id))
		if err := t.tx.Put(store.Live, r.seq, r.record, r.body); err != nil {
			return err
		}
	}
	return nil
}

// arrival returns the standing cancellation that takes a message which is being
// published.
func (t *turn) arrival(w *insertWork, i int) *standing {
	if !anyActive(t.standing, w.now) {
		return nil
	}
	m := w.msgs[i]
	m.ID, m.CreatedAt, m.State = messageID(w.rows[i].id), time.UnixMilli(w.now), StateDelayed
	if m.DueAt.UnixMilli() <= w.now {
		m.State = StateReady
	}
	return taker(t.standing, &m, w.now)
}

// eachRow visits what works publish, applySlice rows per lock hold: the committer
// waits for the lock, which a walk may have, for each of them and not for each work.
func (e *embedded) eachRow(works []*insertWork, visit func(*insertRow)) {
	n := 0
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range works {
		for i := range w.rows {
			if n++; n%applySlice == 0 {
				e.mu.Unlock()
				e.mu.Lock()
			}
			visit(&w.rows[i])
		}
	}
}

// applyInserts adds the entries of what a commit publishes; they stay invisible until
// the whole commit is in.
func (e *embedded) applyInserts(works []*insertWork) {
	if len(works) == 0 {
		return
	}
	back := time.Duration(0)
	e.eachRow(works, func(r *insertRow) {
		if e.tally.row(r); r.seq != 0 {
			back = max(back, e.applyRowLocked(r))
		}
	})
	if back > 0 {
		e.log.Warn("recall: the clock was set back; ids keep their order", "by", back)
	}
}

// applyRowLocked returns how far the clock was set back, if that is to be told.
func (e *embedded) applyRowLocked(r *insertRow) (back time.Duration) {
	if r.taken != nil || r.gone {
		e.live.setLast(r.seq)
		return 0
	}
	en := e.live.insert(r.seq, &r.rec, times{created: r.created, wall: r.rec.Wall, due: r.rec.Due})
	if len(r.rec.Blocks) > 0 {
		e.blocksLocked(&r.rec, r.seq)
	}
	if r.mark != 0 {
		p, _ := e.live.lookup(r.seq)
		e.live.move(p, en, phaseMarked)
		en.mark = r.mark
	}
	if r.from != nil {
		e.applyImportedLocked(en, r)
		return 0
	}
	return e.noteClampLocked(r.created - r.rec.Wall)
}

// noteClampLocked keeps the largest step back of the clock that ids have
// absorbed, and returns it when it is over a minute for the first time.
func (e *embedded) noteClampLocked(ms int64) (first time.Duration) {
	d := time.Duration(ms) * time.Millisecond
	if d <= e.stats.clamp {
		return 0
	}
	if d > time.Minute && e.stats.clamp <= time.Minute {
		first = d
	}
	e.stats.clamp = d
	return first
}

// enqueueDue adds the due times of what a commit has published, after it became
// visible. What was cancelled in between is passed over.
func (e *embedded) enqueueDue(works []*insertWork) {
	if len(works) == 0 {
		return
	}
	e.eachRow(works, func(r *insertRow) {
		if _, en := e.live.lookup(r.seq); en.exists() && en.phase == phasePending {
			e.queueLocked(en, r.seq)
		}
	})
}

// queueLocked has a pending entry wait: in its lane, or for its place in its
// queue. An item that an earlier mark has left in the lane is alive again.
func (e *embedded) queueLocked(en entry, seq uint64) {
	q := e.queueOf(en)
	if q != nil {
		e.joinLocked(q, seq)
	}
	if en.flags&flagQueued != 0 { // it was marked, and its item has stayed
		ln := e.laneOf(en)
		ln.dead = max(0, ln.dead-1)
		if en.parked() { // its key may have had room meanwhile
			e.flowChangedLocked(e.flowOf(en))
		}
		return
	}
	if q == nil {
		e.laneLocked(en, seq)
	}
}

// laneLocked puts a pending entry into its lane, unless it is there, is held, or
// cannot be read.
func (e *embedded) laneLocked(en entry, seq uint64) {
	if en.flags&(flagHeld|flagDamaged|flagQueued) != 0 {
		return
	}
	ln := e.laneOf(en)
	en.flags |= flagQueued
	if _, there := ln.items.ReplaceOrInsert(dueItem{en.due(), seq}); there {
		ln.dead = max(0, ln.dead-1)
	}
}

// laneOf returns the lane that an entry waits in.
func (e *embedded) laneOf(en entry) *lane {
	if en.flags&flagAside == 0 {
		return e.lanes.plain
	}
	return e.lanes.recently(en.values[fieldURL], e.laneKeyOf(en))
}

// laneKeyOf names the lane of an entry. The name of the URL is looked at only for few
// of them: it is far from the entry in memory.
func (e *embedded) laneKeyOf(en entry) laneKey {
	key := laneKey{priority: en.priority()}
	if en.flags&flagAside == 0 {
		return key
	}
	if en.parked() {
		key.flow = e.live.fields[fieldFlow].slab[en.values[fieldFlow]].name
	}
	if url := e.live.fields[fieldURL].slab[en.values[fieldURL]].name; isLocal(url) {
		key.url = url
	}
	return key
}
