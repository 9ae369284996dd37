package recall_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// abortWays are the calls that abort an attempt at a message with the label a.
var abortWays = map[string]func(*recall.Broker, recall.MessageID) error{
	"single": func(b *recall.Broker, id recall.MessageID) error {
		return b.Cancel(context.Background(), id, recall.Abort)
	},
	"bulk": func(b *recall.Broker, _ recall.MessageID) error {
		res, err := b.CancelMatching(context.Background(), label("a"), recall.Abort)
		if err == nil && (res.Requested != 1 || res.Cancelled != 0 || res.Operation == "") {
			return errors.New("it asked for another number of messages")
		}
		return err
	},
	"all": func(b *recall.Broker, _ recall.MessageID) error {
		_, err := b.CancelAll(context.Background(), recall.Abort)
		return err
	},
}

// TestAbortRequest tears down a request: the server sees it end, and the message
// is neither tried again nor dead, though it had no attempt left.
func TestAbortRequest(t *testing.T) {
	for _, retries := range []int{0, 3} {
		for name, abort := range abortWays {
			synctest.Test(t, func(t *testing.T) {
				var requests, torn atomic.Int64
				f := openFile(t, &recall.Options{Transport: serve(t, func(_ http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					<-r.Context().Done()
					torn.Add(1)
				})})
				id := publish(t, f.Broker, recall.Message{URL: "http://api.test/", Labels: []string{"a"}, Retries: recall.Retries(retries), Timeout: time.Hour})
				synctest.Wait()
				if err := abort(f.Broker, id); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				synctest.Wait()
				if torn.Load() != 1 {
					t.Errorf("%s: the server does not know that its client is gone", name)
				}
				sleep(48 * time.Hour)
				if got := requests.Load(); got != 1 {
					t.Errorf("%s: got %d requests, want 1", name, got)
				}
				checkCount(t, f.Broker, recall.Count{})
				if s := f.Stats(); s.DeadLetters != 0 || s.Busy != 0 || s.Delivered != 0 {
					t.Errorf("%s: Stats: got %d dead letters, %d busy, %d delivered", name, s.DeadLetters, s.Busy, s.Delivered)
				}
				if _, err := f.Get(t.Context(), id); !errors.Is(err, recall.ErrNotFound) {
					t.Errorf("%s: Get: got %v, want ErrNotFound", name, err)
				}
			})
		}
	}
}

// TestAbortHandler ends the context of a handler, whatever that makes of it.
func TestAbortHandler(t *testing.T) {
	for name, end := range map[string]func(context.Context) error{
		"error":     func(ctx context.Context) error { return ctx.Err() },
		"permanent": func(ctx context.Context) error { return recall.Permanent(ctx.Err()) },
		"panic":     func(context.Context) error { panic("out of order") },
		"goexit":    func(context.Context) error { runtime.Goexit(); return nil },
		"success":   func(context.Context) error { return nil },
	} {
		for _, abort := range abortWays {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, nil)
				calls := 0
				handle(t, b, "local:h", func(ctx context.Context, _ *recall.Delivery) error {
					calls++
					<-ctx.Done()
					if cause := context.Cause(ctx); !errors.Is(ctx.Err(), context.Canceled) || errors.Is(cause, context.Canceled) || cause == nil {
						t.Errorf("%s: the context ended with %v, cause %v", name, ctx.Err(), cause)
					}
					return end(ctx)
				})
				id := publish(t, b, recall.Message{URL: "local:h", Labels: []string{"a"}, Timeout: time.Hour})
				synctest.Wait()
				if err := abort(b, id); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				sleep(48 * time.Hour)
				s := b.Stats()
				if delivered := name == "success"; calls != 1 || s.DeadLetters != 0 || s.Busy != 0 || delivered != (s.Delivered == 1) {
					t.Errorf("%s: got %d calls, %d delivered, %d dead letters, %d busy", name, calls, s.Delivered, s.DeadLetters, s.Busy)
				}
				checkCount(t, b, recall.Count{})
			})
		}
	}
}

// TestAbortOnlyWhatIsAsked leaves the attempts at other messages alone, and all
// of them with DryRun.
func TestAbortOnlyWhatIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		var s sleeper
		handle(t, b, "local:h", s.handle)
		for _, name := range []string{"a", "b", "a"} {
			publish(t, b, recall.Message{URL: "local:h", Labels: []string{name}})
		}
		waits := publish(t, b, recall.Message{URL: "local:h", Labels: []string{"a"}, Delay: time.Hour})
		synctest.Wait()
		if res, err := b.CancelMatching(t.Context(), label("a"), recall.Abort, recall.DryRun()); err != nil || res.Requested != 2 || res.Cancelled != 1 {
			t.Errorf("DryRun: got %+v, %v, want 2 requested and 1 cancelled", res, err)
		}
		synctest.Wait()
		if got := s.running.Load(); got != 3 {
			t.Errorf("after DryRun %d attempts run, want 3", got)
		}
		if res, err := b.CancelMatching(t.Context(), label("a"), recall.Abort); err != nil || res.Requested != 2 || res.Cancelled != 1 {
			t.Errorf("got %+v, %v, want 2 requested and 1 cancelled", res, err)
		}
		synctest.Wait()
		if got := s.running.Load(); got != 1 {
			t.Errorf("%d attempts run, want 1", got)
		}
		if err := b.Cancel(t.Context(), waits, recall.Abort); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("Cancel of what is cancelled: got %v, want ErrNotFound", err)
		}
		sleep(time.Hour)
		if s := b.Stats(); s.Delivered != 1 {
			t.Errorf("Delivered: got %d, want 1", s.Delivered)
		}
	})
}

// TestAbortBeforeTheStart aborts between the claim of a message and the start of
// its attempt, which then begins with a context that is done.
func TestAbortBeforeTheStart(t *testing.T) {
	for name, abort := range abortWays {
		synctest.Test(t, func(t *testing.T) {
			engine := &hooked{Reference: enginetest.NewReference()}
			var b *recall.Broker
			var id recall.MessageID
			aborted := false
			engine.afterClaim = func(res *recall.ClaimResult) {
				if len(res.Leases) == 1 && !aborted {
					aborted = true
					if err := abort(b, res.Leases[0].Message.ID); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
			b = newBrokerOn(t, engine, nil)
			calls := 0
			handle(t, b, "local:h", func(ctx context.Context, _ *recall.Delivery) error {
				calls++
				return ctx.Err()
			})
			id = publish(t, b, recall.Message{URL: "local:h", Labels: []string{"a"}})
			sleep(48 * time.Hour)
			if calls != 1 || !aborted {
				t.Errorf("%s: got %d calls, want 1", name, calls)
			}
			if _, err := b.Get(t.Context(), id); !errors.Is(err, recall.ErrNotFound) {
				t.Errorf("%s: Get: got %v, want ErrNotFound", name, err)
			}
			if s := b.Stats(); s.Delivered != 0 || s.DeadLetters != 0 {
				t.Errorf("%s: got %d delivered, %d dead letters", name, s.Delivered, s.DeadLetters)
			}
			// The next one with that handler is not its business.
			publish(t, b, recall.Message{URL: "local:h", Labels: []string{"a"}})
			synctest.Wait()
			if s := b.Stats(); s.Delivered != 1 {
				t.Errorf("%s: Delivered: got %d, want 1", name, s.Delivered)
			}
		})
	}
}

// TestAbortByItself has a handler abort the message that it works on.
func TestAbortByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		handle(t, f.Broker, "local:h", func(ctx context.Context, d *recall.Delivery) error {
			if err := f.Cancel(ctx, d.ID, recall.Abort); err != nil {
				t.Error(err)
			}
			<-ctx.Done()
			return ctx.Err()
		})
		publish(t, f.Broker, recall.Message{URL: "local:h"})
		sleep(48 * time.Hour)
		checkCount(t, f.Broker, recall.Count{})
		if s := f.Stats(); s.Failed != 1 || s.DeadLetters != 0 {
			t.Errorf("Stats: got %d failed, %d dead letters", s.Failed, s.DeadLetters)
		}
	})
}
