package qstash_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// only returns the one message that is live.
func (s *server) only() recall.Message {
	s.t.Helper()
	var found []recall.Message
	for m, err := range s.b.List(s.t.Context(), recall.Filter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		full, err := s.b.Get(s.t.Context(), m.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		found = append(found, full)
	}
	if len(found) != 1 {
		s.t.Fatalf("messages: got %d, want 1", len(found))
	}
	return found[0]
}

// TestDestination has destinations as they stand in a path. What is stored is
// this text, byte for byte.
func TestDestination(t *testing.T) {
	const pub = "/v2/publish/"
	tests := []struct{ name, target, url, queue string }{
		{"plain", pub + "https://example.com/a", "https://example.com/a", ""},
		{"no path", pub + "http://example.com", "http://example.com", ""},
		{"port", pub + "http://example.com:8080/a", "http://example.com:8080/a", ""},
		{"slash at the end", pub + "https://example.com/a/", "https://example.com/a/", ""},
		{"slashes and dots", pub + "https://example.com/a//b/../c/./d", "https://example.com/a//b/../c/./d", ""},
		{"escapes", pub + "https://example.com/a%2Fb%20c%C3%A4/%7e", "https://example.com/a%2Fb%20c%C3%A4/%7e", ""},
		{"not escaped", pub + "https://example.com/a:b@c!$&'()*+,;=~", "https://example.com/a:b@c!$&'()*+,;=~", ""},
		{"should be escaped", pub + `https://example.com/a%2Fb/{id}|^"<>`, `https://example.com/a%2Fb/{id}|^"<>`, ""},
		{"Unicode", pub + "https://example.com/ü%2F?ü={}", "https://example.com/ü%2F?ü={}", ""},
		{"letter case", pub + "https://Example.COM/A?B=C", "https://Example.COM/A?B=C", ""},
		{"user", pub + "https://u:p@example.com/", "https://u:p@example.com/", ""},
		{"URL in the path", pub + "https://example.com/https://other.example/", "https://example.com/https://other.example/", ""},

		{"query", pub + "https://example.com/a?y=%2F+z&x=1&x=2", "https://example.com/a?y=%2F+z&x=1&x=2", ""},
		{"odd query", pub + "https://example.com/a?&=&a=b=c&&d;e&%zz&?", "https://example.com/a?&=&a=b=c&&d;e&%zz&?", ""},
		{"empty query", pub + "https://example.com/a?", "https://example.com/a?", ""},
		{"token in the query", pub + "https://example.com/a?x=1&qstash_token=t&y=2", "https://example.com/a?x=1&y=2", ""},
		{"only the token", pub + "https://example.com/a?qstash_token=t", "https://example.com/a", ""},
		{"token in other letters", pub + "https://example.com/a?QSTASH_TOKEN=t&x=1", "https://example.com/a?x=1", ""},
		{"escaped token", pub + "https://example.com/a?qstash%5Ftoken=t&x=1", "https://example.com/a?x=1", ""},
		{"settings in the query", pub + "https://example.com/a?z=1&upstash-retries=3&a=2&Upstash-Delay=1s", "https://example.com/a?z=1&a=2", ""},
		{"escaped setting", pub + "https://example.com/a?upstash%2Dretries=3&x=1", "https://example.com/a?x=1", ""},
		{"what looks like ours", pub + "https://example.com/a?upstash=1&qstash_tokens=2&x-upstash-delay=3", "https://example.com/a?upstash=1&qstash_tokens=2&x-upstash-delay=3", ""},

		{"escaped as a whole", pub + "https%3A%2F%2Fexample.com%2Fa", "https://example.com/a", ""},
		{"escaped in lower case", pub + "http%3a%2f%2fexample.com%2fa%2520b", "http://example.com/a%20b", ""},
		{"escaped with its query", pub + "https%3A%2F%2Fexample.com%2Fa%3Fx%3D1", "https://example.com/a?x=1", ""},
		{"escaped with its query and another", pub + "https%3A%2F%2Fexample.com%2Fa%3Fx%3D1?y=2&qstash_token=t", "https://example.com/a?x=1&y=2", ""},

		{"route in other letters", "/V2/Publish/https://example.com/Aa", "https://example.com/Aa", ""},
		{"two slashes in front", "//v2/publish/https://example.com//a", "https://example.com//a", ""},
		{"three slashes in front", "///v2/publish/https://example.com/a", "https://example.com/a", ""},

		{"queue", "/v2/enqueue/q-1/https://example.com/a//b?x=1", "https://example.com/a//b?x=1", "q-1"},
		{"queue with an escape", "/v2/enqueue/q%2D1/https://example.com", "https://example.com", "q-1"},
		{"queue and what should be escaped", "/v2/enqueue/q%2D1/https://example.com/%2F{", "https://example.com/%2F{", "q-1"},
		{"queue in other letters", "/v2/Enqueue/Q/https://example.com", "https://example.com", "Q"},
		{"queue and an escaped destination", "/v2/enqueue/q/https%3A%2F%2Fexample.com%2Fa", "https://example.com/a", "q"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, nil)
			w := s.call("POST", test.target, "body")
			checkStatus(t, w, 200)
			m := s.only()
			if m.URL != test.url || m.Queue != test.queue {
				t.Errorf("got %q on %q, want %q on %q", m.URL, m.Queue, test.url, test.queue)
			}
			got := decode[struct{ MessageID, URL string }](t, w)
			if got.MessageID != string(m.ID) || got.URL != test.url {
				t.Errorf("answer: got %+v, want %s and %s", got, m.ID, test.url)
			}
		})
	}
}

func TestDestinationRefused(t *testing.T) {
	const pub = "/v2/publish/"
	tests := []struct {
		name, target string
		status       int
		err          string
	}{
		{"none", "/v2/publish", 400, "a non-empty destination must be provided"},
		{"none with a slash", pub, 400, "a non-empty destination must be provided"},
		{"none with a query", pub + "?x=1", 400, "a non-empty destination must be provided"},
		{"only a slash", pub + "/", 400, "a non-empty destination must be provided"},
		{"no destination for a queue", "/v2/enqueue/q/", 400, "a non-empty destination must be provided"},
		{"no destination and no slash for a queue", "/v2/enqueue/q", 400, "a non-empty destination must be provided"},
		{"nothing to enqueue", "/v2/enqueue", 400, "a non-empty destination must be provided"},
		{"no queue", "/v2/enqueue/", 400, "a non-empty destination must be provided"},
		{"empty queue", "/v2/enqueue//https://example.com", 400, "name of the queue"},
		{"queue with a comma", "/v2/enqueue/a,b/https://example.com", 400, "name of the queue"},
		{"queue with a slash", "/v2/enqueue/a%2Fb/https://example.com", 400, "name of the queue"},
		{"queue with a long name", "/v2/enqueue/" + strings.Repeat("q", 257) + "/https://example.com", 400, "queue: "},
		{"group", pub + "my-group", 404, "topic my-group not found"},
		{"group with a slash", pub + "my_group.2/", 404, "topic my_group.2 not found"},
		{"group of a queue", "/v2/enqueue/q/g", 404, "topic g not found"},
		{"group with a long name", pub + strings.Repeat("g", 257), 400, "the URL group: "},
		{"group with a query", pub + "my-group?x=1", 400, "a URL group has no query"},
		{"no scheme", pub + "example.com/a", 400, "invalid scheme"},
		{"other scheme", pub + "ftp://example.com/a", 400, "invalid scheme"},
		{"scheme with one slash", pub + "https:/example.com/a", 400, "invalid scheme"},
		{"Unicode", pub + "grüppe", 400, "invalid scheme"},
		{"handler of the process", pub + "local:h", 400, "invalid scheme"},
		{"no host", pub + "https://", 400, "destination: "},
		{"no host but a path", pub + "https:///a", 400, "destination: "},
		{"line feed", pub + "https%3A%2F%2Fexample.com%2F%0A", 400, "destination: "},
		{"long", pub + "https://example.com/" + strings.Repeat("a", 2048), 400, "destination: "},
		{"setting with a bad escape", pub + "https://example.com/?upstash-delay=%zz", 400, "bad escape"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, nil)
			checkError(t, s.call("POST", test.target, ""), test.status, test.err)
			s.checkGone("")
		})
	}
}

func TestAllowLocal(t *testing.T) {
	s := newServer(t, &qstash.Options{AllowLocal: true})
	checkStatus(t, s.call("POST", "/v2/publish/local:orders", ""), 200)
	if got := s.only().URL; got != "local:orders" {
		t.Errorf("got %q", got)
	}
}

func TestRoutes(t *testing.T) {
	s := newServer(t, nil)
	for _, test := range []struct {
		method, target string
		status         int
		allow          string
	}{
		{"GET", "/v2/keys", 200, ""},
		{"GET", "/v2/keys/", 200, ""},
		{"HEAD", "/v2/keys", 200, ""},
		{"GET", "/V2/Keys", 200, ""},
		{"GET", "//v2/keys", 200, ""},
		{"DELETE", "/v2/messages", 202, ""},
		{"DELETE", "/V2/Messages/", 202, ""},
		{"POST", "/v2/batch", 400, ""},
		{"POST", "/v2/batch/", 400, ""},
		{"POST", "/recall/v1/count", 200, ""},
		{"POST", "/recall/v1/explain/", 200, ""},
		{"GET", "/v2/publish/https://example.com", 405, "POST"},
		{"DELETE", "/v2/enqueue/q/https://example.com", 405, "POST"},
		{"GET", "/v2/batch", 405, "POST"},
		{"POST", "/v2/messages", 405, "DELETE"},
		{"GET", "/v2/messages", 405, "DELETE"},
		{"PATCH", "/v2/messages/" + unknownID, 405, "DELETE, GET, HEAD"},
		{"POST", "/v2/keys", 405, "GET, HEAD"},
		{"DELETE", "/v2/keys", 405, "GET, HEAD"},
		{"GET", "/recall/v1/cancellations/", 200, ""},
		{"GET", "/recall/v1/standing/", 200, ""},
		{"HEAD", "/Recall/V1/Standing", 200, ""},
		{"POST", "/recall/v1/cancel", 400, ""},
		{"POST", "/recall/v1/restore/", 400, ""},
		{"POST", "/recall/v1/hold", 400, ""},
		{"POST", "/recall/v1/release", 400, ""},
		{"POST", "/recall/v1/reschedule", 400, ""},
		{"POST", "/recall/v1/retry-now", 400, ""},
		{"DELETE", "/recall/v1/cancel", 405, "POST"},
		{"POST", "/recall/v1/cancellations", 405, "GET, HEAD"},
		{"PUT", "/recall/v1/standing", 405, "GET, HEAD, POST"},
		{"GET", "/recall/v1/standing/" + unknownOp, 405, "DELETE"},
		{"GET", "/recall/v1/cancellations/" + unknownOp, 404, ""},
		{"GET", "/recall/v1/count", 405, "POST"},
		{"DELETE", "/recall/v1/explain", 405, "POST"},
		{"OPTIONS", "/v2/messages", 405, "DELETE"},
		{"GET", "/", 404, ""},
		{"GET", "/v2", 404, ""},
		{"GET", "/v2/", 404, ""},
		{"GET", "/v1/keys", 404, ""},
		{"GET", "/v2/keys//", 404, ""},
		{"GET", "/v2/keys/rotate", 405, "POST"},
		{"POST", "/V2/keys/Rotate/", 200, ""},
		{"POST", "/v2/rotate", 200, ""},
		{"GET", "/v2/rotate", 405, "POST"},
		{"POST", "/v2/publishing", 404, ""},
		{"POST", "/v2%2Fpublish/https://example.com", 404, ""},
		{"DELETE", "/v2/message", 404, ""},
		{"DELETE", "/v2/messages//", 404, ""},
		{"GET", "/v2/nothing", 404, ""},
		{"GET", "/recall/v1", 404, ""},
	} {
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			w := s.call(test.method, test.target, "")
			checkStatus(t, w, test.status)
			if got := w.Header().Get("Allow"); got != test.allow {
				t.Errorf("Allow: got %q, want %q", got, test.allow)
			}
		})
	}
}

func TestToken(t *testing.T) {
	for _, test := range []struct {
		name, target, authorization string
		ok                          bool
	}{
		{"header", "/v2/keys", "Bearer secret", true},
		{"scheme in lower case", "/v2/keys", "bearer secret", true},
		{"query", "/v2/keys?qstash_token=secret", "", true},
		{"query beside another scheme", "/v2/keys?qstash_token=secret", "Basic eDp5", true},
		{"none", "/v2/keys", "", false},
		{"wrong", "/v2/keys", "Bearer Secret", false},
		{"longer", "/v2/keys", "Bearer secret1", false},
		{"shorter", "/v2/keys", "Bearer secre", false},
		{"empty", "/v2/keys", "Bearer ", false},
		{"no scheme", "/v2/keys", "secret", false},
		{"that of a local server", "/v2/keys", "Bearer " + qstash.DevToken, false},
		{"wrong in the query", "/v2/keys?qstash_token=x", "", false},
		{"empty in the query", "/v2/keys?qstash_token=", "", false},
		{"query beside another bearer", "/v2/keys?qstash_token=secret", "Bearer x", true},
		{"wrong in both", "/v2/keys?qstash_token=y", "Bearer x", false},
		{"another scheme", "/v2/keys", "Basic secret", false},
		{"wrong for a cancel", "/v2/messages", "Bearer x", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, &qstash.Options{Token: "secret"})
			s.publish("a", recall.Message{})
			method := http.MethodGet
			if test.target == "/v2/messages" {
				method = http.MethodDelete
			}
			r := request(method, test.target, "")
			r.Header.Del("Authorization")
			if test.authorization != "" {
				r.Header.Set("Authorization", test.authorization)
			}
			if w := s.do(r); test.ok {
				checkStatus(t, w, 200)
			} else {
				checkError(t, w, 401, "token")
			}
			s.checkGone("")
		})
	}
}

func TestKeys(t *testing.T) {
	checkBody(t, newServer(t, nil).call("GET", "/v2/keys", ""),
		`{"current":"`+qstash.DevCurrentSigningKey+`","next":"`+qstash.DevNextSigningKey+`"}`)
	s := newServer(t, &qstash.Options{Keys: qstash.NewKeys("sig_1", "sig_2")})
	checkBody(t, s.call("GET", "/v2/keys", ""), `{"current":"sig_1","next":"sig_2"}`)
}
