package recall

import (
	"errors"
	"net/http"
	"time"
)

// Callback is a message that Recall publishes by itself to tell how an attempt,
// or the message, has ended. It is QStash's Upstash-Callback and
// Upstash-Failure-Callback with the headers that configure them.
//
// There is a callback for each attempt that counts, and a failure callback for a
// message that becomes a dead letter. They are published in the commit that makes
// the outcome durable, so none is lost and none comes twice; delivered they are
// at least once, as all messages. Where a standing cancellation matches one, it is
// cancelled on arrival.
//
// The body is JSON in the form of QStash's: "status", "header" and "body" (base64,
// bounded by Options.MaxResponse, with "truncated": true if it was longer) of the
// response, or status 0 and the error as the body; "retried", missing at the first
// attempt, and "maxRetries"; "sourceMessageId", "url", "method", "sourceHeader",
// "sourceBody" (base64), "topicName", "endpointName", "scheduleId", "callerIP",
// "notBefore" and "createdAt" (ms) of the message; and "dlqId", the
// [DeadLetterID], of a failure callback. A handler that returns nil counts as
// status 200 with no body.
//
// Callbacks carry the labels, the priority and the redaction of the message, and
// have its id as Source: they are found and cancelled by those labels or by URL.
type Callback struct {
	// URL is where it goes: absolute http or https, or "local:" and a handler.
	URL string `json:"url"`
	// Method, Header, Retries, RetryDelay, Timeout and Delay are those of the
	// callback itself, as in [Message]. Retries are those of the message that it
	// is about unless set.
	Method     string        `json:"method,omitempty"`
	Header     http.Header   `json:"header,omitempty"`
	Retries    *int          `json:"retries,omitempty"`
	RetryDelay string        `json:"retryDelay,omitempty"`
	Timeout    time.Duration `json:"timeout,omitempty"`
	Delay      time.Duration `json:"delay,omitempty"`
	// Callback and FailureCallback are those of the callback: it has none unless
	// the publisher sets them.
	Callback        *Callback `json:"callback,omitempty"`
	FailureCallback *Callback `json:"failureCallback,omitempty"`
}

// maxCallbackDepth bounds callbacks of callbacks.
const maxCallbackDepth = 4

// checkCallback checks what the publisher set.
func checkCallback(field string, c *Callback, depth int, now time.Time) error {
	if c == nil {
		return nil
	}
	if depth == 0 {
		return overLimit(field, "callbacks of callbacks go deeper than %d", maxCallbackDepth)
	}
	times := Message{Delay: c.Delay, Timeout: c.Timeout}
	for _, check := range []error{
		checkURL(c.URL), checkMethod(c.Method), checkHeader(c.Header), checkRetries("Retries", c.Retries),
		checkRetryDelay(c.RetryDelay), checkTimes(&times, now),
		checkCallback("Callback", c.Callback, depth-1, now),
		checkCallback("FailureCallback", c.FailureCallback, depth-1, now),
	} {
		if bad := (*InvalidError)(nil); errors.As(check, &bad) {
			return &InvalidError{Field: field + "." + bad.Field, Reason: bad.Reason, OverLimit: bad.OverLimit}
		}
	}
	return nil
}
