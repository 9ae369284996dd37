package dashboard_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dashboard"
)

var quiet = slog.New(slog.DiscardHandler)

// openBroker returns a broker on a file, which delivers nothing unless asked to.
func openBroker(t testing.TB, opts recall.Options) *recall.Broker {
	t.Helper()
	opts.Durability, opts.Logger = recall.SyncNever, quiet
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

func publish(t testing.TB, b *recall.Broker, m recall.Message) recall.MessageID {
	t.Helper()
	if m.URL == "" && m.Queue == "" {
		m.URL = "https://example.com/hook"
	}
	r, err := b.Publish(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// browser sends requests to a handler as a browser does, and keeps its cookie.
type browser struct {
	t      testing.TB
	h      http.Handler
	cookie *http.Cookie
}

func open(t testing.TB, b *recall.Broker, opts *dashboard.Options) *browser {
	if opts == nil {
		opts = &dashboard.Options{}
	}
	opts.Logger = quiet
	return &browser{t: t, h: dashboard.Handler(b, opts)}
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	resp := w.Result()
	for _, c := range resp.Cookies() {
		if b.cookie = c; c.MaxAge < 0 {
			b.cookie = nil
		}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	return b.do(httptest.NewRequest(http.MethodGet, path, nil))
}

func formRequest(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// post sends a form of names and values.
func (b *browser) post(path string, pairs ...string) answer {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.do(formRequest(path, form))
}

// follow sends a form and opens the page that its answer leads to.
func (b *browser) follow(path string, pairs ...string) (where string, page answer) {
	b.t.Helper()
	a := b.post(path, pairs...)
	if a.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("POST %s: status %d, want 303: %s", path, a.StatusCode, a.body)
	}
	base := &url.URL{Scheme: "http", Host: "example.com", Path: path}
	to, err := base.Parse(a.Header.Get("Location"))
	if err != nil {
		b.t.Fatal(err)
	}
	return to.RequestURI(), b.get(to.RequestURI())
}

func (a answer) check(t testing.TB, status int, says ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	for _, text := range says {
		if !strings.Contains(a.body, text) {
			t.Errorf("the page does not say %q:\n%s", text, a.body)
		}
	}
}
