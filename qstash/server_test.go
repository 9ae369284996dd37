package qstash_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// live is a real server on a real file that delivers.
type live struct {
	t   *testing.T
	url string
	b   *recall.Broker
}

func newLive(t *testing.T) *live {
	t.Helper()
	b, err := recall.Open(filepath.Join(t.TempDir(), "queue.db"), &recall.Options{
		OnRequest: qstash.OnRequest, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(qstash.NewHandler(b, &qstash.Options{Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	return &live{t, server.URL, b}
}

// call returns the status and the body of an answer.
func (l *live) call(method, target, body string, headers ...string) (int, string) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), method, l.url+target, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+qstash.DevToken)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(data))
}

// arrival is a request that an endpoint was sent.
type arrival struct {
	method, uri, body string
	header            http.Header
}

// newEndpoint is a server that hands on what it is sent, and answers with the
// statuses in turn, then with 200.
func newEndpoint(t *testing.T, statuses ...int) (url string, arrivals chan arrival) {
	arrivals = make(chan arrival, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		if len(statuses) > 0 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(statuses[0])
			statuses = statuses[1:]
		}
		arrivals <- arrival{r.Method, r.RequestURI, string(data), r.Header}
	}))
	t.Cleanup(server.Close)
	return server.URL, arrivals
}

func receive(t *testing.T, arrivals chan arrival) arrival {
	t.Helper()
	select {
	case a := <-arrivals:
		return a
	case <-time.After(10 * time.Second):
		t.Fatal("nothing arrived")
		panic("unreachable")
	}
}

func checkHeaders(t *testing.T, got http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s: got %q, want %q", name, got.Get(name), value)
		}
	}
}

// TestDelivered publishes over HTTP and looks at what the endpoint is sent.
func TestDelivered(t *testing.T) {
	l := newLive(t)
	endpoint, arrivals := newEndpoint(t, 500)
	status, body := l.call("POST", "/v2/publish/"+endpoint+"/a//b%2Fc?y=%2F+z&x=1&qstash_token=t&upstash-forward-x-p=p", `{"n":1}`,
		"Content-Type", "application/json", "Upstash-Method", "PUT", "Upstash-Forward-X-Trace", "1", "Upstash-Retries", "1")
	if status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	var ids []string
	for retried, want := range []string{"0", "1"} {
		got := receive(t, arrivals)
		if got.method != "PUT" || got.uri != "/a//b%2Fc?y=%2F+z&x=1" || got.body != `{"n":1}` {
			t.Errorf("attempt %d: got %+v", retried, got)
		}
		checkHeaders(t, got.header, map[string]string{
			"User-Agent": "Upstash-QStash", "Content-Type": "application/json", "X-Trace": "1", "X-P": "p",
			"Upstash-Retried": want, "Upstash-Caller-Ip": "127.0.0.1",
			"Upstash-Topic-Name": "", "Upstash-Schedule-Id": "", "Upstash-Retries": "", "Authorization": "",
		})
		id := got.header.Get("Upstash-Message-Id")
		if !strings.Contains(body, `"`+id+`"`) || id != got.header.Get("Recall-Message-Id") {
			t.Errorf("id: got %q, want that of %s", id, body)
		}
		ids = append(ids, id)
	}
	if ids[0] != ids[1] {
		t.Errorf("ids of the attempts: %v", ids)
	}
}

// TestOnRequest has a message from a schedule to a group: those names are
// handed on as well, and none that the publisher made up.
func TestOnRequest(t *testing.T) {
	l := newLive(t)
	endpoint, arrivals := newEndpoint(t)
	forged := http.Header{"Upstash-Caller-Ip": {"192.0.2.9"}, "Upstash-Topic-Name": {"h"}, "Upstash-Other": {"x"}}
	if _, err := l.b.Publish(t.Context(), recall.Message{URL: endpoint, Topic: "g", ScheduleID: "s", Header: forged}); err != nil {
		t.Fatal(err)
	}
	checkHeaders(t, receive(t, arrivals).header, map[string]string{
		"Upstash-Topic-Name": "g", "Upstash-Schedule-Id": "s", "Upstash-Caller-Ip": "", "Upstash-Retried": "0",
		"Upstash-Other": "x",
	})
}

// TestForwardedUserAgent is the publisher's to choose.
func TestForwardedUserAgent(t *testing.T) {
	l := newLive(t)
	endpoint, arrivals := newEndpoint(t)
	for want, header := range map[string]string{"mine": "Upstash-Forward-User-Agent", "Upstash-QStash": "Upstash-Forward-Other"} {
		if status, body := l.call("POST", "/v2/publish/"+endpoint, "", header, "mine"); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
		checkHeaders(t, receive(t, arrivals).header, map[string]string{"User-Agent": want})
	}
}

// TestCancelledIsNotDelivered goes the whole way with a file: publish in a
// batch, look, count, explain, cancel.
func TestCancelledIsNotDelivered(t *testing.T) {
	l := newLive(t)
	endpoint, arrivals := newEndpoint(t)
	status, body := l.call("POST", "/v2/batch", `[
		{"destination":"`+endpoint+`/1","headers":{"upstash-delay":"1h","upstash-label":"x"}},
		{"destination":"`+endpoint+`/2","headers":{"upstash-delay":"1h"},"queue":"q"}]`)
	if status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	for _, test := range []struct {
		method, target, body string
		status               int
		want                 string
	}{
		{
			"POST", "/recall/v1/explain", `{"label":"x"}`, 200,
			`{"filter":"label=x","index":"label","scan":1,"candidates":[{"index":"label","count":1,"exact":true},{"index":"time","count":2,"exact":true}],` +
				`"text":"label=x\n> label    1\n  time     2\n1 entries to scan\n"}`,
		},
		{
			"POST", "/recall/v1/explain", `{"messageIds":["none"]}`, 200,
			`{"filter":"id=","index":"id","scan":0,"candidates":[{"index":"id","count":0,"exact":true},{"index":"time","count":2,"exact":true}],` +
				`"text":"id=\n> id      0\n  time    2\n0 entries to scan\n"}`,
		},
		{"POST", "/recall/v1/count", `{"label":"x"}`, 200, `{"inFlight":0,"pending":1}`},
		{"DELETE", "/v2/messages/", `{"label":"x"}`, 202, `{"cancelled":1}`},
		{"DELETE", "/v2/messages?queueName=q", "", 202, `{"cancelled":1}`},
		{"DELETE", "/v2/messages", "", 202, `{"cancelled":0}`},
	} {
		if status, body := l.call(test.method, test.target, test.body); status != test.status || body != test.want {
			t.Errorf("%s %s %s: got %d %s, want %d %s", test.method, test.target, test.body, status, body, test.status, test.want)
		}
	}
	if status, body := l.call("POST", "/v2/publish/"+endpoint+"/3", ""); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	if got := receive(t, arrivals); got.uri != "/3" {
		t.Errorf("got %+v", got)
	}
}
