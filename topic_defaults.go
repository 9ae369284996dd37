package recall

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"unicode/utf8"
)

// SetTopicDefaults replaces the Defaults of a topic, and returns it as it is
// then; none clears them. They go with the topic, and what was published before
// is not changed.
//
// It is durable when it returns. Errors: [ErrNoTopic], [ErrInvalid] for what
// could not be a header, or is more than [MaxHeaderBytes] or not UTF-8, and those
// of [Broker.AddEndpoints]. Safe for concurrent use.
func (b *Broker) SetTopicDefaults(ctx context.Context, topic string, defaults http.Header) (Topic, error) {
	if err := checkTopic(topic); err != nil {
		return Topic{}, err
	}
	if err := checkDefaults(defaults); err != nil {
		return Topic{}, err
	}
	return b.changeTopic(ctx, topic, func(t *Topic, found bool, fault error) error {
		if !found {
			return noTopic(topic)
		}
		if fault != nil {
			return fault
		}
		t.Defaults = cloneHeader(canonicalHeader(defaults))
		return nil
	})
}

// checkDefaults also refuses what the file would not keep as it is: it has them
// as JSON.
func checkDefaults(h http.Header) error {
	for name, values := range h {
		if !utf8.ValidString(name) || !slices.ContainsFunc(values, isNotUTF8) {
			continue
		}
		return invalid("Defaults", "the value of %s is not valid UTF-8", clip(name))
	}
	return checkHeader(h)
}

func isNotUTF8(s string) bool { return !utf8.ValidString(s) }

// cloneHeader returns a copy that shares nothing; nil if there is nothing.
func cloneHeader(h http.Header) http.Header {
	if len(h) == 0 {
		return nil
	}
	out := maps.Clone(h)
	for name, values := range out {
		out[name] = slices.Clone(values)
	}
	return out
}
