package recall_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestStatsCount has one message for each way in and each way out, and checks what
// was counted of them, and that what is left adds up.
func TestStatsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{Slots: 4, Backoff: func(int) time.Duration { return time.Minute }})
		ctx := t.Context()
		handle(t, f.Broker, "local:ok", func(context.Context, *recall.Delivery) error { return nil })
		handle(t, f.Broker, "local:bad", func(context.Context, *recall.Delivery) error { return errors.New("no") })
		handle(t, f.Broker, "local:slow", func(ctx context.Context, _ *recall.Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		})

		publish(t, f.Broker, recall.Message{URL: "local:ok", DeduplicationID: "1", Delay: time.Second})
		publish(t, f.Broker, recall.Message{URL: "local:ok", DeduplicationID: "1"})        // a duplicate
		publish(t, f.Broker, recall.Message{URL: "local:bad", Retries: recall.Retries(1)}) // two attempts, then dead
		slow := publish(t, f.Broker, recall.Message{URL: "local:slow", Timeout: time.Hour})
		one := publish(t, f.Broker, recall.Message{URL: "local:ok", Delay: time.Hour})
		batch := make([]recall.Message, 10)
		for i := range batch {
			batch[i] = recall.Message{URL: "local:ok", Delay: 48 * time.Hour, Labels: []string{"batch"}}
		}
		if _, err := f.PublishBatch(ctx, batch); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := f.Stats(); s.Busy != 1 || s.InFlight != 1 || s.Pending != 13 {
			t.Errorf("got %d busy, %d in flight, %d pending; want 1, 1, 13", s.Busy, s.InFlight, s.Pending)
		}
		checkStates(t, f.Broker, map[recall.State]int{recall.StateDelayed: 12, recall.StateRetrying: 1, recall.StateInFlight: 1})

		if err := f.Cancel(ctx, one); err != nil {
			t.Fatal(err)
		}
		if err := f.Cancel(ctx, slow, recall.Abort); err != nil { // it is cancelled when its attempt has failed
			t.Fatal(err)
		}
		if s := f.Stats(); s.InFlight != 0 {
			t.Errorf("got %d in flight: a message that is not to be tried again is not counted", s.InFlight)
		}
		res, err := f.CancelMatching(ctx, label("batch"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Restore(ctx, res.Operation); err != nil {
			t.Fatal(err)
		}
		if _, err := f.CancelFuture(ctx, label("future"), time.Now().Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		publish(t, f.Broker, recall.Message{URL: "local:ok", Labels: []string{"future"}})
		err = f.Update(ctx, func(tx *recall.Tx) error {
			r, err := tx.Publish(recall.Message{URL: "local:ok", Delay: time.Hour})
			if err != nil {
				return err
			}
			if _, err := tx.Publish(recall.Message{URL: "local:ok", Delay: time.Hour, Labels: []string{"own"}}); err != nil {
				return err
			}
			if err := tx.Cancel(r.ID); err != nil {
				return err
			}
			_, err = tx.CancelMatching(label("own"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		sleep(2 * time.Hour)

		s := f.Stats()
		for _, c := range []struct {
			name      string
			got, want int64
		}{
			{"Published", s.Published, 1 + 1 + 1 + 1 + 10 + 1 + 2},
			{"Duplicates", s.Duplicates, 1},
			{"Delivered", s.Delivered, 1},
			{"Failed", s.Failed, 3}, // two of one, and the one that was aborted
			{"Retried", s.Retried, 2},
			{"Died", s.Died, 1},
			{"Cancelled", s.Cancelled, 1 + 1 + 10 + 1 + 2},
			{"Restored", s.Restored, 10},
			{"Pending", int64(s.Pending), s.Published + s.Restored - s.Delivered - s.Died - s.Cancelled},
			{"PublishTime", s.PublishTime.Count(), 7},
			{"Lateness", s.Lateness.Count(), 4},
			{"AttemptTime", s.AttemptTime.Count(), 4},
			{"CommitTime", s.CommitTime.Count(), s.Commits},
			{"WriteTime", s.WriteTime.Count(), s.Commits},
			{"CommitRows", s.CommitRows.Count(), s.Commits},
			{"Errors", s.Errors, 0},
		} {
			if c.got != c.want {
				t.Errorf("%s: got %d, want %d", c.name, c.got, c.want)
			}
		}
		if s.CommitRows.Sum < float64(s.Published) {
			t.Errorf("got %g rows for %d messages", s.CommitRows.Sum, s.Published)
		}
	})
}

// TestStatsLateness: a message that waits for its handler is late by that, and an
// attempt takes what it takes.
func TestStatsLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		publish(t, b, recall.Message{URL: "local:h"})
		sleep(45 * time.Second)
		if got, err := b.CountStates(t.Context()); !errors.Is(err, recall.ErrUnsupported) {
			t.Errorf("an engine that does not count states: got %+v, %v", got, err)
		}
		handle(t, b, "local:h", func(context.Context, *recall.Delivery) error {
			time.Sleep(2 * time.Second)
			return nil
		})
		sleep(time.Minute)
		s := b.Stats()
		checkOne(t, "Lateness", s.Lateness, 45)
		checkOne(t, "AttemptTime", s.AttemptTime, 2)
	})
}

// checkOne checks a histogram of one value.
func checkOne(t *testing.T, name string, h recall.Histogram, want float64) {
	t.Helper()
	if h.Count() != 1 || h.Sum != want {
		t.Errorf("%s: got %d values of %g seconds, want one of %g", name, h.Count(), h.Sum, want)
	}
	for i, n := range h.Counts {
		fits := i < len(h.Bounds) && want <= h.Bounds[i] && (i == 0 || want > h.Bounds[i-1])
		if (n == 1) != fits {
			t.Errorf("%s: %d values in bucket %d", name, n, i)
		}
	}
}

// TestStatsHistogramEdges: a bound is inclusive, and what is above all is counted.
func TestStatsHistogramEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		took := []time.Duration{0, 100 * time.Microsecond, time.Second, time.Second + time.Microsecond, 20 * time.Hour}
		handle(t, b, "local:h", func(_ context.Context, d *recall.Delivery) error {
			time.Sleep(took[d.Body[0]])
			return nil
		})
		for i := range took {
			publish(t, b, recall.Message{URL: "local:h", Body: []byte{byte(i)}, Timeout: 24 * time.Hour})
		}
		sleep(21 * time.Hour)
		h := b.Stats().AttemptTime
		if got := [...]int64{h.Counts[0], h.Counts[12], h.Counts[13], h.Counts[recall.HistogramBuckets]}; got != [...]int64{2, 1, 1, 1} {
			t.Errorf("got %v in the buckets that have some: %+v", got, h)
		}
	})
}

// TestStatsSettling: with WaitFinish an attempt keeps its slot until its commit, and
// that can be seen.
func TestStatsSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commit := make(chan struct{})
		engine := newHooked()
		engine.beforeFinish = func(recall.Lease, recall.Finish) error {
			<-commit
			return nil
		}
		b := newBrokerOn(t, engine, &recall.Options{WaitFinish: true, MaxFileSize: 1 << 30})
		if s := b.Stats(); s.FileLimit != 1<<30 {
			t.Errorf("got a limit of %d bytes", s.FileLimit)
		}
		handle(t, b, "local:h", func(context.Context, *recall.Delivery) error { return nil })
		publish(t, b, recall.Message{URL: "local:h"})
		synctest.Wait()
		if s := b.Stats(); s.Busy != 1 || s.Settling != 1 {
			t.Errorf("got %d busy, %d settling, want one that is both", s.Busy, s.Settling)
		}
		close(commit)
		synctest.Wait()
		if s := b.Stats(); s.Busy != 0 || s.Settling != 0 || s.Delivered != 1 {
			t.Errorf("after the commit: %+v", s)
		}
	})
}

// TestStatsLeases counts leases that run out.
func TestStatsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		publish(t, f.Broker, recall.Message{Queue: "q", Timeout: time.Minute})
		if _, err := f.Receive(t.Context(), "q", 1); err != nil {
			t.Fatal(err)
		}
		sleep(2 * time.Minute)
		if s := f.Stats(); s.LeasesExpired != 1 || s.Failed != 1 || s.Retried != 1 || s.Lateness.Count() != 1 {
			t.Errorf("got %d expired leases, %d failed and %d retried attempts", s.LeasesExpired, s.Failed, s.Retried)
		}
	})
}

// TestStatsLastError: what the broker logs as an error can be seen, also when nobody
// reads the log, and the options show the logger that was given.
func TestStatsLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &recall.Options{Logger: quietLogger})
		if err != nil {
			t.Fatal(err)
		}
		defer closeNow(t, b, context.Background())
		handle(t, b, "local:h", func(context.Context, *recall.Delivery) error { panic("oh") })
		publish(t, b, recall.Message{URL: "local:h"})
		synctest.Wait()
		s := b.Stats()
		if want := "recall: an attempt panicked: oh"; s.Errors != 1 || s.LastError.Text != want || !s.LastError.At.Equal(time.Now()) {
			t.Errorf("got %d errors, the last %+v, want one of now: %q", s.Errors, s.LastError, want)
		}
		if got := b.Options().Logger; got != quietLogger {
			t.Errorf("Options: got a logger with %T, want the one that was given", got.Handler())
		}
	})
}

// TestCountStates holds the counts of all states against those of each.
func TestCountStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{Slots: 1})
		ctx := t.Context()
		handle(t, f.Broker, "local:bad", func(context.Context, *recall.Delivery) error { return recall.RetryAfter(time.Hour, errors.New("no")) })
		publish(t, f.Broker, recall.Message{URL: "local:bad"})
		for range 3 {
			publish(t, f.Broker, recall.Message{URL: "local:none", Queue: "q"})
		}
		for range 4 {
			publish(t, f.Broker, recall.Message{URL: "local:none", Delay: time.Hour})
		}
		for range 2 {
			publish(t, f.Broker, recall.Message{URL: "local:none", Delay: time.Hour, Labels: []string{"held"}})
		}
		if _, err := f.Hold(ctx, label("held")); err != nil {
			t.Fatal(err)
		}
		since := time.Now()
		sleep(time.Minute)
		publish(t, f.Broker, recall.Message{URL: "local:none"})
		handle(t, f.Broker, "local:wait", func(ctx context.Context, _ *recall.Delivery) error {
			<-ctx.Done()
			return nil
		})
		publish(t, f.Broker, recall.Message{URL: "local:wait", Timeout: time.Hour})
		synctest.Wait()
		checkStates(t, f.Broker, map[recall.State]int{
			recall.StateRetrying: 1, recall.StateReady: 2, recall.StateQueueBlocked: 2, recall.StateDelayed: 4,
			recall.StateHeld: 2, recall.StateInFlight: 1,
		})
		got, err := f.CountStates(ctx)
		if err != nil || !got.ReadySince.Equal(since) {
			t.Errorf("ready since %v, %v, want %v", got.ReadySince, err, since)
		}
		for s, n := range got.Counts {
			c, err := f.Count(ctx, recall.Filter{States: []recall.State{s}})
			if err != nil || c.Pending+c.InFlight != n {
				t.Errorf("%s: CountStates has %d, Count %+v, %v", s, n, c, err)
			}
		}
		closeNow(t, f.Broker, done())
		if _, err := f.CountStates(ctx); !errors.Is(err, recall.ErrClosed) {
			t.Errorf("after Close: got %v", err)
		}
		f.open(t)
	})
}

// checkStates checks the numbers of all states; those that are not named are 0.
func checkStates(t *testing.T, b *recall.Broker, want map[recall.State]int) {
	t.Helper()
	got, err := b.CountStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Counts) != 7 {
		t.Errorf("got %d states, want all 7: %v", len(got.Counts), got.Counts)
	}
	maps.DeleteFunc(got.Counts, func(_ recall.State, n int) bool { return n == 0 })
	if !maps.Equal(got.Counts, want) {
		t.Errorf("got %v, want %v", got.Counts, want)
	}
}
