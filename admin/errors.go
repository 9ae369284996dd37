package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/recallmq/recall"
)

// Errors of the calls themselves. Those of a broker are its own.
var (
	// ErrUnauthorized: the request bears no token, or a wrong one.
	ErrUnauthorized = errors.New("recall: missing or wrong token")
	// ErrForbidden: the token is for reading only.
	ErrForbidden = errors.New("recall: this token is for reading only")
	// ErrTooLarge: the body of the request is larger than Options.MaxRequest.
	ErrTooLarge = errors.New("recall: the request is too large")
	// ErrTooManyRequests: the token has sent too many.
	ErrTooManyRequests = errors.New("recall: too many requests")

	errNoCall      = errors.New("recall: no such call")
	errMethod      = errors.New("recall: calls are POST")
	errInterrupted = errors.New("recall: the call was interrupted")
)

// codes are the errors on the wire, the first match. Everything else is "internal",
// and 500.
var codes = []struct {
	code   string
	status int
	err    error
}{
	{"unauthorized", http.StatusUnauthorized, ErrUnauthorized},
	{"forbidden", http.StatusForbidden, ErrForbidden},
	{"too_large", http.StatusRequestEntityTooLarge, ErrTooLarge},
	{"too_many_requests", http.StatusTooManyRequests, ErrTooManyRequests},
	{"no_such_call", http.StatusNotFound, errNoCall},
	{"method_not_allowed", http.StatusMethodNotAllowed, errMethod},
	{"invalid", http.StatusBadRequest, recall.ErrInvalid},
	{"empty_filter", http.StatusBadRequest, recall.ErrEmptyFilter},
	{"not_found", http.StatusNotFound, recall.ErrNotFound},
	{"no_topic", http.StatusNotFound, recall.ErrNoTopic},
	{"no_schedule", http.StatusNotFound, recall.ErrNoSchedule},
	{"not_cancellable", http.StatusConflict, recall.ErrNotCancellable},
	{"unexpected_count", http.StatusPreconditionFailed, recall.ErrUnexpectedCount},
	{"queue_not_empty", http.StatusConflict, recall.ErrQueueNotEmpty},
	{"undo_expired", http.StatusGone, recall.ErrUndoExpired},
	{"deduplication_full", http.StatusInsufficientStorage, recall.ErrDeduplicationFull},
	{"full", http.StatusInsufficientStorage, recall.ErrFull},
	{"failed", http.StatusInternalServerError, recall.ErrFailed},
	{"corrupt", http.StatusInternalServerError, recall.ErrCorrupt},
	{"closed", http.StatusServiceUnavailable, recall.ErrClosed},
	{"unsupported", http.StatusNotImplemented, recall.ErrUnsupported},
	{"interrupted", http.StatusServiceUnavailable, context.Canceled},
	{"interrupted", http.StatusServiceUnavailable, context.DeadlineExceeded},
	{"interrupted", http.StatusServiceUnavailable, errInterrupted},
}

// wireError is an error on the wire: a text for people, a code, and what the error
// carries.
type wireError struct {
	Error string `json:"error"`
	Code  string `json:"code"`

	Field     string `json:"field,omitempty"` // of an InvalidError
	Reason    string `json:"reason,omitempty"`
	OverLimit bool   `json:"overLimit,omitempty"`

	MessageID recall.MessageID `json:"messageId,omitempty"` // of a NotCancellableError
	State     recall.State     `json:"state,omitempty"`
	Cancelled int              `json:"cancelled,omitempty"`
	// Operation is the kind of the call that it ended, if that was no cancellation.
	Operation recall.OperationKind `json:"operation,omitempty"`

	Found int `json:"found,omitempty"` // of an UnexpectedCountError
	Least int `json:"least,omitempty"`
	Most  int `json:"most,omitempty"`

	Indexes []int `json:"indexes,omitempty"` // of a DeduplicationFullError
	Index   *int  `json:"index,omitempty"`   // of a BatchError; the rest is about what it wraps

	// Result is what the call has done all the same.
	Result any `json:"result,omitempty"`
}

// describe turns an error into what goes over the wire. What nobody foresaw is
// logged.
func (h *handler) describe(r *http.Request, err error, result any) *wireError {
	w := wired(err)
	if w.Code == "internal" || w.Code == "failed" || w.Code == "corrupt" {
		h.o.Logger.ErrorContext(r.Context(), "admin: a request failed", "path", r.URL.Path, "error", err)
	}
	if result != (any)(none{}) {
		w.Result = result
	}
	return w
}

func wired(err error) *wireError {
	w := &wireError{Error: err.Error(), Code: "internal"}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			w.Code = c.code
			break
		}
	}
	var invalid *recall.InvalidError
	if errors.As(err, &invalid) {
		w.Field, w.Reason, w.OverLimit = invalid.Field, invalid.Reason, invalid.OverLimit
	}
	var blocked *recall.NotCancellableError
	if errors.As(err, &blocked) {
		w.MessageID, w.State, w.Cancelled, w.Operation = blocked.ID, blocked.State, blocked.Cancelled, blocked.Operation
	}
	var count *recall.UnexpectedCountError
	if errors.As(err, &count) {
		w.Found, w.Least, w.Most = count.Found, count.Least, count.Most
	}
	var ids *recall.DeduplicationFullError
	if errors.As(err, &ids) {
		w.Indexes = ids.Indexes
	}
	var batch *recall.BatchError
	if errors.As(err, &batch) {
		w.Index = &batch.Index
	}
	return w
}

// status is that of the answer.
func (w *wireError) status() int {
	for _, c := range codes {
		if c.code == w.Code {
			return c.status
		}
	}
	return http.StatusInternalServerError
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error, result any) {
	body := h.describe(r, err, result)
	answer(w, body.status(), body)
}

// Refuse answers a request with an error, in the form of the others: it is for what
// stands before the handler.
func Refuse(w http.ResponseWriter, err error) {
	body := wired(err)
	answer(w, body.status(), body)
}

// err is the way back: an error that errors.Is and errors.As know as the one that
// it was, with its text.
func (w *wireError) err() error {
	if w.Index == nil {
		return withText(w.typed(), w.Error)
	}
	batch := recall.BatchError{Index: *w.Index, Err: errors.New("")}
	inner, ok := strings.CutPrefix(w.Error, batch.Error())
	if batch.Err = w.typed(); ok {
		batch.Err = withText(batch.Err, inner)
	}
	return withText(&batch, w.Error)
}

// withText returns err if it says text by itself.
func withText(err error, text string) error {
	if err.Error() == text {
		return err
	}
	return &remoteError{err, text}
}

func (w *wireError) typed() error {
	switch w.Code {
	case "invalid":
		return &recall.InvalidError{Field: w.Field, Reason: w.Reason, OverLimit: w.OverLimit}
	case "not_cancellable":
		return &recall.NotCancellableError{ID: w.MessageID, State: w.State, Cancelled: w.Cancelled, Operation: w.Operation}
	case "unexpected_count":
		return &recall.UnexpectedCountError{Found: w.Found, Least: w.Least, Most: w.Most}
	case "deduplication_full":
		if w.Indexes != nil {
			return &recall.DeduplicationFullError{Indexes: w.Indexes}
		}
	case "interrupted": // there, and not here: the context of the caller goes on
		return errInterrupted
	}
	for _, c := range codes {
		if c.code == w.Code {
			return c.err
		}
	}
	return errors.New(w.Error)
}

// remoteError is an error of a server, with the text that it has there.
type remoteError struct {
	error
	text string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.error }

// StatusError is an answer that is not of this API: another server is at the
// address, or a proxy stands before it.
type StatusError struct {
	Status int
	Text   string // the beginning of what it said
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("recall: the server answered %d %s: %.200q; is it Recall, and as new as this client?",
		e.Status, http.StatusText(e.Status), e.Text)
}
