package recall

import (
	"bytes"
	"context"
	"hash/fnv"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// importedRow is what a message brings with it.
type importedRow struct {
	id       ulid.ULID
	attempts int
	held     bool
	twin     bool // another of the same call has its id
}

// importWork is one [Import].
type importWork struct {
	insert  insertWork
	dead    []*deadRow
	objects []Object
	batch   *Import
	stored  Imported
}

// Import implements [Importer].
func (e *embedded) Import(ctx context.Context, batch Import) (Imported, error) {
	if err := e.checkOpen(ctx); err != nil {
		return Imported{}, err
	}
	if err := batch.validate(); err != nil {
		return Imported{}, err
	}
	w := &importWork{batch: &batch}
	if err := w.encode(); err != nil {
		return Imported{}, err
	}
	// Whether a message is there already is asked of memory, which learns of this call
	// with its commit.
	select {
	case e.importing <- struct{}{}:
	case <-ctx.Done():
		return Imported{}, ctx.Err()
	}
	defer func() { <-e.importing }()
	e.measure(&w.insert)
	err := e.submit(ctx, w)
	if err != nil {
		return Imported{}, err
	}
	return w.stored, nil
}

func (w *importWork) encode() error {
	b, in := w.batch, &w.insert
	in.imported = make([]importedRow, len(b.Messages))
	seen := make(map[ulid.ULID]bool, len(b.Messages))
	for i := range b.Messages {
		m := &b.Messages[i]
		id, err := m.ID.ulid()
		if err != nil {
			return err
		}
		in.imported[i] = importedRow{id, m.Attempts, m.State == StateHeld, seen[id]}
		seen[id] = true
	}
	if err := in.encode(b.Messages, b.Now.UnixMilli()); err != nil {
		return err
	}
	for i := range b.Dead {
		d := &b.Dead[i]
		m := d.Message
		m.Attempts = d.Attempts
		row := newDeadRow(Lease{Message: m}, &Finish{Now: d.DiedAt, Reason: d.Reason, Response: d.Response})
		if len(row.record) > store.MaxRecord {
			return overLimit("Message", "its URL, names and labels take %d bytes; the limit is %d", len(row.record), store.MaxRecord)
		}
		w.dead = append(w.dead, row)
	}
	for _, o := range b.Objects {
		o.Value = bytes.Clone(o.Value)
		w.objects = append(w.objects, o)
	}
	return nil
}

// foreign makes a record that of an imported message.
func (w *insertWork) foreign(i int, rec *store.Record) {
	if w.imported != nil {
		rec.Foreign, rec.Wall = true, w.msgs[i].CreatedAt.UnixMilli()
	}
}

// importedBytes is what a message takes beside its rows: its attempts, and that it is
// held.
const importedBytes = 64

func (w *importWork) bound() store.Bound {
	b := w.insert.bound()
	b.Bytes += int64(len(w.insert.rows)) * importedBytes
	for _, d := range w.dead {
		b.Rows++
		b.Bytes += d.size()
	}
	for _, o := range w.objects {
		b.Rows += 2 + len(o.Value)/2048
		b.Bytes += int64(len(o.Name)+len(o.Value)+256) + 2*settingsRoom
	}
	mark := &w.batch.Mark
	b.Rows++
	b.Bytes += int64(len(mark.Key)+len(mark.Value)) + 2*settingsRoom
	return b
}

func (w *importWork) write(t *turn) error {
	w.stored = Imported{Dead: len(w.dead)}
	for _, o := range w.objects { // before messages make queues of the same name
		if !t.hasChanged(Object{Kind: o.Kind, Name: o.Name}) {
			t.noteObject(o)
			w.stored.Objects++
		}
	}
	if err := w.insert.write(t); err != nil {
		return err
	}
	for i := range w.insert.rows {
		if w.insert.rows[i].seq != 0 {
			w.stored.Messages++
		}
	}
	if err := w.insert.holdImported(t); err != nil {
		return err
	}
	for _, d := range w.dead {
		if err := d.write(t, 0); err != nil {
			return err
		}
	}
	mark := &w.batch.Mark
	if mark.Bucket == "" {
		return nil
	}
	bucket, err := t.tx.App(mark.Bucket)
	if err != nil {
		return err
	}
	return bucket.Put(mark.Key, mark.Value)
}

// apply has the dead letters left: the turn applies messages and objects.
func (w *importWork) apply(e *embedded) {
	for _, d := range w.dead {
		d.apply(e)
	}
}

// isThere tells whether an imported message is not to be stored, because there is one
// of its id.
func (w *insertWork) isThere(t *turn, i int) bool {
	if w.imported == nil {
		return false
	}
	w.rows[i].seq = 0
	if w.imported[i].twin {
		return true
	}
	r, ok := t.e.resolve(messageID(w.imported[i].id))
	if !ok {
		return false
	}
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	_, en := t.e.live.lookup(r.seq)
	return en.exists()
}

// writeImported stores an imported message that has its number.
func (w *insertWork) writeImported(t *turn, i int) error {
	r, from := &w.rows[i], &w.imported[i]
	r.id, r.taken, r.from = from.id, nil, from
	if queue := w.msgs[i].Queue; queue != "" {
		t.e.mu.Lock()
		t.makeQueueLocked(queue, w.now)
		t.e.mu.Unlock()
	}
	if from.attempts > 0 {
		t.retries = append(t.retries, store.Retry{Seq: r.seq, Due: r.rec.Due, Attempts: uint32(from.attempts)})
	}
	store.SealForeign(r.record, r.seq, [16]byte(r.id), r.created)
	return t.tx.PutForeign(store.Live, r.seq, r.record, r.body)
}

// holdImported notes which of them are held.
func (w *insertWork) holdImported(t *turn) error {
	var held []uint64
	for i := range w.rows {
		if r := &w.rows[i]; r.seq != 0 && r.from.held {
			held = append(held, r.seq)
		}
	}
	if len(held) == 0 {
		return nil
	}
	return t.tx.Hold(held, true)
}

// applyImportedLocked has an entry know what its message brings.
func (e *embedded) applyImportedLocked(en entry, r *insertRow) {
	e.aliases.add(resolvedID{r.seq, r.created}, r.id)
	en.setAttempts(r.from.attempts)
	if r.from.attempts > 0 {
		en.flags |= flagRetried
	}
	if r.from.held {
		en.flags |= flagHeld
	}
}

// placeOfForeign stands for the message whose place in a queue an imported callback
// keeps, and which is gone: no message has this number.
func placeOfForeign(id MessageID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum64() | 1<<63
}
