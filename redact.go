package recall

// Redaction says what of a message is not shown: events, dead letters and what
// is read of the message show "REDACTED:" and the SHA-256 of the value instead.
// It is delivered as it is, and so is what is published again from the dead
// letter queue. It is QStash's Upstash-Redact-Fields.
type Redaction struct {
	Body    bool     `json:"body,omitempty"`
	Headers bool     `json:"headers,omitempty"` // all of them
	Header  []string `json:"header,omitempty"`  // single ones, by name
}

// maxRedacted bounds Redaction.Header.
const maxRedacted = 64

func checkRedaction(r *Redaction) error {
	if r == nil {
		return nil
	}
	if len(r.Header) > maxRedacted {
		return invalid("Redact", "%d headers are more than the limit of %d", len(r.Header), maxRedacted)
	}
	for _, name := range r.Header {
		if !isToken(name) {
			return invalid("Redact", "%q is not a header name", clip(name))
		}
	}
	return nil
}
