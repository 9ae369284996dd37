package qstash_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/qstash"
)

// server is a handler on the reference engine, with nothing that delivers.
type server struct {
	t       *testing.T
	b       *recall.Broker
	engine  *enginetest.Reference
	handler http.Handler
	ids     map[string]recall.MessageID // by the name the test gave it
	dead    map[string]recall.DeadLetterID
	log     *strings.Builder
}

func newServer(t *testing.T, o *qstash.Options) *server {
	t.Helper()
	return newServerOn(t, recall.Options{NoDispatch: true}, o)
}

// newDispatching is one that delivers and runs schedules; endpoints take a minute,
// and all of them answer 200.
func newDispatching(t *testing.T) *server {
	t.Helper()
	return newServerOn(t, recall.Options{Transport: slowly{}}, nil)
}

// slowly is a transport of which every answer takes a minute.
type slowly struct{}

func (slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(time.Minute)
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

func newServerOn(t *testing.T, with recall.Options, o *qstash.Options) *server {
	t.Helper()
	engine := enginetest.NewReference()
	s := newServerOnEngine(t, engine, with, o)
	s.engine = engine
	return s
}

func newServerOnEngine(t *testing.T, engine recall.Engine, with recall.Options, o *qstash.Options) *server {
	t.Helper()
	s := &server{t: t, ids: map[string]recall.MessageID{}, log: &strings.Builder{}}
	s.dead = map[string]recall.DeadLetterID{}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	with.Logger = logger
	b, err := recall.New(engine, &with)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Error(err)
		}
	})
	var opts qstash.Options
	if o != nil {
		opts = *o
	}
	opts.Logger = logger
	s.b, s.handler = b, qstash.NewHandler(b, &opts)
	return s
}

// inBubble runs a test where time is simulated, so that the times of messages
// and the wait for those in flight are exact.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func (s *server) publish(name string, m recall.Message) recall.MessageID {
	s.t.Helper()
	if m.URL == "" {
		m.URL = "https://example.com/" + name
	}
	receipt, err := s.b.Publish(s.t.Context(), m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.ids[name] = receipt.ID
	return receipt.ID
}

// expand puts ids in the place of names such as {a}.
func (s *server) expand(text string) string {
	for name, id := range s.ids {
		text = strings.ReplaceAll(text, "{"+name+"}", string(id))
	}
	for name, id := range s.dead {
		text = strings.ReplaceAll(text, "{"+name+"}", string(id))
	}
	return text
}

// request makes a request with the right token and headers in pairs.
func request(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+qstash.DevToken)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func (s *server) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func (s *server) call(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	return s.do(request(method, s.expand(target), s.expand(body), headers...))
}

// left returns the names of the live messages, sorted.
func (s *server) left() string {
	s.t.Helper()
	var names []string
	for m, err := range s.b.List(s.t.Context(), recall.Filter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		name := string(m.ID)
		for n, id := range s.ids {
			if id == m.ID {
				name = n
			}
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// without returns the names that the test gave out less the listed ones.
func (s *server) without(gone string) string {
	var names []string
	for n := range s.ids {
		if !slices.Contains(strings.Fields(gone), n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// checkGone checks that exactly these messages are gone.
func (s *server) checkGone(gone string) {
	s.t.Helper()
	if got, want := s.left(), s.without(gone); got != want {
		s.t.Errorf("left: got %q, want %q", got, want)
	}
}

// checkStatus also checks what holds for every answer: it is JSON, and one of
// an error is an object with a text.
func checkStatus(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Errorf("status: got %d, want %d; body %s", w.Code, want, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type: got %q", got)
	}
	if w.Code >= 400 {
		if got := decode[struct{ Error string }](t, w); got.Error == "" {
			t.Errorf("no error text: %s", w.Body)
		}
	}
}

// decode reads the whole body as SDKs in typed languages do.
func decode[T any](t *testing.T, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Errorf("body %s: %v", w.Body, err)
	}
	return v
}

func checkBody(t *testing.T, w *httptest.ResponseRecorder, want string) {
	t.Helper()
	if got := strings.TrimSpace(w.Body.String()); got != want {
		t.Errorf("body: got %s, want %s", got, want)
	}
}

func checkError(t *testing.T, w *httptest.ResponseRecorder, status int, part string) {
	t.Helper()
	checkStatus(t, w, status)
	if got := decode[struct{ Error string }](t, w).Error; !strings.Contains(got, part) {
		t.Errorf("error: got %q, want one with %q", got, part)
	}
}

// claim takes up to n messages, as a broker that delivers does.
func (s *server) claim(n int) []recall.Lease {
	s.t.Helper()
	res, err := s.engine.Claim(s.t.Context(), recall.ClaimRequest{Now: time.Now(), Max: n})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(res.Leases) != n {
		s.t.Fatalf("leases: got %d, want %d", len(res.Leases), n)
	}
	return res.Leases
}

func (s *server) finish(l recall.Lease, end recall.Finish) {
	s.t.Helper()
	end.Now = time.Now()
	if err := s.engine.Finish(s.t.Context(), l, end); err != nil {
		s.t.Fatal(err)
	}
}
