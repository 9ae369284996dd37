package recall_test

import (
	"errors"
	"fmt"
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
