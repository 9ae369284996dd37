package recall

import (
	"bytes"
	"context"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/recallmq/recall/store"
)

// deadRow is an entry for the dead letter queue, written whole, so that it
// lives on when the segment of the message is dropped.
type deadRow struct {
	rec          store.Record
	record, body []byte
	seq          uint64 // of the dead letter, given by the committer
}

func newDeadRow(l Lease, f *Finish) *deadRow {
	m := &l.Message
	rec := recordOf(m, m.CreatedAt.UnixMilli(), new(texts))
	rec.Died, rec.Attempts, rec.Reason = f.Now.UnixMilli(), uint32(m.Attempts), []byte(f.Reason)
	body := bodyOf(m)
	if r := f.Response; r != nil {
		rec.Status = uint16(r.Status)
		body.ResponseHeader, body.ResponseBody = fieldsOf(r.Header), r.Body
	}
	u, _ := m.ID.ulid() // the lease was checked
	return sealDead(rec, body, u)
}

func sealDead(rec store.Record, body store.Body, id [16]byte) *deadRow {
	rec.ID = id
	rec.Reason = cutText(rec.Reason, maxReason)
	record := store.AppendRecord(nil, &rec)
	if over := len(record) - store.MaxRecord; over > 0 {
		rec.Reason = cutText(rec.Reason, max(0, len(rec.Reason)-over))
		record = store.AppendRecord(nil, &rec)
	}
	return &deadRow{rec: rec, record: record, body: store.AppendBody(nil, &body)}
}

// maxReason is how much of it a dead letter keeps, and less beside names that
// are as long as they may be: its record fits a page.
const maxReason = 256

// cutText cuts a text for people, and not within a character.
func cutText(s []byte, most int) []byte { return bytes.ToValidUTF8(s[:min(len(s), most)], nil) }

func (d *deadRow) size() int64 { return int64(len(d.record) + len(d.body) + 64) }

func (d *deadRow) write(t *turn, _ uint64) error {
	d.seq = t.head.NextDead
	t.head.NextDead++
	t.moved = true
	store.SealRecord(d.record, d.seq, d.rec.ID)
	return t.tx.Put(store.Dead, d.seq, d.record, d.body)
}

// apply adds the dead letter to its index. Its place in time is when it died;
// dates of filters are compared with the time of publication, its wall time.
func (d *deadRow) apply(e *embedded) {
	e.tally.died.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.insertDeadLocked(d.seq, &d.rec)
}

func (e *embedded) insertDeadLocked(seq uint64, rec *store.Record) {
	en := e.dead.insert(seq, rec, times{created: rec.Died, wall: rec.Wall})
	en.setAttempts(int(min(rec.Attempts, math.MaxUint16)))
}

// ListDead implements [Engine].
func (e *embedded) ListDead(ctx context.Context, f Filter, after DeadLetterID, limit int) ([]DeadLetter, error) {
	return pageOfDead(e, ctx, f, after, limit, e.readDeadRows)
}

// DeadIDs implements [Engine].
func (e *embedded) DeadIDs(ctx context.Context, f Filter, after DeadLetterID, limit int) ([]DeadLetterID, error) {
	return pageOfDead(e, ctx, f, after, limit, e.idsOfDead)
}

// pageOfDead reads the next matches behind an id. Others may take all of them
// between the look into the index and the read: that is not the end of the list.
func pageOfDead[T any](
	e *embedded, ctx context.Context, f Filter, after DeadLetterID, limit int, read func([]uint64) ([]T, error),
) ([]T, error) {
	from, err := e.startDead(ctx, after)
	if err != nil || f.States != nil || f.dueBounded() {
		return nil, err
	}
	for {
		seqs, err := e.selectDead(f, from, limit)
		if err != nil || len(seqs) == 0 {
			return nil, err
		}
		found, err := read(seqs)
		if err != nil || len(found) > 0 {
			return found, err
		}
		from = seqs[len(seqs)-1] + 1
	}
}

// readDeadRows reads dead letters, up to a page of them.
func (e *embedded) readDeadRows(seqs []uint64) ([]DeadLetter, error) {
	out := make([]DeadLetter, 0, len(seqs))
	size := 0
	err := e.store.View(func(v *store.View) error {
		for _, seq := range seqs {
			d, ok, err := readDead(v, seq)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			out = append(out, d)
			if size += d.size(); size >= PageBytes {
				return nil
			}
		}
		return nil
	})
	return out, err
}

func (e *embedded) idsOfDead(seqs []uint64) (ids []DeadLetterID, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, seq := range seqs {
		if p, en := e.dead.lookup(seq); en.exists() {
			died, _ := p.timesOf(seq, en)
			ids = append(ids, deadLetterID(died, seq))
		}
	}
	return ids, nil
}

// startDead returns the number behind an id.
func (e *embedded) startDead(ctx context.Context, after DeadLetterID) (from uint64, err error) {
	if err := e.checkOpen(ctx); err != nil || after == "" {
		return 0, err
	}
	_, n, err := after.parse()
	return n + 1, err
}

// selectDead returns the next matches. The attempts of a dead letter are those
// that were made; it has no state, and no attempt of it is due. Ids of a filter name messages, and the
// index of the dead letters has numbers of its own: they are compared with the
// stored ids, a slice of the walk at a time.
func (e *embedded) selectDead(f Filter, from uint64, limit int) (seqs []uint64, err error) {
	if limit <= 0 {
		return nil, nil
	}
	names := namesOf(f.IDs)
	f.IDs = nil
	w := e.readWalk(e.dead, f, from, time.Time{})
	for done := false; !done; runtime.Gosched() {
		var found []uint64
		e.mu.Lock()
		done, _ = w.sliceLocked(func(_ *page, en entry, seq uint64) verdict {
			if en.phase == phasePending {
				found = append(found, seq)
			}
			if names == nil && len(seqs)+len(found) == limit {
				return stop
			}
			return goOn
		})
		e.mu.Unlock()
		if names != nil {
			if found, err = e.takeNamed(found, names, limit-len(seqs)); err != nil {
				return nil, err
			}
			done = done || len(names) == 0
		}
		seqs = append(seqs, found...)
		done = done || len(seqs) == limit
	}
	return seqs, nil
}

// namesOf returns the ids of a filter as they are stored; nil if it has none.
func namesOf(ids []MessageID) map[[16]byte]bool {
	if ids == nil {
		return nil
	}
	names := make(map[[16]byte]bool, len(ids))
	for _, id := range ids {
		if u, err := id.ulid(); err == nil {
			names[u] = true
		}
	}
	return names
}

// takeNamed returns the first dead letters among seqs, at most limit, whose
// messages are named, and takes their names out: a message dies once. A row
// that does not decode has no name.
func (e *embedded) takeNamed(seqs []uint64, names map[[16]byte]bool, limit int) (named []uint64, err error) {
	err = e.store.View(func(v *store.View) error {
		var rec store.Record
		for _, seq := range seqs {
			row, err := v.Record(store.Dead, seq)
			if err != nil || row == nil || store.DecodeRecord(seq, row, &rec) != nil || !names[rec.ID] {
				continue
			}
			delete(names, rec.ID)
			if named = append(named, seq); len(named) == limit || len(names) == 0 {
				return nil
			}
		}
		return nil
	})
	return named, err
}

// readDead reads one dead letter; ok is false if it is gone.
func readDead(v *store.View, seq uint64) (d DeadLetter, ok bool, err error) {
	row, err := v.Record(store.Dead, seq)
	if err != nil || row == nil {
		return d, false, err
	}
	bodyRow, err := v.Body(store.Dead, seq)
	if err != nil || bodyRow == nil {
		return d, false, err
	}
	var rec store.Record
	var body store.Body
	if err := store.DecodeRecord(seq, row, &rec); err != nil {
		return d, false, store.CorruptRecord(store.Dead, seq, err)
	}
	if err := store.DecodeBody(bodyRow, &body); err != nil {
		return d, false, store.CorruptBody(store.Dead, seq, err)
	}
	d = DeadLetter{
		ID: deadLetterID(rec.Died, seq), Message: messageOf(&rec), DiedAt: time.UnixMilli(rec.Died),
		Attempts: int(rec.Attempts), Reason: string(rec.Reason),
	}
	if err := d.Message.setBody(&body); err != nil {
		return d, false, store.CorruptBody(store.Dead, seq, err)
	}
	d.Message.Attempts = d.Attempts
	if rec.Status != 0 {
		d.Response = &HTTPResponse{Status: int(rec.Status), Header: headerOf(body.ResponseHeader), Body: slices.Clone(body.ResponseBody)}
	}
	return d, true, nil
}

// DeleteDead implements [Engine].
func (e *embedded) DeleteDead(ctx context.Context, ids []DeadLetterID) (int, error) {
	if err := e.checkOpen(ctx); err != nil {
		return 0, err
	}
	taken, err := e.takeDead(ctx, ids)
	if err != nil {
		return 0, err
	}
	if len(taken.seqs) > 0 {
		err = e.submit(ctx, &redrive{deleted: taken.seqs})
	}
	taken.settle(e, err)
	if err != nil {
		return 0, err
	}
	return len(taken.seqs), nil
}

// RetryDead implements [Engine].
func (e *embedded) RetryDead(ctx context.Context, ids []DeadLetterID, now time.Time) ([]Receipt, error) {
	return e.RetryDeadWith(ctx, ids, now, nil)
}

// RetryDeadWith implements [Redriver].
func (e *embedded) RetryDeadWith(ctx context.Context, ids []DeadLetterID, now time.Time, change func(*Message) error) (receipts []Receipt, err error) {
	if err := e.checkOpen(ctx); err != nil {
		return nil, err
	}
	taken, err := e.takeDead(ctx, ids)
	if err != nil {
		return nil, err
	}
	defer func() { taken.settle(e, err) }() // also if change panics
	msgs, err := e.readRedrive(taken.seqs, math.MaxInt, now)
	if err == nil && change != nil {
		err = changeEach(msgs, change)
	}
	if err != nil || len(msgs) == 0 {
		return nil, err
	}
	return e.publishAgain(ctx, msgs, taken.seqs, now)
}

// publishAgain inserts messages in the commit that removes their dead letters.
func (e *embedded) publishAgain(ctx context.Context, msgs []Message, seqs []uint64, now time.Time) ([]Receipt, error) {
	w := new(insertWork)
	w.deleted = seqs
	if err := w.encode(msgs, now.UnixMilli()); err != nil {
		return nil, err
	}
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	return w.receipts(now), nil
}

// readRedrive returns the messages to publish again, due now: of the first dead
// letters, up to the one that brings them to a size of most.
func (e *embedded) readRedrive(seqs []uint64, most int, now time.Time) (msgs []Message, err error) {
	size := 0
	err = e.store.View(func(v *store.View) error {
		for _, seq := range seqs {
			d, ok, err := readDead(v, seq)
			if err != nil {
				return err
			}
			if !ok {
				return missing(nil, seq)
			}
			// It starts over.
			d.Message.DueAt, d.Message.Attempts, d.Message.Blocks, d.Message.Root = now, 0, "", ""
			msgs = append(msgs, d.Message)
			if size += d.size(); size >= most {
				return nil
			}
		}
		return nil
	})
	return msgs, err
}

func changeEach(msgs []Message, change func(*Message) error) error {
	for i := range msgs {
		if err := change(&msgs[i]); err != nil {
			return err
		}
	}
	return nil
}

// redrive removes dead letters; with an insertWork around it, in the commit
// that publishes them again.
type redrive struct{ deleted []uint64 }

func (r *redrive) bound() store.Bound {
	return store.Bound{Rows: 1 + len(r.deleted)/256, Bytes: int64(len(r.deleted))*4 + 64, Essential: true}
}

func (r *redrive) write(t *turn) error {
	t.deleted = append(t.deleted, r.deleted...)
	return nil
}

func (r *redrive) apply(e *embedded) {
	for seqs := r.deleted; len(seqs) > 0; {
		n := min(applySlice, len(seqs))
		e.mu.Lock()
		for _, seq := range seqs[:n] {
			if p, en := e.dead.lookup(seq); en.exists() {
				e.dead.unlink(p, en, seq)
			}
		}
		e.mu.Unlock()
		seqs = seqs[n:]
	}
}
