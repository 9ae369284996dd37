package recall_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// watcher writes down what an observer is told.
type watcher struct {
	mu    sync.Mutex
	lines []string
}

func (w *watcher) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// take returns the lines since the last call.
func (w *watcher) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.lines = nil }()
	return w.lines
}

type watchedKey struct{}

func (w *watcher) observer() *recall.Observer {
	return &recall.Observer{
		Publish: func(ctx context.Context, msgs []recall.Message) func([]recall.Receipt, error) {
			for i := range msgs {
				h := msgs[i].Header.Clone()
				if h == nil {
					h = http.Header{}
				}
				h.Set("Trace", fmt.Sprint(ctx.Value(watchedKey{}), "-", i))
				msgs[i].Header = h
			}
			return func(receipts []recall.Receipt, err error) {
				w.note("publish %d: %d %v", len(msgs), len(receipts), err)
			}
		},
		Attempt: func(ctx context.Context, d *recall.Delivery) (context.Context, func(recall.AttemptEnd)) {
			w.note("attempt %d of %s", d.Attempt, d.URL)
			return context.WithValue(ctx, watchedKey{}, d.Header.Get("Trace")), func(e recall.AttemptEnd) {
				w.note("%s: outcome %d, failure %d, status %d, %s", d.URL, e.Outcome, e.Failure, e.Status, e.Reason)
			}
		},
		Cancel: func(_ context.Context, c recall.Cancellation) func(recall.CancelResult, error) {
			return func(r recall.CancelResult, err error) { w.note("cancel %q: %d %v", c, r.Cancelled, err) }
		},
	}
}

func checkLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestObserver publishes in each way, delivers in each way, and cancels; what an
// observer has put into a header and into a context arrives.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w watcher
		var seen []string // traces of contexts and headers, of handler and request
		f := openFile(t, &recall.Options{
			Observer: w.observer(), Slots: 1,
			OnRequest: func(r *http.Request, _ *recall.Delivery) error {
				seen = append(seen, fmt.Sprint("request ", r.Context().Value(watchedKey{}), " ", r.Header.Get("Trace")))
				return nil
			},
			Transport: roundTrip(func(*http.Request) (*http.Response, error) { return answer(503), nil }),
		})
		ctx := context.WithValue(t.Context(), watchedKey{}, "call")
		handle(t, f.Broker, "local:h", func(ctx context.Context, d *recall.Delivery) error {
			seen = append(seen, fmt.Sprint("handler ", ctx.Value(watchedKey{}), " ", d.Header.Get("Trace")))
			return nil
		})
		own := http.Header{"Mine": {"1"}}
		if _, err := f.Publish(ctx, recall.Message{URL: "local:h", Header: own, Delay: time.Second}); err != nil {
			t.Fatal(err)
		}
		if len(own) != 1 {
			t.Errorf("the header of the caller was written to: %v", own)
		}
		sleep(time.Second) // an attempt that begins at once may be seen before its publish is
		checkLines(t, w.take(), "publish 1: 1 <nil>", "attempt 1 of local:h", "local:h: outcome 1, failure 0, status 0, ")

		if _, err := f.PublishBatch(ctx, []recall.Message{{URL: "http://api.test/", Retries: recall.Retries(0), Delay: time.Second}, {Queue: "q"}}); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		checkLines(t, w.take(), "publish 2: 2 <nil>", "attempt 1 of http://api.test/",
			"http://api.test/: outcome 3, failure 1, status 503, the endpoint answered 503 Service Unavailable")
		got, err := f.Receive(t.Context(), "q", 1)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, fmt.Sprint("consumer ", got[0].Context().Value(watchedKey{})))
		if err := got[0].Nack(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		checkLines(t, w.take(), "attempt 1 of pull:q", "pull:q: outcome 2, failure 4, status 0, the consumer gave it back")
		checkLines(t, seen, "handler call-0 call-0", "request call-0 call-0", "consumer call-1")

		if _, err := f.CancelMatching(ctx, recall.Filter{Queues: []string{"q"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.CancelAll(ctx); err != nil {
			t.Fatal(err)
		}
		checkLines(t, w.take(), `cancel "queue=q": 1 <nil>`, `cancel "everything": 0 <nil>`)
	})
}

// TestObserverTopicsSchedulesTransactions: the other ways to publish are seen too, and
// what is refused before anything is stored is not.
func TestObserverTopicsSchedulesTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w watcher
		f := openFile(t, &recall.Options{Observer: w.observer()})
		ctx := t.Context()
		if _, err := f.AddEndpoints(ctx, "news", recall.Endpoint{URL: "local:a"}, recall.Endpoint{URL: "local:b"}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.PublishTopic(ctx, "news", recall.Message{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.PublishMixed(ctx, []recall.Message{{Topic: "news"}, {URL: "local:c"}}); err != nil {
			t.Fatal(err)
		}
		rolledBack := errors.New("rolled back")
		err := f.Update(ctx, func(tx *recall.Tx) error {
			if _, err := tx.Publish(recall.Message{URL: "local:c"}); err != nil {
				return err
			}
			if _, err := tx.PublishTopic("news", recall.Message{}); err != nil {
				return err
			}
			if _, err := tx.CancelMatching(recall.Filter{URLs: []string{"local:a"}}); err != nil {
				return err
			}
			return rolledBack
		})
		if !errors.Is(err, rolledBack) {
			t.Fatal(err)
		}
		if _, err := f.Publish(ctx, recall.Message{URL: "nonsense"}); !errors.Is(err, recall.ErrInvalid) {
			t.Fatal(err)
		}
		checkLines(t, w.take(), "publish 2: 2 <nil>", "publish 3: 3 <nil>", "publish 1: 1 <nil>", "publish 2: 2 <nil>",
			`cancel "url=local:a": 3 <nil>`)

		if _, err := f.SetSchedule(ctx, recall.Schedule{ID: "s", Cron: "* * * * *", Message: recall.Message{URL: "local:c"}}); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		checkLines(t, w.take(), "publish 1: 1 <nil>")
	})
}

// TestObserverPanics: a broken observer is logged, and nothing is lost by it.
func TestObserverPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, o := range map[string]*recall.Observer{
			"empty": {},
			"nil": {
				Publish: func(context.Context, []recall.Message) func([]recall.Receipt, error) { return nil },
				Attempt: func(context.Context, *recall.Delivery) (context.Context, func(recall.AttemptEnd)) { return nil, nil },
				Cancel:  func(context.Context, recall.Cancellation) func(recall.CancelResult, error) { return nil },
			},
			"first": {
				Publish: func(context.Context, []recall.Message) func([]recall.Receipt, error) { panic("p") },
				Attempt: func(context.Context, *recall.Delivery) (context.Context, func(recall.AttemptEnd)) { panic("a") },
				Cancel:  func(context.Context, recall.Cancellation) func(recall.CancelResult, error) { panic("c") },
			},
			"last": {
				Publish: func(context.Context, []recall.Message) func([]recall.Receipt, error) {
					return func([]recall.Receipt, error) { panic("p") }
				},
				Attempt: func(ctx context.Context, _ *recall.Delivery) (context.Context, func(recall.AttemptEnd)) {
					return ctx, func(recall.AttemptEnd) { panic("a") }
				},
				Cancel: func(context.Context, recall.Cancellation) func(recall.CancelResult, error) {
					return func(recall.CancelResult, error) { panic("c") }
				},
			},
		} {
			var log bytes.Buffer
			f := openFile(t, &recall.Options{Observer: o, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			handle(t, f.Broker, "local:h", func(ctx context.Context, _ *recall.Delivery) error { return ctx.Err() })
			publish(t, f.Broker, recall.Message{URL: "local:h"})
			synctest.Wait()
			publish(t, f.Broker, recall.Message{URL: "local:h", Delay: time.Hour})
			if res, err := f.CancelAll(t.Context()); err != nil || res.Cancelled != 1 {
				t.Errorf("%s: CancelAll: %+v, %v", name, res, err)
			}
			if s := f.Stats(); s.Delivered != 1 || s.Pending != 0 {
				t.Errorf("%s: got %d delivered, %d pending, want 1, 0", name, s.Delivered, s.Pending)
			}
			want := map[string]int{"first": 4, "last": 4}[name]
			if got := strings.Count(log.String(), "Options.Observer panicked"); got != want {
				t.Errorf("%s: %d panics were logged, want %d:\n%s", name, got, want, log.String())
			}
		}
	})
}
