package recall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// receive fetches up to ten messages without waiting for any.
func receive(t *testing.T, b *recall.Broker, queue string, opts ...recall.ReceiveOption) []*recall.Received {
	t.Helper()
	got, err := b.Receive(t.Context(), queue, 10, append(opts, recall.PollFor(0))...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// receiveOne fetches the one message that there must be.
func receiveOne(t *testing.T, b *recall.Broker, queue string, opts ...recall.ReceiveOption) *recall.Received {
	t.Helper()
	got := receive(t, b, queue, opts...)
	if len(got) != 1 {
		t.Fatalf("Receive: got %d messages, want 1", len(got))
	}
	return got[0]
}

func checkNone(t *testing.T, b *recall.Broker, queue string) {
	t.Helper()
	if got := receive(t, b, queue); len(got) > 0 {
		t.Fatalf("Receive: got %d messages, want none", len(got))
	}
}

func checkError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// fetched is the answer of a Receive.
type fetched struct {
	got   []*recall.Received
	err   error
	after time.Duration // since the call
}

// fetch calls Receive in a goroutine of its own.
func fetch(ctx context.Context, b *recall.Broker, queue string, max int, opts ...recall.ReceiveOption) <-chan fetched {
	out := make(chan fetched, 1)
	began := time.Now()
	go func() {
		got, err := b.Receive(ctx, queue, max, opts...)
		out <- fetched{got, err, time.Since(began)}
	}()
	return out
}

// wide lets the queues of these tests have many messages out: what is tested is how
// they get to consumers.
func wide(t *testing.T, b *recall.Broker) {
	t.Helper()
	for _, name := range []string{"q", "q0", "q1", "r", "jobs"} {
		if err := b.SetQueue(t.Context(), name, recall.MaxParallelism); err != nil {
			t.Fatal(err)
		}
	}
}

func checkWaits(t *testing.T, f <-chan fetched) {
	t.Helper()
	synctest.Wait()
	select {
	case a := <-f:
		t.Fatalf("Receive returned %d messages and %v, and should wait", len(a.got), a.err)
	default:
	}
}

func checkFetched(t *testing.T, f <-chan fetched, after time.Duration, want ...recall.MessageID) {
	t.Helper()
	a := <-f
	if ids := receivedIDs(a.got); a.err != nil || a.after != after || !slices.Equal(ids, want) {
		t.Errorf("Receive: got %v, error %v, after %v; want %v after %v", ids, a.err, a.after, want, after)
	}
}

func receivedIDs(got []*recall.Received) (ids []recall.MessageID) {
	for _, r := range got {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{Slots: 1})
		wide(t, b)
		handle(t, b, "local:h", func(ctx context.Context, _ *recall.Delivery) error { <-ctx.Done(); return ctx.Err() })
		publish(t, b, recall.Message{URL: "local:h", Queue: "jobs", Timeout: 24 * time.Hour}) // has the only slot
		sent := recall.Message{
			Queue: "jobs", Body: []byte("body"), Header: map[string][]string{"A": {"1"}}, Labels: []string{"l"},
		}
		id := publish(t, b, sent)
		publish(t, b, recall.Message{Queue: "others"})
		sleep(time.Hour)
		checkCount(t, b, recall.Count{Pending: 2, InFlight: 1})
		r := receiveOne(t, b, "jobs")
		if r.ID != id || r.URL != "pull:jobs" || r.Queue != "jobs" || string(r.Body) != "body" || r.Header.Get("A") != "1" ||
			r.Attempt != 1 || r.Attempts != 1 || r.State != recall.StateInFlight {
			t.Errorf("got %+v", r.Message)
		}
		if want := time.Now().Add(recall.DefaultTimeout); !r.ExpiresAt().Equal(want) || r.Context().Err() != nil {
			t.Errorf("lease: until %v, want %v; context %v", r.ExpiresAt(), want, r.Context().Err())
		}
		if s := b.Stats(); s.Leased != 1 || s.Busy != 1 || s.InFlight != 2 || s.Delivered != 0 {
			t.Errorf("Stats: got %d leased, %d busy, %d in flight, %d delivered", s.Leased, s.Busy, s.InFlight, s.Delivered)
		}
		checkNone(t, b, "jobs")
		if err := r.Ack(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := b.Get(t.Context(), id); !errors.Is(err, recall.ErrNotFound) || r.Context().Err() == nil {
			t.Errorf("after Ack: Get %v, context %v", err, r.Context().Err())
		}
		if s := b.Stats(); s.Leased != 0 || s.Delivered != 1 || s.Failed != 0 {
			t.Errorf("Stats: got %d leased, %d delivered, %d failed", s.Leased, s.Delivered, s.Failed)
		}
		checkNone(t, b, "jobs")
		closeNow(t, b, done())
	})
}

// TestPulledURL publishes with the URL that messages for consumers have.
func TestPulledURL(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	wide(t, b)
	const name = "a b/c://d?e#f"
	id := publish(t, b, recall.Message{URL: "pull:" + name, Queue: name})
	if r := receiveOne(t, b, name); r.ID != id {
		t.Errorf("got %s, want %s", r.ID, id)
	}
	long := strings.Repeat("q", recall.MaxName)
	again, err := b.Get(t.Context(), publish(t, b, recall.Message{Queue: long}))
	if err != nil || again.URL != "pull:"+long {
		t.Fatalf("got URL %q and error %v", again.URL, err)
	}
	publish(t, b, again) // as it was read
	if err := b.SetQueue(t.Context(), long, 2); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, b, long); len(got) != 2 {
		t.Errorf("got %d messages, want 2", len(got))
	}
	for _, m := range []recall.Message{
		{},
		{URL: "pull:"},
		{URL: "pull:q"},
		{URL: "pull:q", Queue: "r"},
		{URL: "pull:", Queue: "q"},
		{URL: "PULL:q", Queue: "q"},
		{Queue: "a\x00"},
		{URL: "pull:a\x00", Queue: "a\x00"},
		{Queue: long + "q"},
		{URL: "https://a.test/", Callback: &recall.Callback{URL: "pull:q"}},
	} {
		_, err := b.Publish(t.Context(), m)
		checkError(t, fmt.Sprintf("Publish to %q of queue %q", m.URL, m.Queue), err, recall.ErrInvalid)
	}
	checkError(t, "Handle", b.Handle("pull:q", func(context.Context, *recall.Delivery) error { return nil }), recall.ErrInvalid)
}

func TestReceiveBadInput(t *testing.T) {
	b := newBroker(t, nil)
	wide(t, b)
	publish(t, b, recall.Message{Queue: "q"})
	for name, call := range map[string]func(context.Context) ([]*recall.Received, error){
		"no queue": func(ctx context.Context) ([]*recall.Received, error) { return b.Receive(ctx, "", 1) },
		"long queue": func(ctx context.Context) ([]*recall.Received, error) {
			return b.Receive(ctx, strings.Repeat("q", 257), 1)
		},
		"bad queue": func(ctx context.Context) ([]*recall.Received, error) { return b.Receive(ctx, "\n", 1) },
		"none":      func(ctx context.Context) ([]*recall.Received, error) { return b.Receive(ctx, "q", 0) },
		"fewer":     func(ctx context.Context) ([]*recall.Received, error) { return b.Receive(ctx, "q", -1) },
		"too many":  func(ctx context.Context) ([]*recall.Received, error) { return b.Receive(ctx, "q", recall.MaxReceive+1) },
		"no lease": func(ctx context.Context) ([]*recall.Received, error) {
			return b.Receive(ctx, "q", 1, recall.LeaseFor(0))
		},
		"short lease": func(ctx context.Context) ([]*recall.Received, error) {
			return b.Receive(ctx, "q", 1, recall.LeaseFor(-1))
		},
		"long lease": func(ctx context.Context) ([]*recall.Received, error) {
			return b.Receive(ctx, "q", 1, recall.LeaseFor(recall.MaxTimeout+1))
		},
		"short wait": func(ctx context.Context) ([]*recall.Received, error) {
			return b.Receive(ctx, "q", 1, recall.PollFor(-1))
		},
	} {
		got, err := call(t.Context())
		checkError(t, name, err, recall.ErrInvalid)
		if len(got) > 0 {
			t.Errorf("%s: got %d messages", name, len(got))
		}
	}
	for _, opt := range [][]recall.ReceiveOption{nil, {recall.PollFor(0)}} {
		_, err := b.Receive(done(), "q", 1, opt...)
		checkError(t, "done context", err, context.Canceled)
	}
	if r := receiveOne(t, b, "q", nil); r.Attempt != 1 {
		t.Errorf("got attempt %d", r.Attempt)
	}
}

// TestReceiveWaits waits for what is published, becomes due, is released or
// comes back, and for no longer.
func TestReceiveWaits(t *testing.T) {
	for _, noDispatch := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHooked()
			b := newBrokerOn(t, h, &recall.Options{NoDispatch: noDispatch, UndoWindow: time.Hour})
			wide(t, b)
			ctx := context.Background()

			f := fetch(ctx, b, "q", 5)
			sleep(10 * time.Hour)
			checkWaits(t, f)
			if n := h.claims.Load(); n > 10 { // a few for the start and the counts of the hour; a poll would make thousands
				t.Errorf("%d claims while nothing happened", n)
			}
			publish(t, b, recall.Message{Queue: "other"})
			publish(t, b, recall.Message{URL: "local:q", Queue: "q"})
			checkWaits(t, f)
			id := publish(t, b, recall.Message{Queue: "q"})
			checkFetched(t, f, 10*time.Hour, id)

			f = fetch(ctx, b, "q", 5) // the lease of id expires
			checkFetched(t, f, 30*time.Second, id)

			publish(t, b, recall.Message{Queue: "q", Delay: 3 * time.Hour})
			soon := publish(t, b, recall.Message{Queue: "q", Delay: 2 * time.Second})
			f = fetch(ctx, b, "q", 5, recall.PollFor(2*time.Second))
			checkFetched(t, f, 2*time.Second, soon)
			f = fetch(ctx, b, "q", 5, recall.PollFor(time.Second))
			checkFetched(t, f, time.Second)

			ended, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			a := <-fetch(ended, b, "q", 5)
			checkError(t, "Receive", a.err, context.DeadlineExceeded)
			if len(a.got) > 0 || a.after != time.Second {
				t.Errorf("got %d messages after %v", len(a.got), a.after)
			}

			if _, err := b.CancelAll(ctx, recall.Skip); err != nil {
				t.Fatal(err)
			}
			f = fetch(ctx, b, "q", 5, recall.LeaseFor(time.Hour))
			sleep(4 * time.Second)
			checkWaits(t, f)
			held := publish(t, b, recall.Message{Queue: "r"})
			if _, err := b.Hold(ctx, recall.Filter{IDs: []recall.MessageID{held}}); err != nil {
				t.Fatal(err)
			}
			g := fetch(ctx, b, "r", 5)
			checkWaits(t, g)
			if _, err := b.Release(ctx, recall.Filter{IDs: []recall.MessageID{held}}); err != nil {
				t.Fatal(err)
			}
			checkFetched(t, g, 0, held)
			closeNow(t, b, ctx)
			checkError(t, "Receive at Close", (<-f).err, recall.ErrClosed)
		})
	}
}

// TestReceiveInLine serves the calls that wait in the order in which they came,
// and hands the place of one that gives up to the next.
func TestReceiveInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		wide(t, b)
		ctx, giveUp := context.WithCancel(context.Background())
		var calls []<-chan fetched
		for _, ctx := range []context.Context{ctx, context.Background(), ctx, context.Background(), context.Background()} {
			calls = append(calls, fetch(ctx, b, "q", 2))
			synctest.Wait()
		}
		due := publish(t, b, recall.Message{Queue: "q", Delay: time.Minute})
		synctest.Wait() // only the first knows when that is due
		giveUp()
		checkError(t, "the first", (<-calls[0]).err, context.Canceled)
		checkError(t, "the third", (<-calls[2]).err, context.Canceled)
		checkFetched(t, calls[1], time.Minute, due)
		checkWaits(t, calls[3])
		publishMany(t, b, 3, recall.Message{Queue: "q"}) // one commit, one hint
		if a, c := <-calls[3], <-calls[4]; len(a.got) != 2 || len(c.got) != 1 {
			t.Errorf("got %d and %d messages, want 2 and 1", len(a.got), len(c.got))
		}
	})
}

func TestReceiveInTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		waiting := fetch(context.Background(), f.Broker, "q", 1)
		var id recall.MessageID
		err := f.Update(t.Context(), func(tx *recall.Tx) error {
			_, err := f.Receive(tx.Context(), "q", 1)
			checkError(t, "Receive in a transaction", err, recall.ErrInvalid)
			r, err := tx.Publish(recall.Message{Queue: "q"})
			id = r.ID
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		a := <-waiting
		if a.err != nil || len(a.got) != 1 || a.got[0].ID != id {
			t.Fatalf("got %d messages and %v", len(a.got), a.err)
		}
		err = f.Update(t.Context(), func(tx *recall.Tx) error { return a.got[0].Ack(tx.Context()) })
		checkError(t, "Ack in a transaction", err, recall.ErrInvalid)
		if err := a.got[0].Ack(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestConsumers lets several consumers of two queues, of which some are slow,
// fail or die, work beside publishers and cancellations: every message ends
// once, and no two have one at a time.
func TestConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{Retries: recall.Retries(recall.MaxRetries)})
		const publishers, each = 4, 60
		var mu sync.Mutex
		left := map[recall.MessageID]bool{}
		owner := map[recall.MessageID]*recall.Received{}
		ctx, stop := context.WithCancel(context.Background())
		var work, consumers sync.WaitGroup

		end := func(r *recall.Received, random *rand.Rand) {
			mu.Lock()
			old := owner[r.ID]
			owner[r.ID] = r
			mu.Unlock()
			if time.Sleep(time.Millisecond); old != nil && old.Context().Err() == nil { // its end is told after it has come
				t.Errorf("%s has two valid leases", r.ID)
			}
			var err error
			switch random.IntN(6) {
			case 0:
				err = r.Nack(ctx, time.Duration(random.IntN(3))*time.Second)
			case 1: // it dies
				time.Sleep(3 * time.Second)
				checkError(t, "a late Ack", r.Ack(context.Background()), recall.ErrLeaseLost)
				return
			case 2:
				err = r.Extend(ctx, 5*time.Second)
				time.Sleep(4 * time.Second)
			}
			if r.Context().Err() == nil && err == nil {
				mu.Lock()
				if err = r.Ack(context.Background()); err == nil {
					if !left[r.ID] {
						t.Errorf("%s has ended twice", r.ID)
					}
					delete(left, r.ID)
				}
				mu.Unlock()
			}
			if err != nil {
				t.Error(err)
			}
		}
		for n := range 6 {
			consumers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(n), 1))
				for {
					got, err := f.Receive(ctx, fmt.Sprint("q", n%2), 1+random.IntN(4), recall.LeaseFor(2*time.Second))
					if err != nil {
						checkError(t, "Receive", err, context.Canceled)
						return
					}
					var all sync.WaitGroup
					for _, r := range got {
						seed := random.Uint64()
						all.Go(func() { end(r, rand.New(rand.NewPCG(seed, 2))) })
					}
					all.Wait()
				}
			})
		}
		for n := range publishers {
			work.Go(func() {
				for i := range each {
					mu.Lock() // before a consumer can have it
					r, err := f.Publish(ctx, recall.Message{Queue: fmt.Sprint("q", i%2), Delay: time.Duration(i%3) * time.Second})
					left[r.ID] = true
					mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					if i%10 == n {
						time.Sleep(time.Second)
					}
				}
			})
		}
		work.Wait()
		sleep(time.Hour)
		mu.Lock()
		if len(left) > 0 {
			t.Errorf("%d messages are left", len(left))
		}
		mu.Unlock()
		if s := f.Stats(); s.Delivered != publishers*each || s.Leased != 0 || s.InFlight != 0 || s.Pending != 0 || s.DeadLetters != 0 {
			t.Errorf("Stats: got %+v", s)
		}
		stop()
		consumers.Wait()
	})
}
