package qstash_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/qstash"
)

// newFaulty is a server whose engine calls before ahead of every call and after
// behind it; either may be nil.
func newFaulty(
	t *testing.T, before func(enginetest.Call) error, after func(enginetest.Call, error) error,
) (http.Handler, *strings.Builder) {
	t.Helper()
	log := &strings.Builder{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	engine := &enginetest.Faulty{Engine: enginetest.NewReference(), Before: before, After: after}
	b, err := recall.New(engine, &recall.Options{NoDispatch: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return qstash.NewHandler(b, &qstash.Options{Logger: logger}), log
}

// TestEngineErrors has each error of the engine with its status, and whether
// the log should know.
func TestEngineErrors(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		logged bool
	}{
		{recall.ErrFull, 507, false},
		{recall.ErrFailed, 500, true},
		{fmt.Errorf("%w: disk on fire", recall.ErrFailed), 500, true},
		{recall.ErrClosed, 503, false},
		{recall.ErrNotFound, 404, false},
		{context.Canceled, 503, false},
		{recall.ErrUnsupported, 501, false},
		{context.DeadlineExceeded, 503, false},
		{errors.New("disk on fire"), 500, true},
	} {
		for call, target := range map[enginetest.Call]string{
			enginetest.CallInsert:         "POST /v2/publish/https://example.com",
			enginetest.CallCancelMatching: "DELETE /v2/messages?queueName=q",
			enginetest.CallCancel:         "DELETE /v2/messages/" + unknownID,
			enginetest.CallGet:            "GET /v2/messages/" + unknownID,
			enginetest.CallCount:          "POST /recall/v1/count",
			enginetest.CallExplain:        "POST /recall/v1/explain",
		} {
			t.Run(fmt.Sprint(call, " ", test.err), func(t *testing.T) {
				handler, log := newFaulty(t, func(c enginetest.Call) error {
					if c == call {
						return test.err
					}
					return nil
				}, nil)
				method, path, _ := strings.Cut(target, " ")
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, request(method, path, ""))
				checkError(t, w, test.status, "")
				if got := strings.Contains(log.String(), "qstash: a request failed"); got != test.logged {
					t.Errorf("logged: got %v, want %v: %s", got, test.logged, log)
				}
			})
		}
	}
}

// TestPanic is answered and logged with its place.
func TestPanic(t *testing.T) {
	handler, log := newFaulty(t, func(c enginetest.Call) error {
		if c == enginetest.CallGet {
			panic("at the disco")
		}
		return nil
	}, nil)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, request("GET", "/v2/messages/"+unknownID, ""))
	checkBody(t, w, `{"error":"internal error"}`) // the rest is for the log
	checkError(t, w, 500, "internal error")
	if got := log.String(); !strings.Contains(got, "at the disco") || !strings.Contains(got, "errors_test.go") {
		t.Errorf("log: %s", got)
	}
}

// TestAbort is net/http's own way to cut a connection: no answer.
func TestAbort(t *testing.T) {
	handler, _ := newFaulty(t, func(c enginetest.Call) error {
		if c == enginetest.CallGet {
			panic(http.ErrAbortHandler)
		}
		return nil
	}, nil)
	w := httptest.NewRecorder()
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, http.ErrAbortHandler) || w.Body.Len() > 0 {
			t.Errorf("got %v and %q", err, w.Body)
		}
	}()
	handler.ServeHTTP(w, request("GET", "/v2/messages/"+unknownID, ""))
}

// TestUnsupported has an engine that can do no more than all can.
func TestUnsupported(t *testing.T) {
	handler, _ := newFaulty(t, nil, nil)
	for _, target := range []string{
		"POST /recall/v1/hold?queueName=q", "POST /recall/v1/release?queueName=q", "POST /recall/v1/retry-now?queueName=q",
		"POST /recall/v1/reschedule?queueName=q&due=1", "POST /recall/v1/restore?operation=" + unknownOp,
		"GET /recall/v1/cancellations", "GET /recall/v1/cancellations/by-message/" + unknownID,
		"GET /recall/v1/standing", "POST /recall/v1/standing?queueName=q&until=253402300799999",
		"DELETE /recall/v1/standing/" + unknownOp,
	} {
		method, path, _ := strings.Cut(target, " ")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request(method, path, ""))
		checkError(t, w, 501, "not supported")
	}
}
