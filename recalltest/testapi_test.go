package recalltest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/recalltest"
)

// TestTestAPI steers a server over HTTP, as suites in other languages do.
func TestTestAPI(t *testing.T) {
	s, err := recalltest.Start(recalltest.StartAt(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer checkNoGoroutines(t)
	defer s.Close()
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		method, path, body string
		status             int
		want               []string
	}{
		{"GET", "clock", "", 200, []string{`{"now":"2026-03-04T05:06:07Z"}`}},
		{"POST", "endpoints", `{"url":"https://api.test/","script":[{"status":503,"header":{"retry-after":"60"}},{"after":"5s","body":"done"}]}`, 200, nil},
		{"GET", "endpoints", "", 200, []string{`["https://api.test/"]`}},
		{"POST", "faults", `{"call":"POST /v2/publish","status":502}`, 200, nil},
		{"POST", "/v2/publish/https://api.test/a", "x", 502, nil},
		{"POST", "faults", `{"commit":true,"times":1}`, 200, nil},
		{"POST", "/v2/publish/https://api.test/a", "x", 500, nil},
		{"POST", "/v2/publish/https://api.test/a", "x", 200, nil},
		{"GET", "messages", "", 200, []string{`"fate":"waits"`, `"status":503`, `"due":"2026-03-04T05:07:07Z"`}},
		{"POST", "clock/next", "", 200, []string{`"now":"2026-03-04T05:07:07Z","next":"2026-03-04T05:07:12Z"`}},
		{"POST", "clock/advance", `{"by":"5s"}`, 200, []string{`{"now":"2026-03-04T05:07:12Z"}`}},
		{"GET", "deliveries?url=https://api.test/a", "", 200, []string{`"status":503`, `"attempt":2`, `"status":200`, `"body":"x"`}},
		{"GET", "deliveries?messageId=msg_x", "", 200, []string{`[]`}},
		{"POST", "state", `{"messages":[{"url":"https://unscripted.test","retries":0,"delay":"1m"}]}`, 200, nil},
		{"GET", "state", "", 200, []string{`"url":"https://unscripted.test"`, `"state":"delayed"`}},
		{"POST", "clock/drain", "", 200, []string{"05:08:12Z"}},
		{"GET", "problems", "", 200, []string{"no endpoint is scripted"}},
		{"DELETE", "endpoints?url=https://api.test/", "", 200, nil},
		{"DELETE", "endpoints?url=https://api.test/", "", 404, []string{`"error"`}},
		{"DELETE", "endpoints", "", 200, nil},
		{"POST", "reset", "", 200, nil},
		{"POST", "clock/settle", "", 200, []string{"05:06:07Z"}},
		{"GET", "problems", "", 200, []string{`[]`}},

		{"POST", "clock/advance", `{"by":"-5s"}`, 400, []string{"by:"}},
		{"POST", "clock/advance", `{"By":5}`, 400, nil},
		{"POST", "clock/advance", ``, 400, nil},
		{"POST", "endpoints", `{"url":"nowhere"}`, 400, []string{"url:"}},
		{"POST", "endpoints", `{"url":"x"}`, 400, []string{"url:"}},
		{"POST", "endpoints", `{}`, 400, []string{"url:"}},
		{"DELETE", "endpoints?url=", "", 404, nil},
		{"POST", "endpoints", `{"url":"https://x.test","script":[{},{"hang":true,"status":200}]}`, 400, []string{"step 1"}},
		{"POST", "endpoints", `{"url":"https://x.test","script":[{"forward":"https://example.com"}]}`, 400, []string{"this machine"}},
		{"POST", "endpoints", `{"url":"https://x.test","script":[{"status":99}]}`, 400, nil},
		{"POST", "endpoints", `{"url":"https://x.test","script":[{"after":"soon"}]}`, 400, nil},
		{"POST", "endpoints", `{"url":"https://x.test","scripts":[]}`, 400, nil},
		{"GET", "endpoints", "", 200, []string{`[]`}}, // nothing half done
		{"POST", "faults", `{}`, 400, nil},
		{"POST", "faults", `{"status":500,"times":0}`, 400, nil},
		{"POST", "faults", `{"status":5}`, 400, nil},
		{"POST", "state", `{"messages":[{"url":"ftp://x"}]}`, 400, []string{"URL"}},
		{"POST", "state", `{"messages":[{"timeout":"x"}]}`, 400, []string{"message 0"}},
		{"PUT", "reset", "", 405, nil},
		{"GET", "", "", 404, nil},
		{"GET", "other", "", 404, nil},
	} {
		path := c.path
		if !strings.HasPrefix(path, "/") {
			path = "/recall/v1/test/" + path
		}
		status, body := call(t, s, client, c.method, path, c.body)
		if status != c.status {
			t.Errorf("%s %s %s: got %d %s, want %d", c.method, c.path, c.body, status, body, c.status)
		}
		checkContains(t, body, c.want...)
		if status >= 400 && !json.Valid([]byte(body)) {
			t.Errorf("%s %s: the error is no JSON: %s", c.method, c.path, body)
		}
	}
	s.Token = "another"
	if status, _ := call(t, s, client, "POST", "/v2/publish/https://api.test", ""); status != 401 {
		t.Errorf("got %d", status)
	}
}
