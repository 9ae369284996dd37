package qstash_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestDeduplication publishes the same message twice, in every way and with
// either setting, and one that differs from it.
func TestDeduplication(t *testing.T) {
	ways := map[string]func(s *server, body, header, value string) (status int, text string){
		"publish": func(s *server, body, header, value string) (int, string) {
			w := s.call("POST", "/v2/publish/https://example.com/a", body, header, value)
			return w.Code, w.Body.String()
		},
		"parameter": func(s *server, body, header, value string) (int, string) {
			w := s.call("POST", "/v2/publish/https://example.com/a?"+strings.ToLower(header)+"="+url.QueryEscape(value), body)
			return w.Code, w.Body.String()
		},
		"enqueue": func(s *server, body, header, value string) (int, string) {
			w := s.call("POST", "/v2/enqueue/q/https://example.com/a", body, header, value)
			return w.Code, w.Body.String()
		},
	}
	for _, test := range []struct {
		header, value string
		other         bool // another body is another message
	}{
		{"Upstash-Deduplication-Id", "order 7", false},
		{"Upstash-Content-Based-Deduplication", "true", true},
		{"Upstash-Content-Based-Deduplication", "True", true},
	} {
		for way, send := range ways {
			inBubble(t, test.header+" "+test.value+" as "+way, func(t *testing.T) {
				s := newServer(t, nil)
				status, text := send(s, "body", test.header, test.value)
				first := string(s.only().ID)
				if want := `{"messageId":"` + first + `","url":"https://example.com/a"}` + "\n"; status != 200 || text != want {
					t.Errorf("the first: got %d %s, want %s", status, text, want)
				}
				time.Sleep(recall.DefaultDeduplicationWindow - time.Millisecond)
				status, text = send(s, "body", test.header, test.value)
				if want := `{"messageId":"` + first + `","deduplicated":true,"url":"https://example.com/a"}` + "\n"; status != 202 || text != want {
					t.Errorf("the second: got %d %s, want %s", status, text, want)
				}
				s.only()
				if status, text = send(s, "other", test.header, test.value); test.other == strings.Contains(text, "deduplicated") {
					t.Errorf("another body: got %d %s", status, text)
				}
				time.Sleep(time.Millisecond)
				if status, text = send(s, "body", test.header, test.value); status != 200 || strings.Contains(text, "deduplicated") {
					t.Errorf("after the window: got %d %s", status, text)
				}
			})
		}
	}
}

func TestDeduplicationInBatches(t *testing.T) {
	type slot struct {
		MessageID    recall.MessageID
		Deduplicated *bool
		Error        string
	}
	s := newServer(t, nil)
	old := s.publish("old", recall.Message{DeduplicationID: "old"})
	w := s.call("POST", "/v2/batch", `[
		{"destination":"https://example.com/1","headers":{"Upstash-Deduplication-Id":"a"}},
		{"destination":"nothing","headers":{"Upstash-Deduplication-Id":"a"}},
		{"destination":"https://example.com/2","headers":{"upstash-deduplication-id":"a"}},
		{"destination":"https://example.com/3","headers":{"Upstash-Deduplication-Id":"old"}},
		{"destination":"https://example.com/4","headers":{"Upstash-Content-Based-Deduplication":"true"},"body":"x"},
		{"destination":"https://example.com/4","headers":{"Upstash-Content-Based-Deduplication":"true","Upstash-Forward-X":"1"},"body":"x"},
		{"destination":"https://example.com/4","headers":{"Upstash-Content-Based-Deduplication":"true"},"body":"x"}
	]`)
	checkStatus(t, w, 200)
	got := decode[[]slot](t, w)
	if len(got) != 7 {
		t.Fatalf("got %s", w.Body)
	}
	firsts := map[int]recall.MessageID{2: got[0].MessageID, 3: old, 6: got[4].MessageID}
	for i, g := range got {
		first, duplicate := firsts[i]
		switch {
		case i == 1:
			if g.Error == "" || g.MessageID != "" {
				t.Errorf("item 1: got %+v, want an error", g)
			}
		case duplicate && (g.Deduplicated == nil || !*g.Deduplicated || g.MessageID != first):
			t.Errorf("item %d: got %+v, want a duplicate of %s", i, g, first)
		case !duplicate && (g.Deduplicated != nil || g.MessageID == ""):
			t.Errorf("item %d: got %+v, want a message", i, g)
		}
	}
	n, err := s.b.Count(t.Context(), recall.Filter{})
	if err != nil || n.Pending != 4 {
		t.Errorf("got %+v, %v, want 4 messages", n, err)
	}
}
