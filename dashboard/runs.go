package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/recallmq/recall"
)

const (
	maxRunsKept = 100 // finished ones
	maxRunsOut  = 8   // at a time
)

// runs are the bulk calls that were made here since the program started. What they
// have done is in the history for longer.
type runs struct {
	mu   sync.Mutex
	list []*run // oldest first
}

// run is a bulk call that goes on by itself: with Wait it may take minutes, longer
// than a request should.
type run struct {
	ID     string
	Call   *bulkCall
	Began  time.Time
	Text   string // of the filter
	cancel context.CancelFunc

	mu     sync.Mutex
	status runStatus
}

// runStatus is how far a run is.
type runStatus struct {
	Operation recall.OperationID // once it has begun
	Ended     time.Time          // zero: it runs
	Outcome   outcome
	Blocker   recall.MessageID
	Problem   string
	Stopped   bool // by the visitor
}

func (r *run) now() runStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *run) change(f func(*runStatus)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.status)
}

// start begins a run, unless too many go on.
func (l *runs) start(s *site, call *bulkCall) (*run, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{ID: rand.Text(), Call: call, Began: s.clock.Now(), Text: call.Filter.String(), cancel: cancel}
	if !l.add(r) {
		cancel()
		return nil, &fault{status: http.StatusServiceUnavailable, text: "Too many bulk calls run already. Nothing was changed."}
	}
	go func() {
		defer cancel()
		r.work(ctx, s)
	}()
	return r, nil
}

// add keeps a run, and forgets the oldest of those that have ended.
func (l *runs) add(r *run) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var kept []*run
	out := 0
	for i, other := range l.list {
		running := other.now().Ended.IsZero()
		if running {
			out++
		}
		if running || len(l.list)-i < maxRunsKept {
			kept = append(kept, other)
		}
	}
	l.list = kept
	if out >= maxRunsOut {
		return false
	}
	l.list = append(l.list, r)
	return true
}

func (l *runs) find(id string) *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.list {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// work makes the call and notes how it went.
func (r *run) work(ctx context.Context, s *site) {
	o, err := r.Call.do(ctx, s.broker, recall.ExpectExactly(r.Call.Expect), recall.Started(func(op recall.OperationID) {
		r.change(func(st *runStatus) { st.Operation = op })
	}))
	ended := s.clock.Now()
	r.change(func(st *runStatus) {
		st.Ended, st.Outcome, st.Operation = ended, o, o.Operation
		var blocked *recall.NotCancellableError
		var count *recall.UnexpectedCountError
		switch {
		case err == nil:
		case errors.As(err, &blocked):
			st.Blocker = blocked.ID
			st.Outcome.Taken = max(o.Taken, blocked.Cancelled)
		case errors.As(err, &count):
			st.Problem = "The number has changed since you confirmed it: " + number(count.Found) + " messages match now, and you confirmed " +
				number(r.Call.Expect) + ". Nothing was changed."
		case errors.Is(err, context.Canceled):
			st.Stopped = true
		default:
			_, st.Problem = explain(err)
			s.log.Error("a bulk call of the dashboard failed", "filter", r.Text, "error", err)
		}
	})
}

// runPage shows how a run goes on. While it does, the live part is asked for again
// and again.
func runPage(v *visit) error {
	r := v.site.runs.find(v.r.PathValue("id"))
	if r == nil {
		return &fault{status: http.StatusNotFound, text: "This call is not known any more. What it has done is in the history."}
	}
	data := struct {
		*run
		Status   runStatus
		Left     recall.Count
		Blockers []recall.Message
		Record   *recall.Operation
		Back     string
	}{run: r, Status: r.now(), Back: r.Call.values().Encode()}
	b, ctx := v.site.broker, v.r.Context()
	if data.Status.Ended.IsZero() {
		p, err := v.preview(r.Call)
		if err != nil {
			return err
		}
		data.Left, data.Blockers = p.Count, p.Blockers
	} else if data.Status.Operation != "" {
		op, err := b.Operation(ctx, data.Status.Operation)
		if err != nil && !errors.Is(err, recall.ErrNotFound) {
			return err
		}
		if err == nil {
			data.Record = &op
		}
	}
	return v.show("run", "Bulk "+r.Call.Verb.Name, data)
}

// stopRun ends a run that waits. What it has cancelled by then stays cancelled.
func stopRun(v *visit) error {
	r := v.site.runs.find(v.r.PathValue("id"))
	if r == nil {
		return recall.ErrNotFound
	}
	r.cancel()
	redirect(v.w, "../"+r.ID)
	return nil
}
