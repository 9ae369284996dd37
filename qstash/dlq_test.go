package qstash_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// die publishes a message that ends in the dead letter queue; status 0 stands for
// no answer. Its dead letter goes by the name, its message by the name and "!".
func (s *server) die(name string, m recall.Message, status int) {
	s.t.Helper()
	id := s.publish(name+"!", m)
	end := recall.Finish{Outcome: recall.Dead, Reason: "no answer"}
	if status != 0 {
		end.Reason = "the endpoint has refused it"
		end.Response = &recall.HTTPResponse{Status: status, Header: http.Header{"X-Why": {"so"}}, Body: []byte("404 Not Found")}
	}
	s.finish(s.claim(1)[0], end)
	time.Sleep(time.Millisecond)
	for d, err := range s.b.DeadLetters(s.t.Context(), recall.Filter{IDs: []recall.MessageID{id}}) {
		if err != nil {
			s.t.Fatal(err)
		}
		s.dead[name] = d.ID
	}
}

// morgue has dead letters that differ in every attribute, a millisecond apart.
func morgue(s *server) {
	s.die("a", recall.Message{URL: "https://example.com/a", Queue: "q1", Labels: []string{"x"}}, 500)
	s.die("b", recall.Message{URL: "https://example.com/b?l=1,2", Queue: "q1", Topic: "g"}, 503)
	s.die("c", recall.Message{URL: "https://example.com/c", Labels: []string{"x", "y"}, ScheduleID: "s1"}, 404)
	s.die("d", recall.Message{URL: "http://other.example:8080/a", CallerIP: "10.0.0.1"}, 0)
	s.die("e", recall.Message{URL: "https://example.com/e", FlowKey: "k"}, 500)
}

const allDead = "a b c d e"

// deadLeft returns the names of the dead letters, oldest first.
func (s *server) deadLeft() string {
	s.t.Helper()
	var names []string
	for d, err := range s.b.DeadLetters(s.t.Context(), recall.Filter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		names = append(names, s.deadName(d.ID))
	}
	return strings.Join(names, " ")
}

func (s *server) deadName(id recall.DeadLetterID) string {
	for name, known := range s.dead {
		if known == id {
			return name
		}
	}
	return string(id)
}

func (s *server) checkDead(want string) {
	s.t.Helper()
	if got := s.deadLeft(); got != want {
		s.t.Errorf("dead letters: got %q, want %q", got, want)
	}
}

type deadPage struct {
	Messages []struct{ DlqID recall.DeadLetterID }
	Cursor   *string
}

func (s *server) listed(w *httptest.ResponseRecorder) string {
	s.t.Helper()
	var names []string
	for _, m := range decode[deadPage](s.t, w).Messages {
		names = append(names, s.deadName(m.DlqID))
	}
	return strings.Join(names, " ")
}

// deadFilters are what both reads and changes know, with what they find.
var deadFilters = []struct{ query, found string }{
	{"", allDead},
	{"?count=100", allDead},
	{"?cursor=", allDead},
	{"?dlqIds={a}&dlqIds={c}", "a c"},
	{"?dlqIds={c},{a},{a}", "c a"},
	{"?dlqIds={a}&queueName=none&count=1", "a"},
	{"?dlqIds=1-999,nonsense", ""},
	{"?messageId={b!}", "b"},
	{"?messageId={b!},{c!}&queueName=q1", "b"},
	{"?messageId=nonsense", ""},
	{"?url=https://example.com/b?l=1,2", "b"},
	{"?topicName=g", "b"},
	{"?scheduleId=s1", "c"},
	{"?queueName=q1", "a b"},
	{"?queueName=q1&label=x", "a"},
	{"?label=x,y", "a c"},
	{"?callerIp=10.0.0.1", "d"},
	{"?callerIP=10.0.0.1", "d"},
	{"?flowControlKey=k", "e"},
	{"?responseStatus=500", "a e"},
	{"?responseStatus=500,404&responseStatus=0", "a c d e"},
	{"?responseStatus=200", ""},
	{"?fromDate=946684800001&toDate=946684800002", "b c"},
	{"?qstash_token=x&label=y", "c"},
}

func TestListDead(t *testing.T) {
	for _, test := range append(slices.Clip(deadFilters), []struct{ query, found string }{
		{"?urlGroup=h&api=&order=latestFirst&source=workflow", allDead},
		{"?host=EXAMPLE.com&path=/a,/c", "a c"},
		{"?count=1000", allDead},
	}...) {
		inBubble(t, test.query, func(t *testing.T) {
			s := newServer(t, nil)
			morgue(s)
			w := s.call("GET", "/v2/dlq"+test.query, "")
			checkStatus(t, w, 200)
			if got := s.listed(w); got != test.found {
				t.Errorf("got %q, want %q", got, test.found)
			}
			if strings.Contains(w.Body.String(), "cursor") || strings.Contains(w.Body.String(), "null") {
				t.Errorf("got %s", w.Body)
			}
		})
	}
}

func TestListDeadPages(t *testing.T) {
	inBubble(t, "pages", func(t *testing.T) {
		s := newServer(t, nil)
		morgue(s)
		for query, want := range map[string]string{
			"count=2": "a b|c d|e", "count=5": allDead, "count=1&queueName=q1": "a|b", "count=1&responseStatus=500": "a|e",
		} {
			var pages []string
			for cursor := ""; ; {
				w := s.call("GET", "/v2/dlq?"+query+"&cursor="+cursor, "")
				checkStatus(t, w, 200)
				pages = append(pages, s.listed(w))
				next := decode[deadPage](t, w).Cursor
				if next == nil {
					break
				}
				cursor = *next
			}
			if got := strings.Join(pages, "|"); got != want {
				t.Errorf("%s: got %q, want %q", query, got, want)
			}
		}
	})
}

func TestListDeadRefused(t *testing.T) {
	s := newServer(t, nil)
	for query, want := range map[string]string{
		"?count=0": "at least 1", "?count=x": "at least 1", "?cursor=x": "cursor", "?cursor=1-1&cursor=1-2": "cursor must be one",
		"?responseStatus=ok": "not a status", "?responseStatus=-1": "not a status", "?label=": "is empty",
		"?fromDate=2&toDate=1": "after", "?callerIp=x": "not an IP", "?label=%zz": "cannot be read",
		"?dlqIds=": "is empty",
	} {
		checkError(t, s.call("GET", "/v2/dlq"+query, ""), 400, want)
	}
}

func TestGetDead(t *testing.T) {
	inBubble(t, "fields", func(t *testing.T) {
		s := newServer(t, nil)
		m := recall.Message{
			URL: "https://example.com/a", Body: []byte("hello"), Header: http.Header{"Content-Type": {"text/plain"}},
			Redact: &recall.Redaction{Body: true},
		}
		s.die("a", m, 404)
		s.die("b", recall.Message{}, 0)
		w := s.call("GET", "/v2/dlq/{a}", "")
		checkStatus(t, w, 200)
		for _, part := range []string{
			`"dlqId":"` + string(s.dead["a"]) + `"`, `"messageId":"` + string(s.ids["a!"]) + `"`, `"responseStatus":404`,
			`"responseHeader":{"X-Why":["so"]}`, `"responseBody":"404 Not Found"`, `"body":"REDACTED:`, `"maxRetries":3`,
			`"header":{"Content-Type":["text/plain"]}`, `"error":"the endpoint has refused it"`, `"failedAt":946684800000`,
		} {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("got %s, want %s", w.Body, part)
			}
		}
		w = s.call("GET", "/v2/dlq/{b}/", "")
		checkStatus(t, w, 200)
		if !strings.Contains(w.Body.String(), `"responseStatus":0`) || strings.Contains(w.Body.String(), "responseBody") {
			t.Errorf("got %s", w.Body)
		}
		for _, id := range []string{"1-999", "nonsense", "{a!}", "%zz", "{a},{b}"} {
			if id == "%zz" {
				continue // no server lets it through
			}
			checkError(t, s.call("GET", "/v2/dlq/"+id, ""), 404, "not found")
		}
	})
}

func TestDeleteDead(t *testing.T) {
	for _, test := range deadFilters {
		inBubble(t, test.query, func(t *testing.T) {
			s := newServer(t, nil)
			morgue(s)
			w := s.call("DELETE", "/v2/dlq"+test.query, "")
			checkStatus(t, w, 200)
			found := strings.Fields(test.found)
			// As SDKs decode it: nothing but integers.
			if got := decode[map[string]int](t, w); len(got) != 1 || got["deleted"] != len(found) {
				t.Errorf("got %v, want %d deleted", got, len(found))
			}
			left := slices.DeleteFunc(strings.Fields(allDead), func(n string) bool { return slices.Contains(found, n) })
			s.checkDead(strings.Join(left, " "))
		})
	}
	for _, test := range []struct{ target, body, left, answer string }{
		{"/v2/dlq", `{"dlqIds":["{a}","{b}"]}`, "c d e", `{"deleted":2}`},
		{"/v2/dlq", `{"dlqIds":["{a}","1-99","x",""]}`, allDead, ""},
		{"/v2/dlq", `{"dlqIds":["{a}","1-99","x"]}`, "b c d e", `{"deleted":1}`},
		{"/v2/dlq", `dlqIds={a}&dlqIds={b}`, "c d e", `{"deleted":2}`},
		{"/v2/dlq", `{"queueName":["q1"],"responseStatus":[503,404]}`, "a c d e", `{"deleted":1}`},
		{"/v2/dlq?label=x", `{"responseStatus":404}`, "a b d e", `{"deleted":1}`},
		{"/v2/dlq?count=2", "", "c d e", `{"deleted":2,"cursor":"{b}"}`},
		{"/v2/dlq?count=2&cursor={b}", "", "a b e", `{"deleted":2,"cursor":"{d}"}`},
		{"/v2/dlq?count=2&queueName=q1", "", "c d e", `{"deleted":2}`},
		{"/v2/dlq/", "", "", `{"deleted":5}`},
		{"/v2/dlq/{c}", "", "a b d e", `{"deleted":1}`},
	} {
		inBubble(t, test.target+test.body, func(t *testing.T) {
			s := newServer(t, nil)
			morgue(s)
			w := s.call("DELETE", test.target, test.body, "Content-Type", "application/json")
			if test.answer == "" {
				checkStatus(t, w, 400)
			} else {
				checkStatus(t, w, 200)
				checkBody(t, w, s.expand(test.answer))
			}
			s.checkDead(test.left)
		})
	}
}

// TestDeleteDeadRefused has requests that could be meant otherwise: nothing goes.
func TestDeleteDeadRefused(t *testing.T) {
	inBubble(t, "refused", func(t *testing.T) {
		s := newServer(t, &qstash.Options{StrictPaths: true})
		morgue(s)
		for _, test := range []struct{ target, body, err string }{
			{"?labeel=x", "", `unknown filter "labeel"`},
			{"?host=example.com", "", `unknown filter "host"`},
			{"?path=/a", "", `unknown filter "path"`},
			{"?urlGroup=g", "", `unknown filter "urlGroup"`},
			{"?all=true", "", `unknown filter "all"`},
			{"", `{"host":"example.com"}`, `unknown filter "host"`},
			{"", `{"dlqIds":[]}`, "is empty"},
			{"", `{"dlqIds":null}`, "wrong type"},
			{"", `{"dlqIds":[1]}`, "wrong type"},
			{"", `["{a}"]`, "neither"},
			{"", `{"dlqIds":["{a}"`, "not valid JSON"},
			{"", " ", "neither"},
			{"?count=0", "", "at least 1"},
			{"?cursor=nonsense", "", "cursor"},
			{"?cursor={a}", `{"cursor":"{b}"}`, "given twice"},
			{"?responseStatus=5xx", "", "not a status"},
			{"/", "", "id of the dead letter is missing"},
		} {
			checkError(t, s.call("DELETE", "/v2/dlq"+test.target, test.body), 400, test.err)
		}
		checkError(t, s.call("DELETE", "/v2/dlq", "", "Body", "[object Object]"), 400, "header named body")
		for _, id := range []string{"1-999", "nonsense"} {
			checkError(t, s.call("DELETE", "/v2/dlq/"+id, ""), 404, "not found")
		}
		s.checkDead(allDead)
	})
}

type retryAnswer struct {
	Responses []struct{ MessageID recall.MessageID }
	Cursor    *string
}

func TestRetryDead(t *testing.T) {
	for _, test := range []struct{ target, body, left string }{
		{"?dlqIds={a}&dlqIds={c}", "", "b d e"},
		{"", `{"dlqIds":["{c}","{a}","{a}"]}`, "b d e"},
		{"?queueName=q1&count=100", "", "c d e"},
		{"?responseStatus=500", "", "b c d"},
		{"?label=none", "", allDead},
		{"", "", ""},
	} {
		inBubble(t, test.target+test.body, func(t *testing.T) {
			s := newServer(t, nil)
			morgue(s)
			w := s.call("POST", "/v2/dlq/retry"+test.target, test.body)
			checkStatus(t, w, 201)
			got := decode[retryAnswer](t, w)
			if want := len(strings.Fields(allDead)) - len(strings.Fields(test.left)); len(got.Responses) != want || got.Cursor != nil {
				t.Errorf("got %s, want %d responses", w.Body, want)
			}
			for _, r := range got.Responses {
				if m, err := s.b.Get(t.Context(), r.MessageID); err != nil || m.Attempts != 0 || m.DueAt.After(time.Now()) {
					t.Errorf("%s: got %+v, %v", r.MessageID, m, err)
				}
			}
			s.checkDead(test.left)
		})
	}
	inBubble(t, "pages", func(t *testing.T) {
		s := newServer(t, nil)
		morgue(s)
		w := s.call("POST", "/v2/dlq/retry?count=2", "")
		got := decode[retryAnswer](t, w)
		if len(got.Responses) != 2 || got.Cursor == nil || *got.Cursor != string(s.dead["b"]) {
			t.Errorf("got %s", w.Body)
		}
		s.checkDead("c d e")
		w = s.call("POST", "/v2/dlq/retry/{d}", "")
		checkStatus(t, w, 201)
		if id := decode[struct{ MessageID recall.MessageID }](t, w).MessageID; id == "" || id == s.ids["d!"] {
			t.Errorf("got %s", w.Body)
		}
		checkError(t, s.call("POST", "/v2/dlq/retry/{d}", ""), 404, "not found")
		checkError(t, s.call("POST", "/v2/dlq/retry/nonsense", ""), 404, "not found")
		s.checkDead("c e")
	})
}

// TestRetryDeadRefused: nothing is published, and nothing goes.
func TestRetryDeadRefused(t *testing.T) {
	inBubble(t, "refused", func(t *testing.T) {
		s := newServer(t, &qstash.Options{StrictPaths: true})
		morgue(s)
		for _, test := range []struct {
			target, header, value string
			status                int
			err                   string
		}{
			{"?dlqIds={a},1-999", "", "", 404, "1-999 not found; nothing was retried"},
			{"?dlqIds=nonsense,{a}", "", "", 404, "nonsense not found"},
			{"?labeel=x", "", "", 400, "unknown filter"},
			{"?host=example.com", "", "", 400, "unknown filter"},
			{"/", "", "", 400, "is missing"},
			{"", "Upstash-Retries", "-1", 400, "Upstash-Retries"},
			{"", "Upstash-Retries", "1001", 400, "Upstash-Retries"},
			{"/{a}", "Upstash-Delay", "soon", 400, "Upstash-Delay"},
			{"/{a}", "Upstash-Method", "NO METHOD", 400, "Upstash-Method"},
			{"", "Upstash-Cron", "* * * * *", 400, "does not go with a retry"},
			{"/{a}", "Upstash-Deduplication-Id", "x", 400, "does not go with a retry"},
			{"", "Body", "{}", 400, "header named body"},
		} {
			var headers []string
			if test.header != "" {
				headers = []string{test.header, test.value}
			}
			checkError(t, s.call("POST", "/v2/dlq/retry"+test.target, "", headers...), test.status, test.err)
		}
		s.checkDead(allDead)
		if left := s.left(); left != "" {
			t.Errorf("published: %s", left)
		}
	})
}

// TestRetryDeadOverrides gives a retry settings, which go before the stored ones.
func TestRetryDeadOverrides(t *testing.T) {
	inBubble(t, "settings", func(t *testing.T) {
		s := newServer(t, nil)
		stored := recall.Message{
			Body: []byte("b"), Header: http.Header{"Content-Type": {"text/plain"}, "A": {"1"}, "B": {"1"}}, Labels: []string{"x"},
			Timeout: time.Minute, Queue: "q", Method: "PUT", Retries: recall.Retries(7),
		}
		s.die("a", stored, 500)
		w := s.call("POST", "/v2/dlq/retry?queueName=q", "", "Content-Type", "application/json", "Upstash-Retries", "0",
			"Upstash-Delay", "1h", "Upstash-Forward-A", "2", "Upstash-Label", "y,z", "Upstash-Method", "PATCH",
			"Upstash-Retry-Delay", "1000", "Upstash-Callback", "https://example.com/cb", "Upstash-Telemetry-Sdk", "js")
		checkStatus(t, w, 201)
		got := s.only()
		if *got.Retries != 0 || got.State != recall.StateDelayed && got.State != recall.StateQueueBlocked ||
			!got.DueAt.Equal(time.Now().Add(time.Hour)) || got.Method != "PATCH" || got.RetryDelay != "1000" ||
			got.Callback == nil || got.Callback.URL != "https://example.com/cb" || strings.Join(got.Labels, " ") != "y z" {
			t.Errorf("got %+v", got)
		}
		if got.Timeout != time.Minute || got.Queue != "q" || string(got.Body) != "b" {
			t.Errorf("what was not given has changed: %+v", got)
		}
		checkHeaders(t, got.Header, map[string]string{"Content-Type": "text/plain", "A": "2", "B": "1", "Upstash-Telemetry-Sdk": ""})
	})
}
