package recalltest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/recalltest"
)

// TestLoadWhatWasDumped: what a dump hides is not taken for the real thing, and a
// limit comes back with its message.
func TestLoadWhatWasDumped(t *testing.T) {
	dump := func(m recall.Message) string {
		s := recalltest.New(t)
		m.URL, m.Delay = "https://a.test/", time.Hour
		if _, err := s.Broker().Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := s.Dump(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for name, m := range map[string]recall.Message{
		"body":   {Body: []byte("secret"), Redact: &recall.Redaction{Body: true}},
		"header": {Header: map[string][]string{"X-Key": {"secret"}}, Redact: &recall.Redaction{Header: []string{"x-key"}}},
	} {
		if err := recalltest.New(t).Load(strings.NewReader(dump(m))); err == nil || !strings.Contains(err.Error(), "redacted") {
			t.Errorf("a redacted %s: %v", name, err)
		}
	}
	s := recalltest.New(t)
	limit := recall.FlowLimit{Rate: 2, Period: time.Minute, Parallelism: 3}
	text := dump(recall.Message{Body: []byte("open"), FlowKey: "k", Flow: &limit, Redact: &recall.Redaction{Header: []string{"X-Key"}}})
	if err := s.Load(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if k, err := s.Broker().FlowKey(t.Context(), "k"); err != nil || k.Limit != limit {
		t.Errorf("the limit of the key is %+v, %v", k.Limit, err)
	}
}
