package qstash_test

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// TestSettings gives each setting as a header, as a query parameter and in a
// batch, where clients write names in lower case.
func TestSettings(t *testing.T) {
	type message = recall.Message
	dueIn := func(want time.Duration) func(message) bool {
		return func(m message) bool { return m.DueAt.Sub(m.CreatedAt) == want }
	}
	timeout := func(want time.Duration) func(message) bool {
		return func(m message) bool { return m.Timeout == want }
	}
	retries := func(want int) func(message) bool {
		return func(m message) bool { return *m.Retries == want }
	}
	retryDelay := func(want string) func(message) bool {
		return func(m message) bool { return m.RetryDelay == want }
	}
	labels := func(want ...string) func(message) bool {
		return func(m message) bool { return reflect.DeepEqual(m.Labels, want) }
	}
	method := func(want string) func(message) bool {
		return func(m message) bool { return m.Method == want }
	}
	tests := []struct {
		header, value string
		check         func(message) bool
	}{
		{"Upstash-Method", "", method("POST")},
		{"Upstash-Method", "GET", method("GET")},
		{"Upstash-Method", "put", method("PUT")},
		{"Upstash-Method", "PATCH", method("PATCH")},
		{"Upstash-Method", "DELETE", method("DELETE")},
		{"Upstash-Delay", "", dueIn(0)},
		{"Upstash-Delay", "0", dueIn(0)},
		{"Upstash-Delay", "10", dueIn(10 * time.Second)},
		{"Upstash-Delay", "10s", dueIn(10 * time.Second)},
		{"Upstash-Delay", " 5m ", dueIn(5 * time.Minute)},
		{"Upstash-Delay", "1d10h30m5s", dueIn(34*time.Hour + 30*time.Minute + 5*time.Second)},
		{"Upstash-Delay", "90m", dueIn(90 * time.Minute)},
		{"Upstash-Not-Before", "946684860", dueIn(time.Minute)}, // the bubble's epoch and a minute
		{"Upstash-Not-Before", "1", dueIn(0)},
		{"Upstash-Timeout", "2m", timeout(2 * time.Minute)},
		{"Upstash-Timeout", "15", timeout(15 * time.Second)},
		{"Upstash-Timeout", "", timeout(recall.DefaultTimeout)},
		{"Upstash-Retries", "", retries(recall.DefaultRetries)},
		{"Upstash-Retries", "0", retries(0)},
		{"Upstash-Retries", "7", retries(7)},
		{"Upstash-Retry-Delay", "", retryDelay("")},
		{"Upstash-Retry-Delay", "max(1000, pow(2, retried) * 100)", retryDelay("max(1000, pow(2, retried) * 100)")},
		{"Upstash-Label", "", labels()},
		{"Upstash-Label", "a", labels("a")},
		{"Upstash-Label", "a, b ,,a", labels("a", "b")},
		{"Upstash-Flow-Control-Key", "user/1", func(m message) bool { return m.FlowKey == "user/1" }},
		{"Upstash-Forward-X-Trace", "1, 2", func(m message) bool { return m.Header.Get("X-Trace") == "1, 2" }},
		{"Upstash-Forward-Content-Type", "text/x", func(m message) bool { return m.Header["Content-Type"] == nil }},
		{"Upstash-Content-Based-Deduplication", "False", func(message) bool { return true }},
		{"Upstash-Content-Based-Deduplication", "True", func(message) bool { return true }},
		{"Upstash-Deduplication-Id", "order 7/1", func(message) bool { return true }},
		{"Upstash-Telemetry-Sdk", "upstash-qstash-js@2", func(m message) bool { return len(m.Header) == 0 }},
	}
	ways := map[string]func(s *server, name, value string){
		"header": func(s *server, name, value string) {
			checkStatus(s.t, s.call("POST", "/v2/publish/https://example.com", "", name, value), 200)
		},
		"parameter": func(s *server, name, value string) {
			target := "/v2/publish/https://example.com?" + strings.ToLower(name) + "=" + url.QueryEscape(value)
			checkStatus(s.t, s.call("POST", target, ""), 200)
		},
		"enqueue": func(s *server, name, value string) {
			checkStatus(s.t, s.call("POST", "/v2/enqueue/q/https://example.com", "", name, value), 200)
		},
		"batch": func(s *server, name, value string) {
			body := `[{"destination":"https://example.com","headers":{"` + strings.ToLower(name) + `":"` + value + `"}}]`
			checkStatus(s.t, s.call("POST", "/v2/batch", body), 200)
		},
	}
	for _, test := range tests {
		for way, send := range ways {
			inBubble(t, test.header+" "+test.value+" as "+way, func(t *testing.T) {
				s := newServer(t, nil)
				send(s, test.header, test.value)
				m := s.only()
				if !test.check(m) {
					t.Errorf("got %+v", m)
				}
				if m.URL != "https://example.com" {
					t.Errorf("URL: got %q", m.URL)
				}
			})
		}
	}
}

func TestSettingsTogether(t *testing.T) {
	inBubble(t, "not before wins over delay", func(t *testing.T) {
		s := newServer(t, nil)
		s.call("POST", "/v2/publish/https://example.com", "", "Upstash-Not-Before", "946684860", "Upstash-Delay", "1h")
		if m := s.only(); m.DueAt.Sub(m.CreatedAt) != time.Minute {
			t.Errorf("due at %v", m.DueAt)
		}
	})
	t.Run("a header wins over a parameter", func(t *testing.T) {
		s := newServer(t, nil)
		s.call("POST", "/v2/publish/https://example.com?upstash-retries=1&upstash-forward-x=p&upstash-forward-y=p", "",
			"Upstash-Retries", "2", "Upstash-Forward-X", "h")
		m := s.only()
		if *m.Retries != 2 || m.Header.Get("X") != "h" || m.Header.Get("Y") != "p" {
			t.Errorf("got %d retries, header %v", *m.Retries, m.Header)
		}
	})
	t.Run("an empty header is not given", func(t *testing.T) {
		s := newServer(t, nil)
		s.call("POST", "/v2/publish/https://example.com?upstash-retries=1&upstash-method=put", "", "Upstash-Retries", "", "Upstash-Method", " ")
		if m := s.only(); *m.Retries != 1 || m.Method != "PUT" {
			t.Errorf("got %d retries, method %s", *m.Retries, m.Method)
		}
	})
	t.Run("what is forwarded by its name wins", func(t *testing.T) {
		for range 20 { // the order of a map is a matter of luck
			s := newServer(t, nil)
			s.call("POST", "/v2/publish/https://example.com?upstash-forward-x=p&upstash-forward-y=p", "", "Upstash-Header-Forward", "true",
				"X", "plain", "Y", "plain", "Z", "plain", "Upstash-Forward-X", "h")
			want := http.Header{"X": {"h"}, "Y": {"p"}, "Z": {"plain"}}
			if got := s.only().Header; !reflect.DeepEqual(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	})
}

// TestSettingsRefused has values that cannot be, and what is not supported:
// neither may be ignored in silence.
func TestSettingsRefused(t *testing.T) {
	for _, test := range []struct {
		header, value, err string
		over               bool // a limit: a batch goes on without it
	}{
		{"Upstash-Delay", "soon", "Upstash-Delay", false},
		{"Upstash-Delay", "-1s", "Upstash-Delay", false},
		{"Upstash-Delay", "1.5h", "Upstash-Delay", false},
		{"Upstash-Delay", "1h30", "Upstash-Delay", false},
		{"Upstash-Delay", "1w", "Upstash-Delay", false},
		{"Upstash-Delay", "100000d", "Upstash-Delay: ", true},
		{"Upstash-Delay", "9223372036854775807", "Upstash-Delay", false},
		{"Upstash-Delay", "99999999999999999999d", "Upstash-Delay", false},
		{"Upstash-Timeout", "never", "Upstash-Timeout", false},
		{"Upstash-Timeout", "25h", "Upstash-Timeout: ", true},
		{"Upstash-Not-Before", "tomorrow", "Upstash-Not-Before", false},
		{"Upstash-Not-Before", "-1", "Upstash-Not-Before", false},
		{"Upstash-Not-Before", "946684860000", "Upstash-Not-Before", false}, // milliseconds
		{"Upstash-Retries", "-1", "Upstash-Retries", false},
		{"Upstash-Retries", "many", "Upstash-Retries", false},
		{"Upstash-Retries", "1001", "Upstash-Retries: ", true},
		{"Upstash-Method", "GE T", "Upstash-Method: ", false},
		{"Upstash-Not-Before", "253402300799", "Upstash-Not-Before: ", true}, // more than ten years ahead
		{"Upstash-Label", strings.Repeat("l", 513), "Upstash-Label: ", true},
		{"Upstash-Label", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "Upstash-Label: ", true},
		{"Upstash-Flow-Control-Key", strings.Repeat("k", 257), "Upstash-Flow-Control-Key: ", true},
		{"Upstash-Flow-Control-Value", "parallelism=1", "needs an Upstash-Flow-Control-Key", false},
		{"Upstash-Header-Forward", "yes", "Upstash-Header-Forward", false},

		{"Upstash-Callback", "example.com", "Upstash-Callback: ", false},
		{"Upstash-Failure-Callback", "ftp://example.com", "Upstash-Failure-Callback: ", false},
		{"Upstash-Failure-Callback", "local:h", "Upstash-Failure-Callback: ", false},
		{"Upstash-Callback", "https://:80", "Upstash-Callback: ", false},
		{"Upstash-Cron", "* * * *", "Upstash-Cron", false},
		{"Upstash-Schedule-Id", "s", "Upstash-Schedule-Id", false},
		{"Upstash-Queue-Name", "a b", "name of the queue", false},
		{"Upstash-Deduplication-Id", strings.Repeat("d", 257), "Upstash-Deduplication-Id: ", true},
		{"Upstash-Content-Based-Deduplication", "yes", "Upstash-Content-Based-Deduplication", false},
		{"Upstash-Retry-Delay", "often", "Upstash-Retry-Delay: ", false},
		{"Upstash-Redact-Fields", "bodies", "Upstash-Redact-Fields: ", false},
		{"Upstash-Redact-Fields", "body,", "Upstash-Redact-Fields: ", false},
		{"Upstash-Redact-Fields", "header[]", "Upstash-Redact-Fields: ", false},
		{"Upstash-Redact-Fields", "header[a b]", "Upstash-Redact-Fields: ", false},
	} {
		t.Run(test.header+" "+test.value[:min(len(test.value), 20)], func(t *testing.T) {
			s := newServer(t, nil)
			const target = "/v2/publish/https://example.com"
			checkError(t, s.call("POST", target, "", test.header, test.value), 400, test.err)
			checkError(t, s.call("POST", "/v2/enqueue/q/https://example.com", "", test.header, test.value), 400, test.err)
			checkError(t, s.call("POST", target+"?"+strings.ToLower(test.header)+"="+url.QueryEscape(test.value), ""), 400, test.err)
			w := s.call("POST", "/v2/batch", `[{"destination":"https://example.com"},{"destination":"https://example.com","headers":{"`+
				test.header+`":"`+test.value+`"}}]`)
			if test.over {
				if slots := decode[[]slot](t, w); len(slots) != 2 || !strings.Contains(slots[1].Error, test.err) {
					t.Errorf("batch: got %+v", slots)
				}
				return
			}
			checkError(t, w, 400, test.err)
			checkError(t, w, 400, "item 1")
			s.checkGone("")
		})
	}
}

func TestForwardedHeaders(t *testing.T) {
	base := []string{
		"Content-Type", "text/plain", "Accept", "text/html", "Cookie", "c=1", "User-Agent", "curl/8",
		"Upstash-Forward-Authorization", "Bearer other", "Upstash-Forward-X-Trace", "1", "Upstash-Forward-X-Trace", "2",
		"Upstash-Forward-Content-Type", "application/octet-stream", "Upstash-Forward-", "no name",
		"Upstash-Telemetry-Sdk", "x", "Upstash-Feature-Set", "x", "Connection", "close, X-Hop", "X-Hop", "1", "Te", "trailers",
		"Expect", "100-continue", "Proxy-Connection", "close",
	}
	s := newServer(t, nil)
	checkStatus(t, s.call("POST", "/v2/publish/https://example.com?upstash-forward-content-type=a/b", "", base...), 200)
	want := http.Header{"Content-Type": {"text/plain"}, "Authorization": {"Bearer other"}, "X-Trace": {"1", "2"}}
	if got := s.only().Header; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	s = newServer(t, nil)
	checkStatus(t, s.call("POST", "/v2/publish/https://example.com", "", append(base, "Upstash-Header-Forward", "True")...), 200)
	want["Accept"], want["Cookie"], want["User-Agent"] = []string{"text/html"}, []string{"c=1"}, []string{"curl/8"}
	if got := s.only().Header; !reflect.DeepEqual(got, want) {
		t.Errorf("all: got %v, want %v", got, want)
	}

	// Without one of the message's own, that of the publisher is no secret to
	// hand on.
	s = newServer(t, nil)
	checkStatus(t, s.call("POST", "/v2/publish/https://example.com", "", "Upstash-Header-Forward", "true"), 200)
	if got := s.only().Header; len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

// TestForwardAuthorization has a webhook that brings credentials for the
// endpoint, and is let in by the token in the address.
func TestForwardAuthorization(t *testing.T) {
	const forward, token = "?upstash-header-forward=true", "&qstash_token=" + qstash.DevToken
	for _, test := range []struct{ name, query, authorization, want string }{
		{"of another scheme", forward + token, "Basic eDp5", "Basic eDp5"},
		{"a bearer of its own", forward + token, "Bearer other", "Bearer other"},
		{"the token itself", forward + token, "Bearer " + qstash.DevToken, ""},
		{"the token alone", forward, "bearer " + qstash.DevToken, ""},
		{"not asked for", "?x=1" + token, "Basic eDp5", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, nil)
			r := request("POST", "/v2/publish/https://example.com"+test.query, "")
			r.Header.Set("Authorization", test.authorization)
			checkStatus(t, s.do(r), 200)
			m := s.only()
			if got := m.Header.Get("Authorization"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if strings.Contains(m.URL, "token") {
				t.Errorf("URL: got %q", m.URL)
			}
		})
	}
	t.Run("of a batch item", func(t *testing.T) {
		s := newServer(t, nil)
		checkStatus(t, s.call("POST", "/v2/batch",
			`[{"destination":"https://example.com","headers":{"upstash-header-forward":"true","authorization":"Bearer item"}}]`), 200)
		if got := s.only().Header.Get("Authorization"); got != "Bearer item" {
			t.Errorf("got %q", got)
		}
	})
}

func TestBody(t *testing.T) {
	s := newServer(t, &qstash.Options{MaxBody: 10})
	for _, body := range []string{"", "0123456789", "\x00\xff\r\n", "{not JSON"} {
		w := s.call("POST", "/v2/publish/https://example.com", body, "Content-Type", "application/json")
		checkStatus(t, w, 200)
		m, err := s.b.Get(t.Context(), recall.MessageID(decode[struct{ MessageID string }](t, w).MessageID))
		if err != nil || string(m.Body) != body {
			t.Errorf("got %q, %v, want %q", m.Body, err, body)
		}
	}
	before := s.left()
	checkError(t, s.call("POST", "/v2/publish/https://example.com", "0123456789a"), 413, "larger than 10 bytes")
	r := request("POST", "/v2/enqueue/q/https://example.com", "")
	r.Body = io.NopCloser(failingReader{})
	checkError(t, s.do(r), 400, "could not be read")
	if got := s.left(); got != before {
		t.Errorf("left: got %q, want %q", got, before)
	}
}
