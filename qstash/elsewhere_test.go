package qstash_test

import "testing"

// TestElsewhere: clients of Upstash's other products are told that they are at
// the wrong place.
func TestElsewhere(t *testing.T) {
	s := newServer(t, nil)
	for _, test := range []struct{ method, target, part string }{
		{"POST", "/llm/v1/chat/completions", "language models"},
		{"POST", "/v2/publish/api/llm", "language models"},
		{"POST", "/v2/publish/api/llm/", "language models"},
		{"GET", "/v2/workflows", "workflows"},
		{"GET", "/v2/workflows/events?groupBy=workflowRunId", "workflows"},
		{"GET", "/v2/workflows/runs/wfr_1", "workflows"},
		{"DELETE", "/v2/workflows/runs/wfr_1?cancel=true", "workflows"},
		{"DELETE", "/v2/workflows/runs", "workflows"},
		{"POST", "/v2/workflows/dlq/resume", "workflows"},
		{"PUT", "/v2/workflows/hooks/user/run/event", "workflows"},
		{"POST", "/v2/wait/event", "workflows"},
		{"POST", "/v2/notify/event", "workflows"},
		{"POST", "/v2/notify/run/event", "workflows"},
		{"GET", "/V2/Waiters/event", "workflows"},
		{"POST", "/v2/trigger/https://example.com/flow", "workflows"},
		{"POST", "/v2/batch/trigger", "workflows"},
	} {
		checkError(t, s.call(test.method, test.target, ""), 404, test.part)
		checkStatus(t, s.do(withToken(request(test.method, test.target, ""), "x")), 401)
	}
	checkError(t, s.call("POST", "/v2/publish/waiters", ""), 404, "topic waiters not found")
	checkStatus(t, s.call("POST", "/v2/publish/https://example.com/api/llm", ""), 200)
}
