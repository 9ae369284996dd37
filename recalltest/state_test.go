package recalltest_test

import (
	"regexp"
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

// TestStateComesBack loads what a server with everything in it has dumped into
// another, which then dumps the same.
func TestStateComesBack(t *testing.T) {
	s, ctx := recalltest.New(t, recalltest.Seed(1)), t.Context()
	b := s.Broker()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	publish := func(m recall.Message) recall.MessageID {
		t.Helper()
		r, err := b.Publish(ctx, m)
		must(err)
		return r.ID
	}
	must(b.SetQueue(ctx, "q", 3))
	must(b.PauseQueue(ctx, "q"))
	_, err := b.AddEndpoints(ctx, "topic", recall.Endpoint{Name: "one", URL: "https://a.test/one"})
	must(err)
	_, err = b.SetTopicDefaults(ctx, "topic", map[string][]string{"Upstash-Delay": {"1h"}})
	must(err)
	must(b.PinFlow(ctx, "pinned", recall.FlowLimit{Rate: 5, Period: time.Minute}, recall.FlowRate))
	must(b.PauseFlow(ctx, "paused"))
	for id, c := range map[string]recall.CatchUp{"a": recall.CatchUpOne, "b": recall.CatchUpNone, "c": recall.CatchUpAll} {
		_, err := b.SetSchedule(ctx, recall.Schedule{ID: id, Cron: "0 8 * * *", Message: recall.Message{URL: "https://a.test/"}, CatchUp: c})
		must(err)
	}
	publish(recall.Message{URL: "https://a.test/", FlowKey: "limited", Flow: &recall.FlowLimit{Parallelism: 9}, Delay: time.Hour})
	publish(recall.Message{URL: "https://a.test/", FlowKey: "limited", Flow: &recall.FlowLimit{Parallelism: 2}, Delay: time.Hour})
	now := publish(recall.Message{URL: "https://a.test/now", Delay: time.Hour})
	held := recall.Filter{IDs: []recall.MessageID{now, publish(recall.Message{URL: "https://a.test/later", Delay: time.Hour})}}
	_, err = b.Hold(ctx, held)
	must(err)
	_, err = b.Reschedule(ctx, recall.Filter{IDs: []recall.MessageID{now}}, s.Now())
	must(err)
	publish(recall.Message{URL: "https://a.test/q", Queue: "q"})
	_, err = b.CancelFuture(ctx, recall.Filter{Hosts: []string{"a.test"}}, s.Now().Add(time.Hour), recall.Reason("no more"))
	must(err)
	gone, err := b.CancelFuture(ctx, recall.Filter{Hosts: []string{"b.test"}}, s.Now().Add(time.Hour))
	must(err)
	must(b.LiftCancellation(ctx, gone))

	dump := func(s *recalltest.Server) string {
		var out strings.Builder
		must(s.Dump(&out))
		return regexp.MustCompile(`(?m)^ *"id": "msg_.*\n`).ReplaceAllString(out.String(), "")
	}
	want := dump(s)
	other := recalltest.New(t, recalltest.Seed(2))
	must(other.Load(strings.NewReader(want)))
	other.Settle()
	if got := dump(other); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, part := range []string{`"held"`, `"catchUp": "all"`, `"pinnedRate": true`, `"paused": true`, `"no more"`, `"Upstash-Delay"`} {
		if !strings.Contains(want, part) {
			t.Errorf("the dump has no %s", part)
		}
	}
	if _, err := other.Broker().Release(ctx, recall.Filter{States: []recall.State{recall.StateHeld}}); err != nil {
		t.Error(err)
	}
	for _, url := range []string{"https://a.test/", "https://a.test/now", "https://a.test/later"} {
		other.Endpoint(url).Respond(200)
	}
	other.Settle()
	other.CheckDelivered(t, recalltest.Message{URL: "https://a.test/now", Attempts: 1})
	other.Advance(time.Hour)
	other.CheckDelivered(t, recalltest.Message{URL: "https://a.test/later", Attempts: 1})
}

// TestLoadRefuses what is no state, before anything is changed.
func TestLoadRefuses(t *testing.T) {
	s := recalltest.New(t)
	for _, text := range []string{
		`{"queues":[{"name":"q"}],"schedules":[{"id":"a","cron":"@daily","message":{"url":"https://a.test/"},"catchUp":"some"}]}`,
		`{"queues":[{"name":"q"}],"messages":[{"url":"https://a.test/","delay":"soon"}]}`,
		`{"queues":[{"name":"q"}],"flowKeys":[{"key":"k","limit":{"rate":1,"period":"x"}}]}`,
		`{"queues":[{"name":"q"}],"standing":[{"filter":{},"until":"2100-01-01T00:00:00Z"}]}`,
		`{"queues":[{"name":"q"}],"standing":[{"filter":{"callerIPs":["x"]},"until":"2100-01-01T00:00:00Z"}]}`,
		`{"queues":[{"name":"q"}],"nonsense":1}`,
		`{"queues":[{"name":"q"}]} {}`,
	} {
		if err := s.Load(strings.NewReader(text)); err == nil {
			t.Errorf("%s: it was taken", text)
		}
		if list, err := s.Broker().Queues(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("%s: queues: %v, %v", text, list, err)
		}
	}
}

// TestLoadHeld: what is held goes out at no time, though it is due.
func TestLoadHeld(t *testing.T) {
	s := recalltest.New(t)
	const n = 300
	text := `{"messages":[` + strings.Repeat(`{"url":"https://a.test/","state":"held"},`, n-1) + `{"url":"https://a.test/","state":"held"}]}`
	if err := s.Load(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	s.Advance(time.Hour) // no endpoint is scripted, so a delivery fails the test
	got, err := s.Broker().Count(t.Context(), recall.Filter{States: []recall.State{recall.StateHeld}})
	if err != nil || got.Pending != n {
		t.Errorf("held are %d, %v, want %d", got.Pending, err, n)
	}
}

// TestLoadLeavesNothingPinned: keys are pinned only while messages are loaded, also
// when these are refused; and what has expired is passed over.
func TestLoadLeavesNothingPinned(t *testing.T) {
	s := recalltest.New(t)
	keys := `"flowKeys":[{"key":"k","limit":{"rate":1}},{"key":"p","limit":{"rate":1},"pinnedRate":true}]`
	if err := s.Load(strings.NewReader(`{` + keys + `,"messages":[{"url":"nonsense"}]}`)); err == nil {
		t.Error("nonsense was taken")
	}
	list, err := s.Broker().FlowKeys(t.Context())
	if err != nil || len(list) != 2 || list[0].PinnedRate || list[0].PinnedParallelism || !list[1].PinnedRate || list[1].PinnedParallelism {
		t.Errorf("got %+v, %v", list, err)
	}
	if err := s.Load(strings.NewReader(`{"standing":[{"filter":{"queues":["q"]},"until":"2001-01-01T00:00:00Z"}]}`)); err != nil {
		t.Error(err)
	}
	if list, err := s.Broker().StandingCancellations(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("expired: %v, %v", list, err)
	}
}
