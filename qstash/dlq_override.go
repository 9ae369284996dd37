package qstash

import (
	"net/http"
	"time"

	"github.com/recallmq/recall"
)

// notOverridden are settings that are about the publishing of a new message: a
// retry takes what is there, and at once.
var notOverridden = []string{
	"Cron", "Schedule-Id", "Queue-Name", "Deduplication-Id", "Content-Based-Deduplication", "Header-Forward",
}

// overrides reads the settings of a retry, and returns what sets them on a dead
// letter. What is not given stays as it was stored.
func (h *handler) overrides(r *http.Request) (func(*recall.Message) error, error) {
	s := settings{header: r.Header.Clone()}
	s.header.Del("Content-Type") // that of this request
	for _, name := range notOverridden {
		if s.get(name) != "" {
			return nil, badRequest("%s%s does not go with a retry", prefix, name)
		}
	}
	var given recall.Message
	if err := h.configure(s, &given); err != nil {
		return nil, err
	}
	return func(m *recall.Message) error {
		override(m, &given)
		return nil
	}, nil
}

// override sets what is given.
func override(m, given *recall.Message) {
	set(&m.Method, given.Method)
	set(&m.Delay, given.Delay)
	set(&m.Timeout, given.Timeout)
	set(&m.RetryDelay, given.RetryDelay)
	set(&m.FlowKey, given.FlowKey)
	set(&m.Retries, given.Retries)
	set(&m.Flow, given.Flow)
	set(&m.Callback, given.Callback)
	set(&m.FailureCallback, given.FailureCallback)
	set(&m.Redact, given.Redact)
	set[time.Time](&m.NotBefore, given.NotBefore)
	if given.Labels != nil {
		m.Labels = given.Labels
	}
	if len(given.Header) == 0 {
		return
	}
	h := m.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	for name, values := range given.Header {
		h[name] = values
	}
	m.Header = h
}

func set[T comparable](at *T, given T) {
	var none T
	if given != none {
		*at = given
	}
}
