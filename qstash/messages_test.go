package qstash_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// message is what GET returns as a typed SDK declares it.
type message struct {
	MessageID      string              `json:"messageId"`
	URL            string              `json:"url"`
	URLGroup       string              `json:"urlGroup"`
	TopicName      string              `json:"topicName"`
	EndpointName   string              `json:"endpointName"`
	Queue          string              `json:"queueName"`
	Method         string              `json:"method"`
	Header         map[string][]string `json:"header"`
	Body           *string             `json:"body"`
	BodyBase64     string              `json:"bodyBase64"`
	MaxRetries     *int                `json:"maxRetries"`
	NotBefore      *int64              `json:"notBefore"`
	CreatedAt      *int64              `json:"createdAt"`
	ScheduleID     string              `json:"scheduleId"`
	CallerIP       string              `json:"callerIP"`
	FlowControlKey string              `json:"flowControlKey"`
	Label          string              `json:"label"`
	Labels         []string            `json:"labels"`
}

func TestGetMessage(t *testing.T) {
	inBubble(t, "fields", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("full", recall.Message{
			URL: "https://example.com/a?b=<c>&d", Method: "PUT", Header: map[string][]string{"X-A": {"1", "2"}}, Body: []byte("täxt <&>"),
			Queue: "q", Topic: "g", ScheduleID: "s", FlowKey: "k", Labels: []string{"l", "m"}, CallerIP: "10.0.0.1",
			Delay: time.Minute, Retries: recall.Retries(5),
		})
		w := s.call("GET", "/v2/messages/{full}", "")
		checkStatus(t, w, 200)
		epoch, due, retries, body := int64(946684800000), int64(946684860000), 5, "täxt <&>"
		want := message{
			MessageID: string(s.ids["full"]), URL: "https://example.com/a?b=<c>&d", URLGroup: "g", TopicName: "g", Queue: "q", Method: "PUT",
			Header: map[string][]string{"X-A": {"1", "2"}}, Body: &body, MaxRetries: &retries, NotBefore: &due, CreatedAt: &epoch,
			ScheduleID: "s", CallerIP: "10.0.0.1", FlowControlKey: "k", Label: "l", Labels: []string{"l", "m"},
		}
		if got := decode[message](t, w); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for _, name := range []string{"callerIP", "callerIp"} {
			if got := decode[map[string]any](t, w)[name]; got != "10.0.0.1" {
				t.Errorf("%s: got %v", name, got)
			}
		}
	})
	inBubble(t, "nothing set", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("a", recall.Message{URL: "https://example.com", Retries: recall.Retries(0)})
		w := s.call("GET", "/v2/messages/{a}/", "")
		checkStatus(t, w, 200)
		// Zeros are there, and there is no null.
		checkBody(t, w, s.expand(`{"messageId":"{a}","url":"https://example.com","method":"POST","header":{},"body":"","maxRetries":0,`+
			`"notBefore":946684800000,"createdAt":946684800000}`))
	})
	inBubble(t, "bytes", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("a", recall.Message{Body: []byte("\xff\x00")})
		got := decode[message](t, s.call("GET", "/v2/messages/{a}", ""))
		if got.Body != nil || got.BodyBase64 != "/wA=" {
			t.Errorf("got %+v", got)
		}
	})
	inBubble(t, "in flight", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("a", recall.Message{})
		s.claim(1)
		checkStatus(t, s.call("GET", "/v2/messages/{a}", ""), 200)
	})
	inBubble(t, "gone", func(t *testing.T) {
		s := newServer(t, nil)
		id := s.publish("a", recall.Message{})
		s.finish(s.claim(1)[0], recall.Finish{Outcome: recall.Delivered})
		checkError(t, s.call("GET", "/v2/messages/{a}", ""), 404, string(id)+" not found")
		checkError(t, s.call("DELETE", "/v2/messages/{a}", ""), 404, string(id)+" not found")
	})
	t.Run("HEAD", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("a", recall.Message{})
		checkStatus(t, s.call("HEAD", "/v2/messages/{a}", ""), 200)
	})
}

func TestCount(t *testing.T) {
	const count = "/recall/v1/count"
	for _, test := range []struct{ name, target, body, want string }{
		{"everything", count, "", `{"inFlight":1,"pending":5}`},
		{"all", count + "?all=true", "", `{"inFlight":1,"pending":5}`},
		{"a filter in the body", count, `{"queueName":"q1"}`, `{"inFlight":1,"pending":1}`},
		{"a filter in the query", count + "?label=x&count=100", "", `{"inFlight":1,"pending":1}`},
		{"ids", count, `{"messageIds":["{a}","{c}","nonsense"]}`, `{"inFlight":1,"pending":1}`},
		{"times that contradict each other", count + "?fromDate=2", `{"toDate":1}`, `{"inFlight":0,"pending":0}`},
		{"no match", count, `{"queueName":"none"}`, `{"inFlight":0,"pending":0}`},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			zoo(s)
			s.claim(1)
			w := s.call("POST", test.target, test.body)
			checkStatus(t, w, 200)
			checkBody(t, w, test.want)
			s.checkGone("")
		})
	}
}

func TestExplain(t *testing.T) {
	inBubble(t, "plan", func(t *testing.T) {
		s := newServer(t, nil)
		zoo(s)
		type plan struct {
			Filter, Index string
			Candidates    []struct {
				Index string
				Count int
			}
		}
		for body, filter := range map[string]string{
			"":                               "everything",
			`{"queueName":"q1","label":"x"}`: "queue=q1 label=x",
			`{"messageIds":["nonsense"]}`:    "id=",
			"callerIp=10.0.0.1":              "ip=10.0.0.1",
		} {
			w := s.call("POST", "/recall/v1/explain", body)
			checkStatus(t, w, 200)
			got := decode[plan](t, w)
			if got.Filter != filter || got.Index == "" || len(got.Candidates) == 0 || got.Candidates[0].Index != got.Index {
				t.Errorf("%s: got %s, want filter %s", body, w.Body, filter)
			}
		}
		s.checkGone("")
	})
}

// TestCountAndExplainRefused has what a bulk cancel refuses.
func TestCountAndExplainRefused(t *testing.T) {
	s := newServer(t, nil)
	for _, target := range []string{"/recall/v1/count", "/recall/v1/explain"} {
		checkError(t, s.call("POST", target, `{"labeel":"x"}`), 400, "unknown filter")
		checkError(t, s.call("POST", target, `{"label"`), 400, "not valid JSON")
		checkError(t, s.call("POST", target+"?count=7", ""), 400, "count is for cancellations")
		checkError(t, s.call("POST", target, `{"fromDate":2,"toDate":1}`), 400, "fromDate is after toDate")
	}
}

// TestErrors has what the broker may answer at any time.
func TestErrors(t *testing.T) {
	s := newServer(t, nil)
	if err := s.b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ method, target string }{
		{"POST", "/v2/publish/https://example.com"},
		{"DELETE", "/v2/messages"},
		{"DELETE", "/v2/messages?queueName=q"},
		{"DELETE", "/v2/messages/" + unknownID},
		{"GET", "/v2/messages/" + unknownID},
		{"POST", "/recall/v1/count"},
	} {
		checkError(t, s.call(test.method, test.target, ""), 503, "closed")
	}
	if strings.Contains(s.log.String(), "ERROR") {
		t.Errorf("log: %s", s.log)
	}
}
