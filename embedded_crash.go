package recall

import (
	"bytes"
	"time"

	"github.com/recallmq/recall/store"
)

// crashReason is why a message is dead whose last attempt ended with the process.
const crashReason = "the process ended during the last attempt"

// crashLetter makes the dead letter of a message whose last attempt ended with
// the process, and the callbacks that tell of it.
func (e *embedded) crashLetter(w *finishWork, c crashed, now int64) error {
	rec, body, m, err := e.readCrashed(c)
	if err != nil {
		return err
	}
	f := Finish{
		Outcome: Dead, Now: time.UnixMilli(now),
		Reason: crashReason, Failure: FailureCrash,
	}
	rec.Died, rec.Attempts, rec.Reason = now, c.attempts, []byte(f.Reason)
	w.dead = sealDead(rec, body, rec.ID)
	f.addCallbacks(&m, false, e.opts)
	if err := w.setFollow(&f); err != nil { // what no broker publishes
		e.log.Error("recall: a callback was not published", "message", m.ID, "error", err)
		w.follow, w.named = nil, nil
	}
	return nil
}

// readCrashed reads the rows of a message, and the message as its attempt had it.
func (e *embedded) readCrashed(c crashed) (rec store.Record, body store.Body, m Message, err error) {
	err = e.store.View(func(v *store.View) error {
		row, err := v.Record(store.Live, c.seq)
		if err != nil || row == nil {
			return missing(err, c.seq)
		}
		bodyRow, err := v.Body(store.Live, c.seq)
		if err != nil || bodyRow == nil {
			return missing(err, c.seq)
		}
		row, bodyRow = bytes.Clone(row), bytes.Clone(bodyRow) // their fields outlive the read
		if err := store.DecodeRecord(c.seq, row, &rec); err != nil {
			return store.CorruptRecord(store.Live, c.seq, err)
		}
		if err := store.DecodeBody(bodyRow, &body); err != nil {
			return store.CorruptBody(store.Live, c.seq, err)
		}
		m = messageOf(&rec)
		if err := m.setBody(&body); err != nil {
			return store.CorruptBody(store.Live, c.seq, err)
		}
		return nil
	})
	m.Attempts = int(c.attempts)
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, en := e.live.lookup(c.seq); en.exists() {
		m.DueAt = time.UnixMilli(en.due())
	}
	return rec, body, m, err
}
