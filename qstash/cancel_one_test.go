package qstash_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

func TestCancelOne(t *testing.T) {
	s := newServer(t, nil)
	s.publish("a", recall.Message{})
	s.publish("b", recall.Message{})
	s.publish("c", recall.Message{})
	s.publish("d", recall.Message{})
	gone := ""
	for _, test := range []struct{ name, target, body, gone string }{
		{"plain", "/v2/messages/{a}", "", "a"},
		{"with a slash", "/v2/messages/{b}/", "", "b"},
		{"a body does not matter", "/v2/messages/{c}", `{"messageIds":["{d}"]}`, "c"},
		{"escaped", "/v2/messages/msg%5F" + strings.TrimPrefix(string(s.ids["d"]), "msg_"), "", "d"},
	} {
		w := s.call("DELETE", test.target, test.body)
		checkStatus(t, w, 202)
		checkBody(t, w, `{"cancelled":1}`)
		gone += " " + test.gone
		s.checkGone(gone)
		// It is gone now.
		checkError(t, s.call("DELETE", test.target, ""), 404, string(s.ids[test.gone])+" not found")
	}
}

func TestCancelOneUnknown(t *testing.T) {
	s := newServer(t, nil)
	s.publish("a", recall.Message{})
	for _, id := range []string{
		unknownID, "nonsense", "msg_", "msg_1", "%20", "%00", "/", "{a}/x", "{a}%2F", "{a},{a}", "%7Ba%7D", "*", "..",
		strings.Repeat("x", 10_000),
	} {
		checkError(t, s.call("DELETE", "/v2/messages/"+id, ""), 404, "not found")
		checkError(t, s.call("GET", "/v2/messages/"+id, ""), 404, "not found")
	}
	s.checkGone("")
}

// TestCancelOneInFlight is yes, as with QStash: the attempt may finish, and is
// the last.
func TestCancelOneInFlight(t *testing.T) {
	for _, test := range []struct {
		name string
		end  recall.Finish
	}{
		{"attempt succeeds", recall.Finish{Outcome: recall.Delivered}},
		{"attempt fails", recall.Finish{Outcome: recall.Retry, Reason: "status 500"}},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			s.publish("a", recall.Message{})
			lease := s.claim(1)[0]
			start := time.Now()
			w := s.call("DELETE", "/v2/messages/{a}", "")
			checkStatus(t, w, 202)
			checkBody(t, w, `{"cancelled":1}`)
			if got := time.Since(start); got != 0 {
				t.Errorf("waited %v", got)
			}
			s.checkGone("a")
			checkStatus(t, s.call("DELETE", "/v2/messages", ""), 202) // it stops nothing
			test.end.Due = time.Now()
			s.finish(lease, test.end)
			s.checkGone("a")
			s.claim(0)
		})
	}
}

// TestEmptyID is a client that cancels one message without an id: that is the
// address of everything.
func TestEmptyID(t *testing.T) {
	s := newServer(t, &qstash.Options{StrictPaths: true})
	s.publish("a", recall.Message{})
	s.publish("b", recall.Message{Queue: "q"})
	for _, body := range []string{"", "{}", `{"queueName":"q"}`} {
		checkError(t, s.call("DELETE", "/v2/messages/", body), 400, "id of the message is missing")
		s.checkGone("")
	}
	checkStatus(t, s.call("DELETE", "/v2/messages", `{"queueName":"q"}`), 202)
	s.checkGone("b")
	checkStatus(t, s.call("DELETE", "/v2/messages/{a}", ""), 202)
	s.checkGone("a b")
}

// TestCancelAllIsLogged so that whoever emptied the queue can be found.
func TestCancelAllIsLogged(t *testing.T) {
	s := newServer(t, nil)
	s.publish("a", recall.Message{})
	checkStatus(t, s.call("DELETE", "/v2/messages?queueName=q", "", "User-Agent", "curl/8"), 202)
	if strings.Contains(s.log.String(), "curl/8") {
		t.Errorf("logged: %s", s.log)
	}
	checkStatus(t, s.call("DELETE", "/v2/messages", "", "User-Agent", "curl/8"), 202)
	for _, part := range []string{"all messages were cancelled", "cancelled=1", "from=192.0.2.1:1234", "user_agent=curl/8"} {
		if !strings.Contains(s.log.String(), part) {
			t.Errorf("log: got %q, want one with %q", s.log, part)
		}
	}
}

// TestLimitedCancelIsLogged as one that did not take everything.
func TestLimitedCancelIsLogged(t *testing.T) {
	s := newServer(t, nil)
	s.publish("a", recall.Message{})
	s.publish("b", recall.Message{})
	checkStatus(t, s.call("DELETE", "/v2/messages?count=1", ""), 202)
	if got := s.log.String(); !strings.Contains(got, "cancelled=1") || !strings.Contains(got, "limit=1") || strings.Contains(got, "all messages") {
		t.Errorf("log: got %q", got)
	}
}

// TestStopOfAllIsLogged as what it is.
func TestStopOfAllIsLogged(t *testing.T) {
	s := newServer(t, &qstash.Options{CancelWait: -1})
	s.publish("a", recall.Message{Delay: time.Hour})
	s.publish("b", recall.Message{})
	s.claim(1)
	checkStatus(t, s.call("DELETE", "/v2/messages", ""), 409)
	if got := s.log.String(); !strings.Contains(got, "cancelled=1") || !strings.Contains(got, "in flight") {
		t.Errorf("log: got %q", got)
	}
}

// TestFilterInHeaders is the sample of a page that is often copied: its body
// ends up among the headers, and nothing in the body.
func TestFilterInHeaders(t *testing.T) {
	s := newServer(t, nil)
	s.publish("a", recall.Message{})
	checkError(t, s.call("DELETE", "/v2/messages", "", "body", "[object Object]"), 400, "header named body")
	checkError(t, s.call("DELETE", "/v2/messages", `{"messageIds":["{a}"]}`, "Body", ""), 400, "header named body")
	s.checkGone("")
}

// TestCancelBodyBroken has bodies that do not arrive whole.
func TestCancelBodyBroken(t *testing.T) {
	s := newServer(t, nil)
	s.publish("a", recall.Message{})
	r := request("DELETE", "/v2/messages", "")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{}"), failingReader{}))
	checkError(t, s.do(r), 400, "could not be read")
	r = request("DELETE", "/v2/messages", "")
	r.Body = io.NopCloser(failingReader{})
	checkError(t, s.do(r), 400, "could not be read")
	checkError(t, s.call("DELETE", "/v2/messages", strings.Repeat(" ", 16<<20+1)), 413, "larger than")
	s.checkGone("")
}

// TestNoBody has requests that no server made: one without a body has none at
// all, and that is no body.
func TestNoBody(t *testing.T) {
	s := newServer(t, nil)
	bare := func(method, target string) *http.Request {
		r := request(method, target, "")
		r.Body = nil
		return r
	}
	checkStatus(t, s.do(bare("POST", "/v2/publish/https://example.com")), 200)
	checkError(t, s.do(bare("POST", "/v2/batch")), 400, "JSON array")
	checkStatus(t, s.do(bare("POST", "/recall/v1/count")), 200)
	w := s.do(bare("DELETE", "/v2/messages"))
	checkStatus(t, w, 202)
	checkBody(t, w, `{"cancelled":1}`)
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
