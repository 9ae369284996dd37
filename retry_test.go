package recall_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

const endpoint = "https://api.test/hook"

func TestDefaultBackoff(t *testing.T) {
	for retried, want := range []string{"12s", "2m28s", "30m8s", "6h7m6s", "24h0m0s", "24h0m0s"} {
		if got := recall.DefaultBackoff(retried).String(); got != want {
			t.Errorf("DefaultBackoff(%d): got %s, want %s", retried, got, want)
		}
	}
	if got := recall.DefaultBackoff(recall.MaxRetries); got != 24*time.Hour {
		t.Errorf("of the last retry: got %v", got)
	}
	if got := recall.DefaultBackoff(-1); got != 12*time.Second {
		t.Errorf("DefaultBackoff(-1): got %v", got)
	}
}

func TestRetriesThenDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		var retried []string
		b := newBroker(t, &recall.Options{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			at = append(at, time.Since(start))
			retried = append(retried, r.Header.Get("Recall-Retried"))
			return answer(503, "X-Why", "busy"), nil
		})})
		id := publish(t, b, recall.Message{URL: endpoint, Body: []byte("text")})
		sleep(13 * time.Second)
		if m, err := b.Get(t.Context(), id); err != nil || m.State != recall.StateRetrying || m.Attempts != 2 {
			t.Errorf("after two attempts: got %s with %d attempts, %v", m.State, m.Attempts, err)
		}
		sleep(24 * time.Hour)

		var want []time.Duration
		for _, s := range []string{"0s", "12s", "2m40s", "32m48s"} {
			d, _ := time.ParseDuration(s)
			want = append(want, d)
		}
		if !slices.Equal(at, want) {
			t.Errorf("attempts at %v, want %v", at, want)
		}
		if want := []string{"0", "1", "2", "3"}; !slices.Equal(retried, want) {
			t.Errorf("Recall-Retried: got %q, want %q", retried, want)
		}
		d := onlyDead(t, b)
		if d.Message.ID != id || d.Attempts != 4 || string(d.Message.Body) != "text" || !d.DiedAt.Equal(start.Add(want[3])) {
			t.Errorf("dead letter: got %+v", d)
		}
		if d.Response == nil || d.Response.Status != 503 || d.Response.Header.Get("X-Why") != "busy" || string(d.Response.Body) != "answer" {
			t.Errorf("response: got %+v", d.Response)
		}
		if want := "the endpoint answered 503 Service Unavailable"; d.Reason != want {
			t.Errorf("reason: got %q, want %q", d.Reason, want)
		}
		checkCount(t, b, recall.Count{})
		if s := b.Stats(); s.Failed != 4 || s.Delivered != 0 || s.Busy != 0 {
			t.Errorf("Stats: got %d failed, %d delivered, %d busy", s.Failed, s.Delivered, s.Busy)
		}
	})
}

func TestRetriesOfMessageAndOptions(t *testing.T) {
	for _, test := range []struct{ message, option *int }{
		{recall.Retries(0), nil}, {recall.Retries(1), recall.Retries(5)}, {nil, recall.Retries(2)}, {nil, recall.Retries(0)}, {nil, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			want := 1 + 3
			for _, n := range []*int{test.option, test.message} {
				if n != nil {
					want = 1 + *n
				}
			}
			got := 0
			b := newBroker(t, &recall.Options{Retries: test.option, Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				got++
				return nil, errors.New("connection refused")
			})})
			publish(t, b, recall.Message{URL: endpoint, Retries: test.message})
			sleep(7 * 24 * time.Hour)
			if got != want {
				t.Errorf("attempts: got %d, want %d", got, want)
			}
			if d := onlyDead(t, b); d.Attempts != want || d.Response != nil || d.Reason != "connection refused" {
				t.Errorf("dead letter: got %+v", d)
			}
		})
	}
}

// gapAfter returns how long the broker waits between an attempt that fails with
// these headers and the next one.
func gapAfter(t *testing.T, opts recall.Options, header ...string) time.Duration {
	t.Helper()
	var at []time.Time
	opts.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
		if at = append(at, time.Now()); len(at) == 1 {
			return answer(429, header...), nil
		}
		return answer(200), nil
	})
	b := newBroker(t, &opts)
	publish(t, b, recall.Message{URL: endpoint})
	sleep(recall.MaxDelay + time.Hour)
	if len(at) != 2 {
		t.Fatalf("attempts: got %d, want 2", len(at))
	}
	closeNow(t, b, t.Context())
	return at[1].Sub(at[0])
}

func TestRetryAfterOfEndpoint(t *testing.T) {
	const backoff = 12 * time.Second
	// A bubble starts at midnight UTC, 1 January 2000.
	tests := []struct {
		name   string
		header []string
		want   time.Duration
	}{
		{"none", nil, backoff},
		{"now", []string{"Retry-After", "0"}, 0},
		{"seconds", []string{"Retry-After", "90"}, 90 * time.Second},
		{"spaces", []string{"Retry-After", " 90 "}, 90 * time.Second},
		{"fraction", []string{"Retry-After", "1.5"}, 1500 * time.Millisecond},
		{"a day", []string{"Retry-After", "86400"}, 24 * time.Hour},
		{"more than a day", []string{"Retry-After", "86401"}, backoff},
		{"more than fits", []string{"Retry-After", strings.Repeat("9", 400)}, backoff},
		{"negative", []string{"Retry-After", "-5"}, backoff},
		{"date", []string{"Retry-After", "Sat, 01 Jan 2000 00:10:00 GMT"}, 10 * time.Minute},
		{"date in another form", []string{"Retry-After", "Saturday, 01-Jan-00 00:10:00 GMT"}, 10 * time.Minute},
		{"date gone by", []string{"Retry-After", "Fri, 31 Dec 1999 23:00:00 GMT"}, 0},
		{"date too far", []string{"Retry-After", "Mon, 03 Jan 2000 00:00:00 GMT"}, backoff},
		{"duration", []string{"Retry-After", "6m5s"}, 6*time.Minute + 5*time.Second},
		{"duration too long", []string{"Retry-After", "24h1s"}, backoff},
		{"duration negative", []string{"Retry-After", "-6m"}, backoff},
		{"words", []string{"Retry-After", "soon"}, backoff},
		{"not a number", []string{"Retry-After", "1.2.3"}, backoff},
		{"infinity", []string{"Retry-After", "Inf"}, backoff},
		{"reset", []string{"X-RateLimit-Reset", "7"}, 7 * time.Second},
		{"reset as a point in time", []string{"X-RateLimit-Reset", "946684900"}, backoff},
		{"reset requests", []string{"X-RateLimit-Reset-Requests", "120ms"}, 120 * time.Millisecond},
		{"reset tokens", []string{"X-RateLimit-Reset-Tokens", "6m0s"}, 6 * time.Minute},
		{"order", []string{"X-RateLimit-Reset-Tokens", "4", "X-RateLimit-Reset-Requests", "3", "X-RateLimit-Reset", "2", "Retry-After", "1"}, time.Second},
		{"order without the first", []string{"X-RateLimit-Reset-Tokens", "4", "X-RateLimit-Reset-Requests", "3"}, 3 * time.Second},
		{"the first that can be read", []string{"Retry-After", "soon", "X-RateLimit-Reset", "2"}, 2 * time.Second},
		{"too long decides", []string{"Retry-After", "86401", "X-RateLimit-Reset", "2"}, backoff},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			if got := gapAfter(t, recall.Options{}, test.header...); got != test.want {
				t.Errorf("%s: got %v, want %v", test.name, got, test.want)
			}
		})
	}
}

func TestEndpointWinsOverBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := recall.Options{Backoff: func(int) time.Duration { return time.Hour }}
		if got := gapAfter(t, opts, "Retry-After", "5"); got != 5*time.Second {
			t.Errorf("got %v, want 5s", got)
		}
	})
}

func TestBackoffOption(t *testing.T) {
	tests := []struct {
		name    string
		backoff func(int) time.Duration
		want    time.Duration
	}{
		{"used", func(retried int) time.Duration { return time.Duration(retried+1) * time.Minute }, time.Minute},
		{"negative", func(int) time.Duration { return -time.Hour }, 0},
		{"too long", func(int) time.Duration { return 1 << 62 }, recall.MaxDelay},
		{"panics", func(int) time.Duration { panic("no idea") }, 12 * time.Second},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			if got := gapAfter(t, recall.Options{Backoff: test.backoff}); got != test.want {
				t.Errorf("%s: got %v, want %v", test.name, got, test.want)
			}
		})
	}
}

// TestRetryDelay: a message says itself when to try again, also after a restart,
// as a dead letter that is published again, and unless the endpoint does.
func TestRetryDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		path := filepath.Join(t.TempDir(), "q.db")
		opts := &recall.Options{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			if at = append(at, time.Now()); len(at) == 3 {
				return answer(503, "Retry-After", "7"), nil
			}
			return answer(500), nil
		})}
		open := func() *recall.Broker {
			b, err := recall.Open(path, opts)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		b := open()
		publish(t, b, recall.Message{URL: endpoint, RetryDelay: "1000 * pow(10, retried)", Retries: recall.Retries(3)})
		sleep(500 * time.Millisecond)
		closeNow(t, b, t.Context())
		b = open()
		sleep(time.Hour)
		d := onlyDead(t, b)
		if _, err := b.RetryDeadLetters(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
		sleep(1500 * time.Millisecond)
		closeNow(t, b, t.Context())
		var gaps []time.Duration
		for i := range at[1:] {
			gaps = append(gaps, at[i+1].Sub(at[i]))
		}
		want := []time.Duration{time.Second, 10 * time.Second, 7 * time.Second, 0, time.Second}
		if len(gaps) == len(want) {
			gaps[3] = 0 // until somebody looked at the dead letter
		}
		if !slices.Equal(gaps, want) {
			t.Errorf("between the attempts: got %v, want %v", gaps, want)
		}
	})
}

func TestNonRetryable(t *testing.T) {
	tests := []struct {
		status   int
		header   string
		attempts int
	}{
		{489, "true", 1}, {489, "True", 1}, {489, "false", 4}, {489, "", 4}, {500, "true", 4},
	}
	for _, test := range tests {
		t.Run(strconv.Itoa(test.status)+test.header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &recall.Options{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
					return answer(test.status, "Upstash-NonRetryable-Error", test.header), nil
				})})
				publish(t, b, recall.Message{URL: endpoint})
				sleep(24 * time.Hour)
				if d := onlyDead(t, b); d.Attempts != test.attempts || d.Response.Status != test.status {
					t.Errorf("got dead after %d attempts with %d, want %d", d.Attempts, d.Response.Status, test.attempts)
				}
			})
		})
	}
}
