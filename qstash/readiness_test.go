package qstash_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/qstash"
)

// broken is an engine that says that a commit has failed.
type broken struct {
	recall.Engine
	now atomic.Bool
}

func (e *broken) Stats() recall.EngineStats {
	stats := e.Engine.Stats()
	stats.Broken = e.now.Load()
	return stats
}

func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &broken{Engine: enginetest.NewReference()}
		b, err := recall.New(engine, &recall.Options{NoDispatch: true, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		handler := qstash.NewHandler(b, &qstash.Options{Logger: slog.New(slog.DiscardHandler)})
		for _, want := range []string{`{"ready":true}`, `{"ready":false}`} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, request("GET", "/v2/readiness", ""))
			checkStatus(t, w, 200)
			if got := strings.TrimSpace(w.Body.String()); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			engine.now.Store(true)
		}
	})
}
