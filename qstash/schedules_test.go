package qstash_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// schedule is what GET returns as SDKs declare it; a pointer must be there.
type schedule struct {
	ScheduleID       string
	Cron             string
	Destination      string
	CreatedAt        *int64
	Method           string
	Header           map[string][]string
	Body             *string
	BodyBase64       *string
	Retries          *int
	IsPaused         *bool
	QueueName        string
	LastScheduleTime int64
	NextScheduleTime int64
	Error            string
}

// scheduled makes a schedule and returns its id.
func (s *server) scheduled(target, body string, headers ...string) string {
	s.t.Helper()
	w := s.call("POST", target, body, headers...)
	checkStatus(s.t, w, 200)
	var fields map[string]string
	if fields = decode[map[string]string](s.t, w); len(fields) != 1 || fields["scheduleId"] == "" {
		s.t.Fatalf("got %s", w.Body)
	}
	return fields["scheduleId"]
}

func (s *server) schedule(id string) schedule {
	s.t.Helper()
	w := s.call("GET", "/v2/schedules/"+id, "")
	checkStatus(s.t, w, 200)
	got := decode[schedule](s.t, w)
	if got.ScheduleID != id || got.CreatedAt == nil || got.Retries == nil || got.IsPaused == nil || got.Method == "" || got.Header == nil {
		s.t.Fatalf("got %s", w.Body)
	}
	return got
}

func TestScheduleFields(t *testing.T) {
	inBubble(t, "all", func(t *testing.T) {
		s := newServer(t, nil)
		w := s.call("GET", "/v2/schedules", "")
		checkStatus(t, w, 200)
		checkBody(t, w, "[]")
		id := s.scheduled("/v2/schedules/https://oz.test/a//b?x=1&upstash-retries=5", `{"hello":"world"}`,
			"Upstash-Cron", "CRON_TZ=Europe/Berlin */10 * * * * ", "Content-Type", "application/json", "Upstash-Method", "GET",
			"Upstash-Forward-bypass-tunnel-reminder", "client-test", "Upstash-Delay", "10s", "Upstash-Timeout", "1m", "Upstash-Queue-Name", "scheduleQueue",
			"Upstash-Callback", "https://example.com", "Upstash-Callback-Forward-A", "1", "Upstash-Failure-Callback", "https://example.com/failure",
			"Upstash-Retry-Delay", "1000 * retried", "Upstash-Label", "l,m", "Upstash-Flow-Control-Key", "k",
			"Upstash-Flow-Control-Value", "rate=2,period=1m,parallelism=3")
		want := `{"scheduleId":"` + id + `","cron":"CRON_TZ=Europe/Berlin */10 * * * *","destination":"https://oz.test/a//b?x=1",` +
			`"createdAt":946684800000,"method":"GET","header":{"Bypass-Tunnel-Reminder":["client-test"],"Content-Type":["application/json"]},` +
			`"body":"{\"hello\":\"world\"}","retries":5,"retryDelayExpression":"1000 * retried","delay":10,"timeout":60,` +
			`"queueName":"scheduleQueue","callerIP":"192.0.2.1","callerIp":"192.0.2.1","flowControlKey":"k","rate":2,"parallelism":3,"period":60,` +
			`"callback":"https://example.com","callbackHeader":{"A":["1"]},"failureCallback":"https://example.com/failure",` +
			`"label":"l","labels":["l","m"],"isPaused":false,"nextScheduleTime":946685400000}`
		checkBody(t, s.call("GET", "/v2/Schedules/"+id+"/", ""), want)
		checkBody(t, s.call("GET", "/v2/schedules/", ""), "["+want+"]")
	})
	inBubble(t, "nothing set", func(t *testing.T) {
		s := newServer(t, nil)
		id := s.scheduled("/v2/Schedules/https://oz.test", "", "Upstash-Cron", "1 1 1 1 1")
		checkBody(t, s.call("GET", "/v2/schedules/"+id, ""), `{"scheduleId":"`+id+`","cron":"1 1 1 1 1","destination":"https://oz.test",`+
			`"createdAt":946684800000,"method":"POST","header":{},"retries":3,"callerIP":"192.0.2.1","callerIp":"192.0.2.1","isPaused":false,`+
			`"nextScheduleTime":946688460000}`)
	})
	t.Run("redacted", func(t *testing.T) {
		s := newServer(t, nil)
		id := s.scheduled("/v2/schedules/https://oz.test", "secret", "Upstash-Cron", "@daily", "Upstash-Redact-Fields", "body,headers",
			"Content-Type", "text/plain", "Upstash-Callback", "https://c.test", "Upstash-Callback-Forward-A", "secret")
		w := s.call("GET", "/v2/schedules/"+id, "")
		hash := fmt.Sprintf("REDACTED:%x", sha256.Sum256([]byte("secret")))
		if text := w.Body.String(); strings.Contains(text, "secret") || strings.Count(text, hash) != 2 || strings.Count(text, "REDACTED:") != 3 {
			t.Errorf("got %s", text)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		s := newServer(t, nil)
		id := s.scheduled("/v2/schedules/https://oz.test", "\xff", "Upstash-Cron", "@daily")
		if got := s.schedule(id); got.Body != nil || *got.BodyBase64 != "/w==" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("of a program", func(t *testing.T) {
		s := newServer(t, nil)
		set, err := s.b.SetSchedule(t.Context(), recall.Schedule{ID: "a b", Cron: "@every 90m", Message: recall.Message{URL: "local:x"}, Paused: true})
		if err != nil {
			t.Fatal(err)
		}
		w := s.call("GET", "/v2/schedules/a%20b", "")
		checkBody(t, w, fmt.Sprintf(`{"scheduleId":"a b","cron":"@every 90m","destination":"local:x","createdAt":%d,"method":"POST","header":{},`+
			`"retries":3,"isPaused":true}`, set.CreatedAt.UnixMilli()))
	})
}

// TestReplaceSchedule makes one with the id of another: nothing of that is left.
func TestReplaceSchedule(t *testing.T) {
	s := newServer(t, nil)
	id := s.scheduled("/v2/schedules/https://initial.test", "my-payload", "Upstash-Cron", "*/5 * * * *", "Upstash-Schedule-Id", "my_-.1",
		"Upstash-Retries", "7")
	if id != "my_-.1" {
		t.Errorf("id: got %q", id)
	}
	s.ok("PATCH", "/v2/schedules/my_-.1/pause", "")
	s.scheduled("/v2/schedules/https://updated.test", "", "Upstash-Cron", "*/6 * * * *", "Upstash-Schedule-Id", id)
	got := s.schedule(id)
	if got.Destination != "https://updated.test" || got.Body != nil || *got.Retries != 3 || got.Cron != "*/6 * * * *" || *got.IsPaused {
		t.Errorf("got %+v", got)
	}
	if list := decode[[]schedule](t, s.call("GET", "/v2/schedules", "")); len(list) != 1 {
		t.Errorf("list: %+v", list)
	}
}

func TestPauseSchedule(t *testing.T) {
	for _, method := range []string{"POST", "PATCH"} {
		t.Run(method, func(t *testing.T) {
			s := newServer(t, nil)
			id := s.scheduled("/v2/schedules/https://oz.test", "", "Upstash-Cron", "1 1 1 1 1")
			for _, step := range []struct {
				action string
				paused bool
			}{{"pause", true}, {"Pause/", true}, {"resume", false}, {"resume", false}} {
				s.ok(method, "/v2/schedules/"+id+"/"+step.action, "")
				got := s.schedule(id)
				if *got.IsPaused != step.paused || (got.NextScheduleTime == 0) != step.paused {
					t.Errorf("after %s: %+v", step.action, got)
				}
			}
			checkError(t, s.call(method, "/v2/schedules/none/pause", ""), 404, "schedule none not found")
			checkError(t, s.call(method, "/v2/schedules/none/resume", ""), 404, "schedule none not found")
			checkError(t, s.call(method, "/v2/schedules/"+id+"/stop", ""), 404, `"stop"`)
			s.ok("DELETE", "/v2/schedules/"+id, "")
			checkError(t, s.call("GET", "/v2/schedules/"+id, ""), 404, "schedule "+id+" not found")
			checkError(t, s.call("DELETE", "/v2/schedules/"+id, ""), 404, "schedule "+id+" not found")
			checkBody(t, s.call("GET", "/v2/schedules", ""), "[]")
		})
	}
}

// TestScheduleByPublish has a line of cron on what would be a message.
func TestScheduleByPublish(t *testing.T) {
	s := newServer(t, nil)
	s.group("orders")
	cron := url.QueryEscape("*/5 * * * *")
	for _, test := range []struct {
		target, destination, queue string
		headers                    []string
	}{
		{"/v2/publish/https://a.test/x?y=1", "https://a.test/x?y=1", "", []string{"Upstash-Cron", "*/5 * * * *"}},
		{"/v2/publish/https://a.test?upstash-cron=" + cron, "https://a.test", "", nil},
		{"/v2/enqueue/q/https://a.test", "https://a.test", "q", []string{"Upstash-Cron", "*/5 * * * *"}},
		{"/v2/publish/orders", "orders", "", []string{"Upstash-Cron", "*/5 * * * *"}},
		{"/v2/schedules/orders", "orders", "r", []string{"Upstash-Cron", "*/5 * * * *", "Upstash-Queue-Name", "r"}},
		{"/v2/schedules/https://a.test/pause", "https://a.test/pause", "", []string{"Upstash-Cron", "*/5 * * * *"}},
		{"/v2/schedules/https%3A%2F%2Fa.test%2F/pause", "https://a.test//pause", "", []string{"Upstash-Cron", "*/5 * * * *"}},
	} {
		got := s.schedule(s.scheduled(test.target, "x", test.headers...))
		if got.Destination != test.destination || got.QueueName != test.queue || got.Cron != "*/5 * * * *" || *got.Body != "x" {
			t.Errorf("%s: got %+v", test.target, got)
		}
	}
	s.checkGone("") // no message
	if n, err := s.b.Count(t.Context(), recall.Filter{}); err != nil || n.Pending != 0 {
		t.Errorf("messages: %+v, %v", n, err)
	}
}

func TestScheduleToGroup(t *testing.T) {
	s := newServer(t, nil)
	s.group("orders")
	s.ok("PATCH", "/v2/topics/orders", `{"headers":{"Upstash-Retries":"7"}}`)
	id := s.scheduled("/v2/schedules/orders", "", "Upstash-Cron", "* * * * *")
	if got := s.schedule(id); *got.Retries != 7 {
		t.Errorf("retries: got %d", *got.Retries)
	}
	checkError(t, s.call("DELETE", "/v2/topics/orders", ""), 412, id)
	s.ok("DELETE", "/v2/schedules/"+id, "")
	s.ok("DELETE", "/v2/topics/orders", "")
	checkError(t, s.call("POST", "/v2/schedules/orders", "", "Upstash-Cron", "* * * * *"), 404, "topic orders not found")
}

func TestBadSchedules(t *testing.T) {
	const target = "/v2/schedules/https://oz.test"
	for _, test := range []struct {
		target  string
		err     string
		headers []string
	}{
		{target, "needs an Upstash-Cron", nil},
		{target, "Upstash-Cron: at byte 4, day of month: ", []string{"Upstash-Cron", "0 0 32 * *"}},
		{target, "Upstash-Cron: at byte 7, ", []string{"Upstash-Cron", "* * * *"}},
		{target, "Upstash-Cron: at byte 8: ", []string{"Upstash-Cron", "CRON_TZ=Nowhere * * * * *"}},
		{target, "Upstash-Schedule-Id: ", []string{"Upstash-Cron", "* * * * *", "Upstash-Schedule-Id", "a/b"}},
		{target, "Upstash-Schedule-Id: 257 bytes", []string{"Upstash-Cron", "* * * * *", "Upstash-Schedule-Id", strings.Repeat("s", 257)}},
		{target, "Upstash-Not-Before: ", []string{"Upstash-Cron", "* * * * *", "Upstash-Not-Before", "1893456000"}},
		{target, "Upstash-Retries: ", []string{"Upstash-Cron", "* * * * *", "Upstash-Retries", "9999"}},
		{target, "Upstash-Delay: ", []string{"Upstash-Cron", "* * * * *", "Upstash-Delay", "soon"}},
		{"/v2/schedules/https://", "destination: ", []string{"Upstash-Cron", "* * * * *"}},
		{"/v2/schedules/oz.test:80", "invalid destination url", []string{"Upstash-Cron", "* * * * *"}},
		{"/v2/schedules/", "a non-empty destination", []string{"Upstash-Cron", "* * * * *"}},
		{"/v2/schedules", "a non-empty destination", []string{"Upstash-Cron", "* * * * *"}},
		{"/v2/publish/https://oz.test", "needs an Upstash-Cron", []string{"Upstash-Schedule-Id", "s"}},
		{"/v2/publish/https://oz.test", "Upstash-Cron: at byte 0", []string{"Upstash-Cron", "soon"}},
	} {
		s := newServer(t, nil)
		checkError(t, s.call("POST", test.target, "", test.headers...), 400, test.err)
		checkBody(t, s.call("GET", "/v2/schedules", ""), "[]")
		s.checkGone("")
	}
	s := newServer(t, nil)
	checkError(t, s.call("PUT", target, ""), 405, "")
	checkError(t, s.call("PATCH", "/v2/schedules", ""), 405, "")
	checkError(t, s.call("GET", "/v2/schedules/none", ""), 404, "schedule none not found")
}

// TestScheduleRuns has a schedule publish, with its id and its delay, and not while
// it is paused.
func TestScheduleRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDispatching(t)
		id := s.scheduled("/v2/schedules/https://oz.test", "x", "Upstash-Cron", "*/10 * * * *", "Upstash-Delay", "1h", "Upstash-Queue-Name", "q")
		time.Sleep(25 * time.Minute)
		synctest.Wait()
		got := s.schedule(id)
		if got.LastScheduleTime != 946684800000+20*60_000 || got.NextScheduleTime != 946684800000+30*60_000 {
			t.Errorf("times: %+v", got)
		}
		var due []string
		for m, err := range s.b.List(t.Context(), recall.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			body := decode[message](t, s.call("GET", "/v2/messages/"+string(m.ID), ""))
			if body.ScheduleID != id || body.Queue != "q" {
				t.Errorf("message: %+v", body)
			}
			due = append(due, m.DueAt.UTC().Format("15:04"))
		}
		if want := []string{"01:10", "01:20"}; !reflect.DeepEqual(due, want) {
			t.Errorf("due: got %v, want %v", due, want)
		}
		s.ok("PATCH", "/v2/schedules/"+id+"/pause", "")
		time.Sleep(time.Hour)
		synctest.Wait()
		s.ok("PATCH", "/v2/schedules/"+id+"/resume", "")
		if n, err := s.b.Count(t.Context(), recall.Filter{Schedules: []string{id}}); err != nil || n.Pending+n.InFlight > 2 {
			t.Errorf("messages: %+v, %v", n, err)
		}
	})
}

// TestLastScheduleStates follows the messages of one time to their ends.
func TestLastScheduleStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServerOn(t, recall.Options{Transport: byHost{}}, nil)
		s.ok("POST", "/v2/topics/g/endpoints", `{"endpoints":[{"url":"https://good.test"},{"url":"https://bad.test"},{"url":"https://slow.test"}]}`)
		id := s.scheduled("/v2/schedules/g", "", "Upstash-Cron", "0 * * * *", "Upstash-Retries", "0", "Upstash-Timeout", "1h")
		type states struct{ LastScheduleStates map[string]string }
		if got := decode[states](t, s.call("GET", "/v2/schedules/"+id, "")); got.LastScheduleStates != nil {
			t.Errorf("at first: %v", got)
		}
		for _, hour := range []string{"first", "second"} {
			time.Sleep(time.Hour + time.Minute)
			synctest.Wait()
			w := s.call("GET", "/v2/schedules/"+id, "")
			got := []string{}
			for _, state := range decode[states](t, w).LastScheduleStates {
				got = append(got, state)
			}
			slices.Sort(got)
			if want := []string{"FAIL", "IN_PROGRESS", "SUCCESS"}; !slices.Equal(got, want) {
				t.Errorf("%s hour: got %v, want %v: %s", hour, got, want, w.Body)
			}
		}
		s.ok("PATCH", "/v2/schedules/"+id+"/pause", "")
		time.Sleep(time.Hour)
	})
}

// byHost answers 200, 500, or late.
type byHost struct{}

func (byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	status := http.StatusOK
	switch r.URL.Host {
	case "bad.test":
		status = http.StatusInternalServerError
	case "slow.test":
		time.Sleep(10 * time.Minute)
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Request: r}, nil
}
