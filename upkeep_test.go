package recall_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

func TestUpkeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		hint := make(chan struct{}, 1)
		engine := &maintained{hooked: newHooked(), hint: hint}
		next := []time.Duration{0, time.Hour, time.Hour, 0} // after the first call, the second, …; 0 for the next hint
		engine.maintain = func(now time.Time) (time.Time, error) {
			if !now.Equal(time.Now()) {
				t.Errorf("now: got %v, want %v", now, time.Now())
			}
			at = append(at, time.Since(start))
			if d := next[len(at)-1]; d != 0 {
				return now.Add(d), nil
			}
			return time.Time{}, nil
		}
		newBrokerOn(t, engine, &recall.Options{NoDispatch: true})
		sleep(24 * time.Hour)
		hint <- struct{}{}
		sleep(30 * time.Minute)
		hint <- struct{}{}
		sleep(24 * time.Hour)
		want := []time.Duration{0, 24 * time.Hour, 24*time.Hour + 30*time.Minute, 25*time.Hour + 30*time.Minute}
		if len(at) != len(want) {
			t.Fatalf("calls at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Errorf("call %d: got %v, want %v", i, at[i], want[i])
			}
		}
	})
}

// maintained is an engine that hints by hand.
type maintained struct {
	*hooked
	hint chan struct{}
}

func (m *maintained) Hints() recall.Hints {
	return recall.Hints{Claim: m.hooked.Hints().Claim, Maintain: m.hint}
}

// TestUpkeepGoesOn has steps that want to be followed at once, at a time that
// stands still.
func TestUpkeepGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		engine := newHooked()
		engine.maintain = func(now time.Time) (time.Time, error) {
			if calls.Add(1) == 5 {
				return time.Time{}, nil
			}
			return now, nil
		}
		newBrokerOn(t, engine, &recall.Options{NoDispatch: true})
		synctest.Wait()
		if got := calls.Load(); got != 5 {
			t.Errorf("calls: got %d, want 5", got)
		}
	})
}

// TestCloseWaitsForUpkeep closes during a step, which must end before the
// engine is closed.
func TestCloseWaitsForUpkeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := newHooked()
		engine.maintain = func(time.Time) (time.Time, error) {
			time.Sleep(time.Minute)
			if _, err := engine.Count(context.Background(), recall.Filter{}, time.Now()); err != nil {
				t.Errorf("the engine was closed during a step: %v", err)
			}
			return time.Time{}, nil
		}
		b := newBrokerOn(t, engine, &recall.Options{NoDispatch: true})
		synctest.Wait()
		closeNow(t, b, done())
		time.Sleep(time.Hour)
	})
}

func TestUpkeepFails(t *testing.T) {
	for _, test := range []struct {
		err         error
		least, most int64
	}{
		{errPassing, 10, 30}, {recall.ErrFailed, 1, 1}, {recall.ErrClosed, 1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var l logs
			var calls atomic.Int64
			engine := newHooked()
			engine.maintain = func(time.Time) (time.Time, error) {
				calls.Add(1)
				return time.Time{}, test.err
			}
			newBrokerOn(t, engine, &recall.Options{NoDispatch: true, Logger: l.logger()})
			sleep(2 * time.Minute)
			if got := calls.Load(); got < test.least || got > test.most {
				t.Errorf("%v: got %d calls, want %d to %d", test.err, got, test.least, test.most)
			}
			if got := l.count("level=ERROR"); int64(got) != calls.Load() {
				t.Errorf("%v: got %d errors in the log for %d calls", test.err, got, calls.Load())
			}
		})
	}
}

// TestUpkeepRate cancels what background work then takes minutes to fold away
// and to give back, since it may commit once in a second only; then ten times;
// then as often as it likes.
func TestUpkeepRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const segments, perSegment = 30, 4096
		f := openFile(t, &recall.Options{NoDispatch: true, UndoWindow: -1, UpkeepRate: 1, MaxBatch: perSegment})
		for range segments {
			publishMany(t, f.Broker, perSegment, recall.Message{URL: endpoint, Labels: []string{"a"}, Delay: time.Hour})
		}
		if res, err := f.CancelAll(t.Context()); err != nil || res.Cancelled != segments*perSegment {
			t.Fatalf("CancelAll: got %+v, %v", res, err)
		}
		sleep(0)
		if got := f.Stats().Backlog; got != segments*perSegment {
			t.Errorf("Backlog: got %d, want %d", got, segments*perSegment)
		}
		// run watches until so many segments are left, and returns the most commits
		// of one second.
		run := func(left int) (most int64) {
			for seconds := 0; f.Stats().Segments > left; seconds++ {
				if seconds == 3600 {
					t.Fatalf("after an hour there are %d segments", f.Stats().Segments)
				}
				before := f.Stats().Commits
				sleep(time.Second)
				most = max(most, f.Stats().Commits-before)
			}
			return most
		}
		if most := run(25); most != 1 {
			t.Errorf("got up to %d commits in a second, want 1", most)
		}
		if got := f.Stats().Backlog; got != 0 {
			t.Errorf("Backlog after folding: got %d", got)
		}
		if err := f.SetUpkeepRate(10); err != nil {
			t.Fatal(err)
		}
		if most := run(20); most < 5 || most > 10 {
			t.Errorf("got up to %d commits in a second, want 10 at most, and more than at first", most)
		}
		if err := f.SetUpkeepRate(-1); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("a negative rate: got %v, want ErrInvalid", err)
		}
		if err := f.SetUpkeepRate(0); err != nil {
			t.Fatal(err)
		}
		if most := run(1); most < 9 {
			t.Errorf("without limit got %d commits in a second", most)
		}
	})
}

// TestUndoWindowExpires lets the time for an undo pass: what it kept is given
// back by itself, and used again.
func TestUndoWindowExpires(t *testing.T) {
	for _, window := range []time.Duration{0, time.Hour, -1} {
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, &recall.Options{NoDispatch: true, UndoWindow: window})
			if window == 0 {
				window = recall.DefaultUndoWindow
			}
			round := func() recall.OperationID {
				publishMany(t, f.Broker, 8000, recall.Message{URL: endpoint, Labels: []string{"a"}, Delay: time.Hour})
				res, err := f.CancelMatching(t.Context(), label("a"))
				if err != nil || res.Cancelled != 8000 {
					t.Fatalf("CancelMatching: got %+v, %v", res, err)
				}
				return res.Operation
			}
			op := round()
			if window > 0 {
				sleep(window - time.Millisecond)
				if s := f.Stats(); s.Undoable != 1 || s.UndoBytes < 8000*105 || s.Backlog != 0 || s.Segments != 2 {
					t.Errorf("%v: before the end: got %+v", window, s.EngineStats)
				}
			}
			sleep(time.Millisecond)
			if s := f.Stats(); s.Undoable != 0 || s.UndoBytes != 0 || s.Backlog != 0 || s.Segments != 1 {
				t.Errorf("%v: after the end: got %+v", window, s.EngineStats)
			}
			if _, err := f.Restore(t.Context(), op); !errors.Is(err, recall.ErrUndoExpired) {
				t.Errorf("%v: Restore: got %v, want ErrUndoExpired", window, err)
			}
			round()
			sleep(max(0, window))
			size := f.Stats().FileBytes
			for range 5 {
				round()
				sleep(max(0, window))
			}
			if got := f.Stats().FileBytes; got > size {
				t.Errorf("%v: the file has grown from %d to %d bytes", window, size, got)
			}
		})
	}
}

// TestUndoBytesEvictTheOldest holds more than may be undone: the oldest operation gives way.
func TestUndoBytesEvictTheOldest(t *testing.T) {
	f := openFile(t, waiting)
	round := func(name string) recall.OperationID {
		publishMany(t, f.Broker, 2000, recall.Message{URL: endpoint, Labels: []string{name}, Delay: time.Hour})
		res, err := f.CancelMatching(t.Context(), label(name))
		if err != nil || res.Cancelled != 2000 {
			t.Fatalf("CancelMatching: got %+v, %v", res, err)
		}
		return res.Operation
	}
	first := round("a")
	f.opts.UndoBytes = f.Stats().UndoBytes * 5 / 2 // two have room, three have not
	f.reopen(t)
	second := round("b")
	if got := f.Stats().Undoable; got != 2 {
		t.Errorf("Undoable: got %d, want 2", got)
	}
	third := round("c")
	if s := f.Stats(); s.Undoable != 2 || s.UndoBytes > f.opts.UndoBytes {
		t.Errorf("got %d undoable of %d bytes, want 2 of at most %d", s.Undoable, s.UndoBytes, f.opts.UndoBytes)
	}
	if _, err := f.Restore(t.Context(), first); !errors.Is(err, recall.ErrUndoExpired) {
		t.Errorf("Restore of the first: got %v, want ErrUndoExpired", err)
	}
	for _, op := range []recall.OperationID{third, second} {
		if r, err := f.Restore(t.Context(), op); err != nil || r.Restored != 2000 {
			t.Errorf("Restore: got %+v, %v, want 2000", r, err)
		}
	}
	checkCount(t, f.Broker, recall.Count{Pending: 4000})
}

// TestFileStaysBounded publishes and cancels in turn, and holds the largest size
// of the file against what ARCHITECTURE.md promises.
func TestFileStaysBounded(t *testing.T) {
	small, large := 300_000, 400
	if os.Getenv("RECALL_SOAK") != "" {
		small, large = 50_000_000, 4_000
	}
	fileStaysBounded(t, small, 10_000, 100)
	fileStaysBounded(t, large, 4, 512<<10)
}

func fileStaysBounded(t *testing.T, total, batch, body int) {
	t.Helper()
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &recall.Options{
		Durability: recall.SyncNever, NoDispatch: true, UndoWindow: -1, Logger: quietLogger,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, b, context.Background())
	// A segment is dropped as a whole, so of the batch before and the one before
	// that a part may still be there, beside the one that is being published,
	// whose commit needs twice its size. A message takes 250 bytes beside its body.
	messages := 6*batch*(body+250) + 2*min(4096*(body+250), 16<<20)
	const reserve, step = 8 << 20, 64 << 20
	var largest int64
	for done := batch; done <= total; done += batch {
		publishMany(t, b, batch, recall.Message{URL: endpoint, Labels: []string{"a"}, Delay: time.Hour, Body: make([]byte, body)})
		if res, err := b.CancelMatching(t.Context(), label("a")); err != nil || res.Cancelled != batch {
			t.Fatalf("CancelMatching: got %+v, %v", res, err)
		}
		for b.Stats().Backlog > 2*batch { // real time of a real file
			runtime.Gosched()
		}
		need := int64(messages + reserve + 2*done + 300*done/batch) // for the records of cancellations
		largest = max(largest, b.Stats().FileBytes)
		if bound := min(2*need, need+step); largest > bound {
			t.Fatalf("after %d messages the file has %d bytes, the bound is %d", done, largest, bound)
		}
	}
	t.Logf("%d messages of %d bytes; the file had at most %d bytes", total, body, largest)
}
