package recall_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// hooked is a reference engine whose Claim and Finish a test can watch and
// change. The hooks are set while nothing runs.
type hooked struct {
	*enginetest.Reference
	claims       atomic.Int64
	beforeClaim  func(recall.ClaimRequest) error
	afterClaim   func(*recall.ClaimResult)
	beforeFinish func(recall.Lease, recall.Finish) error
	maintain     func(time.Time) (time.Time, error)
}

func newHooked() *hooked { return &hooked{Reference: enginetest.NewReference()} }

func (h *hooked) Claim(ctx context.Context, req recall.ClaimRequest) (recall.ClaimResult, error) {
	h.claims.Add(1)
	if h.beforeClaim != nil {
		if err := h.beforeClaim(req); err != nil {
			return recall.ClaimResult{}, err
		}
	}
	res, err := h.Reference.Claim(ctx, req)
	if h.afterClaim != nil && err == nil {
		h.afterClaim(&res)
	}
	return res, err
}

func (h *hooked) Finish(ctx context.Context, l recall.Lease, f recall.Finish) error {
	if h.beforeFinish != nil {
		if err := h.beforeFinish(l, f); err != nil {
			return err
		}
	}
	return h.Reference.Finish(ctx, l, f)
}

func (h *hooked) Maintain(ctx context.Context, now time.Time) (time.Time, error) {
	if h.maintain != nil {
		return h.maintain(now)
	}
	return h.Reference.Maintain(ctx, now)
}

// sleeper is a handler that takes its time and counts how many run.
type sleeper struct{ running, most, calls, last atomic.Int64 }

func (s *sleeper) handle(ctx context.Context, _ *recall.Delivery) error {
	defer s.running.Add(-1)
	if n := s.running.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	s.calls.Add(1)
	s.last.Store(time.Now().UnixNano())
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func publishMany(t *testing.T, b *recall.Broker, n int, m recall.Message) {
	t.Helper()
	batch := make([]recall.Message, n)
	for i := range batch {
		batch[i] = m
	}
	if _, err := b.PublishBatch(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// terse is an engine that hints at what is published and at nothing else: a
// slot that becomes free is the dispatcher's own business.
type terse struct {
	*hooked
	hint chan struct{}
}

func (e *terse) Hints() recall.Hints { return recall.Hints{Claim: e.hint} }

func (e *terse) Insert(ctx context.Context, msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	receipts, err := e.hooked.Insert(ctx, msgs, now)
	select {
	case e.hint <- struct{}{}:
	default:
	}
	return receipts, err
}

func TestSlotsBoundConcurrency(t *testing.T) {
	for _, slots := range []int{1, 2, 7} {
		t.Run(strconv.Itoa(slots), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := &terse{newHooked(), make(chan struct{}, 1)}
				engine.beforeClaim = func(req recall.ClaimRequest) error {
					if req.Max < 1 || req.Max > slots {
						t.Errorf("Claim asked for %d", req.Max)
					}
					return nil
				}
				b := newBrokerOn(t, engine, &recall.Options{Slots: slots})
				var s sleeper
				handle(t, b, "local:h", s.handle)
				publishMany(t, b, 10*slots, recall.Message{URL: "local:h"})
				synctest.Wait()
				checkCount(t, b, recall.Count{Pending: 9 * slots, InFlight: slots})
				if stats := b.Stats(); stats.Busy != slots || stats.Slots != slots {
					t.Errorf("Stats: got %d of %d busy, want all %d", stats.Busy, stats.Slots, slots)
				}
				start := time.Now()
				sleep(time.Minute)
				if took := time.Unix(0, s.last.Load()).Sub(start); took != 9*time.Second {
					t.Errorf("the last one began after %v, want 9s: no slot is idle for a moment", took)
				}
				if got := s.most.Load(); got != int64(slots) {
					t.Errorf("at once: got %d, want %d", got, slots)
				}
				if stats := b.Stats(); stats.Delivered != int64(10*slots) || stats.Busy != 0 {
					t.Errorf("Stats: got %+v", stats)
				}
			})
		})
	}
}

// TestClaimsAreEventDriven shows that an idle broker asks the engine for nothing
// at all.
func TestClaimsAreEventDriven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newHooked()
		b := newBrokerOn(t, engine, nil)
		var s sleeper
		handle(t, b, "local:h", s.handle)
		publish(t, b, recall.Message{URL: "local:h", Delay: 24 * time.Hour})
		publish(t, b, recall.Message{URL: "local:none"})
		synctest.Wait()
		before := engine.claims.Load()
		sleep(23 * time.Hour)
		if got := engine.claims.Load(); got != before {
			t.Errorf("claims while idle: got %d", got-before)
		}
		sleep(2 * time.Hour)
		if got := engine.claims.Load() - before; got > 4 {
			t.Errorf("claims for one message: got %d", got)
		}
		if s.calls.Load() != 1 {
			t.Errorf("calls: got %d, want 1", s.calls.Load())
		}
	})
}

// stepClock can be set while its timers run on, like the wall clock of a machine
// that was suspended or whose time is corrected.
type stepClock struct{ step atomic.Int64 }

func (c *stepClock) Now() time.Time {
	return time.Now().Round(0).Add(time.Duration(c.step.Load()))
}

func (c *stepClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// TestDueWhenTheClockSays sets the clock while a message waits: it is due by the
// clock and not by the timer that was started before, and is not asked for earlier,
// but once when the clock was set back.
func TestDueWhenTheClockSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, engine := &stepClock{}, newHooked()
		b := newBrokerOn(t, engine, &recall.Options{Clock: clock})
		var s sleeper
		handle(t, b, "local:h", s.handle)
		publish(t, b, recall.Message{URL: "local:h", Delay: 24 * time.Hour})
		synctest.Wait()
		before := engine.claims.Load()
		for _, step := range []struct{ set, pass time.Duration }{
			{-48 * time.Hour, 25 * time.Hour}, {46 * time.Hour, 59 * time.Minute},
		} {
			clock.step.Add(int64(step.set))
			sleep(step.pass)
			if calls, claims := s.calls.Load(), engine.claims.Load()-before; calls != 0 || claims > 1 {
				t.Errorf("a step of %v: got %d calls and %d claims before the time", step.set, calls, claims)
			}
		}
		clock.step.Add(int64(time.Minute))
		sleep(time.Minute)
		if got := s.calls.Load(); got != 1 {
			t.Errorf("calls: got %d, want 1 a minute after the time", got)
		}
	})
}

func TestDueTimesAreMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []string
		b := newBroker(t, nil)
		handle(t, b, "local:h", func(_ context.Context, d *recall.Delivery) error {
			got = append(got, string(d.Body)+" "+time.Since(start).String())
			return nil
		})
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("later"), NotBefore: start.Add(time.Hour)})
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("soon"), Delay: time.Minute})
		sleep(time.Second)
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("sooner"), Delay: time.Second})
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("past"), NotBefore: start.Add(-time.Hour)})
		publish(t, b, recall.Message{URL: "local:h", Body: []byte("both"), Delay: time.Minute, NotBefore: start.Add(3 * time.Hour)})
		sleep(24 * time.Hour)
		want := "past 1s, sooner 2s, soon 1m0s, later 1h0m0s, both 3h0m0s"
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// TestWaitFinish holds up Finish: the slot is free only when it has returned.
func TestWaitFinish(t *testing.T) {
	for _, wait := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			engine := newHooked()
			release := make(chan struct{})
			engine.beforeFinish = func(_ recall.Lease, f recall.Finish) error {
				if f.Durable != wait {
					t.Errorf("Durable: got %v, want %v", f.Durable, wait)
				}
				<-release
				return nil
			}
			b := newBrokerOn(t, engine, &recall.Options{Slots: 1, WaitFinish: wait})
			var s sleeper
			handle(t, b, "local:h", s.handle)
			publishMany(t, b, 2, recall.Message{URL: "local:h"})
			sleep(time.Minute)
			if got := s.calls.Load(); got != 1 {
				t.Errorf("calls: got %d before the first was finished", got)
			}
			close(release)
			sleep(time.Minute)
			if got := s.calls.Load(); got != 2 {
				t.Errorf("calls: got %d, want 2", got)
			}
		})
	}
}

func TestNoDispatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newHooked()
		b := newBrokerOn(t, engine, &recall.Options{NoDispatch: true})
		var s sleeper
		handle(t, b, "local:h", s.handle)
		id := publish(t, b, recall.Message{URL: "local:h"})
		publish(t, b, recall.Message{URL: endpoint})
		sleep(time.Hour)
		if engine.claims.Load() != 0 || s.calls.Load() != 0 {
			t.Errorf("got %d claims, %d calls", engine.claims.Load(), s.calls.Load())
		}
		checkCount(t, b, recall.Count{Pending: 2})
		if err := b.Cancel(t.Context(), id); err != nil {
			t.Error(err)
		}
		if stats := b.Stats(); stats.Pending != 1 || stats.Busy != 0 {
			t.Errorf("Stats: got %+v", stats)
		}
	})
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ref := enginetest.NewReference()
		b := newBrokerOn(t, ref, &recall.Options{Slots: 3})
		var s sleeper
		handle(t, b, "local:h", s.handle)
		publishMany(t, b, 10, recall.Message{URL: "local:h"})
		synctest.Wait()
		start := time.Now()
		closeNow(t, b, context.Background())
		if took := time.Since(start); took != time.Second {
			t.Errorf("Close took %v, want 1s", took)
		}
		if stats := b.Stats(); stats.Delivered != 3 || s.calls.Load() != 3 {
			t.Errorf("got %d delivered, %d calls, want 3", stats.Delivered, s.calls.Load())
		}
		again := newBrokerOn(t, ref.Reopen(), &recall.Options{NoDispatch: true})
		checkCount(t, again, recall.Count{Pending: 7})
	})
}

func TestCloseWithoutPatience(t *testing.T) {
	for name, ctx := range map[string]func() (context.Context, context.CancelFunc){
		"done": func() (context.Context, context.CancelFunc) { return done(), func() {} },
		"expires": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 500*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				ref := enginetest.NewReference()
				b := newBrokerOn(t, ref, &recall.Options{Slots: 6, Transport: transport})
				var s sleeper
				handle(t, b, "local:h", s.handle)
				handle(t, b, "local:permanent", func(ctx context.Context, _ *recall.Delivery) error {
					<-ctx.Done()
					return recall.Permanent(ctx.Err())
				})
				handle(t, b, "local:panic", func(ctx context.Context, _ *recall.Delivery) error { <-ctx.Done(); panic("over") })
				handle(t, b, "local:exit", func(ctx context.Context, _ *recall.Delivery) error { <-ctx.Done(); runtime.Goexit(); return nil })
				handle(t, b, "local:success", func(ctx context.Context, _ *recall.Delivery) error { <-ctx.Done(); return nil })
				for _, url := range []string{"local:h", "http://api.test/", "local:permanent", "local:panic", "local:exit", "local:success", "local:h"} {
					publish(t, b, recall.Message{URL: url})
				}
				synctest.Wait()
				checkCount(t, b, recall.Count{Pending: 1, InFlight: 6})
				c, cancel := ctx()
				defer cancel()
				start := time.Now()
				closeNow(t, b, c)
				if took := time.Since(start); took > 500*time.Millisecond {
					t.Errorf("Close took %v", took)
				}
				if stats := b.Stats(); stats.Delivered != 1 || stats.Failed != 0 || stats.Busy != 0 {
					t.Errorf("got %d delivered, %d failed, %d busy", stats.Delivered, stats.Failed, stats.Busy)
				}
				again := newBrokerOn(t, ref.Reopen(), &recall.Options{NoDispatch: true})
				checkCount(t, again, recall.Count{Pending: 6})
				for m, err := range again.List(t.Context(), recall.Filter{}) {
					if err != nil || m.Attempts != 0 || m.State != recall.StateReady {
						t.Errorf("%s: got %s with %d attempts, %v", m.URL, m.State, m.Attempts, err)
					}
				}
			})
		})
	}
}

// TestCloseWaitsForAStubbornHandler also shows that a handler may go on using
// the broker while it closes, and others may not.
func TestCloseWaitsForAStubbornHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ref := enginetest.NewReference()
		b := newBrokerOn(t, ref, nil)
		var late context.Context
		handle(t, b, "local:h", func(ctx context.Context, _ *recall.Delivery) error {
			late = ctx
			time.Sleep(time.Minute)
			_, err := b.Publish(ctx, recall.Message{URL: "local:follow-up"})
			if _, err := b.Publish(context.Background(), recall.Message{URL: "local:other"}); !errors.Is(err, recall.ErrClosed) {
				t.Errorf("Publish from elsewhere: got %v, want ErrClosed", err)
			}
			return err
		})
		publish(t, b, recall.Message{URL: "local:h", Timeout: time.Hour})
		synctest.Wait()
		start := time.Now()
		closeNow(t, b, context.Background())
		if took := time.Since(start); took != time.Minute {
			t.Errorf("Close took %v, want 1m", took)
		}
		if _, err := b.Publish(context.WithoutCancel(late), recall.Message{URL: "local:h"}); !errors.Is(err, recall.ErrClosed) {
			t.Errorf("Publish with the context of an attempt that is over: got %v, want ErrClosed", err)
		}
		again := newBrokerOn(t, ref.Reopen(), &recall.Options{NoDispatch: true})
		for m := range again.List(t.Context(), recall.Filter{}) {
			if m.URL != "local:follow-up" {
				t.Errorf("got %s, want what the handler published", m.URL)
			}
		}
		checkCount(t, again, recall.Count{Pending: 1})
	})
}

func TestHandlerCannotCloseItsBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		other := newBroker(t, nil)
		handle(t, b, "local:h", func(ctx context.Context, _ *recall.Delivery) error {
			if err := b.Close(ctx); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("Close of one's own broker: got %v, want ErrInvalid", err)
			}
			if err := other.Close(ctx); err != nil {
				t.Errorf("Close of another broker: %v", err)
			}
			return nil
		})
		publish(t, b, recall.Message{URL: "local:h"})
		synctest.Wait()
		if stats := b.Stats(); stats.Delivered != 1 {
			t.Errorf("Delivered: got %d, want 1", stats.Delivered)
		}
	})
}

// TestCloseDuringClaim closes while Claim is under way: its leases go back.
func TestCloseDuringClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newHooked()
		hold := make(chan struct{})
		engine.afterClaim = func(res *recall.ClaimResult) {
			if len(res.Leases) > 0 {
				<-hold
			}
		}
		b := newBrokerOn(t, engine, nil)
		var s sleeper
		handle(t, b, "local:h", s.handle)
		publishMany(t, b, 5, recall.Message{URL: "local:h"})
		synctest.Wait()
		go func() {
			synctest.Wait()
			close(hold)
		}()
		closeNow(t, b, context.Background())
		if s.calls.Load() != 0 {
			t.Errorf("calls: got %d after Close began", s.calls.Load())
		}
		again := newBrokerOn(t, engine.Reopen(), &recall.Options{NoDispatch: true})
		checkCount(t, again, recall.Count{Pending: 5})
	})
}

var errPassing = errors.New("bad weather")

func TestClaimFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		engine := newHooked()
		var good atomic.Bool
		engine.beforeClaim = func(recall.ClaimRequest) error {
			if good.Load() {
				return nil
			}
			return errPassing
		}
		b := newBrokerOn(t, engine, &recall.Options{Logger: l.logger()})
		var s sleeper
		handle(t, b, "local:h", s.handle)
		for range 100 { // hints must not make it faster
			publish(t, b, recall.Message{URL: "local:h", Delay: time.Minute})
			sleep(600 * time.Millisecond)
		}
		if got := engine.claims.Load(); got < 5 || got > 20 {
			t.Errorf("claims in a minute of failure: got %d", got)
		}
		good.Store(true)
		sleep(time.Hour)
		if s.calls.Load() != 100 {
			t.Errorf("calls: got %d, want 100", s.calls.Load())
		}
		if l.count("bad weather") == 0 {
			t.Error("the failure was not logged")
		}
	})
}

func TestEngineIsLost(t *testing.T) {
	for _, lost := range []error{recall.ErrFailed, recall.ErrClosed} {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			engine := newHooked()
			var broken atomic.Bool
			engine.beforeClaim = func(recall.ClaimRequest) error {
				if broken.Load() {
					return lost
				}
				return nil
			}
			engine.beforeFinish = func(recall.Lease, recall.Finish) error {
				broken.Store(true)
				return lost
			}
			b := newBrokerOn(t, engine, &recall.Options{Logger: l.logger(), Slots: 2})
			var s sleeper
			handle(t, b, "local:h", s.handle)
			publishMany(t, b, 5, recall.Message{URL: "local:h"})
			sleep(time.Hour)
			before := engine.claims.Load()
			publish(t, b, recall.Message{URL: "local:h"})
			sleep(time.Hour)
			if got := engine.claims.Load(); got != before {
				t.Errorf("claims of a lost engine: got %d", got-before)
			}
			if s.calls.Load() != 2 {
				t.Errorf("calls: got %d, want the 2 that were running", s.calls.Load())
			}
			if got := l.count("level=ERROR"); got != 1 {
				t.Errorf("errors in the log: got %d, want 1:\n%s", got, &l)
			}
			if stats := b.Stats(); stats.Delivered != 0 || stats.Busy != 0 {
				t.Errorf("Stats: got %d delivered, %d busy", stats.Delivered, stats.Busy)
			}
		})
	}
}

func TestLeaseIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		engine := newHooked()
		engine.beforeFinish = func(recall.Lease, recall.Finish) error { return recall.ErrLeaseLost }
		b := newBrokerOn(t, engine, &recall.Options{Logger: l.logger()})
		var s sleeper
		handle(t, b, "local:h", s.handle)
		id := publish(t, b, recall.Message{URL: "local:h"})
		sleep(time.Minute)
		if l.count("level=ERROR") != 1 || l.count(string(id)) != 1 {
			t.Errorf("log:\n%s", &l)
		}
		if stats := b.Stats(); stats.Delivered != 0 || stats.Busy != 0 {
			t.Errorf("Stats: got %d delivered, %d busy", stats.Delivered, stats.Busy)
		}
	})
}

// TestPastNext runs on an engine that breaks the contract: it has nothing to
// give, but says that something is due.
func TestPastNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newHooked()
		engine.afterClaim = func(res *recall.ClaimResult) { res.Next = time.Now().Add(-time.Hour) }
		newBrokerOn(t, engine, nil)
		sleep(time.Second)
		if got := engine.claims.Load(); got > 1100 {
			t.Errorf("claims in a second: got %d", got)
		}
	})
}

func TestAttemptsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		status := 503
		b := newBroker(t, &recall.Options{Logger: l.logger(), Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(status), nil
		})})
		publish(t, b, recall.Message{URL: "https://user:secret@api.test/secret?key=secret", Retries: recall.Retries(1)})
		sleep(time.Minute)
		status = 200
		publish(t, b, recall.Message{URL: endpoint})
		sleep(time.Minute)
		var lines []string
		for line := range strings.Lines(l.String()) {
			lines = append(lines, line)
		}
		wants := [][]string{
			{"level=INFO", "attempt=1", "url=https://api.test/… ", "duration=1s", "status=503", "reason=", "due=2000-01-01T00:00:13.000Z"},
			{"level=WARN", "attempt=2", "status=503", "reason="},
			{"level=DEBUG", "attempt=1", "duration=1s", "url=" + strings.TrimSuffix(endpoint, "/hook")},
		}
		if len(lines) != len(wants) {
			t.Fatalf("got %d lines:\n%s", len(lines), &l)
		}
		for i, want := range wants {
			for _, text := range append(want, "message=msg_") {
				if !strings.Contains(lines[i], text) {
					t.Errorf("no %q in %s", text, lines[i])
				}
			}
		}
		if l.count("secret") != 0 {
			t.Error("a secret is in the log")
		}
	})
}

// TestEverythingAtOnce publishes, cancels, fails and registers from many
// goroutines, for the race detector; every message ends in exactly one way.
func TestEverythingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{Slots: 8, Backoff: func(int) time.Duration { return time.Second }})
		var handled, published, cancelled atomic.Int64
		h := func(_ context.Context, d *recall.Delivery) error {
			if len(d.Body)%3 == 0 && d.Attempt < 3 {
				return errNoRoom
			}
			handled.Add(1)
			return nil
		}
		handle(t, b, "local:h", h)
		var all sync.WaitGroup
		for g := range 4 {
			all.Go(func() {
				for i := range 100 {
					publish(t, b, recall.Message{URL: "local:h", Body: make([]byte, i), Labels: []string{strconv.Itoa(g)}, Delay: time.Duration(i%2) * time.Second})
					published.Add(1)
				}
			})
			all.Go(func() {
				for range 50 {
					res, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{strconv.Itoa(g)}})
					if err != nil && !errors.Is(err, recall.ErrNotCancellable) {
						t.Error(err)
					}
					cancelled.Add(int64(res.Cancelled))
					handle(t, b, "local:h", nil)
					handle(t, b, "local:h", h)
				}
			})
		}
		all.Wait()
		sleep(time.Hour)
		if got := handled.Load() + cancelled.Load(); got != published.Load() {
			t.Errorf("%d handled and %d cancelled are not the %d published", handled.Load(), cancelled.Load(), published.Load())
		}
		checkCount(t, b, recall.Count{})
	})
}

// TestReopenAfterClose goes through a file: what was in flight when the broker
// closed without patience is delivered after the next open, by its first
// attempt.
func TestReopenAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "queue.db")
		open := func() *recall.Broker {
			b, err := recall.Open(path, &recall.Options{Slots: 2, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		b := open()
		var s sleeper
		handle(t, b, "local:h", s.handle)
		publishMany(t, b, 5, recall.Message{URL: "local:h"})
		synctest.Wait()
		checkCount(t, b, recall.Count{Pending: 3, InFlight: 2})
		closeNow(t, b, done())

		b = open()
		checkCount(t, b, recall.Count{Pending: 5})
		var mu sync.Mutex
		attempts := map[recall.MessageID]int{}
		handle(t, b, "local:h", func(_ context.Context, d *recall.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			attempts[d.ID] = d.Attempt
			return nil
		})
		synctest.Wait()
		checkCount(t, b, recall.Count{})
		if len(attempts) != 5 {
			t.Errorf("delivered %d messages, want 5", len(attempts))
		}
		for id, n := range attempts {
			if n != 1 {
				t.Errorf("%s was delivered by attempt %d, want 1", id, n)
			}
		}
		closeNow(t, b, context.Background())
	})
}

// What the log says of an attempt that fails is true of a message that is not
// to be tried again.
func TestLogOfCancelledAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logs
		b := newBroker(t, &recall.Options{Logger: log.logger()})
		release := make(chan struct{})
		handle(t, b, "local:job", func(context.Context, *recall.Delivery) error {
			<-release
			return errors.New("failed")
		})
		for _, label := range []string{"sticky", "none"} {
			publish(t, b, recall.Message{URL: "local:job", Labels: []string{label}, Retries: recall.Retries(1)})
		}
		synctest.Wait()
		res, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{"sticky"}}, recall.Sticky)
		if res.Requested != 1 || err != nil {
			t.Fatalf("CancelMatching: %+v, %v", res, err)
		}
		close(release)
		sleep(time.Hour)
		for text, want := range map[string]int{"and the message is cancelled": 1, "another one follows": 1, "message is dead": 1} {
			if got := log.count(text); got != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, got, want, log.String())
			}
		}
	})
}
