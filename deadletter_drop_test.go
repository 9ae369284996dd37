package recall_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

const day = 24 * time.Hour

// dieOne publishes a message that dies at once.
func dieOne(t *testing.T, b *recall.Broker) {
	t.Helper()
	publish(t, b, recall.Message{URL: "local:bad"})
	synctest.Wait()
}

// wantDead compares how many dead letters there are, and how many were dropped.
func wantDead(t *testing.T, b *recall.Broker, left int, dropped int64) {
	t.Helper()
	s := b.Stats()
	if got := len(deadLetters(t, b)); got != left || s.DeadLetters != left || s.DeadLettersDropped != dropped {
		t.Errorf("got %d dead letters, %d by Stats, %d dropped; want %d, and %d dropped", got, s.DeadLetters, s.DeadLettersDropped, left, dropped)
	}
}

// TestDeadLettersAreDroppedByAge: each when it is old enough, not earlier.
func TestDeadLettersAreDroppedByAge(t *testing.T) {
	for _, test := range []struct{ option, want time.Duration }{{0, 30 * day}, {time.Hour, time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			var log logs
			b := newBroker(t, &recall.Options{DeadLetterRetention: test.option, Logger: log.logger()})
			bury(t, b, 2)
			sleep(test.want / 2)
			dieOne(t, b)
			sleep(test.want/2 - time.Millisecond)
			wantDead(t, b, 3, 0)
			sleep(time.Millisecond)
			wantDead(t, b, 1, 2)
			if log.count("dead letters were dropped") != 1 || log.count("count=2 reason=age") != 1 {
				t.Errorf("log: %s", log.String())
			}
			sleep(test.want)
			wantDead(t, b, 0, 3)
		})
	}
}

// TestDeadLettersAreDroppedByNumber: the oldest go, a step after the other, each
// logged once.
func TestDeadLettersAreDroppedByNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logs
		engine := &stepSizes{Reference: enginetest.NewReference()}
		first := newBrokerOn(t, engine, nil)
		bury(t, first, 2600)
		all := deadLetters(t, first)
		closeNow(t, first, t.Context())
		engine = &stepSizes{Reference: engine.Reopen()}
		b := newBrokerOn(t, engine, &recall.Options{MaxDeadLetters: 500, Logger: log.logger()})
		synctest.Wait()
		wantDead(t, b, 500, 2100)
		if got := deadLetters(t, b)[0].ID; got != all[2100].ID {
			t.Errorf("the oldest that is left: got %s, want %s", got, all[2100].ID)
		}
		if len(engine.deleted) != 3 || engine.deleted[0] != 1000 || log.count("reason=number") != 3 {
			t.Errorf("steps: got %v; log: %s", engine.deleted, log.String())
		}
		handle(t, b, "local:bad", func(context.Context, *recall.Delivery) error { return recall.Permanent(errNoRoom) })
		dieOne(t, b)
		wantDead(t, b, 500, 2101)
	})
}

// TestDeadLettersAreKept: for ever if they are to be, and by who only looks.
func TestDeadLettersAreKept(t *testing.T) {
	for name, opts := range map[string]recall.Options{
		"for ever":       {DeadLetterRetention: -1, MaxDeadLetters: -1},
		"without upkeep": {NoDispatch: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := openFile(t, &recall.Options{DeadLetterRetention: -1})
				bury(t, f.Broker, 5)
				f.opts.DeadLetterRetention, f.opts.MaxDeadLetters, f.opts.NoDispatch = opts.DeadLetterRetention, opts.MaxDeadLetters, opts.NoDispatch
				sleep(400 * day)
				f.reopen(t)
				sleep(400 * day)
				wantDead(t, f.Broker, 5, 0)
				f.opts = recall.Options{Durability: recall.SyncNever, Logger: quietLogger, NoDispatch: true, MaxDeadLetters: 3}
				f.reopen(t)
				synctest.Wait()
				wantDead(t, f.Broker, 3, 2)
			})
		})
	}
}

// TestDeadLetterOfAClockAhead: one that died in the future keeps nobody else.
func TestDeadLetterOfAClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := enginetest.NewReference()
		b := newBrokerOn(t, engine, nil)
		for _, at := range []time.Time{time.Now().Add(400 * day), time.Now()} {
			m := recall.Message{URL: "local:none", Method: "POST", Retries: recall.Retries(0), DueAt: at, CreatedAt: at}
			_, err := engine.Insert(t.Context(), []recall.Message{m}, at)
			res, err2 := engine.Claim(t.Context(), recall.ClaimRequest{Now: at, Max: 1, Handlers: []string{m.URL}})
			if err := errors.Join(err, err2); err != nil || len(res.Leases) != 1 {
				t.Fatalf("%+v, %v", res, err)
			}
			if err := engine.Finish(t.Context(), res.Leases[0], recall.Finish{Outcome: recall.Dead, Now: at}); err != nil {
				t.Fatal(err)
			}
		}
		sleep(31 * day)
		wantDead(t, b, 1, 1)
		sleep(400 * day)
		wantDead(t, b, 0, 2)
	})
}

// busy is an engine that always has background work, and no room.
type busy struct {
	*enginetest.Reference
	mu    sync.Mutex
	full  bool
	steps int
	drops []int // the number of steps before each
}

func (e *busy) Maintain(context.Context, time.Time) (time.Time, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.steps++
	return time.Now(), nil
}

func (e *busy) DeleteDead(ctx context.Context, ids []recall.DeadLetterID) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.full {
		return 0, recall.ErrFull
	}
	e.drops = append(e.drops, e.steps)
	return e.Reference.DeleteDead(ctx, ids)
}

// TestDropTakesTurns: dead letters are dropped beside an engine that is always
// busy, and it gets its steps beside them, within the rate of both together.
func TestDropTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &busy{Reference: enginetest.NewReference(), full: true}
		b := newBrokerOn(t, engine, &recall.Options{MaxDeadLetters: 1, UpkeepRate: 10})
		bury(t, b, 2600)
		sleep(10 * time.Second)
		wantDead(t, b, 2600, 0)
		engine.mu.Lock()
		engine.full = false
		before := engine.steps
		engine.mu.Unlock()
		sleep(time.Second)
		wantDead(t, b, 1, 2599)
		engine.mu.Lock()
		defer engine.mu.Unlock()
		if steps := engine.steps - before; steps != 7 && steps != 8 || len(engine.drops) != 3 {
			t.Errorf("got %d steps of the engine and drops %v in a second, want 10 in all", steps, engine.drops)
		}
		for i := range engine.drops[1:] {
			if engine.drops[i+1] != engine.drops[i]+1 {
				t.Errorf("steps before each drop: got %v, want one between two", engine.drops)
			}
		}
	})
}

// TestDroppedDeadLettersGiveRoomBack: segments in which none is left are dropped.
func TestDroppedDeadLettersGiveRoomBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{MaxDeadLetters: 10, Slots: 512})
		handle(t, f.Broker, "local:bad", func(context.Context, *recall.Delivery) error { return recall.Permanent(errNoRoom) })
		for range 6 {
			publishMany(t, f.Broker, 4096, recall.Message{URL: "local:bad"})
			sleep(time.Minute)
		}
		wantDead(t, f.Broker, 10, 6*4096-10)
		if n := f.Stats().Segments; n > 4 { // the newest two of messages, and of dead letters
			t.Errorf("%d segments are left", n)
		}
	})
}
