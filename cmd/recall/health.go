package main

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
)

// phase is where a server is in its life.
type phase int32

const (
	starting phase = iota
	serving
	draining
)

func (p phase) String() string { return [...]string{"starting", "ready", "draining"}[p] }

// state is a phase that may be read while it changes.
type state struct{ now atomic.Int32 }

func (s *state) set(p phase) { s.now.Store(int32(p)) }
func (s *state) get() phase  { return phase(s.now.Load()) }

// withHealth answers the two questions that need no token: /healthz, whether
// the process is alive, and /readyz, whether it should be sent requests.
func withHealth(next http.Handler, s *server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			answerHealth(w, r, http.StatusOK, "ok")
		case "/readyz":
			if why := s.notReady(r.Context()); why != "" {
				answerHealth(w, r, http.StatusServiceUnavailable, why)
				return
			}
			answerHealth(w, r, http.StatusOK, serving.String())
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// notReady says why no requests should be sent here, "" if they should.
func (s *server) notReady(ctx context.Context) string {
	if p := s.state.get(); p != serving {
		return p.String()
	}
	var failed []string
	for _, u := range s.users {
		if u.broker.Stats().Broken || !u.answers(ctx) {
			failed = append(failed, u.name)
		}
	}
	if len(failed) > 0 {
		return strings.TrimSpace("failed " + strings.Join(failed, " "))
	}
	return ""
}

func answerHealth(w http.ResponseWriter, r *http.Request, status int, text string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answerJSON(w, http.StatusMethodNotAllowed, map[string]string{"error": "method not allowed"})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	answerJSON(w, status, map[string]string{"status": text})
}
