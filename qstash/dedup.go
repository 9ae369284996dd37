package qstash

import (
	"net/http"
	"strings"

	"github.com/recallmq/recall"
)

// setDeduplication sets what makes other messages duplicates of this one.
func (s settings) setDeduplication(m *recall.Message) error {
	m.DeduplicationID = s.get("Deduplication-Id")
	switch v := s.get("Content-Based-Deduplication"); strings.ToLower(v) {
	case "true":
		m.DeduplicateContent = true
	case "", "false":
	default:
		return badRequest("Upstash-Content-Based-Deduplication: %q is neither true nor false", v)
	}
	return nil
}

// statusOfReceipt is 202 for a duplicate.
func statusOfReceipt(r recall.Receipt) int {
	if r.Deduplicated {
		return http.StatusAccepted
	}
	return http.StatusOK
}
