package recall

import (
	"cmp"
	"context"
	"time"

	"github.com/recallmq/recall/store"
)

// finishWork makes the end of one attempt durable.
type finishWork struct {
	seq   uint64
	end   ending
	retry store.Retry // with endRetry
	dead  *deadRow    // with endDead
	taken *standing   // with endGone: what has cancelled it
	// cancelled: with endGone, it was not delivered.
	cancelled bool
	// follow are the messages that are published with it; nil: none. The last of
	// them may name the dead letter.
	follow *insertWork
	named  []DeadFollow
	log    *finishLog // nil: nothing
	// patient: nothing waits for this to be durable, neither a caller nor a message.
	patient bool
	settled bool // guarded by mu: with endRetry, it is durable, or will not be
}

type ending uint8

const (
	endGone  ending = iota + 1 // delivered, or cancelled after a Sticky request
	endRetry                   // pending again
	endDead                    // to the dead letter queue
)

// Finish implements [Engine]. The outcome is queued first, holding no lock;
// then one lock hold frees the lease and makes the message finishing or
// pending, so whoever sees the new state queues behind the outcome.
func (e *embedded) Finish(ctx context.Context, l Lease, f Finish) error {
	if err := e.checkOpen(ctx); err != nil {
		return err
	}
	d, err := e.decideWhenCertain(l, &f)
	if err != nil {
		return err
	}
	if d.silent && len(f.Follow) == 0 {
		e.leave(d, nil)
		return nil
	}
	w, err := newFinishWork(d, l, &f)
	if err != nil {
		e.undecide(d)
		return err
	}
	r, err := e.send(context.Background(), w, f.Durable) // once decided, it is not cut short
	if err != nil {
		e.undecide(d)
		return err
	}
	taken := e.leave(d, w)
	if f.Durable {
		err = <-r.ack
		e.requests.Put(r)
	}
	if taken != nil { // whatever became of the retry: the message waits for its end
		err = cmp.Or(err, e.finishTaken(d, l, taken, f.Durable))
	}
	return err
}

// decision is how one attempt ends.
type decision struct {
	seq, number uint64
	end         ending
	due, now    int64 // ms; due with endRetry
	claimed     int64 // ms
	logged      bool  // the log has the start of the attempt
	release     bool  // the attempt is not counted
	silent      bool  // a release that leaves no trace: no commit has noted the claim
}

func newFinishWork(d decision, l Lease, f *Finish) (*finishWork, error) {
	w := &finishWork{seq: d.seq, end: d.end, log: newFinishLog(d, l, f)}
	w.cancelled = d.end == endGone && f.Outcome != Delivered
	w.patient = d.end != endDead && !f.Durable && len(f.Follow) == 0 && l.Message.Queue == "" && l.Message.Blocks == ""
	if err := w.setFollow(f); err != nil {
		return nil, err
	}
	switch d.end {
	case endRetry:
		w.retry = store.Retry{Seq: d.seq, Due: d.due, Attempts: uint32(l.Message.Attempts), Class: uint8(f.Failure)}
		if d.release {
			w.retry.Attempts--
		}
	case endDead:
		w.dead = newDeadRow(l, f)
	}
	return w, nil
}

// decideWhenCertain waits for a request to cancel the message that is not
// durable yet, unless the outcome is the same either way: if the request were
// refused, the message must not have gone.
func (e *embedded) decideWhenCertain(l Lease, f *Finish) (decision, error) {
	for {
		d, asking, err := e.decide(l, f)
		if asking == nil {
			return d, err
		}
		<-asking.durable
	}
}

// decide checks the lease, reserves it for this call, and says how the message
// ends. A requested cancellation turns every failure into the end.
func (e *embedded) decide(l Lease, f *Finish) (d decision, asking *marking, err error) {
	r, ok := e.resolve(l.Message.ID)
	if !ok || l.Token.Epoch != e.epoch {
		return d, nil, ErrLeaseLost
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	have := e.leases[r.seq]
	_, en := e.live.lookup(r.seq)
	if have == nil || !en.exists() || have.number != l.Token.Number || have.finishing {
		return d, nil, ErrLeaseLost
	}
	if en.mark != 0 && f.Outcome != Delivered {
		return d, e.marks[en.mark], nil
	}
	d = decision{seq: r.seq, number: have.number, due: f.Due.UnixMilli(), now: f.Now.UnixMilli(), claimed: have.claimed, logged: have.logged}
	switch f.Outcome {
	case Delivered:
		d.end = endGone
	case Dead:
		d.end = endDead
	case Retry:
		d.end = endRetry
	case Release:
		d.end, d.release, d.due, d.silent = endRetry, true, have.dueBefore, !have.noted
	default:
		return d, nil, invalid("Outcome", "%d is unknown", f.Outcome)
	}
	if en.flags&flagRequested != 0 {
		d.end, d.silent = endGone, false
	}
	have.finishing, have.final = true, d.end != endRetry
	return d, nil, nil
}

// undecide gives the lease back after the outcome could not be queued.
func (e *embedded) undecide(d decision) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.leases[d.seq]; l != nil && l.number == d.number {
		l.finishing, l.final = false, false
	}
}

// leave moves the message on after its outcome was queued. If the commit was
// faster there is nothing left to do. It returns the standing cancellation that
// takes a message which would wait for a retry.
func (e *embedded) leave(d decision, w *finishWork) (taken *standing) {
	taken, claimable := e.leaveEntry(d, w)
	if claimable {
		hint(e.claimHint)
	}
	return taken
}

func (e *embedded) leaveEntry(d decision, w *finishWork) (taken *standing, claimable bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.leases[d.seq]
	p, en := e.live.lookup(d.seq)
	if l == nil || l.number != d.number || !en.exists() {
		return nil, false
	}
	if d.release {
		l.unused()
	}
	if d.end == endRetry && !d.release && anyActive(e.standing, d.now) {
		m := e.describe(p, en, d.seq)
		m.State, m.DueAt = StateRetrying, time.UnixMilli(d.due)
		if d.due <= d.now {
			m.State = StateReady
		}
		taken = taker(e.standing, &m, d.now)
	}
	if d.end != endRetry || taken != nil {
		e.endLeaseLocked(d.seq)
		e.live.move(p, en, phaseFinishing)
		return taken, e.openedLocked()
	}
	en.flags |= flagRetried
	if d.release {
		en.setAttempts(en.attempts() - 1)
		if !l.retried {
			en.flags &^= flagRetried
		}
	}
	if w != nil {
		e.retrying.noteLocked(w)
	}
	e.pendLocked(p, en, l, d.due)
	return nil, true
}

// finishTaken ends a message that a standing cancellation took after an
// attempt.
func (e *embedded) finishTaken(d decision, l Lease, taken *standing, durable bool) error {
	w := &finishWork{seq: d.seq, end: endGone, taken: taken, cancelled: true, log: takenLog(l, d.now, taken.op.ID)}
	r, err := e.send(context.Background(), w, durable)
	if err == nil && durable {
		err = <-r.ack
		e.requests.Put(r)
	}
	return err
}

func (w *finishWork) bound() store.Bound {
	b := store.Bound{Rows: 1, Bytes: 32, Essential: true}
	if w.dead != nil {
		b.Rows, b.Bytes = 3, w.dead.size()
	}
	b.Bytes += w.log.size()
	if w.follow != nil {
		more := w.follow.bound()
		b.Rows, b.Bytes = b.Rows+more.Rows, b.Bytes+more.Bytes+int64(len(w.named)*maxDeadLetterID)
	}
	return b
}

func (w *finishWork) write(t *turn) error {
	if w.dead != nil {
		if err := w.dead.write(t, w.seq); err != nil {
			return err
		}
	}
	if w.log != nil {
		if err := t.log(&w.log.subject, w.log.events...); err != nil {
			return err
		}
	}
	if err := w.writeFollow(t); err != nil {
		return err
	}
	if w.end == endRetry {
		t.retries = append(t.retries, w.retry)
		return nil
	}
	if w.taken != nil {
		t.take(w.taken, w.seq)
	}
	t.finished = append(t.finished, w.seq)
	return nil
}

// apply adds the dead letter; that the live message is gone, the turn settles
// for all finished messages together.
func (w *finishWork) apply(e *embedded) {
	if w.dead != nil {
		w.dead.apply(e)
	}
	if w.cancelled {
		e.tally.cancelled.Add(1)
	}
	e.settleRetry(w)
}
