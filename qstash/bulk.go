package qstash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/recallmq/recall"
)

var bulkRoutes = []route{
	{"recall/v1/count", map[string]call{http.MethodPost: (*handler).count}},
	{"recall/v1/explain", map[string]call{http.MethodPost: (*handler).explain}},
	{"recall/v1/cancel", map[string]call{http.MethodPost: (*handler).cancelBulk}},
	{"recall/v1/restore", map[string]call{http.MethodPost: (*handler).restore}},
	{"recall/v1/hold", map[string]call{http.MethodPost: (*handler).hold}},
	{"recall/v1/release", map[string]call{http.MethodPost: (*handler).release}},
	{"recall/v1/reschedule", map[string]call{http.MethodPost: (*handler).reschedule}},
	{"recall/v1/retry-now", map[string]call{http.MethodPost: (*handler).retryNow}},
}

// cancelBulk is Recall's own bulk cancellation, with every option there is. A
// request without a filter is refused unless it says all.
func (h *handler) cancelBulk(w http.ResponseWriter, r *http.Request, _ string) error {
	c, err := read(r, &cancelling)
	if err != nil {
		return err
	}
	opts, err := c.cancelOptions()
	if err != nil {
		return err
	}
	if _, waits := c.options["wait"]; waits {
		outwait(w)
	}
	f, all := c.filter()
	var res recall.CancelResult
	switch {
	case !all:
		res, err = h.b.CancelMatching(r.Context(), f, opts...)
	case c.all != nil:
		res, err = h.b.CancelAll(r.Context(), opts...)
		h.logAll(r, 0, res, err)
	default:
		return badRequest(`there is no filter; {"all":true} means every message`)
	}
	body := map[string]any{
		"cancelled": res.Cancelled, "requested": res.Requested, "skipped": listed(res.Skipped),
		"operation": res.Operation, "index": res.Index, "scanned": res.Scanned,
	}
	if err != nil {
		return withFacts(err, body, "cancelled", res.Cancelled)
	}
	answer(w, http.StatusOK, body)
	return nil
}

// outwait lifts the WriteTimeout of the server from a request that may wait for
// attempts, and has a bound of its own: its answer would be lost. The error is of
// a writer that has no deadline.
func outwait(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
}

// hold, release, reschedule and retryNow are the other changes of what waits.
func (h *handler) hold(w http.ResponseWriter, r *http.Request, _ string) error {
	return h.change(w, r, &changing, h.b.Hold)
}

func (h *handler) release(w http.ResponseWriter, r *http.Request, _ string) error {
	return h.change(w, r, &changing, h.b.Release)
}

func (h *handler) retryNow(w http.ResponseWriter, r *http.Request, _ string) error {
	return h.change(w, r, &changing, h.b.RetryNow)
}

// changer is a method of the broker that changes what matches.
type changer = func(ctx context.Context, f recall.Filter, opts ...recall.CancelOption) (recall.ChangeResult, error)

func (h *handler) change(w http.ResponseWriter, r *http.Request, d *dialect, call changer) error {
	c, err := read(r, d)
	if err != nil {
		return err
	}
	return h.changeBy(w, r, &c, call)
}

func (h *handler) reschedule(w http.ResponseWriter, r *http.Request, _ string) error {
	c, err := read(r, &moving)
	if err != nil {
		return err
	}
	due, err := c.time("due")
	if err != nil {
		return err
	}
	return h.changeBy(w, r, &c, func(ctx context.Context, f recall.Filter, opts ...recall.CancelOption) (recall.ChangeResult, error) {
		return h.b.Reschedule(ctx, f, due, opts...)
	})
}

func (h *handler) changeBy(w http.ResponseWriter, r *http.Request, c *criteria, call changer) error {
	opts, err := c.cancelOptions()
	if err != nil {
		return err
	}
	f, all := c.filter()
	if all {
		return badRequest("there is no filter")
	}
	res, err := call(r.Context(), f, opts...)
	body := map[string]any{
		"changed": res.Changed, "skipped": listed(res.Skipped),
		"operation": res.Operation, "index": res.Index, "scanned": res.Scanned,
	}
	if err != nil {
		return withFacts(err, body, "changed", res.Changed)
	}
	answer(w, http.StatusOK, body)
	return nil
}

// listed is a list that JSON shows as one, also when it is empty.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// factsError is an error of a bulk call, with what its answer says besides.
type factsError struct {
	error
	facts map[string]any
}

func (e *factsError) Unwrap() error { return e.error }

// withFacts adds to an error what a client needs to go on: who is in the way,
// what was done before, how many there are.
func withFacts(err error, result map[string]any, done string, n int) error {
	facts := map[string]any{}
	var blocked *recall.NotCancellableError
	var unexpected *recall.UnexpectedCountError
	switch {
	case errors.As(err, &blocked):
		maps.Copy(facts, result)
		facts["blocker"] = blocked.ID
		err = &statusError{status: http.StatusConflict, text: fmt.Sprintf("message %s is in flight; %s before it: %d", blocked.ID, done, n)}
	case errors.As(err, &unexpected):
		facts["found"] = unexpected.Found
	case result["operation"] != recall.OperationID(""): // parts of it are durable
		maps.Copy(facts, result)
	}
	return &factsError{err, facts}
}

// restore undoes a cancellation.
func (h *handler) restore(w http.ResponseWriter, r *http.Request, _ string) error {
	c, err := read(r, &restoring)
	if err != nil {
		return err
	}
	op, given := c.options["operation"]
	if !given {
		return badRequest("operation is missing")
	}
	res, err := h.b.Restore(r.Context(), recall.OperationID(op))
	if err != nil {
		return operationNotFound(op, err)
	}
	answer(w, http.StatusOK, map[string]int{"restored": res.Restored, "lifted": res.Lifted})
	return nil
}

func operationNotFound(op string, err error) error {
	if errors.Is(err, recall.ErrNotFound) {
		return notFound("operation %.100s not found", op)
	}
	return err
}

// millis is how answers write a time; one that is not there is left out.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
