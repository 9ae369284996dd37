package recalltest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/recallmq/recall"
)

// watch knows which attempts run and what they wait for, whose turn it is, and
// what became of every message.
type watch struct {
	concurrent bool
	mixed      *rand.Rand // nil: not shuffled

	mu       sync.Mutex    // guards what follows
	changed  chan struct{} // closed, and replaced, when something of it changes
	closed   bool
	running  map[recall.MessageID]*attempt
	line     []*attempt // those that have not arrived yet, and the one whose turn it is
	progress int        // attempts that began or ended

	commitFaults int
	records      map[recall.MessageID]*record
	requests     []*Delivery // all of them, in the order in which they began
}

// attempt is one that runs.
type attempt struct {
	token   recall.LeaseToken
	message recall.Message
	until   time.Time // it waits for nothing but this time; zero: it does something
	over    bool      // it does not wait any more
}

func newWatch(o *options) *watch {
	w := &watch{
		concurrent: o.concurrent, changed: make(chan struct{}), running: map[recall.MessageID]*attempt{}, records: map[recall.MessageID]*record{},
	}
	if o.shuffled {
		w.mixed = rand.New(rand.NewPCG(o.shuffle, 0))
	}
	return w
}

func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.tellLocked()
}

// shuffle mixes leases that might as well have come in another order.
func (w *watch) shuffle(leases []recall.Lease) {
	if w.mixed == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	same := func(a, b *recall.Message) bool { return a.Priority == b.Priority && a.DueAt.Equal(b.DueAt) }
	for from := 0; from < len(leases); {
		to := from + 1
		for to < len(leases) && same(&leases[from].Message, &leases[to].Message) {
			to++
		}
		part := leases[from:to]
		w.mixed.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		from = to
	}
}

// began notes attempts in the order in which they are to be made.
func (w *watch) began(leases []recall.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range leases {
		a := &attempt{token: l.Token, message: l.Message}
		w.running[l.Message.ID] = a
		w.progress++
		if isHTTP(l.Message.URL) {
			w.line = append(w.line, a)
		}
	}
	w.tellLocked()
}

// ended notes the end of one.
func (w *watch) ended(l recall.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.running[l.Message.ID]
	if a == nil || a.token != l.Token { // a consumer's
		return
	}
	delete(w.running, l.Message.ID)
	w.progress++
	w.leaveLocked(a)
	w.tellLocked()
}

func (w *watch) leaveLocked(a *attempt) {
	if i := slices.Index(w.line, a); i >= 0 {
		w.line = slices.Delete(w.line, i, i+1)
	}
}

// tellLocked wakes those who wait for a change.
func (w *watch) tellLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// arrive returns the attempt of a request when it is its turn.
func (w *watch) arrive(ctx context.Context, id recall.MessageID) (*attempt, error) {
	for {
		a, changed := w.turn(id)
		if changed == nil {
			return a, ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// turn returns an attempt, and what to wait for if it is not its turn.
func (w *watch) turn(id recall.MessageID) (a *attempt, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a = w.running[id]
	if w.concurrent || w.closed || slices.Index(w.line, a) <= 0 {
		return a, nil
	}
	return a, w.changed
}

// pass lets the next one have its turn.
func (w *watch) pass(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaveLocked(a)
	w.tellLocked()
}

// park notes that an attempt does nothing until a time, and lets others pass.
func (w *watch) park(a *attempt, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.over {
		return
	}
	a.until = until
	w.leaveLocked(a)
	w.tellLocked()
}

// goOn is the end of that.
func (w *watch) goOn(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.until, a.over = time.Time{}, true
}

// awaitQuiet returns when no attempt does anything, or cut is closed: each has
// ended, or waits for a time that has not come.
func (w *watch) awaitQuiet(now func() time.Time, cut <-chan struct{}) {
	for {
		changed := w.busy(now())
		if changed == nil {
			return
		}
		select {
		case <-changed:
		case <-cut:
			return
		}
	}
}

// busy returns what to wait for while an attempt does something, else nil.
func (w *watch) busy(now time.Time) (changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	for _, a := range w.running {
		if a.until.IsZero() || !a.until.After(now) {
			return w.changed
		}
	}
	return nil
}

// firstParked is when the first of those that wait goes on.
func (w *watch) firstParked() (first time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.running {
		first = earlier(first, a.until)
	}
	return first
}

func (w *watch) steps() (n int, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress, w.closed
}

// earlier is the first of two times; the zero time stands for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
