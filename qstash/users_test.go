package qstash_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// openQuiet opens a file that delivers nothing.
func openQuiet(t *testing.T, path string) *recall.Broker {
	t.Helper()
	b, err := recall.Open(path, &recall.Options{
		NoDispatch: true, Durability: recall.SyncNever, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Error(err)
		}
	})
	return b
}

// household is the four users of a local server behind one handler.
type household struct {
	t       *testing.T
	users   []qstash.DevUser
	handler http.Handler
}

func newHousehold(t *testing.T) *household {
	t.Helper()
	h := &household{t: t, users: qstash.DevUsers()}
	var list []qstash.User
	for _, u := range h.users {
		list = append(list, qstash.User{
			Name: u.Name, Broker: openQuiet(t, filepath.Join(t.TempDir(), "queue.db")),
			Options: &qstash.Options{
				Token: u.Token, Tokens: []string{u.Name + "-other"}, ReadOnlyTokens: []string{u.Name + "-read"},
				Keys: qstash.NewKeys(u.CurrentSigningKey, u.NextSigningKey), Logger: slog.New(slog.DiscardHandler),
			},
		})
	}
	handler, err := qstash.NewUsers(list...)
	if err != nil {
		t.Fatal(err)
	}
	h.handler = handler
	return h
}

// call makes a request with a token.
func (h *household) call(token, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := request(method, target, "", headers...)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}

// count is how many messages a user has.
func (h *household) count(u qstash.DevUser) int {
	h.t.Helper()
	w := h.call(u.Token, "POST", "/recall/v1/count")
	checkStatus(h.t, w, 200)
	return decode[struct{ Pending int }](h.t, w).Pending
}

// TestUsersAreApart has each of four users do what reaches farthest, and looks
// at the others.
func TestUsersAreApart(t *testing.T) {
	h := newHousehold(t)
	ids := map[string]string{}
	for _, u := range h.users { // the same id of all: it is no duplicate
		w := h.call(u.Token, "POST", "/v2/publish/https://example.com", "Upstash-Deduplication-Id", "one", "Upstash-Delay", "1h")
		checkStatus(t, w, 200)
		ids[u.Name] = decode[struct{ MessageID string }](t, w).MessageID
		checkStatus(t, h.call(u.Name+"-other", "POST", "/v2/publish/https://example.com", "Upstash-Deduplication-Id", "one"), 202)
		checkBody(t, h.call(u.Token, "GET", "/v2/keys"),
			fmt.Sprintf(`{"current":"%s","next":"%s"}`, u.CurrentSigningKey, u.NextSigningKey))
	}
	first := h.users[0]
	for _, u := range h.users[1:] {
		checkStatus(t, h.call(first.Token, "GET", "/v2/messages/"+ids[u.Name]), 404)
		checkStatus(t, h.call(first.Token, "DELETE", "/v2/messages/"+ids[u.Name]), 404)
		checkBody(t, h.call(first.Token, "DELETE", "/v2/messages?messageIds="+ids[u.Name]), `{"cancelled":0}`)
	}
	checkBody(t, h.call(first.Token, "DELETE", "/v2/messages"), `{"cancelled":1}`)
	checkStatus(t, h.call(first.Token, "POST", "/v2/keys/rotate"), 200)
	for i, u := range h.users {
		if got, want := h.count(u), min(i, 1); got != want {
			t.Errorf("%s: %d messages, want %d", u.Name, got, want)
		}
		current := u.CurrentSigningKey
		if i == 0 {
			current = u.NextSigningKey
		}
		if body := h.call(u.Token, "GET", "/v2/keys").Body.String(); !strings.Contains(body, `"current":"`+current+`"`) {
			t.Errorf("%s: got %s, want %s", u.Name, body, current)
		}
	}
	checkBody(t, h.call(h.users[1].Token, "GET", "/recall/v1/cancellations"), `{"cancellations":[]}`)
}

// TestUsersToken is about who a request is from.
func TestUsersToken(t *testing.T) {
	h := newHousehold(t)
	a, b := h.users[0], h.users[1]
	for _, test := range []struct {
		name, token, query string
		status             int
	}{
		{"none", "", "", 401},
		{"wrong", "x", "", 401},
		{"query", "", a.Token, 200},
		{"query beside one of somebody else", "x", a.Token, 200},
		{"both of one user", a.Token, a.Name + "-other", 200},
		{"of two users", a.Token, b.Token, 401},
		{"for reading only", a.Name + "-read", "", 403},
		{"both of one user, one for reading only", a.Name + "-read", a.Token, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := h.call(test.token, "POST", "/v2/publish/https://example.com?qstash_token="+test.query)
			checkStatus(t, w, test.status)
		})
	}
	checkStatus(t, h.call("x", "GET", "/v2/nothing"), 404)
}

func TestNewUsersRefuses(t *testing.T) {
	open := func() *recall.Broker { return openQuiet(t, filepath.Join(t.TempDir(), "queue.db")) }
	shared, keys := open(), qstash.NewKeys("a", "b")
	bound := qstash.NewKeys("a", "b")
	if err := bound.Bind(open()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		users []qstash.User
		want  []string
	}{
		{"nobody", nil, []string{"no users"}},
		{"no broker", []qstash.User{{Name: "ann"}}, []string{`"ann"`, "no broker"}},
		{
			"the public token of both",
			[]qstash.User{{Name: "ann", Broker: open()}, {Name: "ben", Broker: open()}},
			[]string{`"ben" (number 1) has a token of user "ann" (number 0)`},
		},
		{
			"for reading only there",
			[]qstash.User{
				{Name: "ann", Broker: open(), Options: &qstash.Options{Token: "secret"}},
				{Name: "ben", Broker: open(), Options: &qstash.Options{Token: "b", ReadOnlyTokens: []string{"secret"}}},
			},
			[]string{"a token of user"},
		},
		{
			"no token",
			[]qstash.User{{Broker: open(), Options: &qstash.Options{Tokens: []string{""}}}},
			[]string{"no token"},
		},
		{
			"everything at once",
			[]qstash.User{
				{Name: "ann", Broker: shared, Options: &qstash.Options{Token: "secret", Keys: keys}},
				{Name: "ben", Broker: shared, Options: &qstash.Options{Token: "secret", Keys: keys}},
			},
			[]string{"the broker of", "a token of", "the signing keys of"},
		},
		{
			"keys of another broker",
			[]qstash.User{{Broker: open(), Options: &qstash.Options{Keys: bound}}},
			[]string{"belong to another broker"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := qstash.NewUsers(test.users...)
			if err == nil || h != nil {
				t.Fatalf("got %v, %v", h, err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want one with %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q names a token", err)
			}
		})
	}
}

func TestSeveralTokens(t *testing.T) {
	s := newServer(t, &qstash.Options{Token: "a", Tokens: []string{"b", "", "both"}, ReadOnlyTokens: []string{"r", "", "both"}})
	s.publish("m", recall.Message{})
	reads := []struct{ method, target string }{
		{"GET", "/v2/messages/{m}"},
		{"HEAD", "/v2/messages/{m}"},
		{"POST", "/recall/v1/count"},
		{"POST", "/recall/v1/explain"},
		{"GET", "/recall/v1/cancellations"},
		{"GET", "/recall/v1/standing"},
	}
	changes := []struct{ method, target string }{
		{"POST", "/v2/publish/https://example.com"},
		{"POST", "/v2/batch"},
		{"POST", "/v2/enqueue/q/https://example.com"},
		{"DELETE", "/v2/messages"},
		{"DELETE", "/v2/messages/{m}"},
		{"DELETE", "/V2/Messages/"},
		{"GET", "/v2/keys"},
		{"GET", "/V2/Keys/"},
		{"HEAD", "//v2/keys"},
		{"POST", "/v2/keys/rotate"},
		{"POST", "/v2/rotate"},
		{"POST", "/recall/v1/cancel?all=true"},
		{"POST", "/recall/v1/restore"},
		{"POST", "/recall/v1/hold"},
		{"POST", "/recall/v1/standing"},
	}
	for _, token := range []string{"r", "both"} {
		for _, test := range reads {
			w := s.do(withToken(request(test.method, s.expand(test.target), ""), token))
			checkStatus(t, w, 200)
		}
		for _, test := range changes {
			w := s.do(withToken(request(test.method, s.expand(test.target), ""), token))
			checkError(t, w, 403, "reading only")
		}
	}
	s.checkGone("")
	for _, token := range []string{"", qstash.DevToken, "c"} {
		checkStatus(t, s.do(withToken(request("GET", "/v2/keys", ""), token)), 401)
	}
	for _, token := range []string{"a", "b"} {
		checkStatus(t, s.do(withToken(request("GET", "/v2/keys", ""), token)), 200)
	}
	checkStatus(t, s.do(withToken(request("DELETE", s.expand("/v2/messages/{m}"), ""), "b")), 202)
}

func withToken(r *http.Request, token string) *http.Request {
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// TestNoToken: an empty text among tokens lets nobody in, and does not make the
// public token hold either.
func TestNoToken(t *testing.T) {
	for _, o := range []qstash.Options{{Tokens: []string{""}}, {ReadOnlyTokens: []string{"r"}}} {
		s := newServer(t, &o)
		for _, token := range []string{"", qstash.DevToken} {
			checkStatus(t, s.do(withToken(request("POST", "/v2/publish/https://example.com", ""), token)), 401)
		}
	}
}
