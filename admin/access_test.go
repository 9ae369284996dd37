package admin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// ask sends a request as it is, and returns status and body.
func ask(t *testing.T, h http.Handler, method, name, token, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, admin.Prefix+name, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestAccess asks for every call with every kind of token.
func TestAccess(t *testing.T) {
	b := open(t, recall.Options{NoDispatch: true})
	h := admin.NewHandler(b, &admin.Options{Access: admin.Tokens([]string{"full", "both", ""}, []string{"read", "both"}), Logger: quiet})
	reads, writes := admin.ReadCalls(), admin.WriteCalls()
	slices.Sort(reads)
	want := []string{
		"cancellations", "count", "dlq/count", "dlq/get", "dlq/list", "events", "events/message", "explain", "flow/get", "flow/list", "get", "list",
		"operation", "queues/get", "queues/list", "schedules/get", "schedules/list", "standing", "stats", "topics/get", "topics/list", "who-cancelled",
	}
	if !slices.Equal(reads, want) {
		t.Errorf("calls for everybody with a token: got %q, want %q", reads, want)
	}
	for _, name := range append(reads, writes...) {
		for token, allowed := range map[string]bool{"full": true, "read": slices.Contains(want, name), "both": slices.Contains(want, name)} {
			status, body := ask(t, h, "POST", name, token, `{"nonsense":1}`)
			if (status == http.StatusForbidden) == allowed {
				t.Errorf("%s with %s: got %d %s", name, token, status, body)
			}
			if allowed && (status != http.StatusBadRequest || !strings.Contains(body, `"field":"request"`)) {
				t.Errorf("%s reads what it does not know: got %d %s", name, status, body)
			}
		}
		for _, token := range []string{"", "nobody", "full "} {
			if status, body := ask(t, h, "POST", name, token, ""); status != http.StatusUnauthorized || !strings.Contains(body, `"code":"unauthorized"`) {
				t.Errorf("%s with %q: got %d %s", name, token, status, body)
			}
		}
		if status, _ := ask(t, h, "GET", name, "full", ""); status != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: got %d", name, status)
		}
	}
	for _, name := range []string{"", "nonsense", "count/", "../v2/messages", "COUNT"} {
		if status, body := ask(t, h, "POST", name, "full", ""); status != http.StatusNotFound || !strings.Contains(body, "no_such_call") {
			t.Errorf("%q: got %d %s", name, status, body)
		}
	}
	if status, _ := ask(t, admin.NewHandler(b, nil), "POST", "count", "", ""); status != http.StatusUnauthorized {
		t.Errorf("a handler without options lets strangers in: %d", status)
	}
	if _, err := client(t, h, "read").CancelAll(t.Context(), admin.Bulk{}); !errors.Is(err, admin.ErrForbidden) {
		t.Errorf("got %v", err)
	}
	if _, err := client(t, h, "").Stats(t.Context()); !errors.Is(err, admin.ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
}

// TestLocalHandlers: requests reach no handler of the process, and do not say where
// they come from, unless they may.
func TestLocalHandlers(t *testing.T) {
	b := open(t, recall.Options{NoDispatch: true})
	h := admin.NewHandler(b, &admin.Options{Access: admin.Trusted, CallerIP: func(*http.Request) string { return "192.0.2.7" }})
	c, ctx := client(t, h, ""), t.Context()
	local := &recall.Callback{URL: "https://example.com", FailureCallback: &recall.Callback{URL: "local:x"}}
	for _, m := range []recall.Message{
		{URL: "local:x"}, {URL: "LOCAL:x"}, {URL: "https://example.com", Callback: local}, {URL: "https://example.com", FailureCallback: local},
	} {
		if _, err := c.Publish(ctx, m); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%+v: got %v", m, err)
		}
		if _, err := c.SetSchedule(ctx, recall.Schedule{Cron: "@daily", Message: m}); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("schedule of %+v: got %v", m, err)
		}
	}
	if _, err := c.AddEndpoints(ctx, "t", recall.Endpoint{URL: "local:x"}); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("endpoint: got %v", err)
	}
	if n, err := b.Count(ctx, recall.Filter{}); err != nil || n.Pending != 0 {
		t.Errorf("got %+v, %v", n, err)
	}
	lists := must(c.Publish(ctx, recall.Message{URL: "https://example.com", CallerIP: "198.51.100.1"}))(t)
	if m := must(b.Get(ctx, lists[0][0].ID))(t); m.CallerIP != "192.0.2.7" {
		t.Errorf("caller: got %s", m.CallerIP)
	}
	s := must(c.SetSchedule(ctx, recall.Schedule{ID: "s", Cron: "@daily", Message: recall.Message{URL: "https://example.com"}}))(t)
	if s.Message.CallerIP != "192.0.2.7" {
		t.Errorf("caller of a schedule: got %s", s.Message.CallerIP)
	}
	lists = must(admin.Local(b).Publish(ctx, recall.Message{URL: "local:x", CallerIP: "198.51.100.1"}))(t)
	if m := must(b.Get(ctx, lists[0][0].ID))(t); m.CallerIP != "198.51.100.1" {
		t.Errorf("caller: got %s", m.CallerIP)
	}
}

func TestLimits(t *testing.T) {
	b := open(t, recall.Options{NoDispatch: true})
	h := admin.NewHandler(b, &admin.Options{Access: admin.Trusted, MaxRequest: 100, Logger: quiet})
	if status, body := ask(t, h, "POST", "count", "", `{"filter":{"labels":["`+strings.Repeat("x", 100)+`"]}}`); status != 413 || !strings.Contains(body, "too_large") {
		t.Errorf("got %d %s", status, body)
	}
	if _, err := client(t, h, "").Count(t.Context(), recall.Filter{Labels: []string{strings.Repeat("x", 100)}}); !errors.Is(err, admin.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	// A panic is an answer that tells nothing.
	broken := admin.NewHandler(nil, &admin.Options{Access: admin.Trusted, Logger: quiet})
	if status, body := ask(t, broken, "POST", "count", "", ""); status != 500 || !strings.Contains(body, `"error":"internal error"`) {
		t.Errorf("got %d %s", status, body)
	}
	cut := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"item":{}}`+"\n")
		panic(http.ErrAbortHandler)
	})
	var err error
	for _, err = range client(t, cut, "").List(t.Context(), recall.Filter{}, "", 0) {
		if err != nil {
			break
		}
	}
	if err == nil {
		t.Error("a connection that is cut ends a list without an error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := admin.Local(b).Stats(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
