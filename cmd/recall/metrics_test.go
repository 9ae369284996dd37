package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recallmq/recall"
)

// TestMetrics asks before the files are open, while they are, and at the end.
func TestMetrics(t *testing.T) {
	s := &server{}
	h := s.metricsHandler()
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if status, _ := get("/metrics"); status != http.StatusServiceUnavailable {
		t.Errorf("at the start: got %d, want 503", status)
	}
	for i, name := range []string{"shop", "mail"} {
		b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &recall.Options{
			NoDispatch: true, Durability: recall.SyncNever, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close(context.Background()) }()
		for range i + 1 {
			if _, err := b.Publish(t.Context(), recall.Message{URL: "https://api.test/", CallerIP: "192.0.2.1"}); err != nil {
				t.Fatal(err)
			}
		}
		s.users = append(s.users, &user{name: name, broker: b})
	}
	for _, phase := range []phase{serving, draining} {
		s.state.set(phase)
		status, text := get("/metrics")
		for _, want := range []string{
			`recall_messages_pending{user="shop"} 1`, `recall_messages_pending{user="mail"} 2`, "\ngo_goroutines ",
		} {
			if status != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("%v: got %d without %q:\n%s", phase, status, want, text)
			}
		}
	}
	for _, path := range []string{"/", "/debug/pprof/", "/metrics/"} {
		if status, _ := get(path); status != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, status)
		}
	}
}

// TestMetricsAddress serves at an address of its own while the server runs, and no
// longer; one that is taken ends the start.
func TestMetricsAddress(t *testing.T) {
	var log bytes.Buffer
	s := &server{metricsAddress: "127.0.0.1:0", log: slog.New(slog.NewTextHandler(&log, nil))}
	var url string
	done := errors.New("done")
	err := s.withMetrics(t.Context(), func(context.Context) error {
		s.state.set(serving)
		_, address, ok := strings.Cut(strings.TrimSpace(log.String()), "address=")
		if !ok {
			return fmt.Errorf("the log does not say where: %q", log.String())
		}
		url = "http://" + address + "/metrics"
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "go_goroutines") {
			return fmt.Errorf("got %s: %s", resp.Status, text)
		}
		return done
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	if resp, err := http.Get(url); err == nil {
		resp.Body.Close()
		t.Error("it is served after the end")
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	unreached := func(context.Context) error { return errors.New("the server was started") }
	s.metricsAddress = l.Addr().String()
	if err := s.withMetrics(t.Context(), unreached); !errors.Is(err, errAddressInUse) || !strings.Contains(err.Error(), "--metrics-addr") {
		t.Errorf("an address that is taken: got %v", err)
	}
	s.metricsAddress = "nonsense"
	if err := s.withMetrics(t.Context(), unreached); !errors.As(err, new(usageError)) {
		t.Errorf("an address that is none: got %v", err)
	}
	s.metricsAddress = ""
	if err := s.withMetrics(t.Context(), func(context.Context) error { return done }); !errors.Is(err, done) {
		t.Errorf("without an address: got %v", err)
	}
}
