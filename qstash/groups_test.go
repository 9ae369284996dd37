package qstash_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

const twoEndpoints = `{"endpoints":[{"url":"https://one.test/a?x=1","name":"One of two"},{"url":"https://two.test"}]}`

func (s *server) group(name string) {
	s.t.Helper()
	s.ok("POST", "/v2/topics/"+name+"/endpoints", twoEndpoints)
}

func TestGroups(t *testing.T) {
	inBubble(t, "life", func(t *testing.T) {
		s := newServer(t, nil)
		w := s.call("GET", "/v2/topics", "")
		checkStatus(t, w, 200)
		checkBody(t, w, "[]")
		s.ok("DELETE", "/v2/topics/orders", "") // deleted already
		checkError(t, s.call("GET", "/v2/topics/orders", ""), 404, "topic orders not found")
		s.group("orders")
		const as = `{"name":"orders","createdAt":946684800000,"updatedAt":946684800000,` +
			`"endpoints":[{"name":"One of two","url":"https://one.test/a?x=1"},{"url":"https://two.test"}]}`
		checkBody(t, s.call("GET", "/v2/topics/orders", ""), as)
		checkBody(t, s.call("GET", "/v2/Topics/", ""), "["+as+"]")

		time.Sleep(time.Second)
		w = s.call("POST", "/v2/topics/orders/Endpoints/", `{"endpoints":[{"url":"https://three.test","name":"One of two"},{"url":"https://two.test","name":"2"}]}`)
		checkStatus(t, w, 200)
		checkBody(t, s.call("GET", "/v2/topics/orders/", ""), `{"name":"orders","createdAt":946684800000,"updatedAt":946684801000,`+
			`"endpoints":[{"name":"One of two","url":"https://three.test"},{"name":"2","url":"https://two.test"}]}`)
		w = s.call("DELETE", "/v2/topics/orders/endpoints", `{"endpoints":[{"name":"One of two"},{"url":"https://unknown.test"}]}`)
		checkStatus(t, w, 200)
		if got := decode[struct{ Endpoints []recall.Endpoint }](t, w).Endpoints; len(got) != 1 || got[0].Name != "2" {
			t.Errorf("left: %s", w.Body)
		}
		w = s.call("DELETE", "/v2/topics/orders/endpoints", `{"endpoints":[{"url":"https://two.test"}]}`)
		checkStatus(t, w, 200)
		if !strings.Contains(w.Body.String(), `"endpoints":[]`) {
			t.Errorf("the last endpoint: %s", w.Body)
		}
		checkError(t, s.call("GET", "/v2/topics/orders", ""), 404, "topic orders not found")
		checkError(t, s.call("DELETE", "/v2/topics/orders/endpoints", `{"endpoints":[{"url":"https://two.test"}]}`), 404, "topic orders not found")
		s.group("orders")
		s.ok("DELETE", "/v2/topics/orders", "")
		checkBody(t, s.call("GET", "/v2/topics", ""), "[]")
	})
}

func TestBadGroups(t *testing.T) {
	s := newServer(t, nil)
	for body, want := range map[string]string{
		``: "not a JSON object", `{}`: "there are none", `{"endpoints":null}`: "there are none", `{"endpoints":[]}`: "there are none",
		`{"endpoints":[{}]}`: "endpoint 0: ", `{"endpoints":[null]}`: "endpoint 0: ", `{"endpoints":[{"name":"x"}]}`: "endpoint 0: ",
		`{"endpoints":[{"url":"https://a.test"},{"url":"a.test"}]}`:                       "endpoint 1: invalid destination url",
		`{"endpoints":[{"url":"https://a.test"},{"url":"https:///x"}]}`:                   `endpoints: endpoint 1: url: "https:///x" has no host`,
		`{"endpoints":[{"url":"https://a.test"},{"url":"https://b.test","name":"a\nb"}]}`: "endpoints: endpoint 1: name: ",
		`{"endpoints":[{"url":"other-group"}]}`:                                           "endpoint 0: invalid destination url",
		`{"endpoints":[{"url":"local:h"}]}`:                                               "endpoint 0: invalid destination url",
		`{"endpoints":[{"url":"https://"}]}`:                                              "endpoints: endpoint 0: url: ",
		`{"endpoints":[{"url":"https://a.test","nam":"x"}]}`:                              "nam",
		`{"endpoints":{"url":"https://a.test"}}`:                                          "not valid JSON",
		`{"endpoints":[{"url":"https://a.test","name":"a\u0000"}]}`:                       "control characters",
		`{"endpoints":[` + strings.Repeat(`{"url":"https://a.test"},`, 3) + `{"url":1}]}`: "not valid JSON",
	} {
		checkError(t, s.call("POST", "/v2/topics/g/endpoints", body), 400, want)
	}
	checkError(t, s.call("POST", "/v2/topics/a%20b/endpoints", twoEndpoints), 400, "name of a URL group")
	checkError(t, s.call("POST", "/v2/topics/g", twoEndpoints), 404, "endpoints")
	checkError(t, s.call("POST", "/v2/topics", twoEndpoints), 405, "")
	checkBody(t, s.call("GET", "/v2/topics", ""), "[]")
	s.group("g")
	for _, body := range []string{``, `{}`, `{"endpoints":[]}`, `{"endpoints":[{}]}`, `{"endpoints":[{"url":"https://two.test"},{"name":""}]}`} {
		checkError(t, s.call("DELETE", "/v2/topics/g/endpoints", body), 400, "")
	}
	if got := decode[struct{ Endpoints []recall.Endpoint }](t, s.call("GET", "/v2/topics/g", "")).Endpoints; len(got) != 2 {
		t.Errorf("endpoints: %v", got)
	}
}

func TestPublishToGroup(t *testing.T) {
	s := newServer(t, nil)
	s.group("orders")
	for _, target := range []string{"/v2/publish/orders", "/v2/publish/orders/?upstash-label=l", "/v2/enqueue/q/orders"} {
		w := s.call("POST", target, "hello", "Upstash-Label", "l")
		checkStatus(t, w, 200)
		got := decode[[]struct{ MessageID, URL string }](t, w)
		if len(got) != 2 || got[0].URL != "https://one.test/a?x=1" || got[1].URL != "https://two.test" {
			t.Fatalf("%s: got %s", target, w.Body)
		}
		for i, name := range []string{"One of two", ""} {
			w := s.call("GET", "/v2/messages/"+got[i].MessageID, "")
			m := decode[message](t, w)
			if m.TopicName != "orders" || m.URLGroup != "orders" || m.EndpointName != name || m.URL != got[i].URL || *m.Body != "hello" ||
				m.Label != "l" || (m.Queue == "q") != strings.Contains(target, "enqueue") {
				t.Errorf("%s: message %d: %s", target, i, w.Body)
			}
		}
	}
	checkBody(t, s.call("DELETE", "/v2/messages?topicName=orders&queueName=q", ""), `{"cancelled":2}`)

	// Duplicates are told apart by endpoint.
	target := "/v2/publish/orders?upstash-deduplication-id=d"
	w := s.call("POST", target, "")
	checkStatus(t, w, 200)
	first := decode[[]slotID](t, w)
	s.ok("POST", "/v2/topics/orders/endpoints", `{"endpoints":[{"url":"https://three.test"}]}`)
	type receipt struct {
		MessageID    string
		Deduplicated bool
	}
	w = s.call("POST", target, "")
	checkStatus(t, w, 200)
	got := decode[[]receipt](t, w)
	if len(got) != 3 || got[0] != (receipt{first[0].MessageID, true}) || !got[1].Deduplicated || got[2].Deduplicated {
		t.Errorf("got %s", w.Body)
	}
	checkStatus(t, s.call("POST", target, ""), 202)

	checkError(t, s.call("POST", "/v2/publish/other", ""), 404, "topic other not found")
	checkError(t, s.call("POST", "/v2/enqueue/q/other", ""), 404, "topic other not found")
	checkError(t, s.call("POST", "/v2/publish/orders", "", "Upstash-Delay", "soon"), 400, "Upstash-Delay")
	checkError(t, s.call("POST", "/v2/publish/orders", "", "Upstash-Retries", "9999"), 400, "Upstash-Retries: ")
	checkError(t, s.call("POST", "/v2/publish/orders?x=1", ""), 400, "no query")
}

// TestBatchWithGroups has an array in the place of a group, and publishes what it
// can in one commit.
func TestBatchWithGroups(t *testing.T) {
	s := newServer(t, nil)
	s.group("orders")
	s.ok("PATCH", "/v2/topics/orders", `{"headers":{"Upstash-Label":"default"}}`)
	before := s.b.Stats().Commits
	w := s.call("POST", "/v2/batch", `[
		{"destination":"https://example.com/a"},
		{"destination":"none"},
		{"destination":"orders","queue":"q","body":"x"},
		{"destination":"orders","headers":{"upstash-label":"own"}},
		{"destination":"https://example.com/b","headers":{"upstash-label":"own"}}
	]`)
	checkStatus(t, w, 200)
	if got := s.b.Stats().Commits - before; got != 1 {
		t.Errorf("commits: got %d", got)
	}
	list := decode[[]any](t, w)
	if len(list) != 5 {
		t.Fatalf("got %s", w.Body)
	}
	text := func(v any) string {
		one, _ := v.(map[string]any)
		if message, ok := one["error"]; ok {
			return message.(string)
		}
		m := s.get(recall.MessageID(one["messageId"].(string)))
		if one["url"] != m.URL {
			t.Errorf("URL: got %v, want %s", one["url"], m.URL)
		}
		return strings.Join(append([]string{m.URL, m.Topic, m.Endpoint, m.Queue, string(m.Body)}, m.Labels...), "|")
	}
	var got []any
	for _, v := range list {
		if many, ok := v.([]any); ok {
			got = append(got, []string{text(many[0]), text(many[1])})
			continue
		}
		got = append(got, text(v))
	}
	want := []any{
		"https://example.com/a||||", "topic none not found",
		[]string{"https://one.test/a?x=1|orders|One of two|q|x|default", "https://two.test|orders||q|x|default"},
		[]string{"https://one.test/a?x=1|orders|One of two|||own", "https://two.test|orders||||own"},
		"https://example.com/b|||||own",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q,\nwant %q", got, want)
	}

	// What is malformed comes before a group that does not exist.
	checkError(t, s.call("POST", "/v2/batch", `[{"destination":"none","headers":{"Upstash-Delay":"soon"}}]`), 400, "item 0: Upstash-Delay")
	w = s.call("POST", "/v2/batch", `[{"destination":"orders","headers":{"Upstash-Retries":"9999"}},{"destination":"`+strings.Repeat("g", 257)+`"}]`)
	checkBody(t, w, `[{"error":"Upstash-Retries: 9999 is more than 1000"},{"error":"the URL group: 257 bytes are more than the limit of 256"}]`)
	checkError(t, s.call("POST", "/v2/batch", `[{"destination":"https://example.com","headers":{"Upstash-Cron":"* * * * *"}}]`), 400, "item 0: a batch makes no schedules")
	if n, err := s.b.Count(t.Context(), recall.Filter{}); err != nil || n.Pending != 6 {
		t.Errorf("messages: %+v, %v", n, err)
	}
}

// TestGroupDefaults has settings of a group beneath those of who publishes to it.
func TestGroupDefaults(t *testing.T) {
	s := newServer(t, nil)
	s.group("hooks")
	w := s.call("PATCH", "/v2/topics/hooks", `{"headers":{"Upstash-Header-Forward":["true"],"upstash-retries":"5","Upstash-Method":"PUT",
		"Upstash-Forward-X":["1","2"],"Upstash-Forward-Y":"y","Content-Type":"text/plain","Upstash-Callback":"https://c.test",
		"Upstash-Callback-Method":"PATCH","Upstash-Delay":"1h","Upstash-Flow-Control-Key":"k","Upstash-Flow-Control-Value":"rate=1"}}`)
	checkStatus(t, w, 200)
	if got := decode[struct{ Headers http.Header }](t, s.call("GET", "/v2/topics/hooks", "")).Headers; got.Get("Upstash-Retries") != "5" {
		t.Errorf("headers: %v", got)
	}
	publish := func(target string, headers ...string) recall.Message {
		t.Helper()
		w := s.call("POST", target, "", headers...)
		checkStatus(t, w, 200)
		return s.get(recall.MessageID(decode[[]slotID](t, w)[0].MessageID))
	}
	m := publish("/v2/publish/hooks", "X-Event", "push", "X", "request")
	want := http.Header{"X-Event": {"push"}, "X": {"request"}, "Y": {"y"}, "Content-Type": {"text/plain"}}
	if !reflect.DeepEqual(m.Header, want) || *m.Retries != 5 || m.Method != "PUT" || m.DueAt.Sub(m.CreatedAt) != time.Hour ||
		m.Callback.URL != "https://c.test" || m.Callback.Method != "PATCH" || m.FlowKey != "k" || m.Flow.Rate != 1 {
		t.Errorf("the defaults: got %+v", m)
	}
	m = publish("/v2/publish/hooks?upstash-retries=6&upstash-delay=1m", "Upstash-Header-Forward", "false", "Upstash-Delay", "1s",
		"Content-Type", "text/html", "Upstash-Forward-Y", "z", "Upstash-Callback-Method", "GET", "Upstash-Method", "")
	want = http.Header{"X": {"1", "2"}, "Y": {"z"}, "Content-Type": {"text/html"}}
	if !reflect.DeepEqual(m.Header, want) || *m.Retries != 6 || m.Method != "PUT" || m.DueAt.Sub(m.CreatedAt) != time.Second ||
		m.Callback.Method != "GET" {
		t.Errorf("over them: got %+v", m)
	}

	// Replaced as a whole.
	s.ok("PATCH", "/v2/topics/hooks/", `{"headers":{}}`)
	if m := publish("/v2/publish/hooks"); len(m.Header) != 0 || *m.Retries != 3 {
		t.Errorf("without: got %+v", m)
	}
	checkError(t, s.call("PATCH", "/v2/topics/none", `{"headers":{}}`), 404, "topic none not found")
	for body, want := range map[string]string{
		``: "not a JSON object", `{}`: "headers are missing", `{"headers":null}`: "headers are missing", `{"headers":[]}`: "not valid JSON",
		`{"headers":{"A":1}}`: "a header must be", `{"headers":{"A b":"1"}}`: "not the name", `{"headers":{"A":"\n"}}`: "headers: ",
		`{"headers":{"Upstash-Delay":"soon"}}`: "Upstash-Delay", `{"headers":{"Upstash-Cron":"* * * * *"}}`: "cannot be the default",
		`{"headers":{"Upstash-Schedule-Id":"s"}}`: "cannot be the default", `{"headers":{"Authorization":"x"}}`: "cannot be the default",
		`{"header":{}}`: "header", `{"headers":{"a":"1","A":"2"}}`: "given twice",
	} {
		checkError(t, s.call("PATCH", "/v2/topics/hooks", body), 400, want)
	}
}

func TestGroupOfHandlers(t *testing.T) {
	s := newServer(t, &qstash.Options{AllowLocal: true})
	s.ok("POST", "/v2/topics/g/endpoints", `{"endpoints":[{"url":"local:h"}]}`)
	w := s.call("POST", "/v2/publish/g", "")
	checkStatus(t, w, 200)
	if got := s.only().URL; got != "local:h" {
		t.Errorf("got %q", got)
	}
}
