package recall

import (
	"fmt"
	"net/http"
	"time"
)

// Callback is a message that Recall publishes by itself to tell how an attempt,
// or the message, has ended. It is QStash's Upstash-Callback and
// Upstash-Failure-Callback with the headers that configure them.
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
		return invalid(field, "callbacks of callbacks go deeper than %d", maxCallbackDepth)
	}
	times := Message{Delay: c.Delay, Timeout: c.Timeout}
	for _, check := range []error{
		checkURL(c.URL), checkMethod(c.Method), checkHeader(c.Header), checkRetries("Retries", c.Retries),
		checkRetryDelay(c.RetryDelay), checkTimes(&times, now),
		checkCallback("Callback", c.Callback, depth-1, now),
		checkCallback("FailureCallback", c.FailureCallback, depth-1, now),
	} {
		if check != nil {
			return fmt.Errorf("%s: %w", field, check)
		}
	}
	return nil
}
