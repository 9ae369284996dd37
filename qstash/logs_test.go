package qstash_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

type logAnswer struct {
	Logs, Events []map[string]any
	Cursor       *string
}

// told is the states of an answer, with the names of their messages if they are
// of several.
func (s *server) told(w *httptest.ResponseRecorder) string {
	s.t.Helper()
	checkStatus(s.t, w, 200)
	var words []string
	for _, e := range decode[logAnswer](s.t, w).Events {
		name := ""
		for n, id := range s.ids {
			if string(id) == e["messageId"] {
				name = n
			}
		}
		words = append(words, name+":"+e["state"].(string))
	}
	return strings.Join(words, " ")
}

// diary has messages with different fates, at least a millisecond apart.
func diary(s *server) {
	next := func() { time.Sleep(time.Millisecond) }
	s.publish("a", recall.Message{Queue: "q1", Labels: []string{"x", "y"}, FlowKey: "k"})
	s.finish(s.claim(1)[0], recall.Finish{Outcome: recall.Delivered})
	next()
	s.publish("b", recall.Message{URL: "https://other.example:8080/b,c", Topic: "g", ScheduleID: "s", CallerIP: "10.0.0.1"})
	next()
	lease := s.claim(1)[0]
	s.finish(lease, recall.Finish{
		Outcome: recall.Retry, Reason: "refused", Due: time.Now().Add(time.Hour), Response: &recall.HTTPResponse{Status: 503},
	})
	next()
	s.publish("c", recall.Message{})
	s.finish(s.claim(1)[0], recall.Finish{Outcome: recall.Dead, Reason: "gone", Response: &recall.HTTPResponse{Status: 410}})
	next()
	s.publish("d", recall.Message{Labels: []string{"x"}, Delay: time.Hour})
	next()
	checkStatus(s.t, s.call("DELETE", "/v2/messages/{d}", ""), 202)
	next()
	s.publish("e", recall.Message{Queue: "q2", Delay: time.Hour})
	next()
	checkStatus(s.t, s.call("DELETE", "/v2/messages?queueName=q2", ""), 202)
}

const wholeDiary = "e:CREATED d:CANCELED d:CREATED c:FAILED c:ERROR c:ACTIVE c:CREATED b:RETRY b:ERROR b:ACTIVE b:CREATED " +
	"a:DELIVERED a:ACTIVE a:CREATED"

// reversed turns a list of words round.
func reversed(words string) string {
	list := strings.Fields(words)
	slices.Reverse(list)
	return strings.Join(list, " ")
}

func TestLogs(t *testing.T) {
	const b = "b:RETRY b:ERROR b:ACTIVE b:CREATED"
	for _, test := range []struct{ query, told string }{
		{"", wholeDiary},
		{"?order=latestFirst&api=x&groupBy=y&trimBody=1&urlGroup=z&cursor=", wholeDiary},
		{"?order=earliestFirst", reversed(wholeDiary)},
		{"?count=2000", wholeDiary},
		{"?messageId={b}", b},
		{"?messageIds={b}&messageIds={a}&order=earliestFirst", "a:CREATED a:ACTIVE a:DELIVERED " + reversed(b)},
		{"?messageIds={b},{a}&messageId={b},{d}", b},
		{"?messageId={a}&state=DELIVERED", "a:DELIVERED"},
		{"?messageId=nonsense", ""},
		{"?messageId=" + unknownID, ""},
		{"?messageId={e}", "e:CANCELED e:CREATED"}, // by a bulk cancellation, which is one event
		{"?messageId={e}&state=CANCELLED", "e:CANCELED"},
		{"?messageId={d}", "d:CANCELED d:CREATED"},
		{"?state=CANCELED", "d:CANCELED"},
		{"?state=CANCELLED", "d:CANCELED"},
		{"?state=IN_PROGRESS", "c:ERROR c:ACTIVE b:RETRY b:ERROR b:ACTIVE a:ACTIVE"},
		{"?state=RETRY,FAILED&state=DELIVERED", "c:FAILED b:RETRY a:DELIVERED"},
		{"?state=CANCEL_REQUESTED", ""},
		{"?url=https://other.example:8080/b,c", b},
		{"?host=Other.example", b},
		{"?path=/b,c", b},
		{"?path=/c,/d", "d:CANCELED d:CREATED c:FAILED c:ERROR c:ACTIVE c:CREATED"},
		{"?topicName=g", b},
		{"?scheduleId=s", b},
		{"?callerIp=10.0.0.1", b},
		{"?callerIP=10.0.0.1", b},
		{"?queueName=q1", "a:DELIVERED a:ACTIVE a:CREATED"},
		{"?flowControlKey=k&state=CREATED", "a:CREATED"},
		{"?label=x&state=CREATED", "d:CREATED a:CREATED"},
		{"?fromDate=946684800001&toDate=946684800003", "c:FAILED c:ERROR c:ACTIVE c:CREATED b:RETRY b:ERROR b:ACTIVE b:CREATED"},
		{"?cursor=946684800001", "a:DELIVERED a:ACTIVE a:CREATED"},
		{"?cursor=946684800001&toDate=1", ""},
		{"?cursor=0", ""},
		{"?cursor=946684800004&order=earliestFirst", "d:CANCELED e:CREATED"},
		{"?cursor=9999999999999999", wholeDiary},
		{"?cursor=9999999999999999&order=earliestFirst", ""},
		{"?cursor=946684800001&messageIds={a},{b}", "a:DELIVERED a:ACTIVE a:CREATED"},
		{"?cursor=946684800001&fromDate=946684800001", ""},
	} {
		inBubble(t, test.query, func(t *testing.T) {
			s := newServer(t, nil)
			diary(s)
			w := s.call("GET", "/v2/events"+test.query, "")
			if got := s.told(w); got != test.told {
				t.Errorf("got  %s\nwant %s", got, test.told)
			}
			if strings.Contains(w.Body.String(), "cursor") || strings.Contains(w.Body.String(), `"logs"`) || strings.Contains(w.Body.String(), "null") {
				t.Errorf("got %s", w.Body)
			}
			w = s.call("GET", "/v2/logs"+test.query, "")
			if got := decode[logAnswer](t, w); s.told(w) != test.told || got.Logs == nil || fmt.Sprint(got.Logs) != fmt.Sprint(got.Events) {
				t.Errorf("logs: got %s", w.Body)
			}
		})
	}
}

func TestLogPages(t *testing.T) {
	inBubble(t, "pages", func(t *testing.T) {
		s := newServer(t, nil)
		diary(s)
		for _, size := range []int{1, 2, 3, 7, 14, 15, 100} {
			for query, whole := range map[string]string{
				"": wholeDiary, "order=earliestFirst": reversed(wholeDiary), "state=CREATED": "e:CREATED d:CREATED c:CREATED b:CREATED a:CREATED",
				"messageIds={a},{e}": "e:CANCELED e:CREATED a:DELIVERED a:ACTIVE a:CREATED", "messageIds={e}&order=earliestFirst": "e:CREATED e:CANCELED",
			} {
				var got []string
				for cursor := ""; ; {
					w := s.call("GET", fmt.Sprintf("/v2/events?%s&count=%d&cursor=%s", query, size, cursor), "")
					words := strings.Fields(s.told(w))
					got = append(got, words...)
					next := decode[logAnswer](t, w).Cursor
					if next == nil {
						break
					}
					if len(words) != size {
						t.Fatalf("%s: a page of %d, want %d", query, len(words), size)
					}
					cursor = *next
				}
				if got := strings.Join(got, " "); got != whole {
					t.Errorf("%s by %d: got %s", query, size, got)
				}
			}
		}
	})
}

func TestLogsRefused(t *testing.T) {
	s := newServer(t, nil)
	for query, want := range map[string]string{
		"?state=created": "not a state", "?state=": "is empty", "?order=newest": "order: ", "?count=0": "at least 1", "?count=-1": "at least 1",
		"?cursor=x": "cursor: ", "?cursor=-1": "cursor: ", "?cursor=1-x": "cursor: ", "?cursor=1-1-1": "cursor: ", "?messageId=": "is empty",
		"?cursor=1-x&messageId=" + unknownID: "cursor: ", "?fromDate=2&toDate=1": "after",
		"?" + strings.Repeat("messageIds="+unknownID+"&", 1) + manyIDs(1001): "more than the limit",
	} {
		checkError(t, s.call("GET", "/v2/events"+query, ""), 400, want)
	}
}

// manyIDs is a query with n ids that differ.
func manyIDs(n int) string {
	var q strings.Builder
	for i := range n {
		fmt.Fprintf(&q, "&messageIds=msg_01ARZ3NDEKTSV4RRFFQ69%05d", i)
	}
	return q.String()
}

// TestLogFields has every field that is known of a message that lives.
func TestLogFields(t *testing.T) {
	inBubble(t, "fields", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("a", recall.Message{
			URL: "https://example.com/a", Body: []byte("hello"), Header: http.Header{"Content-Type": {"text/plain"}, "Secret": {"s"}},
			Topic: "g", Queue: "q", ScheduleID: "s1", CallerIP: "10.0.0.1", Labels: []string{"x", "y"}, FlowKey: "k",
			Flow: &recall.FlowLimit{Rate: 3, Period: time.Minute, Parallelism: 2}, Retries: recall.Retries(5), RetryDelay: "1000",
			Timeout: 5 * time.Second, Method: "PUT", Redact: &recall.Redaction{Header: []string{"Secret"}},
			Callback:        &recall.Callback{URL: "https://example.com/cb", Header: http.Header{"A": {"1"}}},
			FailureCallback: &recall.Callback{URL: "https://example.com/fcb", Header: http.Header{"B": {"1"}}},
		})
		s.finish(s.claim(1)[0], recall.Finish{
			Outcome: recall.Retry, Reason: "refused", Due: time.Now().Add(time.Hour), Response: &recall.HTTPResponse{Status: 503},
		})
		w := s.call("GET", "/v2/events", "")
		events := decode[logAnswer](t, w).Events
		if len(events) != 4 {
			t.Fatalf("got %s", w.Body)
		}
		for name, want := range map[string]any{
			"time": 946684800000.0, "messageId": string(s.ids["a"]), "state": "RETRY", "url": "https://example.com/a",
			"nextDeliveryTime": 946684800000.0 + 3600_000, "topicName": "g", "queueName": "q", "scheduleId": "s1",
			"callerIP": "10.0.0.1", "callerIp": "10.0.0.1", "flowControlKey": "k", "label": "x", "method": "PUT",
			"body": "aGVsbG8=", "maxRetries": 5.0, "retryDelayExpression": "1000", "retryDelayExpr": "1000", "timeout": 5000.0,
			"parallelism": 2.0, "rate": 3.0, "period": 60.0, "callback": "https://example.com/cb", "failureCallback": "https://example.com/fcb",
		} {
			if got := events[0][name]; got != want {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
		for _, part := range []string{
			`"labels":["x","y"]`, `"callbackHeaders":{"A":["1"]}`, `"failureCallbackHeaders":{"B":["1"]}`, `"Secret":["REDACTED:`,
			`"error":"refused","responseStatus":503`,
		} {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("got %s, want %s", w.Body, part)
			}
		}
	})
}

// TestLogBodies keeps the answer within bounds: the body of a large message is not
// repeated with each of many entries.
func TestLogBodies(t *testing.T) {
	inBubble(t, "large", func(t *testing.T) {
		s := newServer(t, nil)
		for i := range 12 {
			s.publish(fmt.Sprint("m", i), recall.Message{Body: make([]byte, 1<<20), Delay: time.Hour})
		}
		w := s.call("GET", "/v2/events", "")
		if got := len(decode[logAnswer](t, w).Events); got != 12 || w.Body.Len() > 2*recall.PageBytes {
			t.Errorf("got %d entries in %d bytes", got, w.Body.Len())
		}
	})
}

// TestLogSameMillisecond has a message that a bulk cancellation takes in the
// millisecond of its publication: it comes behind.
func TestLogSameMillisecond(t *testing.T) {
	inBubble(t, "order", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("a", recall.Message{Delay: time.Hour})
		checkStatus(t, s.call("DELETE", "/v2/messages?host=example.com", ""), 202)
		if got := s.told(s.call("GET", "/v2/events?messageId={a}", "")); got != "a:CANCELED a:CREATED" {
			t.Errorf("got %s", got)
		}
	})
}
