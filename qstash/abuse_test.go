package qstash_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// world is a handler on a file in which there is something to destroy.
type world struct {
	t       *testing.T
	b       *recall.Broker
	handler http.Handler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	b := openQuiet(t, filepath.Join(t.TempDir(), "queue.db"))
	w := &world{t: t, b: b, handler: qstash.NewHandler(b, &qstash.Options{CancelWait: -1, AllowedOrigins: []string{console}, Logger: slog.New(slog.DiscardHandler)})}
	w.fill()
	return w
}

// fill publishes what the requests of these tests could change.
func (w *world) fill() {
	w.t.Helper()
	for _, m := range []recall.Message{
		{URL: "https://example.com/a", Labels: []string{"x"}, Delay: time.Hour},
		{URL: "https://example.com/b", Queue: "q", FlowKey: "k", Delay: time.Hour},
	} {
		if _, err := w.b.Publish(w.t.Context(), m); err != nil {
			w.t.Fatal(err)
		}
	}
}

// state writes down everything that a request could have changed.
func (w *world) state() string {
	w.t.Helper()
	ctx := context.Background()
	var out strings.Builder
	note := func(what any, err error) {
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := json.Marshal(what)
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s\n", text)
	}
	for m, err := range w.b.List(ctx, recall.Filter{}) {
		m.Body, m.State = nil, "" // the state changes with time
		note(m, err)
	}
	for d, err := range w.b.DeadLetters(ctx, recall.Filter{}) {
		note(d.ID, err)
	}
	for op, err := range w.b.Cancellations(ctx) {
		note(op, err)
	}
	for _, list := range []func() (any, error){
		func() (any, error) { return w.b.Queues(ctx) },
		func() (any, error) { return w.b.Topics(ctx) },
		func() (any, error) { return w.b.Schedules(ctx) },
		func() (any, error) { return w.b.FlowKeys(ctx) },
		func() (any, error) { return w.b.StandingCancellations(ctx) },
		func() (any, error) { return w.b.Lookup(ctx, "recall/qstash", []byte("signing keys")) },
	} {
		note(list())
	}
	return out.String()
}

// refuse makes a request that must be answered with an error of its sender's,
// and change nothing.
func (w *world) refuse(r *http.Request, before string) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	if rec.Code < 400 || rec.Code > 499 {
		w.t.Errorf("%.50s %.200s %.300q: got %d %.200s, want 4xx", r.Method, r.URL.Path, r.Header, rec.Code, rec.Body)
		return
	}
	checkStatus(w.t, rec, rec.Code)
	if after := w.state(); after != before {
		w.t.Fatalf("%.50s %.200s: before:\n%s\nafter:\n%s", r.Method, r.URL.Path, before, after)
	}
}

// junk is what makes no sense as a value of any setting that has a form.
var junk = []string{"-1", "1x", "1e3", "0x10", "١", "NaN", "1 2", "\x00", "é", "{}", "1h-", strings.Repeat("9", 400), strings.Repeat("a", 70_000)}

func TestAbuseSettings(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	const target = "/v2/publish/https://example.com/new"
	for _, name := range []string{
		"Upstash-Delay", "Upstash-Not-Before", "Upstash-Retries", "Upstash-Timeout", "Upstash-Retry-Delay", "Upstash-Callback",
		"Upstash-Failure-Callback", "Upstash-Header-Forward", "Upstash-Content-Based-Deduplication", "Upstash-Redact-Fields",
		"Upstash-Flow-Control-Value", "Upstash-Cron",
	} {
		for _, value := range junk {
			if name == "Upstash-Retry-Delay" && (value == "-1" || value == "1e3") {
				continue // a number is an expression
			}
			r := request("POST", target, "", name, value)
			if name == "Upstash-Flow-Control-Value" {
				r.Header.Set("Upstash-Flow-Control-Key", "k")
			}
			w.refuse(r, before)
			item, err := json.Marshal([]any{
				map[string]any{"destination": "https://example.com/new"},
				map[string]any{"destination": "https://example.com/new", "headers": map[string]string{name: value, "Upstash-Flow-Control-Key": "k"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			w.refuse(request("POST", "/v2/batch", string(item)), before)
		}
	}
	for _, test := range [][2]string{
		{"Upstash-Method", "GET /"},
		{"Upstash-Method", "CONNECT\r\nX: y"},
		{"Upstash-Forward-X", "a\r\nX-Injected: 1"},
		{"Upstash-Forward-X", "a\nb"},
		{"Upstash-Forward-X", "a\x00b"},
		{"Upstash-Forward-X", strings.Repeat("a", 2<<20)},
		{"Upstash-Forward-", "a"},
		{"Upstash-Callback", "https://example.com/\r\nX: y"},
		{"Upstash-Callback", "ftp://example.com"},
		{"Upstash-Callback", "//example.com"},
		{"Upstash-Callback", "https://"},
		{"Upstash-Label", strings.Repeat("a,", 20) + strings.Repeat("b", 10_000)},
		{"Upstash-Deduplication-Id", strings.Repeat("a", 300)},
		{"Upstash-Flow-Control-Value", "rate=1"},
		{"Upstash-Delay", "99999999h"},
		{"Upstash-Delay", "9223372036854775807s"},
		{"Upstash-Retries", "9223372036854775808"},
		{"Upstash-Cron", "* * *"},
		{"Upstash-Cron", "60 * * * *"},
		{"Upstash-Cron", "CRON_TZ=../../etc/passwd * * * * *"},
		{"Upstash-Cron", "@every 1s"},
		{"Upstash-Redact-Fields", "header[a b]"},
	} {
		if test[0] == "Upstash-Forward-" {
			continue // names no header, and is left aside
		}
		w.refuse(request("POST", target, "", test[0], test[1]), before)
	}
}

func TestAbusePaths(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	for _, dest := range []string{
		"", "/", "//", "///", ".", "%", "%2", "%zz", "https:", "https:/", "https:/example.com", "https://", "https:///a", "https://?a",
		"https://example.com:99999/", "https://example.com:port/", "https://[::1", "https://exa mple.com", "https://example.com/%zz",
		"https://example.com/\r\nX: y", "https://\x00/", "ftp://example.com", "javascript:alert(1)", "file:///etc/passwd", "local:handler",
		"https%3A%2F%2F", "http%3A%2F%2F%zz", "HTTPS%3A%2F%2Fexample.com%0D%0AX:y", "../../v2/messages", "https://" + strings.Repeat("a", 3000) + ".com",
		"https://example.com/" + strings.Repeat("a", 3000), "api/email", "a b", "ü",
	} {
		for _, base := range []string{"/v2/publish/", "/v2/enqueue/q/", "/v2/schedules/"} {
			w.refusePath("POST", base+dest, before)
		}
		item, err := json.Marshal([]map[string]string{{"destination": "https://example.com"}, {"destination": dest}})
		if err != nil {
			t.Fatal(err)
		}
		if dest == "a b" || strings.HasPrefix(dest, "https%3A") || isName(dest) || len(dest) > 2048 {
			continue // answered in its place
		}
		w.refuse(request("POST", "/v2/batch", string(item)), before)
	}
	for _, queue := range []string{"", "a b", "a,b", "%", "%2F", "%00", "%0d%0a", "ü", strings.Repeat("q", 300), "../q"} {
		w.refusePath("POST", "/v2/enqueue/"+queue+"/https://example.com", before)
	}
	for _, id := range []string{"msg_", "x", "%", "%2F", "msg_" + strings.Repeat("0", 26) + "x", "msg_IIIIIIIIIIIIIIIIIIIIIIIIII", strings.Repeat("m", 100_000), "a/b", "%00"} {
		for _, method := range []string{"GET", "DELETE"} {
			w.refusePath(method, "/v2/messages/"+id, before)
		}
	}
	for _, method := range []string{"", "get", "BREW", "CONNECT", "TRACE", "OPTIONS", strings.Repeat("A", 10_000)} {
		r := request("POST", "/v2/messages", "")
		r.Method = method
		w.refuse(r, before)
	}
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz.-_") == ""
}

// refusePath makes a request with a path as it stands. Where a server would refuse
// it by itself there is nothing to see.
func (w *world) refusePath(method, path, before string) {
	w.t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")))
	if err != nil {
		return
	}
	w.refuse(withToken(r, qstash.DevToken), before)
}

func TestAbuseBodies(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	deep := strings.Repeat("[", 100_000)
	many := "[" + strings.Repeat(`{"destination":"https://example.com"},`, recall.DefaultMaxBatch) + `{"destination":"https://example.com"}]`
	junk := []string{
		"{", "[", "null", "1", `"a"`, "true", "[1]", "[null]", "[[]]", "\xff", "\x00", "{}{}", "[]x", deep, `{"a":` + deep, `{"a":1,"a":2}`, "\ufeff{}", "{'a':1}", `{"messageIds":}`,
	}
	for _, body := range append(junk,
		"", "{}", many, `[{"destination":1}]`, `[{"destination":null}]`, `[{"destination":["https://example.com"]}]`, `[{}]`,
		`[{"destination":"https://example.com","headers":[]}]`, `[{"destination":"https://example.com","headers":{"a":{}}}]`,
		`[{"destination":"https://example.com","headers":{"upstash-forward-a":"b\r\nc: d"}}]`,
		`[{"destination":"https://example.com","headers":{"upstash-forward-a\r\nb":"c"}}]`,
		`[{"destination":"https://example.com","headers":{"upstash-forward-a b":"c"}}]`,
		`[{"destination":"https://example.com","headers":{"content-type":"a\nb"}}]`,
		`[{"destination":"https://example.com","body":{}}]`, `[{"destination":"https://example.com","body":1}]`,
		`[{"destination":"https://example.com","queue":"a,b"}]`, `[{"destination":"https://example.com","queue":1}]`,
		`[{"destination":"https://example.com"},{"destination":""}]`, `[{"destination":"https://example.com"},`,
		"[{\"destination\":\"https://example.com\",\"body\":\"\xff\"}]",
	) {
		w.refuse(request("POST", "/v2/batch", body), before)
	}
	for _, body := range append(junk,
		" ", "[]", `{"messageIds":"a","all":false,"b":1}`, `{"messageIds":{}}`, `{"messageIds":[1]}`, `{"messageIds":[[]]}`, `{"fromDate":"x"}`,
		`{"fromDate":1e400}`, `{"fromDate":-1}`, `{"label":[]}`, `{"label":""}`, `{"label":null}`, `{"labeel":"x"}`, `{"callerIP":"x"}`,
		`{"count":0}`, `{"count":-1}`, `{"count":1.5}`, `{"count":"x"}`, `{"fromDate":2,"toDate":1}`, `{"all":"maybe"}`, "a=b", "messageIds=%zz",
		`{"label":`+strings.Repeat(`["x",`, 1000), `{"messageIds":["`+strings.Repeat("a", 17<<20)+`"]}`,
	) {
		w.refuse(request("DELETE", "/v2/messages", body), before)
		for _, path := range []string{"cancel", "hold", "release", "reschedule", "retry-now", "restore", "standing", "explain", "count"} {
			if body == " " && (path == "count" || path == "explain") {
				continue
			}
			w.refuse(request("POST", "/recall/v1/"+path, body), before)
		}
	}
	for _, query := range []string{"messageIds=", "label=", "label=%zz", "fromDate=x", "count=0", "labeel=x", "a;b", "%zz=1", "label=x;all=true", "all=false"} {
		r := request("DELETE", "/v2/messages", "")
		r.URL.RawQuery = query
		w.refuse(r, before)
	}
	w.refuse(request("POST", "/v2/publish/https://example.com", strings.Repeat("a", recall.DefaultMaxBody+1)), before)
}

// TestAbuseTokens: whoever has none changes nothing, whatever it is that they
// ask for.
func TestAbuseTokens(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	for _, header := range []string{
		"", "Bearer", "Bearer ", "Bearer  " + qstash.DevToken, qstash.DevToken, "Basic " + qstash.DevToken, "Bearer " + qstash.DevToken + " ",
		"Bearer " + strings.ToLower(qstash.DevToken), "Bearer \x00", "Bearer " + strings.Repeat("a", 1<<20), "Bearer " + qstash.DevToken + "\x00",
	} {
		for _, target := range []struct{ method, path string }{
			{"DELETE", "/v2/messages"},
			{"POST", "/v2/publish/https://example.com"},
			{"POST", "/v2/batch"},
			{"POST", "/v2/keys/rotate"},
			{"POST", "/recall/v1/cancel?all=true"},
			{"GET", "/v2/keys"},
			{"DELETE", "/v2/messages?qstash_token=x"},
			{"DELETE", "/v2/messages?qstash_token=x&qstash_token=" + qstash.DevToken},
			{"DELETE", "/v2/messages?QSTASH_TOKEN=" + qstash.DevToken},
		} {
			r := request(target.method, target.path, "")
			r.Header["Authorization"] = []string{header}
			w.refuse(r, before)
		}
	}
}

// valid are requests that are understood, for others to be made of.
var valid = []string{
	"POST /v2/publish/https://example.com/a?x=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\nUpstash-Delay: 1h\r\nUpstash-Label: x,y\r\nUpstash-Retries: 2\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody",
	"POST /v2/enqueue/q/https://example.com/a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\nUpstash-Not-Before: 4102444800\r\nUpstash-Callback: https://example.com/c\r\nUpstash-Callback-Retries: 1\r\nUpstash-Flow-Control-Key: k\r\nUpstash-Flow-Control-Value: rate=1\r\n\r\n",
	"POST /v2/batch HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\nContent-Length: 118\r\n\r\n" +
		`[{"destination":"https://example.com","headers":{"upstash-delay":"1h","upstash-forward-a":"b"},"body":"c","queue":"q"}]`,
	"DELETE /v2/messages HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\nContent-Length: 56\r\n\r\n" +
		`{"label":["x","y"],"fromDate":1,"toDate":99999999999999}`,
	"DELETE /v2/messages?queueName=q&url=https://example.com/a,https://example.com/b&count=100 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\n\r\n",
	"DELETE /v2/messages?messageIds=a&messageIds=b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\n\r\n",
	"POST /recall/v1/cancel HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\nContent-Length: 57\r\n\r\n" +
		`{"host":"example.com","policy":"skip","expectAtMost":500}`,
	"POST /recall/v1/reschedule?host=example.com&due=4102444800000 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\n\r\n",
	"POST /recall/v1/standing?label=z&until=4102444800000 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer T\r\n\r\n",
	"GET /v2/messages/msg_01ARZ3NDEKTSV4RRFFQ69G5FAV HTTP/1.1\r\nHost: h\r\nqstash-token: T\r\n\r\n",
	"POST /v2/keys/rotate?qstash_token=T HTTP/1.1\r\nHost: h\r\nOrigin: https://console.upstash.com\r\n\r\n",
}

// pieces are put into requests: what ends things, and what means something.
var pieces = []string{
	"\r\n", "\n", "\x00", "\xff", " ", ":", ",", ";", "&", "=", "?", "/", "//", "%", "%2F", "%0d%0a", "%00", "{", "}", "[", "]", "\"", "null", "-1",
	"1e309", "99999999999999999999", "\u2028", "Upstash-", "Upstash-Delay: 1h\r\n", "all=true", `"all":true`, "messageIds", "https://", "qstash_token=T",
}

// mangled changes a request in a few places.
func mangled(rng *rand.Rand) string {
	text := valid[rng.IntN(len(valid))]
	for range 1 + rng.IntN(4) {
		i := rng.IntN(len(text) + 1)
		switch rng.IntN(4) {
		case 0:
			text = text[:i] + pieces[rng.IntN(len(pieces))] + text[i:]
		case 1:
			text = text[:i] + string([]byte{byte(rng.IntN(256))}) + text[min(i+1, len(text)):]
		case 2:
			text = text[:i] + text[min(i+1+rng.IntN(8), len(text)):]
		case 3:
			other := valid[rng.IntN(len(valid))]
			text = text[:i] + other[rng.IntN(len(other)):]
		}
	}
	return strings.ReplaceAll(text, "Bearer T", "Bearer "+qstash.DevToken)
}

// size is small, or full with RECALL_SOAK.
func size(small, full int) int {
	if os.Getenv("RECALL_SOAK") != "" {
		return full
	}
	return small
}

// newRand is seeded by RECALL_SEED, or by chance; a failure names the seed.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("RECALL_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("RECALL_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// TestAbuseUnreadable sends what no handler gets to see. If it is answered at all,
// then in JSON, with an error of the sender's, and nothing changes.
func TestAbuseUnreadable(t *testing.T) {
	rng := newRand(t)
	inBubble(t, "", func(t *testing.T) {
		w, pipe := newWorld(t), newPipes()
		web := &http.Server{Handler: w.handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Second}
		l := qstash.Listener(web, pipe)
		go func() { _ = web.Serve(l) }()
		defer web.Close()
		before, refused := w.state(), 0
		send := func(text string) {
			conn := pipe.dial()
			defer conn.Close()
			go func() { _, _ = io.WriteString(conn, text) }()
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if len(got) == 0 {
				return // the rest of it did not come
			}
			refused++
			resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got)), nil)
			if err != nil {
				t.Fatalf("%q: got %q, %v", text, got, err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			var answer struct{ Error string }
			if err != nil || json.Unmarshal(body, &answer) != nil || answer.Error == "" || resp.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("%q: got %q, %v", text, got, err)
			}
			if s := resp.StatusCode; s < 400 || s > 499 && s != 501 && s != 505 {
				t.Errorf("%q: got %d", text, s)
			}
		}
		send("GET /v2/publish/%zz HTTP/1.1\r\nHost: h\r\n\r\n")
		if refused != 1 {
			t.Error("a bad escape was not answered")
		}
		for range size(2_000, 50_000) {
			text := mangled(rng)
			r := bufio.NewReader(strings.NewReader(text))
			if _, err := http.ReadRequest(r); err != nil {
				send(text)
			}
		}
		if refused < 100 {
			t.Errorf("%d were refused: they are not mangled in the right way", refused)
		}
		if after := w.state(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// TestAbuseMangled sends requests that are almost right. Whatever comes of it,
// the answer is JSON, no fault of the server's, and an error if nothing
// changed.
func TestAbuseMangled(t *testing.T) {
	w, rng := newWorld(t), newRand(t)
	before, refused, done := w.state(), 0, 0
	for i := range size(5_000, 200_000) {
		text := mangled(rng)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			continue // no handler gets to see it
		}
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		after := w.state()
		switch {
		case rec.Code >= 500:
			t.Errorf("%q: got %d %s", text, rec.Code, rec.Body)
		case rec.Code >= 400:
			refused++
			if after != before {
				t.Errorf("%q: got %d %s, and it changed something:\n%s\n%s", text, rec.Code, rec.Body, before, after)
			}
			checkStatus(t, rec, rec.Code)
		case rec.Code != 204:
			done++
			if !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%q: got %s", text, rec.Body)
			}
		}
		if t.Failed() {
			return
		}
		before = after
		if i%100 == 99 { // so that writing it down stays quick
			w = newWorld(t)
			before = w.state()
		}
	}
	if refused < 500 || done < 50 {
		t.Errorf("%d were refused and %d done: they are not mangled in the right way", refused, done)
	}
}
