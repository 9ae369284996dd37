package qstash_test

import (
	"strings"
	"testing"
)

// TestWrongTypes: an error about a value names the member as it was written, and
// no type of ours.
func TestWrongTypes(t *testing.T) {
	s := newServer(t, nil)
	for _, test := range []struct{ path, body, want string }{
		{"/v2/queues", `{"queueName":"q","parallelism":1.5}`, "parallelism: number 1.5 does not go here"},
		{"/v2/queues", `{"queueName":["q"]}`, "queueName: array does not go here"},
		{"/v2/topics/g/endpoints", `{"endpoints":[{"url":5}]}`, "endpoints.url: number does not go here"},
		{"/v2/batch", `[{"destination":"https://api.test","body":{"a":1}}]`, "item 0: body: object does not go here"},
		{"/v2/batch", `[5]`, "item 0: number does not go here"},
	} {
		w := s.call("POST", test.path, test.body)
		checkError(t, w, 400, test.want)
		if text := w.Body.String(); strings.Contains(text, "Go ") || strings.Contains(text, "qstash.") {
			t.Errorf("%s %s: %s", test.path, test.body, text)
		}
	}
}
