package sdk_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// call is a request of an SDK from a file below testdata, and what the SDK
// needs in the answer.
type call struct {
	file   string // without .http. What is before a hyphen is the row of the table
	before func(w *world)
	status int // 0 is any from 200 to 299
	want   any // see check; nil is no need, as SDKs do not read the answer then
	after  func(w *world)
}

// replay sends the calls in order to one recall dev, each as a test, and
// returns how the rows of the table did. Each file must be one of the calls.
func replay(t *testing.T, folder string, calls []call) map[string]mark {
	w := newWorld(t)
	marks := map[string]mark{}
	var files []string
	for _, c := range calls {
		files = append(files, filepath.Join("testdata", folder, c.file+".http"))
		row, _, _ := strings.Cut(c.file, "-")
		passed := t.Run(c.file, func(t *testing.T) {
			w.t = t
			w.replay(files[len(files)-1], c)
		})
		marks[row] = marks[row].and(map[bool]string{true: "pass", false: "fail"}[passed])
	}
	w.t = t
	found, err := filepath.Glob(filepath.Join("testdata", folder, "*.http"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	if !slices.Equal(found, files) {
		t.Errorf("the files of testdata/%s and the calls differ: %v, and %v", folder, found, files)
	}
	return marks
}

// world is the server that requests are replayed to, and the only endpoint,
// https://example.com in the files. What is below /missing is 404 there, the
// rest 200.
type world struct {
	t        *testing.T
	url      string
	arrivals chan arrival
	ids      map[string]string // in the place of those in the files
}

type arrival struct {
	method, path, body string
	header             http.Header
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, arrivals: make(chan arrival, 100), ids: map[string]string{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(w.receive), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	w.url = startRecall(t, "--route", "https://example.com=http://"+l.Addr().String())
	return w
}

func (w *world) receive(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if strings.HasPrefix(r.URL.Path, "/missing") {
		http.Error(rw, "404 Not Found", http.StatusNotFound)
	}
	select {
	case w.arrivals <- arrival{r.Method, r.RequestURI, string(body), r.Header}:
	default: // nobody wants to know of so many
	}
}

// arrived returns the next delivery that is this one, and leaves out others:
// of calls that nothing is known about here, and callbacks.
func (w *world) arrived(method, path, body string) arrival {
	w.t.Helper()
	var others []string
	late := time.After(10 * time.Second)
	for {
		select {
		case a := <-w.arrivals:
			if a.method == method && a.path == path && a.body == body {
				return a
			}
			others = append(others, fmt.Sprintf("%s %s %q", a.method, a.path, a.body))
		case <-late:
			w.t.Fatalf("no %s %s %q arrived, but %q", method, path, body, others)
		}
	}
}

func (w *world) replay(file string, c call) {
	if c.before != nil {
		c.before(w)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	status, body := w.send(w.name(raw))
	ok := status/100 == 2
	if c.status != 0 {
		ok = status == c.status
	}
	if !ok {
		w.t.Fatalf("got %d %s", status, body)
	}
	if c.want != nil {
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			w.t.Fatalf("%v in %s", err, body)
		}
		for _, fault := range check("the answer", v, c.want) {
			w.t.Errorf("%s: %s", fault, body)
		}
	}
	if c.after != nil {
		c.after(w)
	}
}

var contentLength = regexp.MustCompile(`(?i)(\r\nContent-Length: )\d+`)

// name puts our ids into the request. Only where they are not as long as those
// in the file another byte changes: the length that the request states.
func (w *world) name(raw []byte) []byte {
	named := raw
	for from, to := range w.ids {
		named = bytes.ReplaceAll(named, []byte(from), []byte(to))
	}
	if len(named) == len(raw) {
		return named
	}
	head, body, _ := bytes.Cut(named, []byte("\r\n\r\n"))
	head = contentLength.ReplaceAll(head, []byte("${1}"+strconv.Itoa(len(body))))
	return slices.Concat(head, []byte("\r\n\r\n"), body)
}

// send writes the bytes to a connection of their own, and reads the answer.
func (w *world) send(raw []byte) (status int, body []byte) {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := conn.Write(raw); err != nil {
		w.t.Fatal(err)
	}
	method, _, _ := strings.Cut(string(raw), " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, bytes.TrimSpace(body)
}

// do sends a request of the test's own and decodes the answer.
func (w *world) do(method, path, body string, headers ...string) (answer any) {
	w.t.Helper()
	raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n", method, path, token, len(body))
	for i := 0; i < len(headers); i += 2 {
		raw += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	status, got := w.send([]byte(raw + "\r\n" + body))
	if status/100 != 2 {
		w.t.Fatalf("%s %s: got %d %s", method, path, status, got)
	}
	if len(got) > 0 {
		if err := json.Unmarshal(got, &answer); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, got)
		}
	}
	return answer
}

// publish returns the id of a new message to https://example.com.
func (w *world) publish(path string, headers ...string) string {
	w.t.Helper()
	return w.do("POST", "/v2/publish/https://example.com"+path, "x", headers...).(map[string]any)["messageId"].(string)
}

// Ids that the files have in the place of ours.
const (
	firstMessage, secondMessage = "msg_AAAAAAAAAAAAAAAAAAAAAAAAAA", "msg_BBBBBBBBBBBBBBBBBBBBBBBBBB"
	firstDead, secondDead       = "1700000000001-1", "1700000000002-2"
	someSchedule                = "scd_AAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// twoWaiting are the only messages then, and are not delivered.
func twoWaiting(w *world) {
	w.do("DELETE", "/v2/messages?all=true", "")
	for _, id := range []string{firstMessage, secondMessage} {
		w.ids[id] = w.publish("/ok", "Upstash-Delay", "1h", "Content-Type", "text/plain")
	}
}

// twoDelivered are two, and the logs have their last entries.
func twoDelivered(w *world) {
	for _, id := range []string{firstMessage, secondMessage} {
		w.ids[id] = w.publish("/ok")
		w.eventually("/v2/events?state=DELIVERED&messageId="+w.ids[id], "events", 1)
	}
}

// twoCancelled are two as well.
func twoCancelled(w *world) {
	twoWaiting(w)
	w.do("DELETE", "/v2/messages?messageIds="+w.ids[firstMessage]+","+w.ids[secondMessage], "")
	for _, id := range []string{firstMessage, secondMessage} {
		w.eventually("/v2/events?state=CANCELED&messageId="+w.ids[id], "events", 1)
	}
}

// twoDead are the only dead letters then.
func twoDead(w *world) {
	w.do("DELETE", "/v2/dlq", "")
	w.publish("/missing", "Upstash-Retries", "0")
	w.publish("/missing", "Upstash-Retries", "0")
	list := w.eventually("/v2/dlq", "messages", 2)
	w.ids[firstDead] = list[0].(map[string]any)["dlqId"].(string)
	w.ids[secondDead] = list[1].(map[string]any)["dlqId"].(string)
}

// usedKey makes a flow-control key known.
func usedKey(key string) func(*world) {
	return func(w *world) {
		w.publish("/flow", "Upstash-Flow-Control-Key", key, "Upstash-Flow-Control-Value", "parallelism=2, rate=3, period=1m")
		w.arrived("POST", "/flow", "x")
	}
}

// eventually waits until a list has so many elements.
func (w *world) eventually(path, field string, n int) []any {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		list, _ := w.do("GET", path, "").(map[string]any)[field].([]any)
		if len(list) == n {
			return list
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s has %d, want %d: %v", path, len(list), n, list)
		}
	}
}

// shows asks for an object by GET and checks it.
func shows(path string, want any) func(*world) {
	return func(w *world) {
		w.t.Helper()
		for from, to := range w.ids {
			path = strings.ReplaceAll(path, from, url.PathEscape(to))
		}
		for _, fault := range check(path, w.do("GET", path, ""), want) {
			w.t.Error(fault)
		}
	}
}

// receives expects a delivery.
func receives(method, path, body string, headers ...string) func(*world) {
	return func(w *world) {
		w.t.Helper()
		a := w.arrived(method, path, body)
		for i := 0; i < len(headers); i += 2 {
			if got := a.header.Get(headers[i]); got != headers[i+1] {
				w.t.Errorf("%s: got %q, want %q", headers[i], got, headers[i+1])
			}
		}
	}
}
