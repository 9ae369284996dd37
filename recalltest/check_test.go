package recalltest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/recalltest"
)

// TestChecksFail looks at what failing checks say.
func TestChecksFail(t *testing.T) {
	r := &reporter{}
	s := recalltest.New(t, recalltest.Seed(1))
	want := func(texts ...string) {
		t.Helper()
		got := r.take()
		if len(texts) == 0 && got != "" {
			t.Errorf("got %s, want no failure", got)
		}
		if len(texts) > 0 && got == "" {
			t.Errorf("no failure, want %q", texts)
		}
		checkContains(t, got, texts...)
	}
	s.CheckPublished(r, recalltest.Message{URL: hook, Body: recalltest.NoBody})
	want("should have been published was not", `- URL "https://api.test/hook"`, "- Body none", "there is no other message")
	s.CheckNothingElse(r)
	want()

	s.Endpoint(hook).Respond(503)
	publish(t, s, hook, `{"n":1}`, "Upstash-Label", "a,b", "Upstash-Delay", "1h", "Upstash-Forward-X-Trace", "t")
	publish(t, s, hook, strings.Repeat("x", 100), "Upstash-Retries", "0", "Upstash-Retry-Delay", "0")
	s.CheckPublished(r, recalltest.Message{URL: hook, Body: `{"n":2}`, Label: "c", Delay: time.Minute, Header: map[string]string{"x-trace": "u"}, Method: "POST"})
	want("the most alike (- wanted, + there): msg_", `    URL "https://api.test/hook"`, `  - Body "{\"n\":2}"`+"\n"+`  + Body "{\"n\":1}"`,
		`- Label "c"`, `+ Label ["a" "b"]`, "- Delay 1m0s", "+ Delay 1h0m0s", `- x-trace "u"`, `+ x-trace "t"`, "waits until 2026-01-01 01:00:00.000", `    Method "POST"`)
	s.CheckDelivered(r, recalltest.Message{Body: `{"n":1}`})
	want("should have been delivered was not", "waits until")
	s.CheckDelivered(r, recalltest.Message{Body: strings.Repeat("x", 100), Attempts: 1})
	want("dead, attempts: 503", "(100 bytes)")

	s.CheckCancelled(r, recall.Filter{Labels: []string{"a"}}, 1)
	want("cancelled with label=a: got 0, want 1", "waits until")
	s.CheckCancelled(r, recall.Filter{Queues: []string{"q"}}, 1)
	want("no message matches")
	s.CheckCancelled(r, recall.Filter{MinAttempts: 1}, 1)
	want("says nothing about messages that are gone")

	s.CheckPublished(r, recalltest.Message{Label: "b"})
	want()
	s.CheckPublished(r, recalltest.Message{Label: "b"})
	want("+ Label []") // it stands for one only
	s.CheckNothingElse(r)
	want("1 messages that no check has named", strings.Repeat("x", 60)+`"… (100 bytes): dead, attempts: 503`)
}

// TestCancelledAndRestored: a message counts as cancelled while it is, however it
// came to that.
func TestCancelledAndRestored(t *testing.T) {
	s := recalltest.New(t)
	s.Endpoint(hook).Slow(10 * time.Second).Reply(recalltest.Reply{Status: 500, After: 10 * time.Second})
	b := s.Broker()
	slow := recall.Filter{Labels: []string{"slow"}}
	publish(t, s, hook, "sticky", "Upstash-Label", "slow", "Upstash-Retries", "0")
	s.Settle()
	if _, err := b.CancelMatching(t.Context(), slow, recall.Sticky); err != nil {
		t.Fatal(err)
	}
	s.CheckCancelled(t, slow, 0)
	s.Advance(10 * time.Second)
	s.CheckCancelled(t, slow, 0) // it was delivered after all

	fails := recall.Filter{Labels: []string{"fails"}}
	publish(t, s, hook, "sticky", "Upstash-Label", "fails", "Upstash-Retries", "0")
	s.Settle()
	if _, err := b.CancelMatching(t.Context(), fails, recall.Sticky); err != nil {
		t.Fatal(err)
	}
	s.Advance(10 * time.Second)
	s.CheckCancelled(t, fails, 1) // neither delivered nor dead

	later := recall.Filter{Labels: []string{"later"}}
	publish(t, s, hook, "later", "Upstash-Label", "later", "Upstash-Delay", "1h")
	res, err := b.CancelMatching(t.Context(), later)
	if err != nil {
		t.Fatal(err)
	}
	s.CheckCancelled(t, later, 1)
	if _, err := b.Restore(t.Context(), res.Operation); err != nil {
		t.Fatal(err)
	}
	s.CheckCancelled(t, later, 0)
	if _, err := b.CancelFuture(t.Context(), recall.Filter{Labels: []string{"never"}}, s.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	publish(t, s, hook, "", "Upstash-Label", "never")
	s.CheckCancelled(t, recall.Filter{Labels: []string{"never"}, CallerIPs: []string{"127.0.0.0/8"}}, 1)
	if err := b.Update(t.Context(), func(tx *recall.Tx) error {
		_, err := tx.Publish(recall.Message{URL: hook, Body: []byte("in a transaction"), Delay: time.Hour})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.CheckPublished(t, recalltest.Message{Body: "in a transaction"})
}
