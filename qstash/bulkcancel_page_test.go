package qstash_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// raw sends a request as it comes over the wire, byte for byte. The token and the
// length of the body are put in.
func (s *server) raw(head, body string) *http.Request {
	s.t.Helper()
	head = strings.ReplaceAll(head, "<token>", qstash.DevToken)
	if body = s.expand(body); body != "" {
		head += fmt.Sprintf("\nContent-Length: %d", len(body))
	}
	text := strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// TestBulkCancelPage sends what the samples of QStash's page on bulk cancellation
// send when they are run, which is not in all of them what they show, and what the
// page says in words.
func TestBulkCancelPage(t *testing.T) {
	const ids = `{"messageIds": ["{1}", "{2}", "{3}"]}`
	const indented = "{\n    \"messageIds\": [\n      \"{1}\",\n      \"{2}\",\n      \"{3}\"\n    ]\n  }"
	const host = "\nHost: qstash.upstash.io\nAuthorization: Bearer <token>"
	tests := []struct {
		name, head, body string
		status           int
		gone             string
	}{
		{
			"curl", "DELETE /v2/messages/ HTTP/1.1" + host + "\nUser-Agent: curl/8.5.0\nAccept: */*\nContent-Type: application/json",
			ids, 202, "1 2 3",
		},
		{
			// The body is among the headers, so none is sent.
			"Node as printed", "DELETE /v2/messages HTTP/1.1" + host + "\nConnection: keep-alive\nContent-Type: application/json\n" +
				"body: [object Object]\nAccept: */*\nAccept-Language: *\nSec-Fetch-Mode: cors\nUser-Agent: node\nAccept-Encoding: gzip, deflate",
			"", 400, "",
		},
		{
			"Node as it is meant", "DELETE /v2/messages HTTP/1.1" + host + "\nContent-Type: application/json\nUser-Agent: node",
			`{"messageIds":["{1}","{2}","{3}"]}`, 202, "1 2 3",
		},
		{
			// requests makes a form of a dict, whatever the type says.
			"Python as printed", "DELETE /v2/messages HTTP/1.1" + host + "\nUser-Agent: python-requests/2.32.3\nAccept-Encoding: gzip, deflate\n" +
				"Accept: */*\nConnection: keep-alive\nContent-Type: application/json",
			"messageIds={1}&messageIds={2}&messageIds={3}", 202, "1 2 3",
		},
		{
			"Python as it is meant", "DELETE /v2/messages HTTP/1.1" + host + "\nUser-Agent: python-requests/2.32.3\nContent-Type: application/json",
			ids, 202, "1 2 3",
		},
		{
			"Go", "DELETE /v2/messages HTTP/1.1" + host + "\nUser-Agent: Go-http-client/1.1\nContent-Type: application/json\nAccept-Encoding: gzip",
			indented, 202, "1 2 3",
		},

		{"a set of ids: only those messages", "DELETE /v2/messages HTTP/1.1" + host, `{"messageIds":["{1}"]}`, 202, "1"},
		{"a filter: only what matches", "DELETE /v2/messages HTTP/1.1" + host, `{"queueName":"q"}`, 202, "4 5"},
		{"an empty array: everything", "DELETE /v2/messages HTTP/1.1" + host, `{"messageIds":[]}`, 202, "1 2 3 4 5 6"},
		{"no body: everything", "DELETE /v2/messages HTTP/1.1" + host, "", 202, "1 2 3 4 5 6"},
		{"no body, with the slash", "DELETE /v2/messages/ HTTP/1.1" + host, "", 202, "1 2 3 4 5 6"},
		{"no body, with a type", "DELETE /v2/messages HTTP/1.1" + host + "\nContent-Type: application/json", "", 202, "1 2 3 4 5 6"},

		{"queueName", "DELETE /v2/messages/ HTTP/1.1" + host, `{"queueName":"q"}`, 202, "4 5"},
		{"url", "DELETE /v2/messages/ HTTP/1.1" + host, `{"url":"https://example.com/6?x=1"}`, 202, "6"},
		{"topicName", "DELETE /v2/messages/ HTTP/1.1" + host, `{"topicName":"g"}`, 202, "6"},
		{"fromDate, inclusive", "DELETE /v2/messages/ HTTP/1.1" + host, `{"fromDate":946684800004}`, 202, "5 6"},
		{"toDate, inclusive", "DELETE /v2/messages/ HTTP/1.1" + host, `{"toDate":946684800001}`, 202, "1 2"},
		{"scheduleId", "DELETE /v2/messages/ HTTP/1.1" + host, `{"scheduleId":"s"}`, 202, "6"},
		{"callerIP", "DELETE /v2/messages/ HTTP/1.1" + host, `{"callerIP":"10.0.0.1"}`, 202, "5"},
	}
	for _, test := range tests {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			for _, m := range []struct {
				name string
				recall.Message
			}{
				{"1", recall.Message{}},
				{"2", recall.Message{}},
				{"3", recall.Message{Delay: time.Hour}},
				{"4", recall.Message{Queue: "q"}},
				{"5", recall.Message{Queue: "q", CallerIP: "10.0.0.1"}},
				{"6", recall.Message{URL: "https://example.com/6?x=1", Topic: "g", ScheduleID: "s"}},
			} {
				s.publish(m.name, m.Message)
				time.Sleep(time.Millisecond)
			}
			w := s.do(s.raw(test.head, test.body))
			checkStatus(t, w, test.status)
			if test.status == 202 {
				checkBody(t, w, fmt.Sprintf(`{"cancelled":%d}`, len(strings.Fields(test.gone))))
			}
			s.checkGone(test.gone)
		})
	}
}
