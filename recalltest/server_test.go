package recalltest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/recalltest"
)

const hook = "https://api.test/hook"

// inBoth runs a test over real HTTP, and in a bubble.
func inBoth(t *testing.T, f func(t *testing.T, s *recalltest.Server, client *http.Client)) {
	t.Run("real HTTP", func(t *testing.T) {
		defer checkNoGoroutines(t)
		t.Run("", func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{}}
			t.Cleanup(client.CloseIdleConnections)
			f(t, recalltest.New(t), client)
		})
	})
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := recalltest.New(t, recalltest.Bubble())
			f(t, s, s.Client())
		})
	})
}

// TestUnreadable: what net/http answers itself is JSON as well.
func TestUnreadable(t *testing.T) {
	s := recalltest.New(t)
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = "/v2/publish/%zz" // as it stands
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 400 || resp.Header.Get("Content-Type") != "application/json" || !bytes.HasPrefix(body, []byte(`{"error":"the request is malformed`)) {
		t.Errorf("got %d %v %s, %v", resp.StatusCode, resp.Header, body, err)
	}
}

// TestStory is what most tests want: retries, a schedule, a bulk cancellation.
func TestStory(t *testing.T) {
	inBoth(t, func(t *testing.T, s *recalltest.Server, client *http.Client) {
		e := s.Endpoint(hook).Respond(503, 503, 200)
		other := s.Endpoint("https://api.test/report")
		if status, body := call(t, s, client, "POST", "/v2/publish/"+hook, "hi", "Upstash-Delay", "1h", "Upstash-Label", "order-7"); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
		for range 3 {
			if status, body := call(t, s, client, "POST", "/v2/publish/"+hook, "never", "Upstash-Delay", "2h", "Upstash-Label", "order-8"); status != 200 {
				t.Fatalf("got %d %s", status, body)
			}
		}
		if _, err := s.Broker().SetSchedule(t.Context(), recall.Schedule{
			ID: "report", Cron: "@every 30m", Message: recall.Message{URL: "https://api.test/report"},
		}); err != nil {
			t.Fatal(err)
		}
		if status, body := call(t, s, client, "DELETE", "/v2/messages?label=order-8", ""); status != 202 || body != `{"cancelled":3}` {
			t.Errorf("cancel: got %d %s", status, body)
		}
		began := s.Now()
		s.Advance(time.Hour - time.Millisecond)
		if got := len(e.Requests()); got != 0 {
			t.Errorf("before it is due: %d requests", got)
		}
		s.Advance(time.Millisecond)
		if got := len(e.Requests()); got != 1 {
			t.Errorf("when it is due: %d requests", got)
		}
		s.Advance(12*time.Second + 148*time.Second)
		s.CheckPublished(t, recalltest.Message{URL: hook, Body: "hi", Label: "order-7", Delay: time.Hour})
		s.CheckDelivered(t,
			recalltest.Message{URL: hook, Body: "hi", Attempts: 3},
			recalltest.Message{URL: "https://api.test/report", ScheduleID: "report"},
			recalltest.Message{URL: "https://api.test/report", ScheduleID: "report"},
		)
		s.CheckCancelled(t, recall.Filter{Labels: []string{"order-8"}}, 3)
		s.CheckNothingElse(t)
		var at []time.Duration
		for _, d := range e.Requests() {
			at = append(at, d.At.Sub(began))
		}
		if want := []time.Duration{time.Hour, time.Hour + 12*time.Second, time.Hour + 160*time.Second}; !slices.Equal(at, want) {
			t.Errorf("attempts: got %v, want %v", at, want)
		}
		if got := other.Requests(); len(got) != 2 || got[0].Status != 200 || got[0].Header.Get("Upstash-Schedule-Id") != "report" {
			t.Errorf("report: got %+v", got)
		}
	})
}

// TestAYear is one step for each delivery, however long it takes.
func TestAYear(t *testing.T) {
	s := recalltest.New(t, recalltest.NoListener())
	s.Endpoint(hook)
	if _, err := s.Broker().SetSchedule(t.Context(), recall.Schedule{
		ID: "daily", Cron: "@daily", Message: recall.Message{URL: hook},
	}); err != nil {
		t.Fatal(err)
	}
	publish(t, s, hook, "much later", "Upstash-Delay", "3650d")
	s.Advance(365 * 24 * time.Hour)
	if got := len(s.Deliveries()); got != 365 {
		t.Errorf("got %d deliveries, want one a day", got)
	}
}

// TestEndpoints goes through what an endpoint can do.
func TestEndpoints(t *testing.T) {
	inBoth(t, func(t *testing.T, s *recalltest.Server, _ *http.Client) {
		slow := s.Endpoint("https://slow.test").Slow(10 * time.Second)
		hang := s.Endpoint("https://hang.test/").Hang()
		s.Endpoint("https://reset.test/a").Reset()
		s.Endpoint("https://panic.test").Panic()
		s.Endpoint("https://reply.test").Reply(recalltest.Reply{Status: 429, Header: http.Header{"Retry-After": {"7"}}}).
			Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || r.Host != "reply.test" || r.RequestURI != "/x%2Fy?q=1" || r.URL.Query().Get("q") != "1" {
					t.Errorf("got %s %s, %v", r.Host, r.RequestURI, err)
				}
				w.WriteHeader(201)
				_, _ = w.Write(body)
			}))
		began := s.Now()
		for _, dest := range []string{
			"https://slow.test/1", "https://slow.test/2", "https://hang.test/deep/down", "https://reset.test/a?b=1", "https://panic.test",
			"https://reply.test/x%2Fy?q=1",
		} {
			publish(t, s, dest, "b", "Upstash-Retries", "1", "Upstash-Retry-Delay", "3600000", "Upstash-Timeout", "20s")
		}
		s.Settle()
		if got := s.Now(); !got.Equal(began) {
			t.Errorf("the time moved by %v", got.Sub(began))
		}
		outcome := func(url string) string {
			for _, d := range s.Deliveries() {
				if strings.HasPrefix(d.URL, url) {
					return strings.TrimSpace(http.StatusText(d.Status) + " " + d.Error)
				}
			}
			return "none"
		}
		check := func(when string, want ...string) {
			t.Helper()
			for i := 0; i < len(want); i += 2 {
				if got := outcome(want[i]); !strings.Contains(got, want[i+1]) || want[i+1] == "" && got != "" {
					t.Errorf("%s: %s: got %q, want %q", when, want[i], got, want[i+1])
				}
			}
		}
		check("at once", "https://slow.test/1", "", "https://slow.test/2", "", "https://hang.test", "",
			"https://reset.test", "connection reset", "https://panic.test", "EOF", "https://reply.test", "Too Many")
		if got := s.Broker().Stats().InFlight; got != 3 {
			t.Errorf("in flight: got %d", got)
		}
		s.Advance(7 * time.Second)
		s.CheckDelivered(t, recalltest.Message{URL: "https://reply.test/x%2Fy?q=1", Attempts: 2})
		s.Advance(3 * time.Second)
		check("after 10s", "https://slow.test/1", "OK", "https://slow.test/2", "OK", "https://hang.test", "")
		s.Advance(10 * time.Second)
		check("after 20s", "https://hang.test", "deadline")
		if got := s.Broker().Stats().InFlight; got != 0 {
			t.Errorf("in flight: got %d", got)
		}
		if len(slow.Requests()) != 2 || len(hang.Requests()) != 1 {
			t.Errorf("got %d and %d requests", len(slow.Requests()), len(hang.Requests()))
		}
		s.Drain()
		if stats := s.Broker().Stats(); stats.Pending != 0 || stats.DeadLetters != 3 {
			t.Errorf("after Drain: got %d pending, %d dead", stats.Pending, stats.DeadLetters)
		}
		if got, want := s.Now().Sub(began), 20*time.Second+time.Hour+20*time.Second; got != want {
			t.Errorf("Drain: got %v, want %v", got, want)
		}
	})
}

// TestForward sends deliveries for a host to a server of this machine, and nowhere
// else.
func TestForward(t *testing.T) {
	got := make(chan string, 1)
	local := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.RequestURI + " " + string(body)
	}))
	defer local.Close()
	r := &reporter{}
	s := recalltest.New(r)
	defer r.end()
	s.Endpoint("https://api.example.com").Forward(local.URL + "/base/")
	publish(t, s, "https://api.example.com/a%2Fb?c=1", "hi")
	s.CheckDelivered(t, recalltest.Message{URL: "https://api.example.com/a%2Fb?c=1"})
	if text := <-got; text != "/base/a%2Fb?c=1 hi" {
		t.Errorf("got %q", text)
	}
	s.Endpoint("https://x.test").Forward("https://example.com")
	checkContains(t, r.take(), "not the address of a server of this machine")
}

// TestLoopback: servers of this machine are reached only if that is asked for.
func TestLoopback(t *testing.T) {
	local := httptest.NewServer(http.NotFoundHandler())
	defer local.Close()
	for _, allowed := range []bool{false, true} {
		r := &reporter{}
		opts := []recalltest.Option{nil}
		if allowed {
			opts = append(opts, recalltest.Loopback())
		}
		s := recalltest.New(r, opts...)
		publish(t, s, local.URL, "hi", "Upstash-Retries", "0")
		s.Settle()
		if text := r.take(); (text == "") != allowed {
			t.Errorf("allowed %v: got %q", allowed, text)
		}
		if got := s.Deliveries(); len(got) != 1 || (got[0].Status == 404) != allowed {
			t.Errorf("allowed %v: got %+v", allowed, got)
		}
		r.end()
	}
}

// TestUnscripted: the network is not reached, and the test fails, once.
func TestUnscripted(t *testing.T) {
	r := &reporter{}
	s := recalltest.New(r)
	publish(t, s, "https://example.com/x", "hi", "Upstash-Retries", "2")
	s.Drain()
	if len(r.failures) != 1 {
		t.Errorf("got %q, want one failure", r.failures)
	}
	checkContains(t, r.take(), "https://example.com/x", "no endpoint is scripted")
	if got := s.Deliveries(); len(got) != 3 {
		t.Errorf("got %d attempts", len(got))
	}
	if got := s.Problems(); len(got) != 1 {
		t.Errorf("problems: got %q", got)
	}
	r.end()
}

// TestAdvanceToNext goes from one thing to the next.
func TestAdvanceToNext(t *testing.T) {
	inBoth(t, func(t *testing.T, s *recalltest.Server, _ *http.Client) {
		if d, ok := s.AdvanceToNext(); ok || d != 0 {
			t.Errorf("nothing to come: got %v", d)
		}
		s.Endpoint(hook).Respond(500, 200)
		s.Endpoint("https://slow.test").Slow(5 * time.Second)
		publish(t, s, hook, "", "Upstash-Delay", "10s")
		publish(t, s, "https://slow.test", "", "Upstash-Delay", "20s")
		var steps []time.Duration
		for {
			d, ok := s.AdvanceToNext()
			if !ok {
				break
			}
			steps = append(steps, d)
		}
		want := []time.Duration{10 * time.Second, 10 * time.Second, 2 * time.Second, 3 * time.Second}
		if !slices.Equal(steps, want) {
			t.Errorf("got %v, want %v", steps, want)
		}
	})
}

// TestAdvanceToNextIsSlow: in a bubble the time goes on while a handler sleeps, and
// all is done before the next thing is looked for.
func TestAdvanceToNextIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := recalltest.New(t, recalltest.Bubble())
		s.Endpoint(hook).Handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(10 * time.Second) }))
		for _, delay := range []time.Duration{0, 3 * time.Second} {
			if _, err := s.Broker().Publish(t.Context(), recall.Message{URL: hook, Delay: delay}); err != nil {
				t.Fatal(err)
			}
		}
		var all time.Duration
		for {
			d, ok := s.AdvanceToNext()
			if !ok {
				break
			}
			all += d
		}
		if all < 10*time.Second || len(s.Deliveries()) != 2 {
			t.Errorf("%v have passed, and %d were delivered", all, len(s.Deliveries()))
		}
	})
}

// TestOrder: without Concurrent the order of requests is that of publication, and
// with a seed it is another one, the same each time. So are ids.
func TestOrder(t *testing.T) {
	run := func(opts ...recalltest.Option) (bodies, ids string) {
		s := recalltest.New(t, append(opts, recalltest.NoListener())...)
		s.Endpoint(hook).Respond(200)
		for _, body := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			publish(t, s, hook, body, "Upstash-Delay", "1m")
		}
		s.Advance(time.Minute)
		for _, d := range s.Deliveries() {
			bodies += d.Body
			ids += string(d.MessageID)
		}
		return bodies, ids
	}
	if bodies, _ := run(); bodies != "abcdefgh" {
		t.Errorf("got %s", bodies)
	}
	one, ids := run(recalltest.Seed(1), recalltest.Shuffle(1))
	again, idsAgain := run(recalltest.Seed(1), recalltest.Shuffle(1))
	if one == "abcdefgh" || len(one) != 8 || one != again {
		t.Errorf("shuffled: got %s and %s", one, again)
	}
	if _, other := run(recalltest.Seed(2), recalltest.Shuffle(1)); ids != idsAgain || ids == other {
		t.Errorf("ids: got %s, %s and with another seed %s", ids, idsAgain, other)
	}
}

// TestConcurrent lets handlers wait for each other.
func TestConcurrent(t *testing.T) {
	s := recalltest.New(t, recalltest.Concurrent())
	meet := make(chan bool)
	s.Endpoint(hook).Handle(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case meet <- true:
		case <-meet:
		}
	}))
	publish(t, s, hook, "1")
	publish(t, s, hook, "2")
	s.CheckDelivered(t, recalltest.Message{Body: "1"}, recalltest.Message{Body: "2"})
}

// TestQueueAndCallbacks: what follows from a delivery is delivered in the same
// step, callbacks and the next of a queue included.
func TestQueueAndCallbacks(t *testing.T) {
	inBoth(t, func(t *testing.T, s *recalltest.Server, client *http.Client) {
		s.Endpoint("https://api.test")
		for _, body := range []string{"1", "2", "3"} {
			if status, answer := call(t, s, client, "POST", "/v2/enqueue/q/"+hook, body, "Upstash-Callback", "https://api.test/told"); status != 200 {
				t.Fatalf("got %d %s", status, answer)
			}
		}
		s.Settle()
		var urls []string
		for _, d := range s.Deliveries() {
			urls = append(urls, strings.TrimPrefix(d.URL, "https://api.test/")+d.Body[:min(1, len(d.Body))])
		}
		if want := []string{"hook1", "told{", "hook2", "told{", "hook3", "told{"}; !slices.Equal(urls, want) {
			t.Errorf("got %v, want %v", urls, want)
		}
	})
}

// TestHandlersUseTheServer publish from a delivery, and cancel: there is no wait
// for the attempt that does so.
func TestHandlersUseTheServer(t *testing.T) {
	inBoth(t, func(t *testing.T, s *recalltest.Server, client *http.Client) {
		s.Endpoint(hook).Handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			call(t, s, client, "POST", "/v2/publish/https://api.test/next", "next")
			if status, body := call(t, s, client, "DELETE", "/v2/messages?label=gone", ""); status != 202 {
				t.Errorf("got %d %s", status, body)
			}
		}))
		s.Endpoint("https://api.test/next")
		publish(t, s, "https://api.test/gone", "", "Upstash-Delay", "1h", "Upstash-Label", "gone")
		publish(t, s, hook, "first")
		s.CheckDelivered(t, recalltest.Message{Body: "first"}, recalltest.Message{Body: "next"})
		s.CheckCancelled(t, recall.Filter{Labels: []string{"gone"}}, 1)
	})
}

// TestStopRule: a bulk cancellation stops at a message that its endpoint holds up.
func TestStopRule(t *testing.T) {
	inBoth(t, func(t *testing.T, s *recalltest.Server, client *http.Client) {
		s.Endpoint(hook).Slow(20 * time.Second)
		publish(t, s, hook, "held up", "Upstash-Label", "x")
		publish(t, s, hook, "later", "Upstash-Label", "x", "Upstash-Delay", "1h")
		s.Settle()
		if status, body := call(t, s, client, "DELETE", "/v2/messages?label=x", ""); status != 409 {
			t.Errorf("got %d %s", status, body)
		}
		s.CheckCancelled(t, recall.Filter{Labels: []string{"x"}}, 0)
		s.Advance(20 * time.Second)
		if status, body := call(t, s, client, "DELETE", "/v2/messages?label=x", ""); status != 202 {
			t.Errorf("got %d %s", status, body)
		}
		s.CheckCancelled(t, recall.Filter{Labels: []string{"x"}, Hosts: []string{"api.test"}, Paths: []string{"/hook"}}, 1)
	})
}

// TestCancelAMomentLater: an attempt that ends by itself is given the time to.
func TestCancelAMomentLater(t *testing.T) {
	s := recalltest.New(t)
	began, release := make(chan bool), make(chan bool)
	s.Endpoint(hook).Handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		began <- true
		<-release
	}))
	publish(t, s, hook, "ends soon", "Upstash-Label", "x")
	<-began
	publish(t, s, hook, "later", "Upstash-Label", "x", "Upstash-Delay", "1h")
	time.AfterFunc(20*time.Millisecond, func() { close(release) }) // while the call waits
	if status, body := call(t, s, s.Client(), "DELETE", "/v2/messages?label=x", ""); status != 202 || body != `{"cancelled":1}` {
		t.Errorf("got %d %s", status, body)
	}
}

// TestFaults: what the API does wrong by request.
func TestFaults(t *testing.T) {
	inBoth(t, func(t *testing.T, s *recalltest.Server, client *http.Client) {
		s.Endpoint(hook)
		s.FailNext(recalltest.CallPublish, 2, 500)
		s.BreakNext(recalltest.CallCancel, 1)
		for i, want := range []int{500, 500, 200} {
			if status, body := call(t, s, client, "POST", "/v2/publish/"+hook, "", "Upstash-Delay", "1h"); status != want {
				t.Errorf("call %d: got %d %s, want %d", i, status, body, want)
			}
		}
		if _, _, err := try(s, client, "DELETE", "/v2/messages?url="+hook, ""); err == nil {
			t.Error("the connection was not broken off")
		}
		s.CheckCancelled(t, recall.Filter{URLs: []string{hook}}, 0)
		s.LoseNext(recalltest.CallPublish, 1)
		if _, _, err := try(s, client, "POST", "/v2/publish/"+hook, "lost", "Upstash-Deduplication-Id", "1", "Upstash-Delay", "1h"); err == nil {
			t.Error("the answer was not lost")
		}
		if status, body := call(t, s, client, "POST", "/v2/publish/"+hook, "lost", "Upstash-Deduplication-Id", "1"); status != 202 {
			t.Errorf("again: got %d %s", status, body)
		}
		s.FailCommits(1)
		if _, err := s.Broker().Publish(t.Context(), recall.Message{URL: hook}); !errors.Is(err, recalltest.ErrInjected) {
			t.Errorf("got %v, want ErrInjected", err)
		}
		s.FailCommits(1)
		if status, body := call(t, s, client, "DELETE", "/v2/messages?url="+hook, ""); status != 500 {
			t.Errorf("got %d %s", status, body)
		}
		s.CheckPublished(t, recalltest.Message{Body: recalltest.NoBody}, recalltest.Message{Body: "lost"})
		s.CheckNothingElse(t)
	})
}

// TestScheduleAfterFault: what a schedule could not publish it publishes later.
func TestScheduleAfterFault(t *testing.T) {
	s := recalltest.New(t)
	s.Endpoint(hook)
	if _, err := s.Broker().SetSchedule(t.Context(), recall.Schedule{ID: "s", Cron: "@every 1m", Message: recall.Message{URL: hook}}); err != nil {
		t.Fatal(err)
	}
	s.FailCommits(3)
	s.Advance(time.Minute)
	s.CheckDelivered(t, recalltest.Message{ScheduleID: "s"})
}

// TestStateRoundTrip: what is dumped can be loaded, and is the same then.
func TestStateRoundTrip(t *testing.T) {
	const state = `{
		"messages": [
			{"url": "https://api.test/hook", "body": "hi", "labels": ["a"], "delay": "1h", "retries": 1, "timeout": "5s"},
			{"url": "https://api.test/hook", "bodyBase64": "/w==", "queue": "q", "due": "2026-01-02T00:00:00Z"},
			{"queue": "pulled"}
		],
		"queues": [{"name": "q", "parallelism": 2, "paused": true}],
		"topics": [{"name": "t", "endpoints": [{"name": "one", "url": "https://api.test/1"}]}],
		"schedules": [{"id": "s", "cron": "@daily", "message": {"url": "https://api.test/daily"}}]
	}`
	load := func(text string) string {
		s := recalltest.New(t, recalltest.Seed(7))
		if err := s.Load(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := s.Dump(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	first := load(state)
	checkContains(t, first, `"body": "hi"`, `"due": "2026-01-01T01:00:00Z"`, `"bodyBase64": "/w=="`, `"parallelism": 2`, `"paused": true`, `"pull:pulled"`, `"@daily"`)
	if second := load(first); second != first {
		t.Errorf("got %s\nwant %s", second, first)
	}
	s := recalltest.New(t)
	for text, want := range map[string]string{
		`{"messages":[{"url":"https://api.test","delay":"soon"}]}`:                                                               "message 0",
		`{"messages":[{"url":"ftp://api.test"}]}`:                                                                                "URL",
		`{"queues":[{"name":"q"}],"schedules":[{"id":"s","cron":"@daily","message":{"url":"https://api.test","delay":"soon"}}]}`: `schedule "s"`,
		`{"mesages":[]}`: "mesages",
		`{} {}`:          "follows",
	} {
		if err := s.Load(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if queues, err := s.Broker().Queues(t.Context()); err != nil || len(queues) > 0 {
		t.Errorf("something was changed: %v, %v", queues, err)
	}
	s.CheckNothingElse(t)
}

// TestReset leaves nothing but the address.
func TestReset(t *testing.T) {
	r := &reporter{}
	s := recalltest.New(r, recalltest.Seed(1))
	s.Endpoint(hook).Hang()
	publish(t, s, hook, "hangs")
	publish(t, s, "https://unscripted.test", "")
	s.Advance(time.Second)
	began := s.Now()
	s.FailNext(recalltest.CallAny, 5, 500)
	s.Reset()
	if s.Now() != began.Add(-time.Second) || len(s.Deliveries()) != 0 || len(s.Problems()) != 0 || s.Broker().Stats().Pending != 0 {
		t.Errorf("something is left: %v, %v", s.Now(), s.Deliveries())
	}
	s.CheckNothingElse(t)
	s.Endpoint(hook)
	publish(t, s, hook, "again")
	s.CheckDelivered(t, recalltest.Message{Body: "again"})
	r.end()
	r.end() // closing twice is harmless
}

// TestEnv is what SDKs read.
func TestEnv(t *testing.T) {
	s := recalltest.New(t, recalltest.Token("secret"), recalltest.SigningKeys("sig_1", "sig_2"))
	env := strings.Join(s.Env(), " ")
	if want := "QSTASH_URL=" + s.URL + " QSTASH_TOKEN=secret QSTASH_CURRENT_SIGNING_KEY=sig_1 QSTASH_NEXT_SIGNING_KEY=sig_2"; env != want {
		t.Errorf("got %s, want %s", env, want)
	}
	if status, body := call(t, s, http.DefaultClient, "GET", "/v2/keys", ""); status != 200 || body != `{"current":"sig_1","next":"sig_2"}` {
		t.Errorf("got %d %s", status, body)
	}
	http.DefaultClient.CloseIdleConnections()
	if resp, err := s.Client().Get("https://example.com"); err == nil {
		resp.Body.Close()
		t.Error("the client reaches other hosts")
	}
}

// TestNothingLeft: neither goroutines nor files, also if attempts hang, others wait
// for their turn, and calls wait for time to pass.
func TestNothingLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, opts := range [][]recalltest.Option{{}, {recalltest.NoListener()}, {recalltest.Concurrent()}} {
		r := &reporter{}
		s := recalltest.New(r, opts...)
		block := make(chan bool)
		s.Endpoint(hook).Hang()
		s.Endpoint("https://blocks.test").Handle(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			block <- true
			<-r.Context().Done()
		}))
		publish(t, s, hook, "")
		s.Settle()
		publish(t, s, "https://blocks.test", "1")
		publish(t, s, "https://blocks.test", "2")
		<-block
		waited := make(chan bool)
		go func() {
			defer close(waited)
			_, _ = s.Broker().CancelAll(t.Context(), recall.Wait(time.Hour)) // whether it took something is chance
		}()
		go func() {
			for range block {
			}
		}()
		r.end()
		<-waited
		close(block)
		if text := r.take(); text != "" {
			t.Errorf("got %s", text)
		}
	}
	checkNoGoroutines(t)
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
