package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// post keeps what was mailed.
type post struct {
	mu    sync.Mutex
	sent  []string
	fails int // the next so many
}

func (p *post) mail(_ context.Context, _ recall.MessageID, to, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails > 0 {
		p.fails--
		return errors.New("the mail server is down")
	}
	p.sent = append(p.sent, to+" "+text)
	return nil
}

// check compares what was mailed since the last check.
func (p *post) check(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := strings.Join(p.sent, "; "); got != strings.Join(want, "; ") {
		t.Errorf("got %q, want %q", got, want)
	}
	p.sent = nil
}

// inBubble runs a test with a service, whose days pass in no time.
func inBubble(t *testing.T, test func(t *testing.T, s *service, p *post)) {
	path := filepath.Join(t.TempDir(), "signups.db")
	synctest.Test(t, func(t *testing.T) {
		b, err := recall.Open(path, &recall.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		p := &post{}
		s, err := newService(b, p.mail)
		if err != nil {
			t.Fatal(err)
		}
		test(t, s, p)
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func call(t *testing.T, s *service, method, path, body string, want int) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	if w.Code != want {
		t.Errorf("%s %s: got %d %s, want %d", method, path, w.Code, w.Body, want)
	}
}

const ada = `{"mail":"ada@example.com"}`

// TestSignUp: a user is welcomed at once, also if the mail server is down at
// first and the client asks twice, and asked after three days.
func TestSignUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *service, p *post) {
		p.fails = 1
		call(t, s, http.MethodPut, "/users/ada", ada, http.StatusNoContent)
		call(t, s, http.MethodPut, "/users/ada", ada, http.StatusNoContent)
		p.check(t)
		time.Sleep(12 * time.Second)
		p.check(t, "ada@example.com Welcome!")
		time.Sleep(3*24*time.Hour - 13*time.Second)
		p.check(t)
		time.Sleep(time.Second)
		p.check(t, "ada@example.com How do you like it?")
	})
}

// TestLeave: who has left is not asked, and others are.
func TestLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, s *service, p *post) {
		call(t, s, http.MethodPut, "/users/ada", ada, http.StatusNoContent)
		p.check(t, "ada@example.com Welcome!")
		call(t, s, http.MethodPut, "/users/bob", `{"mail":"bob@example.com"}`, http.StatusNoContent)
		p.check(t, "bob@example.com Welcome!")
		call(t, s, http.MethodDelete, "/users/ada", "", http.StatusNoContent)
		time.Sleep(4 * 24 * time.Hour)
		p.check(t, "bob@example.com How do you like it?")
	})
}

// TestRefused: what is refused leaves nothing behind, neither user nor mail.
func TestRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, s *service, p *post) {
		call(t, s, http.MethodPut, "/users/ada", "{", http.StatusBadRequest)
		long := strings.Repeat("a", 1000) // the label has no room for it
		call(t, s, http.MethodPut, "/users/"+long, ada, http.StatusBadRequest)
		if v, err := s.b.Lookup(t.Context(), "users", []byte(long)); v != nil || err != nil {
			t.Errorf("the user is there: %q, %v", v, err)
		}
		time.Sleep(4 * 24 * time.Hour)
		p.check(t)
	})
}

// TestRun: it serves on a real socket, and ends in order.
func TestRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "signups.db")
	mailed, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- run(ctx, path, l,
			func(_ context.Context, _ recall.MessageID, to, text string) error {
				mailed <- to + " " + text
				return nil
			})
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+l.Addr().String()+"/users/ada", strings.NewReader(ada))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("got %s", resp.Status)
	}
	if got, want := <-mailed, "ada@example.com Welcome!"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
