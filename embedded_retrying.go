package recall

import (
	"time"

	"github.com/recallmq/recall/store"
)

// retrying are the retries that are queued and not durable, by message: its newest one. Such
// a message is pending already, and may be claimed. What becomes of that claim must not be
// written before the retry is: who reads the file takes what comes later for newer.
type retrying map[uint64]*finishWork

// noteLocked notes a retry that is queued, unless its commit was faster.
func (r retrying) noteLocked(w *finishWork) {
	if !w.settled {
		r[w.seq] = w
	}
}

// settleLocked forgets a retry that is durable, or that no commit has any more.
func (r retrying) settleLocked(w *finishWork) {
	w.settled = true
	if r[w.seq] == w {
		delete(r, w.seq)
	}
}

// comesLocked tells whether a retry of a message is written after this commit, which has
// those.
func (r retrying) comesLocked(seq uint64, here retrying) bool {
	w := r[seq]
	return w != nil && w != here[seq]
}

// retriesOf returns the messages that a batch makes pending again.
func retriesOf(batch []*request) (some retrying) {
	for _, r := range batch {
		if w, ok := r.work.(*finishWork); ok && w.end == endRetry && r.err == nil {
			if some == nil {
				some = retrying{}
			}
			some[w.seq] = w
		}
	}
	return some
}

// settleRetry is told of each outcome that was committed, or given up.
func (e *embedded) settleRetry(w *finishWork) {
	if w.end != endRetry {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retrying.settleLocked(w)
}

// takeNotes returns the claims that are still out and not yet noted, but for those that a
// later commit than this one has to note. here are the retries of this one.
func (e *embedded) takeNotes(dst []store.Claim, here retrying) []store.Claim {
	e.mu.Lock()
	defer e.mu.Unlock()
	later := e.notes[:0]
	for _, n := range e.notes {
		l := e.leases[n.Seq]
		switch {
		case l == nil || uint32(l.attempt) != n.Attempt || l.finishing:
		case e.retrying.comesLocked(n.Seq, here):
			later = append(later, n)
		default:
			l.noted = true
			dst = append(dst, n)
		}
	}
	if e.notes = later; len(later) == 0 {
		e.noted = time.Time{}
	}
	return dst
}
