package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recallmq/recall"
)

// house is a server of several users, without a network.
type house struct {
	t       *testing.T
	handler http.Handler
	users   []*user
}

func newHouse(t *testing.T, users []*user) *house {
	t.Helper()
	s := &server{users: users, limits: defaultLimits, durability: recall.SyncNever, log: slog.New(slog.DiscardHandler)}
	if err := s.openUsers(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.closeUsers(); err != nil {
			t.Error(err)
		}
	})
	h, err := s.handler()
	if err != nil {
		t.Fatal(err)
	}
	return &house{t, h, users}
}

// call makes a request with the user's first token.
func (h *house) call(u *user, method, target, body string, headers ...string) (int, string) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+u.tokens[0])
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// must is call, of what has to succeed.
func (h *house) must(u *user, method, target, body string, headers ...string) string {
	h.t.Helper()
	status, text := h.call(u, method, target, body, headers...)
	if status < 200 || status > 299 {
		h.t.Fatalf("%s: %s %s: got %d %s", u.name, method, target, status, text)
	}
	return text
}

// sees is all that a user can see.
func (h *house) sees(u *user) string {
	var all strings.Builder
	for _, path := range []string{
		"/v2/keys", "/v2/queues", "/v2/topics", "/v2/schedules", "/v2/dlq", "/v2/events", "/v2/logs", "/v2/flowControl", "/v2/flowControl/k",
		"/recall/v1/cancellations", "/recall/v1/standing",
	} {
		status, text := h.call(u, "GET", path, "")
		fmt.Fprintf(&all, "%s %d %s\n", path, status, text)
	}
	status, text := h.call(u, "POST", "/recall/v1/count", "")
	fmt.Fprintf(&all, "count %d %s\n", status, text)
	for m, err := range u.broker.List(h.t.Context(), recall.Filter{}) {
		fmt.Fprintf(&all, "%s %s %s %v\n", m.ID, m.URL, m.State, err)
	}
	return all.String()
}

// publish returns the id.
func (h *house) publish(u *user, headers ...string) string {
	h.t.Helper()
	text := h.must(u, "POST", "/v2/publish/https://example.com/?upstash-delay=1h", "hello", headers...)
	var receipt struct {
		MessageID    string
		Deduplicated bool
	}
	if err := json.Unmarshal([]byte(text), &receipt); err != nil || receipt.MessageID == "" || receipt.Deduplicated {
		h.t.Fatalf("%s: publish: got %s, %v", u.name, text, err)
	}
	return receipt.MessageID
}

func devHouse(t *testing.T) *house {
	return newHouse(t, devUsers("", filepath.Join(t.TempDir(), "q.db")))
}

func configuredHouse(t *testing.T) *house {
	s := &serve{}
	s.data = t.TempDir()
	s.log = slog.New(slog.DiscardHandler)
	s.usersFile = filepath.Join(s.data, "users.json")
	writeFile(t, s.usersFile, `{"users":[{"name":"a","tokens":["a-1","a-2"]},{"name":"b","tokens":["b-1"],"readOnlyTokens":["b-r"]}]}`)
	if err := s.chooseUsers(); err != nil {
		t.Fatal(err)
	}
	return newHouse(t, s.users)
}

// TestIsolation has each user do everything that a user can do, with ids of the
// others where ids are taken: nothing changes of what these see.
func TestIsolation(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *house{"dev": devHouse, "serve": configuredHouse} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			var ids []string
			for _, u := range h.users {
				ids = append(ids, h.publish(u, "Upstash-Label", "x", "Upstash-Deduplication-Id", "one for all", "Upstash-Flow-Control-Key", "k",
					"Upstash-Flow-Control-Value", "parallelism=1"))
			}
			for _, actor := range h.users {
				h.checkActions(actor, ids)
			}
		})
	}
}

func (h *house) checkActions(actor *user, ids []string) {
	h.t.Helper()
	list, _ := json.Marshal(ids)
	for _, action := range []struct{ method, target, body, header, value string }{
		{"GET", "/v2/keys", "", "", ""},
		{"POST", "/v2/keys/rotate", "", "", ""},
		{"POST", "/v2/publish/https://example.com/?upstash-delay=1h", "", "Upstash-Deduplication-Id", "another"},
		{"POST", "/v2/enqueue/q/https://example.com/?upstash-delay=1h", "", "", ""},
		{"POST", "/v2/queues", `{"queueName":"q","parallelism":7}`, "", ""},
		{"POST", "/v2/queues/q/pause", "", "", ""},
		{"POST", "/v2/topics/g/endpoints", `{"endpoints":[{"url":"https://example.com"}]}`, "", ""},
		{"POST", "/v2/publish/g?upstash-delay=1h", "", "", ""},
		{"POST", "/v2/schedules/https://example.com", "", "Upstash-Cron", "0 0 1 1 *"},
		{"POST", "/v2/flowControl/k/pause", "", "", ""},
		{"POST", "/v2/flowControl/k/pin?parallelism=3", "", "", ""},
		{"POST", "/recall/v1/hold", `{"label":"x"}`, "", ""},
		{"POST", "/recall/v1/reschedule", `{"label":"x","due":4102444800000}`, "", ""},
		{"POST", "/recall/v1/standing", `{"label":"y","until":4102444800000}`, "", ""},
		{"DELETE", "/v2/dlq", "", "", ""},
		{"DELETE", "/v2/queues/q", "", "", ""},
		{"DELETE", "/v2/topics/g", "", "", ""},
		{"DELETE", "/v2/messages", `{"messageIds":` + string(list) + `}`, "", ""},
		{"POST", "/recall/v1/cancel", `{"all":true}`, "", ""},
		{"DELETE", "/v2/messages", "", "", ""},
	} {
		h.checkAlone(actor, action.method+" "+action.target, func() {
			h.call(actor, action.method, action.target, action.body, action.header, action.value)
		})
	}
	for i, u := range h.users {
		if u == actor {
			continue
		}
		for _, method := range []string{"GET", "DELETE"} {
			if status, text := h.call(actor, method, "/v2/messages/"+ids[i], ""); status != http.StatusNotFound {
				h.t.Errorf("%s: %s a message of %s: got %d %s", actor.name, method, u.name, status, text)
			}
		}
	}
}

// checkAlone checks that the others see afterwards what they saw before.
func (h *house) checkAlone(actor *user, what string, do func()) {
	h.t.Helper()
	before := map[*user]string{}
	for _, u := range h.users {
		before[u] = h.sees(u)
	}
	do()
	for _, u := range h.users {
		if after := h.sees(u); u != actor && after != before[u] {
			h.t.Errorf("%s of %s: %s saw\n%s\nand sees\n%s", what, actor.name, u.name, before[u], after)
		}
	}
}

// TestSeveralTokens has two tokens of one user, and one that may only look.
func TestSeveralTokens(t *testing.T) {
	h := configuredHouse(t)
	a, b := h.users[0], h.users[1]
	id := h.publish(a)
	a.tokens = a.tokens[1:]
	h.must(a, "GET", "/v2/messages/"+id, "")
	id = h.publish(b)
	b.tokens = b.readOnly
	h.must(b, "GET", "/v2/messages/"+id, "")
	for _, target := range []string{"/v2/messages/" + id, "/v2/messages"} {
		if status, text := h.call(b, "DELETE", target, ""); status != http.StatusForbidden {
			t.Errorf("DELETE %s: got %d %s", target, status, text)
		}
	}
	// A read-only token of one beside a full one of the other is neither's.
	if status, text := h.call(a, "DELETE", "/v2/messages?qstash_token=b-r", ""); status != http.StatusUnauthorized {
		t.Errorf("two users' tokens: got %d %s", status, text)
	}
	h.must(b, "GET", "/v2/messages/"+id, "")
}
