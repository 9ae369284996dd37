package recall_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/recallmq/recall"
)

func TestPublishMixed(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true, MaxBatch: 5})
	addEndpoints(t, b, "orders", threeEndpoints...)
	got, err := b.PublishMixed(t.Context(), []recall.Message{
		{URL: "local:first"}, {Topic: "orders", Labels: []string{"x"}}, {URL: "local:last", Topic: "orders"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, list := range got {
		for _, r := range list {
			m, err := b.Get(t.Context(), r.ID)
			if err != nil || m.URL != r.Endpoint.URL || m.Endpoint != r.Endpoint.Name {
				t.Errorf("%+v: %+v, %v", r, m, err)
			}
			text = append(text, fmt.Sprint(m.URL, m.Topic, m.Labels))
		}
		text = append(text, "|")
	}
	want := "local:first[] | local:oneorders[x] local:twoorders[x] https://three.test/xorders[x] | local:lastorders[] |"
	if got := strings.Join(text, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, err := b.PublishMixed(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	if got, err := b.PublishMixed(t.Context(), []recall.Message{{URL: "local:a"}, {URL: "local:b"}}); err != nil ||
		len(got) != 2 || got[1][0].Endpoint.URL != "local:b" {
		t.Errorf("without topics: %v, %v", got, err)
	}
	checkCount(t, b, recall.Count{Pending: 7})

	for name, test := range map[string]struct {
		msgs  []recall.Message
		want  error
		index int // -1: it is not about one
	}{
		"no such topic":   {[]recall.Message{{URL: "local:x"}, {Topic: "other"}}, recall.ErrNoTopic, 1},
		"a bad topic":     {[]recall.Message{{Topic: "a\x00"}}, recall.ErrInvalid, 0},
		"a bad message":   {[]recall.Message{{Topic: "orders"}, {URL: "ftp://x"}}, recall.ErrInvalid, 1},
		"bad to a topic":  {[]recall.Message{{Topic: "orders", Delay: -1}}, recall.ErrInvalid, 0},
		"bad without one": {[]recall.Message{{URL: "ftp://x"}}, recall.ErrInvalid, 0},
		"too many":        {[]recall.Message{{Topic: "orders"}, {Topic: "orders"}}, recall.ErrInvalid, -1},
	} {
		_, err := b.PublishMixed(t.Context(), test.msgs)
		var bad *recall.BatchError
		index := -1
		if errors.As(err, &bad) {
			index = bad.Index
		}
		if !errors.Is(err, test.want) || index != test.index {
			t.Errorf("%s: got %v at %d", name, err, index)
		}
	}
	checkCount(t, b, recall.Count{Pending: 7})
}

// TestPublishMixedFull: positions are those of the caller's messages, of which some
// have become several.
func TestPublishMixedFull(t *testing.T) {
	b := openFile(t, &recall.Options{NoDispatch: true, MaxDeduplicationIDs: 5}).Broker
	addEndpoints(t, b, "orders", threeEndpoints...)
	msgs := []recall.Message{
		{Topic: "orders"}, {URL: "local:a", DeduplicationID: "a"}, {Topic: "orders", DeduplicationID: "b"}, // four ids
		{Topic: "orders", DeduplicationID: "c"}, {URL: "local:d"}, {URL: "local:e", DeduplicationID: "e"}, {URL: "local:a", DeduplicationID: "a"},
	}
	_, err := b.PublishMixed(t.Context(), msgs)
	var full *recall.DeduplicationFullError
	if !errors.As(err, &full) || !slices.Equal(full.Indexes, []int{3, 5}) || !errors.Is(err, recall.ErrDeduplicationFull) {
		t.Fatalf("got %v, want the messages 3 and 5", err)
	}
	checkCount(t, b, recall.Count{})
	got, err := b.PublishMixed(t.Context(), slices.Delete(slices.Delete(msgs, 5, 6), 3, 4))
	if err != nil || len(got) != 5 || !got[4][0].Deduplicated || got[4][0].ID != got[1][0].ID {
		t.Errorf("without them: %+v, %v", got, err)
	}
}
