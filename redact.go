package recall

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Redaction says what of a message is not shown: events, dead letters, schedules
// and what is read of the message show "REDACTED:" and the SHA-256 of the value, in hex,
// instead; each value of a header by itself, and an empty body as it is. That
// goes for the headers of its callbacks too. It is QStash's
// Upstash-Redact-Fields.
//
// It is delivered as it is: endpoints, handlers, Options.OnRequest and what is
// published again from the dead letter queue get the real thing, and so does
// whoever receives a callback; what is shown of the callback itself hides its
// whole body. The file holds the real thing, not encrypted. Not redacted are URL,
// attributes, and what an endpoint has answered. A value that can be guessed can
// be found out from its hash.
type Redaction struct {
	Body    bool     `json:"body,omitempty"`
	Headers bool     `json:"headers,omitempty"` // all of them
	Header  []string `json:"header,omitempty"`  // single ones, by name
}

// ofCallback is that of a callback, whose body has all of the message in it.
func (r *Redaction) ofCallback() *Redaction {
	if r == nil {
		return nil
	}
	return &Redaction{Body: true, Headers: r.Headers, Header: r.Header}
}

// maxRedacted bounds Redaction.Header.
const maxRedacted = 64

func checkRedaction(r *Redaction) error {
	if r == nil {
		return nil
	}
	if len(r.Header) > maxRedacted {
		return overLimit("Redact", "%d headers are more than the limit of %d", len(r.Header), maxRedacted)
	}
	for _, name := range r.Header {
		if !isToken(name) {
			return invalid("Redact", "%q is not a header name", clip(name))
		}
	}
	return nil
}

// shown returns m as it may be shown. It shares no memory with m where they
// differ.
func (m Message) shown() Message {
	r := m.Redact
	if r == nil {
		return m
	}
	if r.Body && len(m.Body) > 0 {
		m.Body = []byte(redactedText(m.Body))
	}
	m.Header = r.header(m.Header)
	m.Callback, m.FailureCallback = r.callback(m.Callback), r.callback(m.FailureCallback)
	return m
}

const (
	redactedPrefix = "REDACTED:"
	redactedLength = len(redactedPrefix) + 2*sha256.Size
)

// redactedText stands for a value: whoever knows it can tell that it is the one.
func redactedText[T ~string | ~[]byte](value T) string {
	sum := sha256.Sum256([]byte(value))
	return redactedPrefix + hex.EncodeToString(sum[:])
}

// isRedacted tells whether a value is one that stands for another.
func isRedacted[T ~string | ~[]byte](value T) bool {
	sum, found := strings.CutPrefix(string(value[:min(len(value), redactedLength+1)]), redactedPrefix)
	_, err := hex.DecodeString(sum)
	return found && err == nil && len(value) == redactedLength
}

// checkNotRedacted refuses a message that was read: what is hidden of it would be
// lost if it took the place of the one that it was read from.
func checkNotRedacted(m *Message) error {
	const why = "it is redacted; the real thing is wanted"
	if m.Redact != nil && isRedacted(m.Body) {
		return invalid("Body", why)
	}
	if m.Redact != nil && (anyRedacted(m.Header) || m.Callback.isRedacted() || m.FailureCallback.isRedacted()) {
		return invalid("Header", why)
	}
	return nil
}

func anyRedacted(h http.Header) bool {
	for _, values := range h {
		if slices.ContainsFunc(values, isRedacted[string]) {
			return true
		}
	}
	return false
}

func (c *Callback) isRedacted() bool {
	return c != nil && (anyRedacted(c.Header) || c.Callback.isRedacted() || c.FailureCallback.isRedacted())
}

// header returns h with the values that may be shown.
func (r *Redaction) header(h http.Header) http.Header {
	var out http.Header
	for name, values := range h {
		if !r.hides(name) {
			continue
		}
		if out == nil {
			out = maps.Clone(h)
		}
		hidden := make([]string, len(values))
		for i, v := range values {
			hidden[i] = redactedText(v)
		}
		out[name] = hidden
	}
	if out == nil {
		return h
	}
	return out
}

func (r *Redaction) hides(name string) bool {
	return r.Headers || slices.ContainsFunc(r.Header, func(n string) bool { return strings.EqualFold(n, name) })
}

// callback returns the configuration of a callback, and of its own callbacks,
// as it may be shown.
func (r *Redaction) callback(c *Callback) *Callback {
	if c == nil {
		return nil
	}
	shown := *c
	shown.Header = r.header(c.Header)
	shown.Callback, shown.FailureCallback = r.callback(c.Callback), r.callback(c.FailureCallback)
	return &shown
}
