package recall_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// recorder notes the bodies that a handler gets, and how many at a time.
type recorder struct {
	mu           sync.Mutex
	got          []string
	running, top int
	fail         map[string]int // how often
	takes        time.Duration
}

func (r *recorder) handle(_ context.Context, d *recall.Delivery) error {
	r.mu.Lock()
	r.running++
	r.top = max(r.top, r.running)
	r.mu.Unlock()
	time.Sleep(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	body := string(d.Body)
	if r.fail[body] > 0 {
		r.fail[body]--
		return errors.New("not yet")
	}
	r.got = append(r.got, body)
	return nil
}

func (r *recorder) delivered() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func TestQueueKeepsItsOrder(t *testing.T) {
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t)
				r := &recorder{takes: time.Second, fail: map[string]int{"b": 2}}
				handle(t, b, "local:r", r.handle)
				var want []string
				for c := 'a'; c <= 'f'; c++ {
					publish(t, b, recall.Message{URL: "local:r", Queue: "q", Body: []byte(string(c))})
					want = append(want, string(c))
				}
				sleep(time.Hour)
				if got := r.delivered(); !slices.Equal(got, want) || r.top != 1 {
					t.Errorf("got %q, %d at a time", got, r.top)
				}
			})
		})
	}
}

func TestQueueSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		ctx := t.Context()
		r := &recorder{takes: time.Second}
		handle(t, b, "local:r", r.handle)
		for _, err := range []error{b.PauseQueue(ctx, "q"), b.ResumeQueue(ctx, "q"), b.DeleteQueue(ctx, "q")} {
			if !errors.Is(err, recall.ErrNotFound) {
				t.Errorf("a queue that is not there: %v", err)
			}
		}
		for _, err := range []error{b.SetQueue(ctx, "q", 0), b.SetQueue(ctx, "q", recall.MaxParallelism+1), b.SetQueue(ctx, "", 1)} {
			if !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("a bad setting: %v", err)
			}
		}
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(b.SetQueue(ctx, "q", 3))
		check(b.PauseQueue(ctx, "q"))
		for range 7 {
			publish(t, b, recall.Message{URL: "local:r", Queue: "q"})
		}
		sleep(time.Minute)
		info, err := b.Queue(ctx, "q")
		check(err)
		if info.Lag != 7 || info.InFlight != 0 || info.Parallelism != 3 || !info.Paused || info.CreatedAt.IsZero() {
			t.Errorf("got %+v", info)
		}
		if err := b.DeleteQueue(ctx, "q"); !errors.Is(err, recall.ErrQueueNotEmpty) {
			t.Errorf("DeleteQueue while messages wait: %v", err)
		}
		check(b.ResumeQueue(ctx, "q"))
		sleep(2500 * time.Millisecond)
		if got := len(r.delivered()); got != 6 || r.top != 3 {
			t.Errorf("delivered %d, %d at a time", got, r.top)
		}
		sleep(time.Minute)
		check(b.DeleteQueue(ctx, "q"))
		if list, err := b.Queues(ctx); err != nil || len(list) != 0 {
			t.Errorf("Queues: %v, %v", list, err)
		}
	})
}

func TestCancelQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		ctx := t.Context()
		for range 5 {
			publish(t, b, recall.Message{URL: "local:later", Queue: "q"})
		}
		res, err := b.CancelQueue(ctx, "q", recall.Reason("no more"))
		if err != nil || res.Cancelled != 5 {
			t.Fatalf("CancelQueue: %+v, %v", res, err)
		}
		if _, err := b.Queue(ctx, "q"); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("the queue is there: %v", err)
		}
		if back, err := b.Restore(ctx, res.Operation); err != nil || back.Restored != 5 {
			t.Fatalf("Restore: %+v, %v", back, err)
		}
		if q, err := b.Queue(ctx, "q"); err != nil || q.Lag != 5 || q.Parallelism != 1 || q.Paused {
			t.Errorf("the queue that is back: %+v, %v", q, err)
		}
		for _, change := range []func(context.Context, string) error{b.PauseQueue, b.ResumeQueue} {
			if err := change(ctx, "q"); err != nil {
				t.Error(err)
			}
		}
		if q, err := b.Queue(ctx, "q"); err != nil || !q.CreatedAt.Equal(time.Now()) {
			t.Errorf("the queue that was set: %+v, %v", q, err)
		}
		r := &recorder{}
		handle(t, b, "local:later", r.handle)
		sleep(time.Minute)
		if got := len(r.delivered()); got != 5 || r.top != 1 {
			t.Errorf("delivered %d, %d at a time", got, r.top)
		}
	})
}

// TestCancelQueueInFlight cancels a queue of which one message is out.
func TestCancelQueueInFlight(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []recall.CancelOption
		gone bool
	}{
		{"stop", nil, false},
		{"skip", []recall.CancelOption{recall.Skip}, false},
		{"sticky", []recall.CancelOption{recall.Sticky}, true},
		{"abort", []recall.CancelOption{recall.Abort}, true},
		{"dry run", []recall.CancelOption{recall.Skip, recall.DryRun()}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, nil)
				ctx := t.Context()
				r := &recorder{takes: time.Minute, fail: map[string]int{"first": 9}}
				handle(t, b, "local:r", r.handle)
				for _, body := range []string{"first", "second"} {
					publish(t, b, recall.Message{URL: "local:r", Queue: "q", Body: []byte(body)})
				}
				sleep(time.Second)
				res, err := b.CancelQueue(ctx, "q", test.opts...)
				if stopped := errors.Is(err, recall.ErrNotCancellable); stopped != (test.opts == nil) || !stopped && err != nil {
					t.Fatalf("got %+v, %v", res, err)
				}
				if _, err := b.Queue(ctx, "q"); errors.Is(err, recall.ErrNotFound) != test.gone {
					t.Errorf("the queue: %v", err)
				}
				if !test.gone {
					return
				}
				sleep(24 * time.Hour) // its last attempt has failed
				checkCount(t, b, recall.Count{})
				publish(t, b, recall.Message{URL: "local:r", Queue: "q"})
				sleep(time.Hour)
				checkCount(t, b, recall.Count{})
			})
		})
	}
}

func TestUpdateQueue(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	ctx, yes, no := t.Context(), true, false
	for _, step := range []struct {
		update      recall.QueueUpdate
		parallelism int
		paused      bool
	}{
		{recall.QueueUpdate{Paused: &yes}, 1, true},
		{recall.QueueUpdate{Parallelism: 7}, 7, true},
		{recall.QueueUpdate{}, 7, true},
		{recall.QueueUpdate{Parallelism: 2, Paused: &no}, 2, false},
	} {
		if err := b.UpdateQueue(ctx, "q", step.update); err != nil {
			t.Fatal(err)
		}
		if q, err := b.Queue(ctx, "q"); err != nil || q.Parallelism != step.parallelism || q.Paused != step.paused {
			t.Errorf("after %+v: %+v, %v", step.update, q, err)
		}
	}
	for _, bad := range []int{-1, recall.MaxParallelism + 1} {
		if err := b.UpdateQueue(ctx, "q", recall.QueueUpdate{Parallelism: bad}); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%d: %v", bad, err)
		}
	}
}

func TestFlowKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		ctx := t.Context()
		r := &recorder{}
		handle(t, b, "local:r", r.handle)
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, bad := range []recall.FlowLimit{{Rate: -1}, {Period: time.Second}, {Rate: 1, Period: recall.MaxFlowPeriod + 1}, {Parallelism: -2}} {
			if err := b.PinFlow(ctx, "k", bad); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		if _, err := b.Publish(ctx, recall.Message{URL: "local:r", Flow: &recall.FlowLimit{Rate: 1}}); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("a limit without a key: %v", err)
		}
		for range 10 {
			publish(t, b, recall.Message{URL: "local:r", FlowKey: "k", Flow: &recall.FlowLimit{Rate: 2, Period: time.Minute}})
		}
		sleep(time.Second)
		s, err := b.FlowKey(ctx, "k")
		check(err)
		if s.Used != 2 || s.Limit.Rate != 2 || s.PeriodStart.IsZero() || len(r.delivered()) != 2 {
			t.Fatalf("got %+v, %d delivered", s, len(r.delivered()))
		}
		sleep(time.Minute)
		if got := len(r.delivered()); got != 4 {
			t.Fatalf("in the second minute: %d", got)
		}
		check(b.PauseFlow(ctx, "k"))
		sleep(10 * time.Minute)
		if n, err := b.Count(ctx, recall.Filter{States: []recall.State{recall.StateFlowWaiting}}); err != nil || n.Pending != 6 {
			t.Fatalf("while paused %+v wait, %v", n, err)
		}
		check(b.ResumeFlow(ctx, "k"))
		sleep(time.Second)
		check(b.ResetFlow(ctx, "k"))
		sleep(time.Second)
		if got := len(r.delivered()); got != 8 {
			t.Fatalf("after the reset: %d", got)
		}
		check(b.PinFlow(ctx, "k", recall.FlowLimit{}))
		check(b.UnpinFlow(ctx, "k"))
		sleep(time.Second)
		if got := len(r.delivered()); got != 10 {
			t.Fatalf("without a limit: %d", got)
		}
		if list, err := b.FlowKeys(ctx); err != nil || len(list) != 0 {
			t.Errorf("FlowKeys: %+v, %v", list, err)
		}
	})
}

// One tenant with very many messages does not delay another.
func TestFlowControlIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFileBroker(t, &recall.Options{Slots: 8})
		r := &recorder{takes: time.Second}
		handle(t, b, "local:busy", r.handle)
		quiet := &recorder{}
		handle(t, b, "local:quiet", quiet.handle)
		many := make([]recall.Message, 10_000)
		for i := range many {
			many[i] = recall.Message{URL: "local:busy", FlowKey: "busy", Flow: &recall.FlowLimit{Parallelism: 4}}
		}
		for range 10 {
			if _, err := b.PublishBatch(t.Context(), many); err != nil {
				t.Fatal(err)
			}
		}
		sleep(10 * time.Millisecond)
		publish(t, b, recall.Message{URL: "local:quiet", FlowKey: "quiet", Flow: &recall.FlowLimit{Parallelism: 4}, Body: []byte("x")})
		sleep(10 * time.Millisecond)
		if got := len(quiet.delivered()); got != 1 {
			t.Error("the quiet tenant waits for the busy one")
		}
		if r.top != 4 {
			t.Errorf("the busy one runs %d at a time", r.top)
		}
		if _, err := b.CancelMatching(t.Context(), recall.Filter{FlowKeys: []string{"busy"}}, recall.Skip); err != nil {
			t.Fatal(err)
		}
	})
}

// brokers are the engines that tests of brokers run on.
var brokers = map[string]func(*testing.T) *recall.Broker{
	"reference": func(t *testing.T) *recall.Broker { return newBroker(t, nil) },
	"file":      func(t *testing.T) *recall.Broker { return newFileBroker(t, nil) },
}

// newFileBroker returns a broker on a file of its own. At the end of the test it is
// closed.
func newFileBroker(t *testing.T, opts *recall.Options) *recall.Broker {
	t.Helper()
	var o recall.Options
	if opts != nil {
		o = *opts
	}
	o.Durability, o.Logger = recall.SyncNever, quietLogger
	b, err := recall.Open(filepath.Join(t.TempDir(), "recall.db"), &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}
