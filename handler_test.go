package recall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		var got *recall.Delivery
		var deadline time.Time
		handle(t, b, "local:h", func(ctx context.Context, d *recall.Delivery) error {
			got = d
			deadline, _ = ctx.Deadline()
			return nil
		})
		start := time.Now()
		id := publish(t, b, recall.Message{URL: "local:h", Body: []byte("x"), Labels: []string{"l"}, Timeout: time.Minute})
		synctest.Wait()
		if got == nil || got.ID != id || got.Attempt != 1 || string(got.Body) != "x" || got.Labels[0] != "l" {
			t.Errorf("got %+v", got)
		}
		if !deadline.Equal(start.Add(time.Minute)) {
			t.Errorf("deadline: got %v", deadline.Sub(start))
		}
		checkCount(t, b, recall.Count{})
		if s := b.Stats(); s.Delivered != 1 {
			t.Errorf("Delivered: got %d, want 1", s.Delivered)
		}
	})
}

var errNoRoom = errors.New("no room")

// TestHandlerEnds runs a handler that ends each attempt in the same way.
func TestHandlerEnds(t *testing.T) {
	tests := []struct {
		name     string
		end      func() error
		attempts int
		took     time.Duration // from the first attempt to the last
		reason   string
	}{
		{"error", func() error { return errNoRoom }, 3, 160 * time.Second, "no room"},
		{"long error", func() error { return errors.New(strings.Repeat("ä", 1000)) }, 3, 160 * time.Second, strings.Repeat("ä", 512)},
		{"error cut in a letter", func() error { return errors.New("x" + strings.Repeat("ä", 1000)) }, 3, 160 * time.Second, "x" + strings.Repeat("ä", 511) + "?"},
		{"panic", func() error { panic("at the disco") }, 3, 160 * time.Second, "panic: at the disco"},
		{"panic with nil", func() error { panic(nil) }, 3, 160 * time.Second, "panic: " + new(runtime.PanicNilError).Error()},
		{"panicking error", func() error { return brokenError{} }, 3, 160 * time.Second, "recall_test.brokenError, whose text panics"},
		{"Goexit", func() error { runtime.Goexit(); return nil }, 3, 160 * time.Second, "the handler ended its goroutine"},
		{"permanent", func() error { return recall.Permanent(errNoRoom) }, 1, 0, "no room"},
		{"permanent, wrapped", func() error { return fmt.Errorf("hotel: %w", recall.Permanent(errNoRoom)) }, 1, 0, "hotel: no room"},
		{"permanent, joined", func() error { return errors.Join(io.EOF, recall.Permanent(errNoRoom)) }, 1, 0, "EOF\nno room"},
		{"retry after", func() error { return recall.RetryAfter(time.Hour, errNoRoom) }, 3, 2 * time.Hour, "no room"},
		{"retry after, wrapped", func() error { return fmt.Errorf("hotel: %w", recall.RetryAfter(time.Hour, errNoRoom)) }, 3, 2 * time.Hour, "hotel: no room"},
		{"retry at once", func() error { return recall.RetryAfter(0, errNoRoom) }, 3, 0, "no room"},
		{"retry before", func() error { return recall.RetryAfter(-time.Hour, errNoRoom) }, 3, 0, "no room"},
		{"retry in the far future", func() error { return recall.RetryAfter(1<<62, errNoRoom) }, 3, 2 * recall.MaxDelay, "no room"},
		{"permanent and retry after", func() error { return recall.RetryAfter(time.Hour, recall.Permanent(errNoRoom)) }, 1, 0, "no room"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &recall.Options{Retries: recall.Retries(2), DeadLetterRetention: -1})
				var at []time.Time
				handle(t, b, "local:h", func(_ context.Context, d *recall.Delivery) error {
					if at = append(at, time.Now()); d.Attempt != len(at) {
						t.Errorf("Attempt: got %d, want %d", d.Attempt, len(at))
					}
					return test.end()
				})
				publish(t, b, recall.Message{URL: "local:h"})
				sleep(max(test.took, 24*time.Hour) + time.Second)
				if len(at) != test.attempts {
					t.Fatalf("attempts: got %d, want %d", len(at), test.attempts)
				}
				if took := at[len(at)-1].Sub(at[0]); took != test.took {
					t.Errorf("from first to last: got %v, want %v", took, test.took)
				}
				if d := onlyDead(t, b); d.Reason != test.reason || d.Attempts != test.attempts || d.Response != nil {
					t.Errorf("dead letter: got %q after %d attempts, want %q", d.Reason, d.Attempts, test.reason)
				}
				if s := b.Stats(); s.Busy != 0 {
					t.Errorf("Busy: got %d", s.Busy)
				}
			})
		})
	}
}

type brokenError struct{}

func (brokenError) Error() string { panic("broken") }

func TestHandlerErrorsUnwrap(t *testing.T) {
	for _, err := range []error{recall.Permanent(errNoRoom), recall.RetryAfter(time.Second, errNoRoom)} {
		if !errors.Is(err, errNoRoom) || err.Error() != "no room" {
			t.Errorf("got %v, which is not the error it wraps", err)
		}
	}
	if err := recall.Permanent(nil); err != nil {
		t.Errorf("Permanent(nil): got %v", err)
	}
	if err := recall.RetryAfter(time.Second, nil); err != nil {
		t.Errorf("RetryAfter(1s, nil): got %v", err)
	}
}

func TestPanicIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		b := newBroker(t, &recall.Options{Logger: l.logger()})
		handle(t, b, "local:h", func(context.Context, *recall.Delivery) error { panickyFunction(); return nil })
		id := publish(t, b, recall.Message{URL: "local:h", Retries: recall.Retries(0)})
		synctest.Wait()
		for _, want := range []string{"level=ERROR", "message=" + string(id), "panickyFunction", "handler_test.go", "reason=ouch"} {
			if !strings.Contains(l.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, &l)
			}
		}
	})
}

func panickyFunction() { panic("ouch") }

func TestHandlerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{Retries: recall.Retries(0)})
		handle(t, b, "local:h", func(ctx context.Context, _ *recall.Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		})
		start := time.Now()
		publish(t, b, recall.Message{URL: "local:h"})
		sleep(time.Hour)
		if d := onlyDead(t, b); d.Reason != context.DeadlineExceeded.Error() || !d.DiedAt.Equal(start.Add(recall.DefaultTimeout)) {
			t.Errorf("got %q after %v", d.Reason, d.DiedAt.Sub(start))
		}
	})
}

func TestHandlerThatIgnoresItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		handle(t, b, "local:h", func(context.Context, *recall.Delivery) error { time.Sleep(time.Hour); return nil })
		publish(t, b, recall.Message{URL: "local:h"})
		sleep(30 * time.Minute)
		checkCount(t, b, recall.Count{InFlight: 1})
		sleep(time.Hour)
		checkCount(t, b, recall.Count{})
		if s := b.Stats(); s.Delivered != 1 {
			t.Errorf("Delivered: got %d, want 1: success is success, however late", s.Delivered)
		}
	})
}

func TestMessagesWaitForTheirHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		attempts := map[string]int{}
		h := func(_ context.Context, d *recall.Delivery) error { attempts[d.URL] = d.Attempt; return nil }
		handle(t, b, "local:known", h)
		stays := publish(t, b, recall.Message{URL: "local:late"})
		goes := publish(t, b, recall.Message{URL: "local:late"})
		publish(t, b, recall.Message{URL: "local:known"})
		sleep(24 * time.Hour)
		if attempts["local:known"] != 1 {
			t.Error("the message behind those that wait was not delivered")
		}
		for _, id := range []recall.MessageID{stays, goes} {
			if m, err := b.Get(t.Context(), id); err != nil || m.State != recall.StateReady || m.Attempts != 0 {
				t.Errorf("got %s with %d attempts, %v", m.State, m.Attempts, err)
			}
		}
		if err := b.Cancel(t.Context(), goes); err != nil {
			t.Errorf("Cancel: %v", err)
		}
		handle(t, b, "local:late", h)
		synctest.Wait()
		if attempts["local:late"] != 1 {
			t.Errorf("attempt: got %d, want 1", attempts["local:late"])
		}
		checkCount(t, b, recall.Count{})
	})
}

func TestHandlerIsReplacedAndUnregistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		calls := ""
		named := func(name string) recall.Handler {
			return func(context.Context, *recall.Delivery) error { calls += name; return nil }
		}
		handle(t, b, "local:h", named("1"))
		publish(t, b, recall.Message{URL: "local:h"})
		synctest.Wait()
		handle(t, b, "local:h", named("2"))
		publish(t, b, recall.Message{URL: "local:h"})
		synctest.Wait()
		handle(t, b, "local:h", nil)
		publish(t, b, recall.Message{URL: "local:h"})
		sleep(time.Hour)
		checkCount(t, b, recall.Count{Pending: 1})
		handle(t, b, "local:h", named("3"))
		synctest.Wait()
		if calls != "123" {
			t.Errorf("calls: got %s, want 123", calls)
		}
	})
}

// TestHandlerUnregisteredBetween takes the handler back between the claim and
// the attempt.
func TestHandlerUnregisteredBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *recall.Broker
		engine := newHooked()
		engine.afterClaim = func(res *recall.ClaimResult) {
			if len(res.Leases) > 0 {
				handle(t, b, "local:h", nil)
			}
		}
		b = newBrokerOn(t, engine, nil)
		calls := 0
		h := func(context.Context, *recall.Delivery) error { calls++; return nil }
		handle(t, b, "local:h", h)
		id := publish(t, b, recall.Message{URL: "local:h"})
		sleep(time.Hour)
		if m, err := b.Get(t.Context(), id); err != nil || m.State != recall.StateReady || m.Attempts != 0 {
			t.Errorf("got %s with %d attempts, %v", m.State, m.Attempts, err)
		}
		if n := engine.claims.Load(); n > 10 {
			t.Errorf("claims: got %d, it is spinning", n)
		}
		engine.afterClaim = nil
		handle(t, b, "local:h", h)
		synctest.Wait()
		if calls != 1 {
			t.Errorf("calls: got %d, want 1", calls)
		}
	})
}

func TestHandlerPublishesAndCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		var next recall.MessageID
		var stop *recall.NotCancellableError
		handle(t, b, "local:first", func(ctx context.Context, d *recall.Delivery) error {
			next = publish(t, b, recall.Message{URL: "local:second"})
			start := time.Now()
			_, err := b.CancelMatching(ctx, recall.Filter{URLs: []string{"local:first"}}, recall.Wait(time.Hour))
			if !errors.As(err, &stop) || stop.ID != d.ID {
				t.Errorf("CancelMatching of oneself: got %v", err)
			}
			if waited := time.Since(start); waited != 0 {
				t.Errorf("the attempt waited %v for itself", waited)
			}
			return nil
		})
		publish(t, b, recall.Message{URL: "local:first"})
		synctest.Wait()
		if _, err := b.Get(t.Context(), next); err != nil {
			t.Errorf("the message that the handler published: %v", err)
		}
	})
}
