package recall_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// setClock is an AlarmClock that stands still, and rings nothing: only
// DispatchDue makes a broker look at it.
type setClock struct {
	mu    sync.Mutex
	now   time.Time
	naps  int // waits that were not told as a time
	asked []time.Time
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *setClock) AfterFunc(d time.Duration, _ func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d != recall.DefaultTimeout {
		c.naps++
	}
	return func() bool { return true }
}

func (c *setClock) At(t time.Time, _ func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, t)
	return func() bool { return true }
}

func (c *setClock) jump(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

var dueNoon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// TestDispatchDue moves a clock that wakes nobody: what is due is done when the
// call returns, and nothing else.
func TestDispatchDue(t *testing.T) {
	clock := &setClock{now: dueNoon}
	b := newBroker(t, &recall.Options{Clock: clock, WaitFinish: true})
	delivered := make(chan string, 10)
	handle(t, b, "local:h", func(_ context.Context, d *recall.Delivery) error {
		delivered <- string(d.Body)
		return nil
	})
	publish(t, b, recall.Message{URL: "local:h", Body: []byte("in an hour"), Delay: time.Hour})
	publish(t, b, recall.Message{Queue: "pulled", Retries: recall.Retries(0)})
	if _, err := b.SetSchedule(t.Context(), recall.Schedule{
		ID: "s", Cron: "30 * * * *", Message: recall.Message{URL: "local:h", Body: []byte("scheduled")},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Receive(t.Context(), "pulled", 1, recall.LeaseFor(45*time.Minute)); err != nil {
		t.Fatal(err)
	}
	look := func(after time.Duration, want recall.NextDue) {
		t.Helper()
		clock.jump(dueNoon.Add(after))
		next, err := b.DispatchDue(t.Context())
		if err != nil || !next.Delivery.Equal(want.Delivery) || !next.Schedule.Equal(want.Schedule) || !next.Lease.Equal(want.Lease) {
			t.Errorf("after %v: got %+v, %v, want %+v", after, next, err, want)
		}
	}
	at := func(d time.Duration) time.Time { return dueNoon.Add(d) }
	look(0, recall.NextDue{Delivery: at(time.Hour), Schedule: at(30 * time.Minute), Lease: at(45 * time.Minute)})
	look(30*time.Minute, recall.NextDue{Delivery: at(time.Hour), Schedule: at(90 * time.Minute), Lease: at(45 * time.Minute)})
	if got := <-delivered; got != "scheduled" {
		t.Errorf("got %q", got)
	}
	look(45*time.Minute, recall.NextDue{Delivery: at(time.Hour), Schedule: at(90 * time.Minute)})
	if s := b.Stats(); s.Leased != 0 || s.DeadLetters != 1 {
		t.Errorf("got %+v, want the lease to have ended dead", s)
	}
	look(60*time.Minute, recall.NextDue{Schedule: at(90 * time.Minute)})
	if got := <-delivered; got != "in an hour" {
		t.Errorf("got %q", got)
	}
	if clock.naps != 0 || len(clock.asked) == 0 {
		t.Errorf("an AlarmClock was told %d waits instead of times, and %d times", clock.naps, len(clock.asked))
	}
}

// TestDispatchDueAfterFaults: a storage that fails makes a call fail, and the
// next one tries again although the clock stands still.
func TestDispatchDueAfterFaults(t *testing.T) {
	var broken atomic.Bool
	engine := newHooked()
	engine.beforeClaim = func(recall.ClaimRequest) error {
		if broken.Load() {
			return errNoRoom
		}
		return nil
	}
	b := newBrokerOn(t, engine, &recall.Options{Clock: &setClock{now: dueNoon}})
	delivered := make(chan bool, 1)
	handle(t, b, "local:h", func(context.Context, *recall.Delivery) error {
		delivered <- true
		return nil
	})
	if _, err := b.DispatchDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	if _, err := b.DispatchDue(t.Context()); !errors.Is(err, errNoRoom) {
		t.Errorf("got %v, want %v", err, errNoRoom)
	}
	publish(t, b, recall.Message{URL: "local:h"})
	broken.Store(false)
	if _, err := b.DispatchDue(t.Context()); err != nil {
		t.Error(err)
	}
	<-delivered
}

// TestDispatchDueRefused: without a dispatcher, and after Close.
func TestDispatchDueRefused(t *testing.T) {
	idle := newBroker(t, &recall.Options{NoDispatch: true})
	if _, err := idle.DispatchDue(t.Context()); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	closed, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &recall.Options{Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := closed.DispatchDue(t.Context()); !errors.Is(err, recall.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// lockedRandom is a source of random bits that is the same in each run.
type lockedRandom struct {
	mu sync.Mutex
	*rand.ChaCha8
}

func (r *lockedRandom) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ChaCha8.Read(p)
}

// TestRandom: with the same random bits and times the ids are the same, of
// messages, schedules and operations.
func TestRandom(t *testing.T) {
	ids := func(seed byte) (list [3]string) {
		b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &recall.Options{
			Durability: recall.SyncNever, Clock: &setClock{now: dueNoon}, Logger: quietLogger,
			Random: &lockedRandom{ChaCha8: rand.NewChaCha8([32]byte{seed})},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(t.Context())
		r, err := b.Publish(t.Context(), recall.Message{URL: "https://example.com", Delay: time.Hour, Method: http.MethodGet})
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.SetSchedule(t.Context(), recall.Schedule{Cron: "@daily", Message: recall.Message{URL: "https://example.com"}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.CancelAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return [3]string{string(r.ID), s.ID, string(c.Operation)}
	}
	first, again, other := ids(1), ids(1), ids(2)
	if first != again {
		t.Errorf("one seed: got %v and %v", first, again)
	}
	for i := range first {
		if first[i] == other[i] || first[i] == "" {
			t.Errorf("two seeds: got %q twice", first[i])
		}
	}
}
