package qstash_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// stored publishes with headers and returns what the engine keeps, unredacted.
func (s *server) stored(headers ...string) recall.Message {
	s.t.Helper()
	w := s.call("POST", "/v2/publish/https://example.com", "body", headers...)
	checkStatus(s.t, w, 200)
	id := decode[struct{ MessageID recall.MessageID }](s.t, w).MessageID
	m, err := s.engine.Get(s.t.Context(), id, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func TestCallbackHeaders(t *testing.T) {
	s := newServer(t, nil)
	m := s.stored(
		"Upstash-Callback", "https://c.test/a?b=c", "Upstash-Failure-Callback", "http://f.test",
		"Upstash-Callback-Method", "put", "Upstash-Callback-Forward-Authorization", "Bearer x", "Upstash-Callback-Forward-Content-Type", "text/x",
		"Upstash-Callback-Delay", "1h", "Upstash-Callback-Timeout", "5s", "Upstash-Callback-Retries", "7", "Upstash-Callback-Retry-Delay", "1000",
		"Upstash-Callback-Label", "not used", "Upstash-Callback-Failure-Callback", "https://cf.test", "Upstash-Callback-Failure-Callback-Retries", "1",
		"Upstash-Failure-Callback-Callback", "https://fc.test", "Upstash-Failure-Callback-Retries", "0",
		"Upstash-Retries", "2", "Upstash-Forward-Own", "1",
	)
	if m.Method != "POST" || *m.Retries != 2 || m.Delay != 0 || fmt.Sprint(m.Header) != "map[Own:[1]]" {
		t.Errorf("the message: got %+v", m)
	}
	want := &recall.Callback{
		URL: "https://c.test/a?b=c", Method: "PUT", Header: http.Header{"Authorization": {"Bearer x"}}, Delay: time.Hour, Timeout: 5 * time.Second,
		Retries: recall.Retries(7), RetryDelay: "1000",
		FailureCallback: &recall.Callback{URL: "https://cf.test", Header: http.Header{}, Retries: recall.Retries(1)},
	}
	same(t, "callback", m.Callback, want)
	same(t, "failure callback", m.FailureCallback, &recall.Callback{
		URL: "http://f.test", Header: http.Header{}, Retries: recall.Retries(0), Callback: &recall.Callback{URL: "https://fc.test", Header: http.Header{}},
	})
	if m := s.stored("Upstash-Callback-Method", "PUT"); m.Callback != nil || m.FailureCallback != nil || m.Method != "POST" {
		t.Errorf("settings without a callback: got %+v", m)
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if a, b := text(t, got), text(t, want); a != b {
		t.Errorf("%s: got %s, want %s", what, a, b)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestCallbackElsewhere takes the settings from parameters and from a batch.
func TestCallbackElsewhere(t *testing.T) {
	s := newServer(t, &qstash.Options{AllowLocal: true})
	want := &recall.Callback{URL: "local:c", Method: "PUT", Header: http.Header{"X": {"1"}}}
	checkStatus(t, s.call("POST", "/v2/publish/https://a.test?upstash-callback=local:c&Upstash-Callback-Method=PUT&upstash-callback-forward-x=1", ""), 200)
	checkStatus(t, s.call("POST", "/v2/batch", `[{"destination":"https://a.test","headers":{"upstash-callback":"local:c",
		"upstash-callback-method":"PUT","Upstash-Callback-Forward-X":"1"}}]`), 200)
	n := 0
	for m, err := range s.b.List(t.Context(), recall.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		same(t, "callback", m.Callback, want)
		n++
	}
	if n != 2 {
		t.Errorf("got %d messages", n)
	}
}

func TestBadCallbackSettings(t *testing.T) {
	s := newServer(t, nil)
	for header, test := range map[string]struct{ value, err string }{
		"Upstash-Callback-Retries":          {"1001", "Upstash-Callback-Retries: "},
		"Upstash-Callback-Method":           {"BREW", "Upstash-Callback-Method: "},
		"Upstash-Callback-Timeout":          {"25h", "Upstash-Callback-Timeout: "},
		"Upstash-Callback-Delay":            {"soon", "of Upstash-Callback: Upstash-Delay: "},
		"Upstash-Callback-Retry-Delay":      {"often", "Upstash-Callback-Retry-Delay: "},
		"Upstash-Callback-Failure-Callback": {"ftp://x", "Upstash-Callback-Failure-Callback: "},
		"Upstash-Callback-Callback":         {"http://:1", "Upstash-Callback-Callback: "},
		"Upstash-Callback-Forward-X":        {strings.Repeat("x", 70_000), "Upstash-Callback: "},
	} {
		w := s.call("POST", "/v2/publish/https://example.com", "", "Upstash-Callback", "https://c.test", header, test.value)
		checkError(t, w, 400, test.err)
	}
	var deep []string
	for i := range 5 {
		deep = append(deep, "Upstash"+strings.Repeat("-Callback", i+1), "https://c.test")
	}
	checkError(t, s.call("POST", "/v2/publish/https://example.com", "", deep...), 400, "deeper than 4")
	s.checkGone("")
}

func TestRedactHeader(t *testing.T) {
	for value, want := range map[string]recall.Redaction{
		"body":                               {Body: true},
		"headers":                            {Headers: true},
		" header , body":                     {Headers: true, Body: true},
		"header[Authorization],headers[X-a]": {Header: []string{"Authorization", "X-a"}},
	} {
		s := newServer(t, nil)
		if got := s.stored("Upstash-Redact-Fields", value).Redact; got == nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%q: got %+v, want %+v", value, got, want)
		}
	}
}

// TestMessageIsShownRedacted: GET shows callbacks, and hides what it has to.
func TestMessageIsShownRedacted(t *testing.T) {
	s := newServer(t, nil)
	m := s.stored("Upstash-Redact-Fields", "body,header[Authorization]", "Upstash-Forward-Authorization", "secret", "Upstash-Forward-X", "1",
		"Upstash-Callback", "https://c.test", "Upstash-Callback-Forward-Authorization", "secret", "Upstash-Failure-Callback", "https://f.test")
	if string(m.Body) != "body" || m.Header.Get("Authorization") != "secret" {
		t.Fatalf("stored: got %+v", m)
	}
	w := s.call("GET", "/v2/messages/"+string(m.ID), "")
	checkStatus(t, w, 200)
	hidden := func(v string) string { return fmt.Sprintf("REDACTED:%x", sha256.Sum256([]byte(v))) }
	got := decode[struct {
		Body, Callback, FailureCallback string
		Header, CallbackHeader          http.Header
		FailureCallbackHeader           http.Header
	}](t, w)
	if got.Body != hidden("body") || got.Header.Get("Authorization") != hidden("secret") || got.Header.Get("X") != "1" ||
		got.Callback != "https://c.test" || got.CallbackHeader.Get("Authorization") != hidden("secret") ||
		got.FailureCallback != "https://f.test" || len(got.FailureCallbackHeader) != 0 {
		t.Errorf("got %+v", got)
	}
}
