package enginetest

import (
	"time"

	"github.com/recallmq/recall"
)

// reservation is the first message with a deduplication id.
type reservation struct {
	id recall.MessageID
	at time.Time
}

// firstWith returns the first message with the id of m, if m is a duplicate of it.
// The window is that of the default options.
func (r *Reference) firstWith(m *recall.Message, now time.Time) (reservation, bool) {
	first, ok := r.reserved[m.DeduplicationID]
	past := millis(now).Sub(first.at)
	return first, ok && past < recall.DefaultDeduplicationWindow && -past < recall.DefaultDeduplicationWindow
}

// reserve notes the id of m, if it has one.
func (r *Reference) reserve(m *recall.Message, now time.Time) {
	if m.DeduplicationID != "" {
		r.reserved[m.DeduplicationID] = reservation{m.ID, millis(now)}
	}
}

// undeduplicated returns messages that are published whatever was before.
func undeduplicated(msgs []recall.Message) []recall.Message {
	var out []recall.Message
	for _, m := range msgs {
		m.DeduplicationID = ""
		out = append(out, m)
	}
	return out
}
