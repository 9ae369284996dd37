package recall_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

func TestOptionsAreChecked(t *testing.T) {
	_, err := recall.New(enginetest.NewReference(), &recall.Options{
		Slots: -1, Retries: recall.Retries(-1), Timeout: -1, MaxBody: 1 << 30, MaxBatch: -1, MaxResponse: -1, MaxFileSize: -1, Durability: 9,
	})
	if !errors.Is(err, recall.ErrInvalid) {
		t.Fatalf("New: got %v, want ErrInvalid", err)
	}
	for _, field := range []string{"Slots", "Retries", "Timeout", "MaxBody", "MaxBatch", "MaxResponse", "MaxFileSize", "Durability"} {
		if !strings.Contains(err.Error(), "invalid Options."+field) {
			t.Errorf("the error does not name Options.%s: %v", field, err)
		}
	}
	if _, err := recall.New(nil, nil); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("New without an engine: got %v, want ErrInvalid", err)
	}
}

// TestOptionsAreCopied changes the caller's options while the broker runs.
func TestOptionsAreCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &recall.Options{Retries: recall.Retries(1), NoDispatch: true}
		b, err := recall.New(enginetest.NewReference(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if opts.Slots != 0 || opts.Clock != nil || opts.Logger != nil || opts.Backoff != nil {
			t.Errorf("New wrote to the options: %+v", opts)
		}
		*opts.Retries = 7
		id := publish(t, b, recall.Message{URL: endpoint})
		if m, err := b.Get(t.Context(), id); err != nil || *m.Retries != 1 {
			t.Errorf("Retries: got %d, want 1; %v", *m.Retries, err)
		}
		closeNow(t, b, t.Context())
	})
}

func TestPublishResolves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{NoDispatch: true})
		sleep(1500 * time.Microsecond)
		now := time.Now()
		header := map[string][]string{"x-one": {"1"}, "X-One": {"2"}}
		id := publish(t, b, recall.Message{
			URL: endpoint, Header: header, CallerIP: "::ffff:192.0.2.1", Delay: time.Hour,
			ID: "msg_forged", State: recall.StateInFlight, Attempts: 9, CreatedAt: now.Add(-time.Hour), DueAt: now.Add(-time.Hour),
		})
		m, err := b.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if m.ID != id || m.State != recall.StateDelayed || m.Attempts != 0 || m.Method != "POST" || m.CallerIP != "192.0.2.1" {
			t.Errorf("got %+v", m)
		}
		if *m.Retries != recall.DefaultRetries || m.Timeout != recall.DefaultTimeout {
			t.Errorf("got %d retries, timeout %v", *m.Retries, m.Timeout)
		}
		if ms := now.Truncate(time.Millisecond); !m.CreatedAt.Equal(ms) || !m.DueAt.Equal(ms.Add(time.Hour)) {
			t.Errorf("created %v, due %v, now %v", m.CreatedAt, m.DueAt, now)
		}
		if got := m.Header["X-One"]; !slices.Equal(got, []string{"2", "1"}) || len(m.Header) != 1 || len(header) != 2 {
			t.Errorf("header: got %v from %v", m.Header, header)
		}
	})
}

func TestPublishBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{NoDispatch: true, MaxBatch: 3})
		if r, err := b.PublishBatch(t.Context(), nil); r != nil || err != nil {
			t.Errorf("empty batch: got %v, %v", r, err)
		}
		receipts, err := b.PublishBatch(t.Context(), []recall.Message{{URL: endpoint + "/0"}, {URL: endpoint + "/1"}, {URL: endpoint + "/2"}})
		if err != nil || len(receipts) != 3 {
			t.Fatalf("got %v, %v", receipts, err)
		}
		var ids []recall.MessageID
		for i, r := range receipts {
			ids = append(ids, r.ID)
			if m, err := b.Get(t.Context(), r.ID); err != nil || m.URL != fmt.Sprint(endpoint, "/", i) {
				t.Errorf("message %d: got %s, %v", i, m.URL, err)
			}
		}
		if !slices.IsSorted(ids) {
			t.Errorf("ids are not sorted: %v", ids)
		}
		var listed []recall.MessageID
		for m, err := range b.List(t.Context(), recall.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			listed = append(listed, m.ID)
		}
		if !slices.Equal(listed, ids) {
			t.Errorf("List: got %v, want %v", listed, ids)
		}
	})
}

// TestList reads several pages, stops early, and cancels in the loop.
func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{NoDispatch: true})
		publishMany(t, b, 600, recall.Message{URL: endpoint, Labels: []string{"a"}})
		publishMany(t, b, 600, recall.Message{URL: endpoint, Labels: []string{"b"}})
		seen := 0
		for m, err := range b.List(t.Context(), recall.Filter{Labels: []string{"a"}}) {
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Cancel(t.Context(), m.ID); err != nil {
				t.Fatal(err)
			}
			seen++
		}
		if seen != 600 {
			t.Errorf("listed %d, want 600", seen)
		}
		checkCount(t, b, recall.Count{Pending: 600})
		for range b.List(t.Context(), recall.Filter{}) {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for _, err := range b.List(ctx, recall.Filter{}) {
			if n++; n == 1 {
				cancel()
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("List: got %v", err)
			}
		}
		if n != 256+1 {
			t.Errorf("after the context was done: got %d steps, want the rest of the page and the error", n)
		}
	})
}

func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		broken := true
		handle(t, b, "local:h", func(context.Context, *recall.Delivery) error {
			if broken {
				return recall.Permanent(errNoRoom)
			}
			return nil
		})
		for _, label := range []string{"a", "b", "a"} {
			publish(t, b, recall.Message{URL: "local:h", Labels: []string{label}, Body: []byte(label)})
			sleep(time.Second)
		}
		all := deadLetters(t, b)
		if len(all) != 3 {
			t.Fatalf("dead letters: got %d, want 3", len(all))
		}
		var as int
		for range b.DeadLetters(t.Context(), recall.Filter{Labels: []string{"a"}}) {
			as++
		}
		if as != 2 {
			t.Errorf("with label a: got %d, want 2", as)
		}
		if n, err := b.DeleteDeadLetters(t.Context(), all[0].ID, all[0].ID, "1-99"); n != 1 || err != nil {
			t.Errorf("DeleteDeadLetters: got %d, %v, want 1", n, err)
		}
		broken = false
		receipts, err := b.RetryDeadLetters(t.Context(), all[1].ID, all[0].ID)
		if err != nil || len(receipts) != 1 || receipts[0].ID == all[1].Message.ID {
			t.Errorf("RetryDeadLetters: got %v, %v, want one new message", receipts, err)
		}
		synctest.Wait()
		if d := onlyDead(t, b); d.ID != all[2].ID {
			t.Errorf("left over: got %s, want %s", d.ID, all[2].ID)
		}
		if stats := b.Stats(); stats.Delivered != 1 || stats.DeadLetters != 1 {
			t.Errorf("Stats: got %d delivered, %d dead letters", stats.Delivered, stats.DeadLetters)
		}
	})
}

// handClock is a clock that stands still until it is moved.
type handClock struct {
	mu     sync.Mutex
	now    time.Time
	alarms []*handAlarm
}

type handAlarm struct {
	at   time.Time
	ring func()
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &handAlarm{c.now.Add(d), f}
	c.alarms = append(c.alarms, a)
	c.ring()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		before := len(c.alarms)
		c.alarms = slices.DeleteFunc(c.alarms, func(o *handAlarm) bool { return o == a })
		return len(c.alarms) < before
	}
}

func (c *handClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.ring()
}

// ring starts what is due. c.mu is held.
func (c *handClock) ring() {
	c.alarms = slices.DeleteFunc(c.alarms, func(a *handAlarm) bool {
		due := !a.at.After(c.now)
		if due {
			go a.ring()
		}
		return due
	})
}

// TestClock moves the time of a broker by hand. The bubble is there to see
// when all is quiet; its own time is not to matter.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &handClock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
		start := clock.Now()
		b := newBroker(t, &recall.Options{Clock: clock, DeadLetterRetention: -1})
		var calls []string
		handle(t, b, "local:h", func(ctx context.Context, d *recall.Delivery) error {
			calls = append(calls, fmt.Sprint(string(d.Body), " ", d.Attempt, " ", clock.Now().Sub(start)))
			if deadline, ok := ctx.Deadline(); !ok || !deadline.Equal(clock.Now().Add(recall.DefaultTimeout)) {
				t.Errorf("deadline: got %v", deadline)
			}
			switch string(d.Body) {
			case "fails":
				return errNoRoom
			case "hangs":
				<-ctx.Done()
				if ctx.Err() != context.DeadlineExceeded {
					t.Errorf("ctx.Err: got %v, want DeadlineExceeded", ctx.Err())
				}
				return recall.Permanent(ctx.Err())
			}
			return nil
		})
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("delayed"), Delay: time.Hour})
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("fails"), Retries: recall.Retries(1)})
		sleep(1000 * time.Hour)
		for range 130 {
			clock.move(time.Minute)
			synctest.Wait()
		}
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("hangs")})
		sleep(1000 * time.Hour)
		checkCount(t, b, recall.Count{InFlight: 1})
		clock.move(recall.DefaultTimeout)
		synctest.Wait()
		want := "fails 1 0s, fails 2 1m0s, delayed 1 1h0m0s, hangs 1 2h10m0s"
		if got := strings.Join(calls, ", "); got != want {
			t.Errorf("calls:\ngot  %s\nwant %s", got, want)
		}
		dead := deadLetters(t, b)
		if len(dead) != 2 || !dead[1].DiedAt.Equal(start.Add(130*time.Minute+recall.DefaultTimeout)) {
			t.Errorf("dead letters: got %+v", dead)
		}
		res, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{"none"}}, recall.Wait(time.Hour))
		if err != nil || res.Cancelled != 0 {
			t.Errorf("CancelMatching: got %+v, %v", res, err)
		}
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("quick")})
		synctest.Wait()
		if clock.mu.Lock(); len(clock.alarms) != 0 {
			t.Errorf("alarms left behind: %d", len(clock.alarms))
		}
		clock.mu.Unlock()
	})
}

func TestCancelWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{Slots: 1})
		var s sleeper
		handle(t, b, "local:h", s.handle)
		publishMany(t, b, 5, recall.Message{URL: "local:h"})
		synctest.Wait()
		var stop *recall.NotCancellableError
		start := time.Now()
		if _, err := b.CancelAll(t.Context(), recall.Wait(100*time.Millisecond)); !errors.As(err, &stop) || stop.Cancelled != 0 {
			t.Errorf("CancelAll with little patience: got %v", err)
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("it took %v, want 100ms", took)
		}
	})
}
