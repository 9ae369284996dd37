package qstash_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/recallmq/recall/qstash"
)

const console = "https://console.upstash.com"

// preflight is the request by which a browser asks whether a page may cancel.
func preflight(origin string) *http.Request {
	r := httptest.NewRequest("OPTIONS", "/v2/messages?label=a", nil)
	r.Header.Set("Origin", origin)
	r.Header.Set("Access-Control-Request-Method", "DELETE")
	r.Header.Set("Access-Control-Request-Headers", "authorization,upstash-label")
	return r
}

func TestPreflight(t *testing.T) {
	for _, test := range []struct {
		name    string
		allowed []string
		origin  string
		ok      bool
	}{
		{"off", nil, console, false},
		{"the console", []string{console}, console, true},
		{"as people write it", []string{"http://localhost:3000", "HTTPS://Console.Upstash.com/"}, console, true},
		{"all", []string{"*"}, "https://example.com", true},
		{"another", []string{console}, "https://example.com", false},
		{"another with the same beginning", []string{console}, console + ".example.com", false},
		{"another scheme", []string{console}, "http://console.upstash.com", false},
		{"an empty one", []string{""}, "", false},
		{"a page without one", []string{console}, "null", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, &qstash.Options{AllowedOrigins: test.allowed})
			w := s.do(preflight(test.origin))
			got := w.Header()
			if !test.ok {
				checkError(t, w, 405, "method")
				if got.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("got %v", got)
				}
				return
			}
			if w.Code != 204 || w.Body.Len() > 0 {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			checkHeaders(t, got, map[string]string{
				"Access-Control-Allow-Origin": test.origin, "Access-Control-Allow-Headers": "authorization,upstash-label",
				"Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE", "Vary": "Origin",
				"Access-Control-Max-Age": "600", "Access-Control-Allow-Private-Network": "", "Access-Control-Allow-Credentials": "",
			})
		})
	}
}

// TestCrossOrigin: a page that is allowed can read answers, also errors; it needs
// the token, and a plain OPTIONS is no preflight.
func TestCrossOrigin(t *testing.T) {
	s := newServer(t, &qstash.Options{AllowedOrigins: []string{console}})
	for _, test := range []struct {
		method, target, token string
		status                int
	}{
		{"GET", "/v2/keys", qstash.DevToken, 200},
		{"GET", "/v2/keys", "x", 401},
		{"DELETE", "/v2/messages", "", 401},
		{"GET", "/v2/nothing", qstash.DevToken, 404},
		{"OPTIONS", "/v2/messages", qstash.DevToken, 405},
	} {
		w := s.do(withToken(request(test.method, test.target, "", "Origin", console), test.token))
		checkStatus(t, w, test.status)
		checkHeaders(t, w.Header(), map[string]string{"Access-Control-Allow-Origin": console, "Vary": "Origin"})
		w = s.do(withToken(request(test.method, test.target, "", "Origin", "https://example.com"), test.token))
		checkStatus(t, w, test.status)
		checkHeaders(t, w.Header(), map[string]string{"Access-Control-Allow-Origin": "", "Vary": "Origin"})
	}
	r := preflight(console)
	r.Header.Set("Access-Control-Request-Private-Network", "true")
	checkHeaders(t, s.do(r).Header(), map[string]string{"Access-Control-Allow-Private-Network": "true"})
}

// TestCrossOriginOfUsers: nobody knows yet whose a preflight is, so the origins of
// all count; an answer is for those of its user.
func TestCrossOriginOfUsers(t *testing.T) {
	user := func(token, origin string) qstash.User {
		return qstash.User{
			Broker:  openQuiet(t, filepath.Join(t.TempDir(), "queue.db")),
			Options: &qstash.Options{Token: token, AllowedOrigins: []string{origin}},
		}
	}
	h, err := qstash.NewUsers(user("a", console), user("b", "https://example.com"))
	if err != nil {
		t.Fatal(err)
	}
	do := func(r *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for origin, status := range map[string]int{console: 204, "https://example.com": 204, "https://example.org": 405} {
		if w := do(preflight(origin)); w.Code != status {
			t.Errorf("%s: got %d, want %d", origin, w.Code, status)
		}
	}
	for token, allowed := range map[string]string{"a": console, "b": ""} {
		w := do(withToken(request("GET", "/v2/keys", "", "Origin", console), token))
		checkStatus(t, w, 200)
		checkHeaders(t, w.Header(), map[string]string{"Access-Control-Allow-Origin": allowed})
	}
}
