package recall_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// told is what a callback says, as its receiver reads it.
type told struct {
	DLQID           string      `json:"dlqId"`
	Status          int         `json:"status"`
	Header          http.Header `json:"header"`
	Body            []byte      `json:"body"`
	Truncated       bool        `json:"truncated"`
	Retried         *int        `json:"retried"`
	MaxRetries      int         `json:"maxRetries"`
	SourceMessageID string      `json:"sourceMessageId"`
	SourceBody      []byte      `json:"sourceBody"`
}

// reply is how an endpoint answers: with a status, or not at all.
type reply struct {
	status int
	header []string // pairs
	body   string   // "answer" if it is empty
	err    error
	broken bool // it panics
}

// parts is an endpoint of several paths: each has its own reply, 200 if there is
// none, and what came for it is kept.
type parts struct {
	answers map[string]reply
	bodies  map[string][]string
	headers map[string][]http.Header
	methods map[string][]string
}

func newParts(answers map[string]reply) *parts {
	return &parts{answers, map[string][]string{}, map[string][]http.Header{}, map[string][]string{}}
}

func (p *parts) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	at := r.URL.Path
	p.bodies[at] = append(p.bodies[at], string(body))
	p.headers[at] = append(p.headers[at], r.Header)
	p.methods[at] = append(p.methods[at], r.Method)
	a := p.answers[at]
	if a.broken {
		panic("broken")
	}
	if a.err != nil {
		return nil, a.err
	}
	resp := answer(cmp.Or(a.status, 200), a.header...)
	if a.body != "" {
		resp.Body = io.NopCloser(strings.NewReader(a.body))
	}
	return resp, nil
}

// told returns what the callbacks that came for a path say.
func (p *parts) told(t *testing.T, path string) (all []told) {
	t.Helper()
	for _, text := range p.bodies[path] {
		var one told
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		all = append(all, one)
	}
	return all
}

func status(code int) reply { return reply{status: code, header: []string{"X-Of", "endpoint"}} }

// oneSlot makes attempts one after the other, so that parts needs no lock.
func oneSlot(p *parts) *recall.Options {
	return &recall.Options{Transport: p, Slots: 1, Backoff: func(int) time.Duration { return time.Minute }}
}

func called(url string) recall.Message {
	return recall.Message{
		URL: url, Callback: &recall.Callback{URL: "http://c.test/callback"},
		FailureCallback: &recall.Callback{URL: "http://c.test/failure"},
	}
}

// TestCallbackBytes compares every byte of the bodies.
func TestCallbackBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(map[string]reply{"/hook": status(500)})
		b := newBroker(t, oneSlot(p))
		m := called("http://a.test/hook?a=<b>")
		m.Method, m.Header, m.Body = "PUT", http.Header{"x-one": {"1", "2"}}, []byte("body")
		m.Topic, m.ScheduleID, m.CallerIP, m.Retries = "topic", "scd_1", "10.0.0.1", recall.Retries(1)
		start := time.Now().UnixMilli()
		id := publish(t, b, m)
		sleep(time.Hour)
		dead := onlyDead(t, b)
		want := func(retried string, due int64) string {
			return fmt.Sprintf(`"status":500,"header":{"X-Of":["endpoint"]},"body":"YW5zd2Vy",%s"maxRetries":1,`+
				`"sourceMessageId":%q,"topicName":"topic","url":"http://a.test/hook?a=\u003cb\u003e","method":"PUT",`+
				`"sourceHeader":{"X-One":["1","2"]},"sourceBody":"Ym9keQ==","notBefore":%d,"createdAt":%d,`+
				`"scheduleId":"scd_1","callerIP":"10.0.0.1"}`, retried, id, due, start)
		}
		again := want(`"retried":1,`, start+60_000)
		wantTexts(t, "callbacks", p.bodies["/callback"], "{"+want("", start), "{"+again)
		wantTexts(t, "failure callbacks", p.bodies["/failure"], fmt.Sprintf(`{"dlqId":%q,`, dead.ID)+again)
	})
}

func wantTexts(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCallbackOfEachOutcome: every attempt is told of, and the last failure once
// more.
func TestCallbackOfEachOutcome(t *testing.T) {
	refuse := errors.New("connection refused")
	for name, test := range map[string]struct {
		answer   reply
		statuses []int
		body     string
		failures int
	}{
		"delivered":   {status(201), []int{201}, "answer", 0},
		"dead":        {status(503), []int{503, 503, 503}, "answer", 1},
		"no answer":   {reply{err: refuse}, []int{0, 0, 0}, "connection refused", 1},
		"permanent":   {reply{status: 489, header: []string{"Upstash-NonRetryable-Error", "true"}}, []int{489}, "answer", 1},
		"no response": {reply{broken: true}, []int{0, 0, 0}, "panic: broken", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newParts(map[string]reply{"/hook": test.answer})
				b := newBroker(t, oneSlot(p))
				m := called("http://a.test/hook")
				m.Retries = recall.Retries(2)
				publish(t, b, m)
				sleep(time.Hour)
				var statuses []int
				for i, c := range p.told(t, "/callback") {
					statuses = append(statuses, c.Status)
					if (c.Retried == nil) != (i == 0) || c.Retried != nil && *c.Retried != i || string(c.Body) != test.body || c.DLQID != "" || c.Truncated {
						t.Errorf("callback %d: got %+v", i, c)
					}
				}
				if !slices.Equal(statuses, test.statuses) {
					t.Errorf("callbacks tell of %v, want %v", statuses, test.statuses)
				}
				failures := p.told(t, "/failure")
				if len(failures) != test.failures || len(deadLetters(t, b)) != test.failures {
					t.Fatalf("got %d failure callbacks, want %d", len(failures), test.failures)
				}
				for _, c := range failures {
					if c.DLQID != string(onlyDead(t, b).ID) || string(c.Body) != test.body {
						t.Errorf("failure callback: got %+v", c)
					}
				}
				checkCount(t, b, recall.Count{})
			})
		})
	}
}

// TestCallbackOfHandler: in process there is no response.
func TestCallbackOfHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(nil)
		b := newBroker(t, oneSlot(p))
		var works atomic.Bool
		handle(t, b, "local:h", func(context.Context, *recall.Delivery) error {
			if !works.Load() {
				return errors.New("not yet")
			}
			return nil
		})
		publish(t, b, called("local:h"))
		synctest.Wait()
		works.Store(true)
		sleep(time.Hour)
		got := p.told(t, "/callback")
		if len(got) != 2 || got[0].Status != 0 || string(got[0].Body) != "not yet" || got[1].Status != 200 || len(got[1].Body) != 0 {
			t.Errorf("got %+v", got)
		}
		if len(p.bodies["/failure"]) != 0 {
			t.Error("there is a failure callback")
		}
		if !strings.Contains(p.bodies["/callback"][1], `"header":{},"body":"",`) || !strings.Contains(p.bodies["/callback"][1], `"sourceHeader":{},"sourceBody":"",`) {
			t.Errorf("what is empty is missing: %s", p.bodies["/callback"][1])
		}
	})
}

// TestCallbackAsConfigured: a callback has settings of its own, and by default
// those of any message, but the retries of the one that it is about.
func TestCallbackAsConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{Timeout: 7 * time.Second})
		handle(t, b, "local:h", func(context.Context, *recall.Delivery) error { return recall.Permanent(errNoRoom) })
		own := &recall.Callback{
			URL: "local:own", Method: "PUT", Header: http.Header{"x-a": {"1"}, "content-type": {"text/x"}}, Retries: recall.Retries(7),
			RetryDelay: "5", Timeout: time.Second, Delay: time.Hour,
			Callback: &recall.Callback{URL: "local:inner"}, FailureCallback: &recall.Callback{URL: "local:inner2"},
		}
		id := publish(t, b, recall.Message{
			URL: "local:h", Retries: recall.Retries(5), RetryDelay: "1", Timeout: time.Minute, Labels: []string{"l", "m"}, Priority: 3,
			Queue: "q", FlowKey: "f", Topic: "t", ScheduleID: "s", CallerIP: "10.0.0.1", Header: http.Header{"Secret": {"x"}},
			Callback: own, FailureCallback: &recall.Callback{URL: "local:plain"},
		})
		synctest.Wait()
		got := map[string]recall.Message{}
		for m, err := range b.List(t.Context(), recall.Filter{Labels: []string{"l"}}) {
			if err != nil {
				t.Fatal(err)
			}
			got[m.URL] = m
		}
		m := got["local:own"]
		if m.Method != "PUT" || *m.Retries != 7 || m.RetryDelay != "5" || m.Timeout != time.Second || !m.DueAt.Equal(m.CreatedAt.Add(time.Hour)) ||
			m.Callback.URL != "local:inner" || m.FailureCallback.URL != "local:inner2" {
			t.Errorf("as configured: got %+v", m)
		}
		if want := (http.Header{"X-A": {"1"}, "Content-Type": {"text/x"}}); fmt.Sprint(m.Header) != fmt.Sprint(want) {
			t.Errorf("header: got %v", m.Header)
		}
		m = got["local:plain"]
		if m.Method != "POST" || *m.Retries != 5 || m.RetryDelay != "" || m.Timeout != 7*time.Second || m.State != recall.StateReady ||
			m.Callback != nil || m.FailureCallback != nil || fmt.Sprint(m.Header) != "map[Content-Type:[application/json]]" {
			t.Errorf("by default: got %+v", m)
		}
		for _, m := range got {
			if m.Source != id || m.Blocks != "q" || m.Queue != "" || m.FlowKey != "" || m.Topic != "" || m.ScheduleID != "" || m.CallerIP != "" ||
				m.Priority != 3 || !slices.Equal(m.Labels, []string{"l", "m"}) {
				t.Errorf("what it carries: got %+v", m)
			}
		}
		if n, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{"m"}}); err != nil || n.Cancelled != 2 {
			t.Errorf("CancelMatching by the label: got %+v, %v", n, err)
		}
	})
}

// TestCallbackOfCallback: the callback of a callback tells of the callback, and
// keeps the same queue waiting.
func TestCallbackOfCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(map[string]reply{"/callback": status(500)})
		b := newBroker(t, oneSlot(p))
		m := called("http://a.test/hook")
		m.Queue, m.Retries = "q", recall.Retries(0)
		m.Callback.FailureCallback = &recall.Callback{URL: "local:inner"}
		publish(t, b, m)
		sleep(time.Hour)
		d := onlyDead(t, b)
		for m, err := range b.List(t.Context(), recall.Filter{}) {
			if err != nil || m.URL != "local:inner" || m.Source != d.Message.ID || m.Blocks != "q" ||
				m.Root == "" || m.Root != d.Message.Source ||
				!strings.HasPrefix(string(m.Body), fmt.Sprintf(`{"dlqId":%q,"status":500`, d.ID)) {
				t.Errorf("got %+v, %v", m, err)
			}
		}
		checkCount(t, b, recall.Count{Pending: 1})
	})
}

// TestCallbackIsBounded: of a response no more is read than Options say, and none
// that nobody asks for.
func TestCallbackIsBounded(t *testing.T) {
	for size, truncated := range map[int]bool{9: false, 10: false, 11: true, 1000: true} {
		synctest.Test(t, func(t *testing.T) {
			p := newParts(map[string]reply{"/hook": {body: strings.Repeat("x", size)}})
			opts := oneSlot(p)
			opts.MaxResponse = 10
			b := newBroker(t, opts)
			publish(t, b, called("http://a.test/hook"))
			synctest.Wait()
			got := p.told(t, "/callback")
			if len(got) != 1 || len(got[0].Body) != min(size, 10) || got[0].Truncated != truncated {
				t.Errorf("%d bytes: got %+v", size, got)
			}
		})
	}
}

// TestNoCallbackOfAnAttemptCutShort: it is not counted, and not told of.
func TestNoCallbackOfAnAttemptCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		handle(t, f.Broker, "local:h", func(ctx context.Context, _ *recall.Delivery) error { <-ctx.Done(); return ctx.Err() })
		m := called("local:h")
		m.Retries = recall.Retries(0)
		publish(t, f.Broker, m)
		synctest.Wait()
		closeNow(t, f.Broker, done())
		f.open(t)
		checkCount(t, f.Broker, recall.Count{Pending: 1})
	})
}

// TestCallbackOfCancelled: an attempt is told of also when the message was to be
// cancelled; but then it did not fail for good.
func TestCallbackOfCancelled(t *testing.T) {
	for name, opt := range map[string]recall.CancelOption{"Sticky": recall.Sticky, "Abort": recall.Abort} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, nil)
				handle(t, b, "local:h", func(ctx context.Context, _ *recall.Delivery) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(time.Second):
						return errNoRoom
					}
				})
				m := called("local:h")
				m.Retries, m.Callback.Delay, m.FailureCallback.Delay = recall.Retries(0), time.Hour, time.Hour
				id := publish(t, b, m)
				synctest.Wait()
				if err := b.Cancel(t.Context(), id, opt); err != nil {
					t.Fatal(err)
				}
				sleep(time.Minute)
				for m := range b.List(t.Context(), recall.Filter{}) {
					if m.URL != "http://c.test/callback" || m.Source != id {
						t.Errorf("got %+v", m)
					}
				}
				checkCount(t, b, recall.Count{Pending: 1})
				if n := len(deadLetters(t, b)); n != 0 {
					t.Errorf("got %d dead letters", n)
				}
			})
		})
	}
}

// TestStandingCancellationTakesCallbacks: they have the labels of their message.
// One that takes the message at its retry is no failure.
func TestStandingCancellationTakesCallbacks(t *testing.T) {
	for label, left := range map[string]int{"l": 0, "": 1} {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(t, nil)
			handle(t, b, "local:h", func(context.Context, *recall.Delivery) error { time.Sleep(time.Second); return errNoRoom })
			m := called("local:h")
			m.Labels, m.Callback.Delay, m.FailureCallback.Delay = []string{"l"}, time.Hour, time.Hour
			publish(t, b, m)
			synctest.Wait()
			f := recall.Filter{URLs: []string{"local:h"}}
			if label != "" {
				f = recall.Filter{Labels: []string{label}}
			}
			if _, err := b.CancelFuture(t.Context(), f, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			sleep(time.Minute)
			checkCount(t, b, recall.Count{Pending: left})
		})
	}
}

// TestRedriveCallsBackAgain: a dead letter that is published again has its
// callbacks.
func TestRedriveCallsBackAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(map[string]reply{"/hook": status(500)})
		opts := oneSlot(p)
		f := openFile(t, opts)
		m := called("http://a.test/hook")
		m.Retries = recall.Retries(0)
		publish(t, f.Broker, m)
		sleep(time.Second)
		first := onlyDead(t, f.Broker).ID
		receipts, err := f.RetryDeadLetters(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		got := p.told(t, "/failure")
		if len(got) != 2 || got[0].DLQID != string(first) || got[1].DLQID != string(onlyDead(t, f.Broker).ID) ||
			got[1].SourceMessageID != string(receipts[0].ID) || got[1].Retried != nil {
			t.Errorf("got %+v", got)
		}
	})
}
