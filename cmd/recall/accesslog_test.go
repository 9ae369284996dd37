package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLoggedPath(t *testing.T) {
	long := strings.Repeat("é", 150)
	for path, want := range map[string]string{
		"/v2/messages":                                    "/v2/messages",
		"/v2/publish/https://example.com":                 "/v2/publish/https://example.com",
		"/v2/publish/https://example.com/hooks/SECRET":    "/v2/publish/https://example.com/…",
		"/v2/publish/https://me:SECRET@example.com/":      "/v2/publish/https://example.com/…",
		"/v2/enqueue/q/http://a@b@c:80":                   "/v2/enqueue/q/http://c:80",
		"/v2/publish/https%3A%2F%2Fexample.com%2FSECRET":  "/v2/publish/https%3A%2F%2F…",
		"/v2/publish/https%3a%2f%2fexample.com/hooks/SEC": "/v2/publish/https%3a%2f%2f…",
		"/v2/publish/https%3A//example.com/SECRET":        "/v2/publish/https%3A//…",
		"/v2/schedules/https:%2F%2Fexample.com/SECRET":    "/v2/schedules/https:%2F%2F…",
		"/v2/publish/https:/example.com/SECRET":           "/v2/publish/https:/…",
		"/v2/publish/HTTPS%3a%2Fexample.com/SECRET":       "/v2/publish/HTTPS%3a%2F…",
		"/" + long: "/" + long[:198] + "…",
	} {
		if got := loggedPath(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// TestRequestID takes over what can stand in a log, and makes one otherwise.
func TestRequestID(t *testing.T) {
	for id, taken := range map[string]bool{
		"order-7": true, "Root=1-67891233-abcdef012345678912345678": true, strings.Repeat("a", 128): true,
		"": false, "two words": false, "a\nb": false, `"`: false, "-x": false, strings.Repeat("a", 129): false, "é": false,
	} {
		var seen string
		h := withRequestID(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = scopeOf(r.Context()).id }))
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header[requestIDHeader] = []string{id}
		h.ServeHTTP(w, r)
		if got := w.Header().Get(requestIDHeader); got != seen || (got == id) != taken || !saneID.MatchString(got) {
			t.Errorf("%q: got %q, and %q inside", id, got, seen)
		}
	}
}
