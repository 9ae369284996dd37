package qstash

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// settingsFrom reads headers as they stand in a request, a line each, and the
// parameters of a query.
func settingsFrom(lines, query string) (s settings, ok bool) {
	s = settings{header: http.Header{}}
	for line := range strings.SplitSeq(lines, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			s.header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	_, params, err := splitQuery(query)
	s.query = params
	return s, err == nil
}

// FuzzSettings checks what the headers of a publish make of a message: what is
// refused is the sender's fault, and what is accepted the broker takes, within
// its bounds.
func FuzzSettings(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"Upstash-Delay: 1d10h30m\nUpstash-Not-Before: 4102444800\nUpstash-Timeout: 30", "upstash-retries=3"},
		{"upstash-retries: 2\nupstash-retry-delay: max(1000, pow(2, retried) * 100)", ""},
		{"Upstash-Forward-X-A: b\nUpstash-Header-Forward: true\nAuthorization: Bearer x\nConnection: y\nY: z", "upstash-forward-q=1"},
		{"Upstash-Label: a,b, ,a\nContent-Type: text/plain", "upstash-label=c"},
		{"Upstash-Callback: https://example.com\nUpstash-Callback-Retries: 1\nUpstash-Callback-Forward-A: b\nUpstash-Callback-Callback: https://example.com/2", ""},
		{"Upstash-Failure-Callback: https://example.com\nUpstash-Failure-Callback-Delay: 1h\nUpstash-Failure-Callback-Method: GET", ""},
		{"Upstash-Flow-Control-Key: k\nUpstash-Flow-Control-Value: parallelism=2, rate=3, period=1h30m3s", ""},
		{"Upstash-Deduplication-Id: a\nUpstash-Content-Based-Deduplication: True", ""},
		{"Upstash-Redact-Fields: body, header[Authorization],headers", ""},
		{"Upstash-Cron: CRON_TZ=Europe/Berlin */5 * * * *\nUpstash-Schedule-Id: s\nUpstash-Queue-Name: q", ""},
		{"Upstash-Method: patch\nUpstash-Telemetry-Sdk: x\nUpstash-Workflow-RunId: wfr_1", "upstash-method=GET"},
		{"Upstash-Delay: 1h\r\nX: y\nUpstash-Forward-A b: c", "upstash-delay=%0d%0a"},
	} {
		f.Add(seed[0], seed[1])
	}
	h := fuzzHandler(f)
	f.Fuzz(func(t *testing.T, lines, query string) {
		s, ok := settingsFrom(lines, query)
		if !ok {
			return
		}
		m := recall.Message{URL: "https://example.com/a"}
		if err := h.configure(s, &m); err != nil {
			checkFault(t, err)
			return
		}
		if m.Delay < 0 || m.Timeout < 0 || m.Retries != nil && *m.Retries < 0 || m.NotBefore.After(time.Unix(maxDate/1000, 0)) {
			t.Errorf("%q, %q: got %+v", lines, query, m)
		}
		if slices.Contains(m.Labels, "") {
			t.Errorf("%q, %q: an empty label in %q", lines, query, m.Labels)
		}
		receipt, err := h.b.Publish(t.Context(), m)
		if err != nil {
			checkFault(t, err)
			return
		}
		if receipt.Deduplicated { // of an earlier input
			return
		}
		stored, err := h.b.Get(t.Context(), receipt.ID)
		if err != nil {
			t.Fatalf("%q, %q: %v", lines, query, err)
		}
		for name, values := range stored.Header {
			if !isHeaderName(name) || strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
				t.Errorf("%q, %q: is delivered with %q: %q", lines, query, name, values)
			}
		}
		if err := h.b.Cancel(t.Context(), receipt.ID); err != nil {
			t.Errorf("%q, %q: %v", lines, query, err)
		}
	})
}

// fuzzHandler serves a broker that delivers nothing and keeps nothing.
func fuzzHandler(f *testing.F) *handler {
	f.Helper()
	b, err := recall.New(enginetest.NewReference(), &recall.Options{
		NoDispatch: true, Logger: slog.New(slog.DiscardHandler), UndoWindow: -1, NoEvents: true, DeduplicationWindow: -1,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = b.Close(context.Background()) })
	return newHandler(b, (&Options{Logger: slog.New(slog.DiscardHandler), CancelWait: -1}).withDefaults())
}

// checkFault checks that an error is answered as the sender's.
func checkFault(t *testing.T, err error) {
	t.Helper()
	w := httptest.NewRecorder()
	(&handler{o: (&Options{Logger: slog.New(slog.DiscardHandler)}).withDefaults()}).fail(w, httptest.NewRequest("POST", "/", nil), err)
	if w.Code < 400 || w.Code > 499 || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%v is answered with %d %s", err, w.Code, w.Body)
	}
}

// FuzzBatch checks that a batch is published as a whole, item for item, or not
// at all.
func FuzzBatch(f *testing.F) {
	for _, seed := range []string{
		"", "[]", "null", "[null]", "[{}]", `[{"destination":"https://example.com"}]`,
		`[{"destination":"https://example.com","headers":{"upstash-delay":"1h","Upstash-Forward-A":["b","c"]},"body":"d","queue":"q"},{"destination":"group"}]`,
		`[{"destination":"https://example.com","queue":"","body":null,"headers":null}]`,
		`[{"destination":"https://example.com","headers":{"upstash-forward-a":"b\r\nc: d"}}]`,
		`[{"destination":"https://example.com","destination":"https://example.org"}]`,
		`[{"destination":"https://example.com"},{"destination":""}]`,
	} {
		f.Add([]byte(seed))
	}
	h := fuzzHandler(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/v2/batch", strings.NewReader(string(body)))
		r.Header.Set("Authorization", "Bearer "+DevToken)
		h.ServeHTTP(w, r)
		result, err := h.b.CancelAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusOK {
			if w.Code < 400 || w.Code > 499 || result.Cancelled > 0 {
				t.Errorf("%q: got %d %s, with %d published", body, w.Code, w.Body, result.Cancelled)
			}
			return
		}
		var answers []struct{ MessageID, Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &answers); err != nil {
			t.Fatalf("%q: got %s", body, w.Body)
		}
		var items []any
		if err := json.Unmarshal(body, &items); err != nil || len(items) != len(answers) {
			t.Errorf("%q: got %d answers for %d items, %v", body, len(answers), len(items), err)
		}
		published := 0
		for _, a := range answers {
			if (a.MessageID == "") == (a.Error == "") {
				t.Errorf("%q: got %+v", body, a)
			}
			if a.MessageID != "" {
				published++
			}
		}
		if published != result.Cancelled {
			t.Errorf("%q: %d ids, %d messages", body, published, result.Cancelled)
		}
	})
}

// FuzzVerify checks that nothing but what was signed is taken for signed.
func FuzzVerify(f *testing.F) {
	at := time.Unix(1_700_000_000, 0)
	good, err := sign("sig_a", &recall.Delivery{Message: recall.Message{URL: "https://example.com", Body: []byte("text")}, StartedAt: at})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, "", ".", "..", "...", "e30.e30.e30", good + "=", strings.ToUpper(good)} {
		f.Add(seed, []byte("text"))
	}
	v, err := NewVerifier("sig_a", "sig_b", &VerifierOptions{Clock: stoppedClock{at}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, signature string, body []byte) {
		if err := v.Verify(signature, body, ""); err == nil && (string(body) != "text" || len(signature) < len(good)/2) {
			t.Errorf("%q holds for %q", signature, body)
		}
	})
}

type stoppedClock struct{ at time.Time }

func (c stoppedClock) Now() time.Time                                   { return c.at }
func (stoppedClock) AfterFunc(time.Duration, func()) (stop func() bool) { panic("nobody waits") }
