package qstash

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/recallmq/recall"
)

// How many bulk actions may be in progress at a time, and how many that have ended
// are remembered beyond what their records say.
const (
	maxRunning = 1000
	maxEnded   = 1000
)

// action is a bulk cancellation that goes on after its request was answered.
type action struct {
	id     recall.OperationID
	filter map[string][]string
	total  int // matches when it was accepted
	done   bool
	result recall.CancelResult
	err    error
}

// actions are those of one handler. They are not kept in the file: what it has of
// them are the records of their operations.
type actions struct {
	mu    sync.Mutex
	byID  map[recall.OperationID]*action
	runs  int
	ended []recall.OperationID // in the order in which they did
}

func newActions() *actions { return &actions{byID: map[recall.OperationID]*action{}} }

// reserve makes room for one more in progress.
func (a *actions) reserve() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.runs == maxRunning {
		return false
	}
	a.runs++
	return true
}

func (a *actions) begin(one *action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byID[one.id] = one
}

// end notes how one ended; the id is empty if it never began.
func (a *actions) end(id recall.OperationID, res recall.CancelResult, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs--
	one := a.byID[id]
	if one == nil {
		return
	}
	one.done, one.result, one.err = true, res, err
	if a.ended = append(a.ended, id); len(a.ended) > maxEnded {
		delete(a.byID, a.ended[0])
		a.ended = a.ended[1:]
	}
}

// list returns copies of all that are known.
func (a *actions) list() (list []action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.byID {
		list = append(list, *one)
	}
	return list
}

func (a *actions) get(id recall.OperationID) (one action, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.byID[id]
	if ok {
		one = *found
	}
	return one, ok
}

// cancelLater starts a bulk cancellation and answers. It is the broker's call that
// goes on, and when the broker is closed that is waited for. What is published
// after the answer is not touched.
func (h *handler) cancelLater(w http.ResponseWriter, r *http.Request, c *criteria, opts []recall.CancelOption) error {
	f, all := c.filter()
	if all {
		f = recall.Filter{}
	}
	n, err := h.b.Count(r.Context(), f)
	if err != nil {
		return err
	}
	if !h.actions.reserve() {
		return httpError(http.StatusPreconditionFailed, "%d bulk actions are in progress: wait for one to end", maxRunning)
	}
	total := n.Pending + n.InFlight
	if c.limit > 0 {
		total = min(total, c.limit)
	}
	started, failed := make(chan recall.OperationID, 1), make(chan error, 1)
	go func() {
		var id recall.OperationID
		told := recall.Started(func(op recall.OperationID) {
			id = op
			h.actions.begin(&action{id: id, filter: filterOf(f.String()), total: total})
			started <- id
		})
		res, err := h.cancelUnwatched(r, c, append(opts, told))
		h.actions.end(id, res, err)
		if id == "" {
			failed <- err // and the request, which still waits, tells of it
			return
		}
		if crash := (*panicError)(nil); errors.As(err, &crash) {
			h.o.Logger.ErrorContext(r.Context(), "qstash: a bulk action panicked", "operation", id, "panic", crash.value, "stack", string(crash.stack))
		}
	}()
	select {
	case id := <-started:
		answer(w, http.StatusAccepted, map[string]any{"cancelled": total, "actionId": id})
		return nil
	case err := <-failed:
		return err
	}
}

// cancelUnwatched cancels where no server recovers: a panic, which would end the
// process, is how the action ends.
func (h *handler) cancelUnwatched(r *http.Request, c *criteria, opts []recall.CancelOption) (res recall.CancelResult, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return h.cancelBy(context.WithoutCancel(r.Context()), r, c, opts)
}
