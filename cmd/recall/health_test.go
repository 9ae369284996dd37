package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// brokenEngine says that a commit has failed.
type brokenEngine struct {
	*enginetest.Reference
	broken atomic.Bool
}

func (e *brokenEngine) Stats() recall.EngineStats {
	s := e.Reference.Stats()
	s.Broken = e.broken.Load()
	return s
}

// TestReady goes through the life of a server of two users.
func TestReady(t *testing.T) {
	s := &server{}
	var engines []*brokenEngine
	for _, name := range []string{"shop", "mail"} {
		e := &brokenEngine{Reference: enginetest.NewReference()}
		b, err := recall.New(e, &recall.Options{NoDispatch: true, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close(context.Background()) }()
		engines, s.users = append(engines, e), append(s.users, &user{name: name, broker: b})
	}
	h := withHealth(http.NotFoundHandler(), s)
	check := func(path string, status int, text string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if got := strings.TrimSpace(w.Body.String()); w.Code != status || got != `{"status":"`+text+`"}` {
			t.Errorf("%s: got %d %s, want %d %s", path, w.Code, got, status, text)
		}
	}
	check("/readyz", 503, "starting")
	s.state.set(serving)
	check("/readyz", 200, "ready")
	engines[1].broken.Store(true)
	check("/readyz", 503, "failed mail")
	check("/healthz", 200, "ok")
	engines[1].broken.Store(false)
	s.state.set(draining)
	check("/readyz", 503, "draining")
	check("/healthz", 200, "ok")
}
