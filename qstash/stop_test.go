package qstash_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// blocked is the answer of the stop rule, word for word.
func blocked(id recall.MessageID, cancelled int) string {
	return fmt.Sprintf(`{"cancelled":%d,"error":"message %s is in flight and cannot be cancelled; %d messages were cancelled before it",`+
		`"messageId":"%s","state":"ACTIVE"}`, cancelled, id, cancelled, id)
}

// threeWithOneInFlight publishes a, b and c; b is in flight, and due first.
func threeWithOneInFlight(s *server) recall.Lease {
	s.publish("a", recall.Message{Delay: time.Hour})
	s.publish("b", recall.Message{})
	s.publish("c", recall.Message{Delay: time.Hour})
	return s.claim(1)[0]
}

// TestStop has a message in flight that does not end. Every form of bulk
// cancellation takes what is older, names it, and leaves the rest.
func TestStop(t *testing.T) {
	for _, test := range []struct{ name, target, body, gone string }{
		{"all", "/v2/messages", "", "a"},
		{"ids", "/v2/messages", `{"messageIds":["{c}","{b}","{a}"]}`, "a"},
		{"ids, the one in flight first", "/v2/messages?messageIds={b},{c}", "", ""},
		{"filter", "/v2/messages?host=example.com&count=100", "", "a"},
		{"count above it", "/v2/messages?count=2", "", "a"},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			threeWithOneInFlight(s)
			start := time.Now()
			w := s.call("DELETE", test.target, test.body)
			checkStatus(t, w, 409)
			checkBody(t, w, blocked(s.ids["b"], len(strings.Fields(test.gone))))
			s.checkGone(test.gone)
			if got := time.Since(start); got != qstash.DefaultCancelWait {
				t.Errorf("waited %v, want %v", got, qstash.DefaultCancelWait)
			}
		})
	}
	for _, test := range []struct{ name, target, body, gone string }{
		{"no match in flight", "/v2/messages?path=/a,/c", "", "a c"},
		{"ids that are not in flight", "/v2/messages", `{"messageIds":["{a}","{c}"]}`, "a c"},
		{"count below it", "/v2/messages?count=1", "", "a"},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			threeWithOneInFlight(s)
			start := time.Now()
			checkStatus(t, s.call("DELETE", test.target, test.body), 202)
			s.checkGone(test.gone)
			if got := time.Since(start); got != 0 {
				t.Errorf("waited %v, want nothing", got)
			}
		})
	}
}

// TestStopWait has a message in flight that ends while the request waits, or
// too late.
func TestStopWait(t *testing.T) {
	for _, test := range []struct {
		name      string
		wait      time.Duration // option
		ends      time.Duration
		end       recall.Finish
		status    int
		cancelled int
		took      time.Duration
	}{
		{"delivered in time", 0, 299 * time.Millisecond, recall.Finish{Outcome: recall.Delivered}, 202, 2, 299 * time.Millisecond},
		{"failed in time", 0, 299 * time.Millisecond, recall.Finish{Outcome: recall.Retry}, 202, 3, 299 * time.Millisecond},
		{"too late", 0, 301 * time.Millisecond, recall.Finish{Outcome: recall.Delivered}, 409, 1, 300 * time.Millisecond},
		{"longer wait", time.Minute, 59 * time.Second, recall.Finish{Outcome: recall.Delivered}, 202, 2, 59 * time.Second},
		{"no wait", -1, time.Millisecond, recall.Finish{Outcome: recall.Delivered}, 409, 1, 0},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, &qstash.Options{CancelWait: test.wait})
			lease := threeWithOneInFlight(s)
			start := time.Now()
			var w *httptest.ResponseRecorder
			var took time.Duration
			go func() {
				w = s.call("DELETE", "/v2/messages", "")
				took = time.Since(start)
			}()
			time.Sleep(test.ends)
			test.end.Due = time.Now().Add(time.Hour)
			s.finish(lease, test.end)
			synctest.Wait()
			checkStatus(t, w, test.status)
			if got := decode[struct{ Cancelled int }](t, w).Cancelled; got != test.cancelled {
				t.Errorf("cancelled: got %d, want %d", got, test.cancelled)
			}
			if took != test.took {
				t.Errorf("took %v, want %v", took, test.took)
			}
			if test.status == 202 {
				s.checkGone("a b c")
			} else {
				s.checkGone("a b") // b was delivered afterwards
			}
		})
	}
}

// TestStopAgain runs a cancellation that was stopped a second time, which
// takes the rest.
func TestStopAgain(t *testing.T) {
	inBubble(t, "twice", func(t *testing.T) {
		s := newServer(t, nil)
		lease := threeWithOneInFlight(s)
		w := s.call("DELETE", "/v2/messages?all=true", "")
		checkBody(t, w, blocked(s.ids["b"], 1))
		w = s.call("DELETE", "/v2/messages?all=true", "")
		checkBody(t, w, blocked(s.ids["b"], 0))
		s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now().Add(time.Hour)})
		w = s.call("DELETE", "/v2/messages?all=true", "")
		checkStatus(t, w, 202)
		checkBody(t, w, `{"cancelled":2}`)
		s.checkGone("a b c")
	})
}

// oneConn is a listener with one connection.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestWaitOutlastsTheServer waits longer than the timeouts of the server that
// the handler runs in.
func TestWaitOutlastsTheServer(t *testing.T) {
	for _, test := range []struct {
		method, target, body string
		status               int
	}{
		{"DELETE", "/v2/messages", "", 202},
		{"POST", own + "cancel", `{"all":true,"wait":"1h"}`, 200},
	} {
		inBubble(t, test.target, func(t *testing.T) {
			s := newServer(t, &qstash.Options{CancelWait: time.Hour})
			lease := threeWithOneInFlight(s)
			near, far := net.Pipe()
			l := &oneConn{make(chan net.Conn, 1), make(chan struct{})}
			l.conns <- far
			web := &http.Server{Handler: s.handler, ReadTimeout: 2 * time.Minute, WriteTimeout: 5 * time.Minute}
			go func() { _ = web.Serve(l) }()
			defer web.Close()
			go func() {
				time.Sleep(30 * time.Minute)
				s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now().Add(time.Hour)})
			}()
			if err := request(test.method, test.target, test.body).Write(near); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(near), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); resp.StatusCode != test.status || err != nil {
				t.Errorf("got %d %s, %v, want %d", resp.StatusCode, text, err, test.status)
			}
			s.checkGone("a b c")
		})
	}
}
