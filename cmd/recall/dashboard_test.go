package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// TestDashboard: each token logs in to the queue of its own user, beside the API.
func TestDashboard(t *testing.T) {
	dir := t.TempDir()
	newUser := func(name string) *user {
		return &user{
			name: name, file: filepath.Join(dir, name+".db"), tokens: []string{name + "-token"}, readOnly: []string{name + "-reads"},
			keys: qstash.NewKeys("", ""),
		}
	}
	s := &server{
		users: []*user{newUser("shop"), newUser("mail")}, limits: defaultLimits, durability: recall.SyncNever,
		log: slog.New(slog.DiscardHandler), web: web{path: "/ops/queue"},
	}
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
	house := &house{t, h, s.users}
	house.must(s.users[0], "POST", "/v2/publish/https://example.com/of-the-shop?upstash-delay=1h", "hello")

	do := func(method, path, cookie string, form url.Values) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := do("GET", "/ops/queue/messages", "", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "./login?next=messages" {
		t.Errorf("without a login: %d to %q", w.Code, w.Header().Get("Location"))
	}
	for token, want := range map[string]struct{ sees, writes bool }{
		"shop-token": {true, true}, "shop-reads": {true, false}, "mail-token": {false, true}, "mail-reads": {false, false},
	} {
		w := do("POST", "/ops/queue/login", "", url.Values{"token": {token}})
		cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		page := do("GET", "/ops/queue/messages", cookie, nil).Body.String()
		if strings.Contains(page, "of-the-shop") != want.sees {
			t.Errorf("%s sees the message of the shop: %v", token, !want.sees)
		}
		status := do("POST", "/ops/queue/queues/change", cookie, url.Values{"do": {"pause"}, "name": {"none"}}).Code
		if (status == http.StatusForbidden) == want.writes {
			t.Errorf("%s: a change is answered with %d", token, status)
		}
	}
	if w := do("GET", "/ops/queues", "", nil); w.Code == http.StatusSeeOther {
		t.Error("the dashboard answers for a path that is not below its own")
	}
}

func TestDashboardPath(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/dashboard": "/dashboard", "/dashboard/": "/dashboard", "/a/b": "/a/b", "/v2x": "/v2x",
		"dashboard": "bad", "/": "bad", "/v2": "bad", "/v2/dashboard": "bad", "/recall/v1": "bad", "/healthz": "bad",
		"/a//b": "bad", "/a/../b": "bad", "/a?b": "bad", "/%61": "bad", "127.0.0.1:9000": "bad",
	} {
		d := web{path: path}
		err := d.check()
		if (err != nil) != (want == "bad") || err == nil && d.path != want {
			t.Errorf("--dashboard %q: %q, %v", path, d.path, err)
		}
	}
}
