package qstash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/recallmq/recall"
)

// statusOf gives recall's errors their status, the first match. Everything
// else is 500.
var statusOf = []struct {
	err    error
	status int
}{
	{recall.ErrInvalid, http.StatusBadRequest},
	{recall.ErrEmptyFilter, http.StatusBadRequest},
	{recall.ErrNotFound, http.StatusNotFound},
	{recall.ErrNotCancellable, http.StatusConflict},
	{recall.ErrUnexpectedCount, http.StatusPreconditionFailed},
	{recall.ErrUndoExpired, http.StatusGone},
	{recall.ErrFailed, http.StatusInternalServerError},
	{recall.ErrFull, http.StatusInsufficientStorage},
	{recall.ErrClosed, http.StatusServiceUnavailable},
	{recall.ErrUnsupported, http.StatusNotImplemented},
	{recall.ErrNoTopic, http.StatusNotFound},
	{recall.ErrNoSchedule, http.StatusNotFound},
	{errUnknownGroup{}, http.StatusNotFound},
	{context.DeadlineExceeded, http.StatusServiceUnavailable},
	{context.Canceled, http.StatusServiceUnavailable},
}

// wireNames are what the fields of recall's API are called here, for errors:
// who sent a header does not know the name of a Go field.
var wireNames = map[string]string{
	"URL": "destination", "Method": "Upstash-Method", "Header": "headers", "Body": "body", "Queue": "queue",
	"DeduplicationID": "Upstash-Deduplication-Id",
	"Labels":          "Upstash-Label", "FlowKey": "Upstash-Flow-Control-Key", "Delay": "Upstash-Delay",
	"Callback": "Upstash-Callback", "FailureCallback": "Upstash-Failure-Callback", "Redact": "Upstash-Redact-Fields",
	"NotBefore": "Upstash-Not-Before", "Timeout": "Upstash-Timeout", "Retries": "Upstash-Retries", "RetryDelay": "Upstash-Retry-Delay",
	"Filter.CallerIPs": "callerIP", "Filter.States": "states", "Policy": "policy", "OperationID": "operation",
	"Cron": "Upstash-Cron", "ID": "Upstash-Schedule-Id", "Flow": "Upstash-Flow-Control-Value", "Topic": "the URL group",
	"Defaults": "headers", "Endpoints": "endpoints", "Parallelism": "parallelism",
	"Reason": "reason", "ExpectAtMost": "expectAtMost", "ExpectExactly": "expectExactly",
	"EventID": "cursor",
}

// text is what an error says on the wire.
func text(err error) string {
	var invalid *recall.InvalidError
	if errors.As(err, &invalid) && wireName(invalid.Field) != "" {
		return wireName(invalid.Field) + ": " + invalid.Reason
	}
	return err.Error()
}

// wireName is what a field is called here; "" if it has no other name. Those of a
// callback have the names of the message's, behind that of the callback.
func wireName(field string) string {
	last := field[strings.LastIndexByte(field, '.')+1:]
	path := strings.TrimSuffix(field, "."+last)
	if field == last || strings.HasPrefix(field, "Filter.") {
		return wireNames[field]
	}
	name := prefix + strings.ReplaceAll(strings.ReplaceAll(path, ".", "-"), "FailureCallback", "Failure-Callback")
	if rest, ok := strings.CutPrefix(wireNames[last], prefix); ok {
		return name + "-" + rest
	}
	return name
}

// statusError is an answer that the wire asks for.
type statusError struct {
	status int
	text   string
	allow  string // with 405
}

func (e *statusError) Error() string { return e.text }

func httpError(status int, format string, args ...any) error {
	return &statusError{status: status, text: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return httpError(http.StatusBadRequest, format, args...)
}

func notFound(format string, args ...any) error {
	return httpError(http.StatusNotFound, format, args...)
}

type panicError struct {
	value any
	stack []byte
}

// Error does not tell the value: it is for the log.
func (e *panicError) Error() string { return "internal error" }

func panicked(v any) error { return &panicError{v, debug.Stack()} }

// fail answers with {"error": …}, which is all that every SDK can read.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, body := http.StatusInternalServerError, map[string]any{"error": text(err)}
	for _, s := range statusOf {
		if errors.Is(err, s.err) {
			status = s.status
			break
		}
	}
	var own *statusError
	var blocked *recall.NotCancellableError
	var crash *panicError
	var facts *factsError
	if errors.As(err, &facts) {
		maps.Copy(body, facts.facts)
	}
	switch {
	case errors.As(err, &own):
		status = own.status
		if own.allow != "" {
			w.Header().Set("Allow", own.allow)
		}
	case errors.As(err, &blocked) && facts == nil:
		body = blockedBody(blocked)
	case errors.As(err, &crash):
		h.o.Logger.ErrorContext(r.Context(), "qstash: a request panicked", "path", r.URL.Path, "panic", crash.value, "stack", string(crash.stack))
	}
	if status == http.StatusInternalServerError && crash == nil {
		h.o.Logger.ErrorContext(r.Context(), "qstash: a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	answer(w, status, body)
}

// blockedBody is the answer of the stop rule. The count is in the text too:
// some clients keep only that.
func blockedBody(e *recall.NotCancellableError) map[string]any {
	return map[string]any{
		"error":     blockedText(e),
		"cancelled": e.Cancelled,
		"messageId": e.ID,
		"state":     "ACTIVE",
	}
}

func blockedText(e *recall.NotCancellableError) string {
	return fmt.Sprintf("message %s is in flight and cannot be cancelled; %d messages were cancelled before it", e.ID, e.Cancelled)
}
