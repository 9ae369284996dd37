package qstash

import (
	"strings"

	"github.com/recallmq/recall"
)

// setRedaction reads a list of what is not to be shown: "body", "headers", or
// "header[Name]". SDKs write header for headers, and the other way round.
func (s settings) setRedaction(m *recall.Message) error {
	list := s.get("Redact-Fields")
	if list == "" {
		return nil
	}
	m.Redact = &recall.Redaction{}
	for part := range strings.SplitSeq(list, ",") {
		if !redact(m.Redact, strings.TrimSpace(part)) {
			return badRequest("Upstash-Redact-Fields: %.100q is none of body, headers and header[Name]", part)
		}
	}
	return nil
}

func redact(r *recall.Redaction, field string) bool {
	switch field {
	case "body":
		r.Body = true
	case "header", "headers":
		r.Headers = true
	default:
		name, ok := strings.CutPrefix(strings.Replace(field, "headers[", "header[", 1), "header[")
		name, end := strings.CutSuffix(name, "]")
		if !ok || !end || !isHeaderName(name) {
			return false
		}
		r.Header = append(r.Header, name)
	}
	return true
}
