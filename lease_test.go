package recall_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// checkLost checks that nothing can be done with a lease that is over.
func checkLost(t *testing.T, r *recall.Received, want error) {
	t.Helper()
	for _, ctx := range []context.Context{context.Background(), done(), r.Context()} {
		checkError(t, "Ack", r.Ack(ctx), want)
		checkError(t, "Nack", r.Nack(ctx, 0), want)
		checkError(t, "Fail", r.Fail(ctx, errors.New("x")), want)
		checkError(t, "DeadLetter", r.DeadLetter(ctx, "x"), want)
		checkError(t, "Extend", r.Extend(ctx, time.Minute), want)
	}
	if r.Context().Err() == nil {
		t.Error("the context has not ended")
	}
}

// TestLeaseExpires lets one lease after the other run out.
func TestLeaseExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		f := openFile(t, &recall.Options{NoDispatch: true, Logger: l.logger()})
		id := publish(t, f.Broker, recall.Message{Queue: "q", Retries: recall.Retries(2), Timeout: time.Minute})
		for attempt := 1; attempt <= 3; attempt++ {
			var opts []recall.ReceiveOption
			lease := time.Minute // as the message says
			if attempt == 2 {
				lease = time.Hour
				opts = append(opts, recall.LeaseFor(lease))
			}
			r := receiveOne(t, f.Broker, "q", opts...)
			if r.Attempt != attempt || !r.ExpiresAt().Equal(time.Now().Add(lease)) {
				t.Errorf("attempt %d: lease until %v", r.Attempt, r.ExpiresAt())
			}
			sleep(lease - 1)
			checkNone(t, f.Broker, "q")
			if err := r.Context().Err(); err != nil || f.Stats().Leased != 1 {
				t.Errorf("before it expires: context %v", err)
			}
			sleep(1)
			if cause := context.Cause(r.Context()); !errors.Is(cause, recall.ErrLeaseLost) || f.Stats().Leased != 0 {
				t.Errorf("after it has expired: cause %v", cause)
			}
			checkLost(t, r, recall.ErrLeaseLost)
		}
		checkNone(t, f.Broker, "q")
		d := onlyDead(t, f.Broker)
		if d.Message.ID != id || d.Attempts != 3 || !strings.Contains(d.Reason, "1m0s") {
			t.Errorf("dead letter %s: %d attempts, reason %q", d.Message.ID, d.Attempts, d.Reason)
		}
		if s := f.Stats(); s.Failed != 3 || s.Delivered != 0 {
			t.Errorf("Stats: got %d failed, %d delivered", s.Failed, s.Delivered)
		}
		if l.count("another one follows") != 2 || l.count("message is dead") != 1 {
			t.Errorf("the log says\n%s", l.String())
		}
	})
}

// TestLeaseExpiresWithRetryDelay waits as long as the publisher says.
func TestLeaseExpiresWithRetryDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		wide(t, b)
		publish(t, b, recall.Message{Queue: "q", RetryDelay: "5000 * (1 + retried)"})
		receiveOne(t, b, "q", recall.LeaseFor(time.Second))
		waiting := fetch(context.Background(), b, "q", 1)
		if a := <-waiting; len(a.got) != 1 || a.after != 6*time.Second || a.got[0].Attempt != 2 {
			t.Errorf("got %d messages after %v, want one after 6s", len(a.got), a.after)
		}
	})
}

// TestLeasesExpireInOrder has many leases of different lengths.
func TestLeasesExpireInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		wide(t, b)
		publishMany(t, b, 20, recall.Message{Queue: "q"})
		var all []*recall.Received
		for i := range 20 {
			got, err := b.Receive(t.Context(), "q", 1, recall.LeaseFor(time.Duration(1+i*7%20)*time.Second))
			if err != nil || len(got) != 1 {
				t.Fatalf("got %d messages and %v", len(got), err)
			}
			all = append(all, got...)
		}
		for second := 1; second <= 20; second++ {
			sleep(time.Second)
			for _, r := range all {
				if over := !r.ExpiresAt().After(time.Now()); over != (r.Context().Err() != nil) {
					t.Errorf("after %ds: lease until %v, context %v", second, r.ExpiresAt(), r.Context().Err())
				}
			}
			if got := b.Stats().Leased; got != 20-second {
				t.Errorf("after %ds: %d leases are out", second, got)
			}
		}
	})
}

func TestExtend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		wide(t, b)
		publish(t, b, recall.Message{Queue: "q"})
		r := receiveOne(t, b, "q", recall.LeaseFor(10*time.Second))
		for range 5 {
			sleep(9 * time.Second)
			if err := r.Extend(t.Context(), 10*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range []time.Duration{0, -time.Second, recall.MaxTimeout + 1} {
			checkError(t, "Extend by "+d.String(), r.Extend(t.Context(), d), recall.ErrInvalid)
		}
		checkError(t, "Extend", r.Extend(done(), time.Hour), context.Canceled)
		if want := time.Now().Add(10 * time.Second); !r.ExpiresAt().Equal(want) {
			t.Errorf("lease until %v, want %v", r.ExpiresAt(), want)
		}
		if err := r.Extend(t.Context(), recall.MaxTimeout); err != nil {
			t.Fatal(err)
		}
		sleep(12 * time.Hour)
		checkNone(t, b, "q")
		if err := r.Extend(t.Context(), time.Second); err != nil { // shorter
			t.Fatal(err)
		}
		sleep(time.Second)
		checkLost(t, r, recall.ErrLeaseLost)
		if r = receiveOne(t, b, "q"); r.Attempt != 2 {
			t.Errorf("got attempt %d, want 2", r.Attempt)
		}
	})
}

// TestEndOfLease ends leases in every way, where there is another attempt again
// in that one.
func TestEndOfLease(t *testing.T) {
	ctx := context.Background()
	cause := errors.New("out of paper")
	tests := []struct {
		name   string
		end    func(*recall.Received) error
		after  time.Duration // until the next attempt
		again  bool
		reason string // of the dead letter
	}{
		{name: "Ack", end: func(r *recall.Received) error { return r.Ack(ctx) }},
		{name: "Fail of nothing", end: func(r *recall.Received) error { return r.Fail(ctx, nil) }},
		{name: "Nack", end: func(r *recall.Received) error { return r.Nack(ctx, time.Hour) }, again: true, after: time.Hour, reason: "gave it back"},
		{name: "Nack at once", end: func(r *recall.Received) error { return r.Nack(ctx, 0) }, again: true, reason: "gave it back"},
		{name: "Fail", end: func(r *recall.Received) error { return r.Fail(ctx, cause) }, again: true, after: 12 * time.Second, reason: "out of paper"},
		{
			name: "Fail with RetryAfter", again: true, after: time.Minute, reason: "out of paper",
			end: func(r *recall.Received) error { return r.Fail(ctx, recall.RetryAfter(time.Minute, cause)) },
		},
		{name: "Fail with Permanent", end: func(r *recall.Received) error { return r.Fail(ctx, recall.Permanent(cause)) }, reason: "out of paper"},
		{name: "DeadLetter", end: func(r *recall.Received) error { return r.DeadLetter(ctx, "out of ink"+strings.Repeat("!", 5000)) }, reason: "out of ink"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := openFile(t, &recall.Options{NoDispatch: true})
				id := publish(t, f.Broker, recall.Message{Queue: "q", Retries: recall.Retries(1)})
				r := receiveOne(t, f.Broker, "q")
				if err := test.end(r); err != nil {
					t.Fatal(err)
				}
				checkLost(t, r, recall.ErrLeaseLost)
				if test.again {
					if test.after > 0 {
						checkNone(t, f.Broker, "q")
					}
					checkFetchedAgain(t, f.Broker, id, test.after, test.end)
				}
				sleep(24 * time.Hour)
				checkCount(t, f.Broker, recall.Count{})
				if test.reason == "" {
					if dead := deadLetters(t, f.Broker); len(dead) > 0 {
						t.Errorf("%d dead letters", len(dead))
					}
					return
				}
				if d := onlyDead(t, f.Broker); d.Message.ID != id || !strings.Contains(d.Reason, test.reason) || len(d.Reason) > 1024 {
					t.Errorf("dead letter %s with reason %q, want %q", d.Message.ID, d.Reason, test.reason)
				}
			})
		})
	}
}

func checkFetchedAgain(t *testing.T, b *recall.Broker, id recall.MessageID, after time.Duration, end func(*recall.Received) error) {
	t.Helper()
	a := <-fetch(context.Background(), b, "q", 1)
	if len(a.got) != 1 || a.got[0].ID != id || a.got[0].Attempt != 2 || a.after != after {
		t.Fatalf("got %v after %v, want %s after %v", receivedIDs(a.got), a.after, id, after)
	}
	if err := end(a.got[0]); err != nil {
		t.Fatal(err)
	}
}

// TestEndOfLeaseRefused changes nothing with a bad delay or a context that is
// done.
func TestEndOfLeaseRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		wide(t, b)
		id := publish(t, b, recall.Message{Queue: "q"})
		r := receiveOne(t, b, "q")
		checkError(t, "Nack", r.Nack(t.Context(), -1), recall.ErrInvalid)
		checkError(t, "Nack", r.Nack(t.Context(), recall.MaxDelay+1), recall.ErrInvalid)
		checkError(t, "Ack", r.Ack(done()), context.Canceled)
		checkError(t, "Nack", r.Nack(done(), 0), context.Canceled)
		checkError(t, "DeadLetter", r.DeadLetter(done(), ""), context.Canceled)
		if m, err := b.Get(t.Context(), id); err != nil || m.State != recall.StateInFlight || b.Stats().Leased != 1 {
			t.Errorf("got state %q and error %v", m.State, err)
		}
		if err := r.Ack(r.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestEndOfLeaseFails keeps the lease when the engine does not take its end,
// and asks for that again when it expires.
func TestEndOfLeaseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooked()
		b := newBrokerOn(t, h, nil)
		wide(t, b)
		broken := errors.New("no answer")
		refuse := true
		var ends []recall.Finish
		h.beforeFinish = func(_ recall.Lease, f recall.Finish) error {
			ends = append(ends, f)
			if refuse {
				return broken
			}
			return nil
		}
		publish(t, b, recall.Message{Queue: "q"})
		r := receiveOne(t, b, "q")
		checkError(t, "Ack", r.Ack(t.Context()), broken)
		if r.Context().Err() != nil || b.Stats().Leased != 1 {
			t.Error("the lease is over")
		}
		sleep(time.Minute) // it expires, and that is not taken either
		refuse = false
		if a := <-fetch(context.Background(), b, "q", 1); len(a.got) != 1 || a.got[0].Attempt != 2 || a.after > 10*time.Second {
			t.Errorf("got %d messages after %v", len(a.got), a.after)
		} else if err := a.got[0].Ack(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(ends); n < 3 || n > 10 {
			t.Errorf("the engine was asked %d times", n)
		}
		if first, last := ends[0], ends[len(ends)-1]; first.Outcome != recall.Delivered || !first.Durable || !last.Durable {
			t.Errorf("got %+v and %+v, want durable ends", first, last)
		}
	})
}

// TestLeasesEndWithClose gives back what consumers have.
func TestLeasesEndWithClose(t *testing.T) {
	for _, noted := range []bool{false, true} { // whether a commit names the claims
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, nil)
			wide(t, f.Broker)
			ids := []recall.MessageID{publish(t, f.Broker, recall.Message{Queue: "q"}), publish(t, f.Broker, recall.Message{Queue: "q"})}
			out := receive(t, f.Broker, "q")
			waiting := fetch(context.Background(), f.Broker, "q", 1)
			synctest.Wait()
			if noted {
				sleep(5 * time.Second)
			}
			closeNow(t, f.Broker, out[0].Context()) // it is no handler that Close would wait for
			a := <-waiting
			checkError(t, "Receive at Close", a.err, recall.ErrClosed)
			for _, r := range out {
				checkLost(t, r, recall.ErrClosed)
				if cause := context.Cause(r.Context()); errors.Is(cause, context.Canceled) || errors.Is(cause, recall.ErrLeaseLost) {
					t.Errorf("cause %v", cause)
				}
			}
			_, err := f.Receive(t.Context(), "q", 1)
			checkError(t, "Receive after Close", err, recall.ErrClosed)
			f.open(t)
			again := receive(t, f.Broker, "q")
			if got := receivedIDs(again); len(got) != 2 || got[0] != ids[0] || got[1] != ids[1] || again[0].Attempt != 1 {
				t.Fatalf("after the next open: got %v", got)
			}
			for _, r := range again {
				if err := r.Ack(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestLeasesInDraining closes while a handler still runs, which meets what a
// consumer had: nobody has it any more.
func TestLeasesInDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		wide(t, b)
		var r *recall.Received
		handle(t, b, "local:h", func(ctx context.Context, _ *recall.Delivery) error {
			time.Sleep(10 * time.Second) // Close has begun
			checkError(t, "Ack", r.Ack(ctx), recall.ErrClosed)
			_, err := b.Receive(ctx, "q", 1)
			checkError(t, "Receive", err, recall.ErrClosed)
			res, err := b.CancelMatching(ctx, recall.Filter{Queues: []string{"q"}})
			if err != nil || res.Cancelled != 1 {
				t.Errorf("CancelMatching: got %d and %v", res.Cancelled, err)
			}
			return nil
		})
		publish(t, b, recall.Message{Queue: "q"})
		r = receiveOne(t, b, "q")
		publish(t, b, recall.Message{URL: "local:h"})
		sleep(time.Second)
		began := time.Now()
		closeNow(t, b, context.Background())
		if took := time.Since(began); took != 9*time.Second || b.Stats().Delivered != 1 {
			t.Errorf("Close took %v", took)
		}
	})
}

// TestLeasesAfterCrash opens what a crash leaves: the messages are pending, the
// attempts count if they were noted, and a message without another one is dead.
func TestLeasesAfterCrash(t *testing.T) {
	for _, noted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, &recall.Options{NoDispatch: true})
			publish(t, f.Broker, recall.Message{Queue: "q"})
			last := publish(t, f.Broker, recall.Message{Queue: "last", Retries: recall.Retries(0)})
			stale := []*recall.Received{
				receiveOne(t, f.Broker, "q", recall.LeaseFor(time.Hour)), receiveOne(t, f.Broker, "last", recall.LeaseFor(time.Hour)),
			}
			if noted {
				sleep(5 * time.Second)
			}
			crashed := openFile(t, &recall.Options{NoDispatch: true})
			closeNow(t, crashed.Broker, t.Context())
			if err := os.WriteFile(crashed.path, quietImage(t, f.path), 0o600); err != nil {
				t.Fatal(err)
			}
			crashed.open(t)
			attempt := 1
			if noted {
				attempt = 2
				if d := onlyDead(t, crashed.Broker); d.Message.ID != last {
					t.Errorf("dead letter %s, want %s", d.Message.ID, last)
				}
				checkNone(t, crashed.Broker, "last")
			} else if r := receiveOne(t, crashed.Broker, "last"); r.ID != last || r.Attempt != 1 {
				t.Errorf("got %s, attempt %d", r.ID, r.Attempt)
			}
			if r := receiveOne(t, crashed.Broker, "q"); r.Attempt != attempt {
				t.Errorf("noted %v: got attempt %d, want %d", noted, r.Attempt, attempt)
			}
			for _, r := range stale { // valid where they were given out
				if err := r.Ack(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// leased publishes a message for consumers, with the label a, and receives it.
func leased(t *testing.T, b *recall.Broker) *recall.Received {
	t.Helper()
	publish(t, b, recall.Message{Queue: "q", Labels: []string{"a"}})
	return receiveOne(t, b, "q", recall.LeaseFor(time.Hour))
}

// TestCancelLeased meets with each policy what a consumer has.
func TestCancelLeased(t *testing.T) {
	ctx := context.Background()
	for name, run := range map[string]func(t *testing.T, b *recall.Broker, r *recall.Received){
		"stop": func(t *testing.T, b *recall.Broker, r *recall.Received) {
			_, err := b.CancelMatching(ctx, label("a"))
			var stop *recall.NotCancellableError
			if !errors.As(err, &stop) || stop.ID != r.ID {
				t.Errorf("got %v", err)
			}
			checkError(t, "Cancel", b.Cancel(ctx, r.ID), recall.ErrNotCancellable)
			if err := r.Nack(ctx, time.Hour); err != nil {
				t.Error(err)
			}
			if err := b.Cancel(ctx, r.ID); err != nil {
				t.Error(err)
			}
		},
		"wait for Ack": func(t *testing.T, b *recall.Broker, r *recall.Received) {
			time.AfterFunc(time.Minute, func() { _ = r.Ack(ctx) })
			began := time.Now()
			res, err := b.CancelMatching(ctx, label("a"), recall.Wait(time.Hour))
			if took := time.Since(began); err != nil || res.Cancelled != 0 || took != time.Minute {
				t.Errorf("got %d and %v after %v", res.Cancelled, err, took)
			}
		},
		"wait for the end of the lease": func(t *testing.T, b *recall.Broker, _ *recall.Received) {
			began := time.Now()
			res, err := b.CancelMatching(ctx, label("a"), recall.Wait(2*time.Hour))
			if took := time.Since(began); err != nil || res.Cancelled != 1 || took != time.Hour {
				t.Errorf("got %d and %v after %v", res.Cancelled, err, took)
			}
		},
		"wait for oneself": func(t *testing.T, b *recall.Broker, r *recall.Received) {
			began := time.Now()
			_, err := b.CancelMatching(r.Context(), label("a"), recall.Wait(time.Hour))
			checkError(t, "CancelMatching", err, recall.ErrNotCancellable)
			if took := time.Since(began); took != 0 {
				t.Errorf("it waited for %v", took)
			}
			if err := r.Ack(ctx); err != nil {
				t.Error(err)
			}
		},
		"sticky": func(t *testing.T, b *recall.Broker, r *recall.Received) {
			if err := b.Cancel(ctx, r.ID, recall.Sticky); err != nil || r.Context().Err() != nil {
				t.Errorf("got %v, context %v", err, r.Context().Err())
			}
			if err := r.Nack(ctx, 0); err != nil {
				t.Error(err)
			}
		},
		"sticky, then dead": func(t *testing.T, b *recall.Broker, r *recall.Received) {
			if err := b.Cancel(ctx, r.ID, recall.Sticky); err != nil {
				t.Error(err)
			}
			if err := r.DeadLetter(ctx, "broken"); err != nil {
				t.Error(err)
			}
		},
		"abort, Ack": func(t *testing.T, b *recall.Broker, r *recall.Received) {
			res, err := b.CancelMatching(ctx, label("a"), recall.Abort)
			if err != nil || res.Requested != 1 {
				t.Errorf("got %d and %v", res.Requested, err)
			}
			if r.Context().Err() == nil || errors.Is(context.Cause(r.Context()), recall.ErrLeaseLost) {
				t.Errorf("the context ended with %v", context.Cause(r.Context()))
			}
			if err := r.Ack(r.Context()); err != nil || b.Stats().Delivered != 1 {
				t.Error(err)
			}
		},
		"abort, nobody looks": func(t *testing.T, b *recall.Broker, r *recall.Received) {
			if err := b.Cancel(ctx, r.ID, recall.Abort); err != nil {
				t.Error(err)
			}
			sleep(time.Hour)
			checkLost(t, r, recall.ErrLeaseLost)
		},
	} {
		for _, noDispatch := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := openFile(t, &recall.Options{NoDispatch: noDispatch})
					run(t, f.Broker, leased(t, f.Broker))
					sleep(24 * time.Hour)
					checkNone(t, f.Broker, "q")
					checkCount(t, f.Broker, recall.Count{})
					if s := f.Stats(); s.DeadLetters != 0 || s.Leased != 0 {
						t.Errorf("%d dead letters, %d leases", s.DeadLetters, s.Leased)
					}
				})
			})
		}
	}
}

// TestAbortDuringReceive aborts when the message is claimed, but nobody has it.
func TestAbortDuringReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooked()
		b := newBrokerOn(t, h, nil)
		wide(t, b)
		id := publish(t, b, recall.Message{Queue: "q"})
		synctest.Wait() // the dispatcher looks at the hook
		h.afterClaim = func(res *recall.ClaimResult) {
			if len(res.Leases) > 0 {
				if err := b.Cancel(t.Context(), id, recall.Abort); err != nil {
					t.Error(err)
				}
			}
		}
		r := receiveOne(t, b, "q")
		if r.Context().Err() == nil {
			t.Error("the context goes on")
		}
		if err := r.Nack(r.Context(), 0); err != nil {
			t.Error(err)
		}
		checkCount(t, b, recall.Count{})
	})
}

// TestCloseDuringReceive closes when messages are claimed, but nobody has them:
// they are given back.
func TestCloseDuringReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooked()
		b := newBrokerOn(t, h, nil)
		wide(t, b)
		publishMany(t, b, 3, recall.Message{Queue: "q"})
		synctest.Wait()
		closing := make(chan error, 1)
		h.afterClaim = func(res *recall.ClaimResult) {
			if len(res.Leases) > 0 {
				go func() { closing <- b.Close(context.Background()) }()
				time.Sleep(time.Second)
			}
		}
		got, err := b.Receive(t.Context(), "q", 10)
		checkError(t, "Receive", err, recall.ErrClosed)
		if len(got) > 0 {
			t.Errorf("got %d messages", len(got))
		}
		if err := <-closing; err != nil {
			t.Error(err)
		}
		if s := h.Stats(); s.InFlight != 0 || s.Pending != 3 {
			t.Errorf("%d are in flight, %d pending", s.InFlight, s.Pending)
		}
	})
}
