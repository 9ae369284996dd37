package dashboard

import (
	"context"
	"errors"
	"net/http"

	"github.com/recallmq/recall"
)

// fault is an error for the visitor, with the status of its page.
type fault struct {
	status int
	text   string
	allow  string // the methods, of status 405
}

func (f *fault) Error() string { return f.text }

func badInput(text string) error { return &fault{status: http.StatusBadRequest, text: text} }

// statuses are those of the errors of a broker; the first that matches counts.
var statuses = []struct {
	err    error
	status int
	text   string // instead of the error's own
}{
	{recall.ErrEmptyFilter, http.StatusBadRequest, "The filter is empty. To take everything, say so."},
	{recall.ErrNotFound, http.StatusNotFound, "There is nothing of that name, or no longer."},
	{recall.ErrNoSchedule, http.StatusNotFound, "There is no such schedule."},
	{recall.ErrNoTopic, http.StatusNotFound, "There is no such URL group."},
	{recall.ErrNotCancellable, http.StatusConflict, ""},
	{recall.ErrUnexpectedCount, http.StatusConflict, ""},
	{recall.ErrUndoExpired, http.StatusConflict, "It is too late to undo this operation."},
	{recall.ErrUnsupported, http.StatusNotImplemented, "The engine of this queue cannot do that."},
	{recall.ErrFull, http.StatusInsufficientStorage, "There is no room left in the file. Nothing was changed."},
	{recall.ErrFailed, http.StatusServiceUnavailable, "The file has failed: changes are refused until it is opened again."},
	{recall.ErrClosed, http.StatusServiceUnavailable, "The queue is closed."},
	{context.Canceled, http.StatusServiceUnavailable, "The request was given up."},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "It took too long."},
}

// explain returns what a visitor is told of an error. Others than those that are
// known may hold what is none of the visitor's business.
func explain(err error) (status int, text string) {
	var f *fault
	if errors.As(err, &f) {
		return f.status, f.text
	}
	var wrong *recall.InvalidError
	if errors.As(err, &wrong) {
		return http.StatusBadRequest, wrong.Field + ": " + wrong.Reason + "."
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			if s.text != "" {
				return s.status, s.text
			}
			return s.status, err.Error()
		}
	}
	return http.StatusInternalServerError, "Something went wrong. The log says what."
}

// fail shows the page of an error.
func (v *visit) fail(err error) {
	status, text := explain(err)
	if status == http.StatusInternalServerError {
		v.site.log.Error("the dashboard cannot answer", "method", v.r.Method, "path", v.r.URL.Path, "error", err)
	}
	var f *fault
	if errors.As(err, &f) && f.allow != "" {
		v.w.Header().Set("Allow", f.allow)
	}
	v.showStatus(status, "error", http.StatusText(status), struct {
		Status int
		Text   string
	}{status, text})
}
