package qstash_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/qstash"
)

// zoo publishes messages that differ in every attribute, a millisecond apart.
// The first is published at the epoch of the bubble.
func zoo(s *server) {
	for _, m := range []struct {
		name string
		recall.Message
	}{
		{"a", recall.Message{URL: "https://example.com/a", Queue: "q1", Labels: []string{"x"}}},
		{"b", recall.Message{URL: "https://example.com/a?n=1", Queue: "q1", Topic: "g"}},
		{"c", recall.Message{URL: "https://example.com/c,d?l=1,2", Queue: "q2", Labels: []string{"x", "y"}}},
		{"d", recall.Message{URL: "http://other.example:8080/a", ScheduleID: "s1", CallerIP: "10.0.0.1"}},
		{"e", recall.Message{URL: "https://example.com/c", FlowKey: "k", CallerIP: "2001:db8::1"}},
		{"f", recall.Message{URL: "https://f.example/", Topic: "g", Labels: []string{"a=b"}, Delay: 24 * time.Hour}},
	} {
		s.publish(m.name, m.Message)
		time.Sleep(time.Millisecond)
	}
}

const everything = "a b c d e f"

// first is when zoo publishes its first message: synctest starts there.
const first = "946684800000"

const unknownID = "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV"

// TestCancelMany has every shape of request that clients are known to send,
// and what each takes away.
func TestCancelMany(t *testing.T) {
	const list = "/v2/messages"
	tests := []struct {
		name, target, body, contentType string
		gone                            string
	}{
		// Ids.
		{"curl", list + "/", `{"messageIds": ["{a}", "{c}"]}`, "application/json", "a c"},
		{"ids in a body", list, `{"messageIds":["{a}","{c}"]}`, "application/json", "a c"},
		{"ids in a body without type", list, `{"messageIds":["{a}"]}`, "", "a"},
		{"ids under the type of curl -d", list, `{"messageIds":["{a}"]}`, "application/x-www-form-urlencoded", "a"},
		{"ids in a form that says it is JSON", list, "messageIds={a}&messageIds={b}", "application/json", "a b"},
		{"ids in a query", list + "?messageIds={a}&messageIds={b}", "", "", "a b"},
		{"ids in a comma list", list + "?messageIds={a},{b}", "", "", "a b"},
		{"one id twice", list, `{"messageIds":["{a}","{a}"]}`, "", "a"},
		{"unknown ids are passed over", list, `{"messageIds":["` + unknownID + `","{a}","nonsense",""]}`, "", "a"},
		{"only unknown ids", list, `{"messageIds":["` + unknownID + `"]}`, "", ""},
		{"only what is no id", list, `{"messageIds":["nonsense"]}`, "", ""},
		{"an id that is empty", list, `{"messageIds":[""]}`, "", ""},
		{"one id as a string", list, `{"messageIds":"{a}"}`, "", "a"},
		{"an id with a comma in a string", list, `{"messageIds":"{a},{b}"}`, "", ""},
		{"ids win over a filter", list, `{"messageIds":["{a}"],"queueName":"q2","fromDate":1,"label":"none"}`, "", "a"},
		{"ids in a query win over a body", list + "?messageIds={a}", `{"queueName":"q2"}`, "", "a"},
		{"ids in a body win over a query", list + "?queueName=q2", `{"messageIds":["{a}"]}`, "", "a"},
		{"ids in both must be in both", list + "?messageIds={a}&messageIds={b}", `{"messageIds":["{b}","{c}"]}`, "", "b"},
		{"ids in both with none in common", list + "?messageIds={a}", `{"messageIds":["{b}"]}`, "", ""},

		// Everything.
		{"nothing", list, "", "", everything},
		{"nothing, with a type", list, "", "application/json", everything},
		{"nothing, with a slash", list + "/", "", "", everything},
		{"empty object", list, "{}", "", everything},
		{"empty object with spaces", list, " { } \n", "", everything},
		{"no ids in the list", list, `{"messageIds":[]}`, "", everything},
		{"null for the list", list, `{"messageIds":null}`, "", everything},
		{"the count that SDKs send", list + "?count=100", "", "", everything},
		{"all in the query", list + "?all=true", "", "", everything},
		{"all in the body", list, `{"all":true}`, "", everything},
		{"async that is false", list + "?async=false", `{"async":false}`, "", everything},
		{"all with the count of SDKs", list + "?all=1&count=100", "", "", everything},

		// One field each, in the body and in the query.
		{"queue", list, `{"queueName":"q1"}`, "", "a b"},
		{"queue in the query", list + "?queueName=q1", "", "", "a b"},
		{"queue in a form", list, "queueName=q1", "", "a b"},
		{"queue with an empty list of ids", list, `{"messageIds":[],"queueName":"q1"}`, "", "a b"},
		{"queue with null for ids", list, `{"messageIds":null,"queueName":"q1"}`, "", "a b"},
		{"queue that is unknown", list, `{"queueName":"Q1"}`, "", ""},
		{"two queues", list, `{"queueName":["q1","q2"]}`, "", "a b c"},
		{"two queues repeated", list + "?queueName=q1&queueName=q2", "", "", "a b c"},
		{"two queues in a comma list", list + "?queueName=q1,q2", "", "", "a b c"},
		{"an element of an array is never cut", list, `{"queueName":["q1,q2"]}`, "", ""},
		{"a string of a body is never cut", list, `{"queueName":"q1,q2"}`, "", ""},
		{"url", list, `{"url":"https://example.com/a"}`, "", "a"},
		{"url with a query", list, `{"url":"https://example.com/a?n=1"}`, "", "b"},
		{"url in the query", list + "?url=https://example.com/a?n=1", "", "", "b"},
		{"url with commas", list + "?url=https://example.com/c,d?l=1,2", "", "", "c"},
		{"url with escaped commas", list + "?url=https%3A%2F%2Fexample.com%2Fc%2Cd%3Fl%3D1%2C2", "", "", "c"},
		{"urls in a comma list", list + "?url=https://example.com/c,d?l=1,2,http://other.example:8080/a", "", "", "c d"},
		{"topic", list, `{"topicName":"g"}`, "", "b f"},
		{"topic in the query", list + "?topicName=g", "", "", "b f"},
		{"schedule", list, `{"scheduleId":"s1"}`, "", "d"},
		{"schedule in the query", list + "?scheduleId=s1", "", "", "d"},
		{"callerIP", list, `{"callerIP":"10.0.0.1"}`, "", "d"},
		{"callerIp", list, `{"callerIp":"10.0.0.1"}`, "", "d"},
		{"callerIP in the query", list + "?callerIP=10.0.0.1", "", "", "d"},
		{"callerIp in the query", list + "?callerIp=10.0.0.1", "", "", "d"},
		{"both spellings in the query", list + "?callerIP=10.0.0.1&callerIp=2001:db8::1", "", "", "d e"},
		{"address in another spelling", list, `{"callerIP":"2001:0db8:0:0::1"}`, "", "e"},
		{"label", list, `{"label":"x"}`, "", "a c"},
		{"label in the query", list + "?label=y", "", "", "c"},
		{"labels", list + "?label=y&label=a%3Db", "", "", "c f"},
		{"flow-control key", list, `{"flowControlKey":"k"}`, "", "e"},
		{"flow-control key in the query", list + "?flowControlKey=k", "", "", "e"},
		{"host", list, `{"host":"Example.COM"}`, "", "a b c e"},
		{"host without a port", list + "?host=other.example", "", "", "d"},
		{"host with a port", list + "?host=other.example:8080", "", "", "d"},
		{"host with the wrong port", list + "?host=other.example:80", "", "", ""},
		{"path", list, `{"path":"/a"}`, "", "a b d"},
		{"path in the query", list + "?path=%2Fa", "", "", "a b d"},
		{"path with a comma", list + "?path=/c,d", "", "", "c"},
		{"paths in a comma list", list + "?path=/c,/a", "", "", "a b d e"},

		// Dates are inclusive at both ends.
		{"from", list, `{"fromDate":946684800004}`, "", "e f"},
		{"to", list, `{"toDate":946684800001}`, "", "a b"},
		{"from and to", list, `{"fromDate":946684800001,"toDate":946684800003}`, "", "b c d"},
		{"one millisecond", list + "?fromDate=946684800002&toDate=946684800002", "", "", "c"},
		{"dates as strings", list, `{"fromDate":"946684800001","toDate":"946684800003"}`, "", "b c d"},
		{"date as a list", list, `{"toDate":["` + first + `"]}`, "", "a"},
		{"from the beginning of time", list, `{"fromDate":0}`, "", everything},
		{"to the beginning of time", list, `{"toDate":0}`, "", ""},
		{"from the future", list + "?fromDate=253402300799999", "", "", ""},

		// Together.
		{"fields are combined with and", list, `{"queueName":"q1","label":"x"}`, "", "a"},
		{"filter of all SDKs", list + "?url=https://example.com/a&url=https://example.com/a%3Fn%3D1&topicName=g&queueName=q1" +
			"&host=example.com&path=%2Fa&fromDate=1000&toDate=1946684800000&count=100", "", "", "b"},
		{"every field", list, `{"url":"http://other.example:8080/a","scheduleId":"s1","callerIp":"10.0.0.1","host":"other.example","path":"/a",` +
			`"fromDate":` + first + `,"toDate":946684800003}`, "", "d"},
		{"body and query", list + "?queueName=q1", `{"label":"x"}`, "", "a"},
		{"body and query with the same field", list + "?queueName=q1&queueName=q2", `{"queueName":["q2","q3"]}`, "", "c"},
		{"body and query that contradict each other", list + "?queueName=q1", `{"queueName":"q2"}`, "", ""},
		{"the later from and the earlier to", list + "?fromDate=946684800001&toDate=946684800004", `{"fromDate":946684800000,"toDate":946684800002}`, "", "b c"},
		{"the earlier from and the later to", list + "?fromDate=946684800000&toDate=946684800002", `{"fromDate":946684800001,"toDate":946684800004}`, "", "b c"},
		{"times that contradict each other", list + "?fromDate=946684800003", `{"toDate":946684800002}`, "", ""},
		{"ids beside times that contradict each other", list, `{"messageIds":["{a}"],"fromDate":2,"toDate":1}`, "", "a"},
		{"all is false, with a filter", list, `{"all":false,"queueName":"q1"}`, "", "a b"},

		// A number other than that of the SDKs takes the oldest.
		{"count", list + "?count=2", "", "", "a b"},
		{"count in a body", list, `{"count":1,"topicName":"g"}`, "", "b"},
		{"count as a string", list, `{"count":"1","topicName":"g"}`, "", "b"},
		{"count in a form", list, "count=1", "", "a"},
		{"count over the matches", list + "?count=101&queueName=q1", "", "", "a b"},
		{"the lower count", list + "?count=3", `{"count":2}`, "", "a b"},
		{"a count beside that of the SDKs", list + "?count=100", `{"count":2}`, "", "a b"},

		// Beside ids nothing else counts.
		{"ids and a count", list, `{"messageIds":["{c}","{b}"],"count":1}`, "", "b c"},
		{"ids and a count in the query", list + "?count=1", `{"messageIds":["{c}","{b}"]}`, "", "b c"},
		{"ids in the query and a count", list + "?messageIds={b},{c}&count=1", "", "", "b c"},
		{"ids in a form and a count", list, "messageIds={b}&messageIds={c}&count=1", "", "b c"},
		{"ids and all", list, `{"messageIds":["{a}"],"all":true}`, "", "a"},
		{"ids and not all", list, `{"messageIds":["{a}"],"all":false}`, "", "a"},
		{"ids and all in the query", list + "?all=true", `{"messageIds":["{a}"]}`, "", "a"},
		{"ids in the query and all", list + "?messageIds={a}&messageIds={b}&all=true", "", "", "a b"},
		{"ids in the query and all in the body", list + "?messageIds={a}", `{"all":true}`, "", "a"},
		{"ids in a form and all", list, "messageIds={a},{b}&all=true", "", "a b"},
		{"one id as a string and all", list, `{"messageIds":"{a}","all":true}`, "", "a"},
		{"an id that is none and all", list, `{"messageIds":["nonsense"],"all":true}`, "", ""},
		{"an id that is empty and all", list, `{"messageIds":[""],"all":true}`, "", ""},
		{"ids, all and not all", list + "?all=false", `{"messageIds":["{a}"],"all":true}`, "", "a"},
		{"ids and what does not go with all", list, `{"messageIds":["{a}"],"all":true,"label":"none","fromDate":2,"toDate":1,"async":true}`, "", "a"},
		{"no ids in the list, and all", list, `{"messageIds":[],"all":true}`, "", everything},
		{"no ids in the list, and a count", list, `{"messageIds":[],"count":1}`, "", "a"},

		// The token may be a parameter, of any call.
		{"token in the query", list + "?qstash_token=whatever&queueName=q2", "", "", "c"},
	}
	for _, test := range tests {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			zoo(s)
			var headers []string
			if test.contentType != "" {
				headers = []string{"Content-Type", test.contentType}
			}
			w := s.call("DELETE", test.target, test.body, headers...)
			checkStatus(t, w, 202)
			// As SDKs decode it: nothing but integers.
			if got, want := decode[map[string]int](t, w), len(strings.Fields(test.gone)); len(got) != 1 || got["cancelled"] != want {
				t.Errorf("got %v, want %d cancelled", got, want)
			}
			s.checkGone(test.gone)
		})
	}
}

// TestCancelManyRefused has requests that cannot be understood for sure.
// None may be taken for one without a filter.
func TestCancelManyRefused(t *testing.T) {
	const list = "/v2/messages"
	tests := []struct{ name, target, body, err string }{
		{"broken JSON", list, `{"messageIds":["{a}"`, "not valid JSON"},
		{"half a key", list, `{"mess`, "not valid JSON"},
		{"a lone brace", list, `{`, "not valid JSON"},
		{"no colon", list, `{"queueName" "q1"}`, "not valid JSON"},
		{"no comma", list, `{"messageIds":[] "queueName":"q1"}`, "not valid JSON"},
		{"a comma too many", list, `{"messageIds":[],}`, "not valid JSON"},
		{"wrong bracket", list, `{"messageIds":[]]`, "not valid JSON"},
		{"single quotes", list, `{'messageIds':[]}`, "not valid JSON"},
		{"trailing garbage", list, `{} x`, "follows"},
		{"two objects", list, `{}{"queueName":"q1"}`, "follows"},
		{"a brace too many", list, `{}}`, "follows"},
		{"array", list, `["{a}"]`, "neither"},
		{"empty array", list, `[]`, "neither"},
		{"null", list, `null`, "neither"},
		{"true", list, `true`, "neither"},
		{"number", list, `1`, "neither"},
		{"string", list, `"{a}"`, "neither"},
		{"text", list, `[object Object]`, "neither"},
		{"one id", list, `{a}`, "neither"},
		{"byte order mark", list, "\ufeff{}", "neither"},
		{"zero byte", list, "\x00", "neither"},
		{"spaces", list, " \r\n\t", "neither"},
		{"spaces beside a filter", list + "?queueName=q1", " ", "neither"},
		{"not UTF-8", list, "{\"label\":\"\xff\"}", "not valid UTF-8"},
		{"compressed", list, "\x1f\x8b\x08\x00", "neither"},
		{"too deep", list, `{"label":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, "not valid JSON"},
		{"separators of a form", list, "&&", "neither"},
		{"form with the token alone", list, "qstash_token=t", "neither"},
		{"form with the count of SDKs alone", list, "count=100", "neither"},
		{"form with a bad escape", list, "queueName=%zz", "neither"},
		{"form with an unknown name", list, "queueName=q1&colour=red", "neither"},
		{"query with a bad escape", list + "?queueName=%zz", "", "cannot be read"},
		{"query with a semicolon", list + "?queueName=q1;label=x", "", "cannot be read"},

		{"unknown name", list, `{"labeel":"x"}`, `unknown filter "labeel"`},
		{"unknown name in the query", list + "?labeel=x", "", `unknown filter "labeel"`},
		{"unknown name without value", list + "?x", "", `unknown filter "x"`},
		{"unknown name beside ids", list, `{"messageIds":["{a}"],"labeel":"x"}`, `unknown filter "labeel"`},
		{"unknown name that is null", list, `{"labeel":null}`, `unknown filter "labeel"`},
		{"another letter case", list, `{"MessageIds":["{a}"]}`, `unknown filter "MessageIds"`},
		{"ids with a capital D", list, `{"messageIDs":["{a}"]}`, `unknown filter "messageIDs"`},
		{"the SDKs' own name of a topic", list, `{"urlGroup":"g"}`, `unknown filter "urlGroup"`},
		{"a single id", list, `{"messageId":"{a}"}`, `unknown filter "messageId"`},
		{"empty name", list, `{"":"x"}`, `unknown filter ""`},
		{"async in other words", list + "?async=maybe", "", "async must be"},
		{"async that is null", list, `{"async":null}`, "wrong type"},

		{"empty value", list, `{"queueName":""}`, `filter "queueName" is empty`},
		{"empty value in the query", list + "?label=", "", `filter "label" is empty`},
		{"name without value in the query", list + "?label", "", `filter "label" is empty`},
		{"one empty value of two", list + "?label=x&label=", "", `filter "label" is empty`},
		{"comma at the end", list + "?label=x,", "", `filter "label" is empty`},
		{"empty list", list, `{"queueName":[]}`, `filter "queueName" is empty`},
		{"empty element", list, `{"queueName":["q1",""]}`, `filter "queueName" is empty`},
		{"null value", list, `{"queueName":null}`, "wrong type"},
		{"null date", list, `{"fromDate":null}`, "wrong type"},
		{"empty date", list, `{"fromDate":""}`, "not a time"},
		{"empty date in the query", list + "?fromDate=", "", "not a time"},
		{"empty count", list + "?count=", "", "count must be"},
		{"empty all", list + "?all=", "", "all must be"},

		{"ids as an empty string", list, `{"messageIds":""}`, `"messageIds" is empty`},
		{"ids that are empty in the query", list + "?messageIds=", "", `"messageIds" is empty`},
		{"ids without a value in the query", list + "?messageIds", "", `"messageIds" is empty`},
		{"ids of which one is empty in the query", list + "?messageIds={a},", "", `"messageIds" is empty`},
		{"ids that are empty beside a filter", list + "?messageIds=", `{"queueName":"q1"}`, `"messageIds" is empty`},
		{"ids that are empty in a form", list, "messageIds=", "neither a JSON object nor a form"},
		{"ids as an object", list, `{"messageIds":{}}`, "array of strings"},
		{"ids as a bool", list, `{"messageIds":false}`, "array of strings"},
		{"id as a number", list, `{"messageIds":[1]}`, "array of strings"},
		{"id as null", list, `{"messageIds":["{a}",null]}`, "array of strings"},
		{"ids in a list in a list", list, `{"messageIds":[["{a}"]]}`, "array of strings"},
		{"object", list, `{"queueName":{"eq":"q1"}}`, "wrong type"},
		{"number for a name", list, `{"queueName":1}`, "wrong type"},
		{"bool for a name", list, `{"label":true}`, "wrong type"},
		{"element of the wrong type", list, `{"queueName":["q1",2]}`, "wrong type"},
		{"bool for a date", list, `{"fromDate":true}`, "wrong type"},
		{"bool for a count", list, `{"count":true}`, "wrong type"},
		{"number for all", list, `{"all":1}`, "wrong type"},
		{"text for a date", list, `{"fromDate":"yesterday"}`, "not a time"},
		{"ISO date", list + "?fromDate=2000-01-01T00:00:00Z", "", "not a time"},
		{"negative date", list, `{"fromDate":-1}`, "not a time"},
		{"fraction of a date", list, `{"toDate":1.5}`, "not a time"},
		{"date in nanoseconds", list, `{"toDate":946684800000000000}`, "not a time"},
		{"two dates", list + "?fromDate=1&fromDate=2", "", "one number"},
		{"dates in a comma list", list + "?fromDate=1,2", "", "one number"},
		{"from after to", list, `{"fromDate":2,"toDate":1}`, "fromDate is after toDate"},
		{"from after to in the query", list + "?fromDate=2&toDate=1", `{"fromDate":3}`, "fromDate is after toDate"},
		{"address with a zone", list, `{"callerIP":"fe80::1%eth0"}`, "callerIP: "},
		{"no address", list, `{"callerIP":"localhost"}`, "not an IP address"},
		{"count of zero", list + "?count=0", "", "at least 1"},
		{"negative count", list, `{"count":-1}`, "at least 1"},
		{"fraction for a count", list, `{"count":1.5}`, "at least 1"},
		{"text for a count", list + "?count=ten", "", "at least 1"},
		{"two counts", list + "?count=1&count=2", "", "at least 1"},
		{"all in other words", list + "?all=yes", "", "all must be"},

		{"name twice", list, `{"queueName":"q1","queueName":"q2"}`, "given twice"},
		{"ids twice", list, `{"messageIds":["{a}"],"messageIds":[]}`, "given twice"},
		{"ids, then null", list, `{"messageIds":[],"messageIds":null}`, "given twice"},
		{"both spellings", list, `{"callerIP":"10.0.0.1","callerIp":"10.0.0.1"}`, "given twice"},
		{"all and a filter", list, `{"all":true,"queueName":"q1"}`, "contradict"},
		{"all and an empty id", list + "?all=true&messageIds=", "", `"messageIds" is empty`},
		{"ids and all in other words", list, `{"messageIds":["{a}"],"all":"maybe"}`, "all must be"},
		{"ids and a count of nothing", list, `{"messageIds":["{a}"],"count":0}`, "count must be"},
		{"all in the query and a filter in the body", list + "?all=true", `{"queueName":"q1"}`, "contradict"},
		{"all is false and nothing else", list, `{"all":false}`, "all is false"},
		{"all is false in the query and nothing else", list + "?all=false&count=100", "", "all is false"},
		{"all is true and false", list + "?all=true", `{"all":false}`, "contradict"},
	}
	for _, test := range tests {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			zoo(s)
			checkError(t, s.call("DELETE", test.target, test.body, "Content-Type", "application/json"), 400, test.err)
			s.checkGone("")
		})
	}
}

// TestCancelManyIDs names more messages than package url reads of a query: one
// by one, as SDKs do.
func TestCancelManyIDs(t *testing.T) {
	many := strings.Repeat("messageIds="+unknownID+"&", 15_000) + "messageIds={a}"
	for _, test := range []struct{ name, query, body string }{
		{"query", "?qstash_token=" + qstash.DevToken + "&" + many, ""},
		{"form", "", many},
		{"the token last", "?" + many + "&qstash_token=" + qstash.DevToken, ""},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			zoo(s)
			r := request("DELETE", s.expand("/v2/messages"+test.query), s.expand(test.body))
			if test.query != "" {
				r.Header.Del("Authorization")
			}
			w := s.do(r)
			checkStatus(t, w, 202)
			checkBody(t, w, `{"cancelled":1}`)
			s.checkGone("a")
		})
	}
}

// TestCancelInPart has a wait that ends in an error after a part of it was
// durable: the answer says what was cancelled all the same.
func TestCancelInPart(t *testing.T) {
	handler, _ := newFaulty(t, nil, func(c enginetest.Call, err error) error {
		if c == enginetest.CallCancelMatching {
			return recall.ErrFull
		}
		return err
	})
	do := func(method, target string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request(method, target, "", "Upstash-Delay", "1h"))
		return w
	}
	type facts struct {
		Cancelled *int
		Operation string
	}
	w := do("DELETE", "/v2/messages")
	checkError(t, w, 507, "full")
	if got := decode[facts](t, w); got.Cancelled != nil || got.Operation != "" {
		t.Errorf("nothing to cancel: got %s", w.Body)
	}
	for range 2 {
		checkStatus(t, do("POST", "/v2/publish/https://example.com"), 200)
	}
	w = do("DELETE", "/v2/messages")
	checkError(t, w, 507, "full")
	if got := decode[facts](t, w); got.Cancelled == nil || *got.Cancelled != 2 || got.Operation == "" {
		t.Errorf("got %s, want two cancelled", w.Body)
	}
}
