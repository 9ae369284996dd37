package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// skewed are processes on one queue whose clocks are wrong by an hour. They all deliver.
func skewed(t *testing.T, o postgres.Options, skews ...time.Duration) (list []*process, arrivals *arrived) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	o.Schema, o.PollInterval = schema, 5*time.Millisecond
	arrivals = &arrived{at: map[recall.MessageID][]time.Time{}}
	for _, skew := range skews {
		p := newProcess(t, dsn, postgres.WithLocal(o, func() time.Time { return time.Now().Add(skew) }), nil)
		noError(t, p.Handle("local:job", arrivals.note))
		list = append(list, p)
	}
	return list, arrivals
}

// arrived is when messages were delivered, by the clock of the server, which is that of
// this machine.
type arrived struct {
	mu sync.Mutex
	at map[recall.MessageID][]time.Time
}

func (a *arrived) note(_ context.Context, d *recall.Delivery) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[d.ID] = append(a.at[d.ID], time.Now())
	return nil
}

func (a *arrived) of(id recall.MessageID) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at[id]
}

// clockFault is how wrong the time of the server may be known here: a question and its
// answer may take that long on a busy machine.
const clockFault = 200 * time.Millisecond

var skews = []time.Duration{time.Hour, 0, -time.Hour}

// TestSkewedDelay has each of them publish what is due later: it is delivered then, once,
// whoever does it.
func TestSkewedDelay(t *testing.T) {
	processes, arrivals := skewed(t, postgres.Options{}, skews...)
	const delay = time.Second
	due := map[recall.MessageID]time.Time{}
	for _, p := range processes {
		for range 5 {
			r, err := p.Publish(t.Context(), recall.Message{URL: "local:job", Delay: delay})
			noError(t, err)
			due[r.ID] = time.Now().Add(delay)
			if off := time.Since(r.CreatedAt).Abs(); off > time.Minute {
				t.Errorf("it was created %v from now", off)
			}
		}
	}
	for id, at := range due {
		eventually(t, "a delivery", func() bool { return len(arrivals.of(id)) > 0 })
		if got := arrivals.of(id); len(got) != 1 || got[0].Before(at.Add(-clockFault)) {
			t.Errorf("%s was due at %v, and delivered at %v", id, at, got)
		}
	}
}

// TestSkewedSchedule has all of them follow a schedule: its time is met once, and not
// before it has come.
func TestSkewedSchedule(t *testing.T) {
	processes, _ := skewed(t, postgres.Options{}, skews...)
	for _, p := range processes {
		s, err := p.SetSchedule(t.Context(), recall.Schedule{ID: "s", Cron: "0 0 1 1 *", Message: recall.Message{URL: "https://api.test", Delay: time.Hour}})
		noError(t, err)
		if off := time.Since(s.UpdatedAt).Abs(); off > time.Minute {
			t.Errorf("it was set %v from now", off)
		}
	}
	at := time.Now().Add(time.Second)
	processes[0].dueAt(t, "s", at)
	eventually(t, "a message", func() bool { return len(processes[1].published(t, "s")) > 0 })
	eventually(t, "everybody who has seen the time pass", func() bool { return time.Now().After(at.Add(clockFault)) })
	list := processes[1].published(t, "s")
	if len(list) != 1 || list[0].CreatedAt.Before(at.Add(-clockFault)) {
		t.Errorf("it was due at %v, and published %v", at, list)
	}
}

// TestSkewedWindow has a deduplication id hold for its window, whoever publishes.
func TestSkewedWindow(t *testing.T) {
	const window = 2 * time.Second
	processes, _ := skewed(t, postgres.Options{DeduplicationWindow: window}, skews...)
	publish := func(p *process) recall.Receipt {
		t.Helper()
		r, err := p.Publish(t.Context(), recall.Message{URL: "https://api.test", Delay: time.Hour, DeduplicationID: "d"})
		noError(t, err)
		return r
	}
	began := time.Now()
	first := publish(processes[0])
	for _, p := range processes {
		if r := publish(p); time.Since(began) < window-clockFault && (!r.Deduplicated || r.ID != first.ID) {
			t.Errorf("within the window: %+v, want %s again", r, first.ID)
		}
	}
	next := processes[2]
	eventually(t, "the end of the window", func() bool { return !publish(next).Deduplicated })
	if passed := time.Since(began); passed < window-clockFault {
		t.Errorf("the window was over after %v", passed)
	}
}

// TestSkewedUndo has the others undo what one has cancelled, as long as that can be.
func TestSkewedUndo(t *testing.T) {
	processes, _ := skewed(t, postgres.Options{UndoWindow: time.Minute}, skews...)
	ctx := t.Context()
	for i, p := range processes {
		other := processes[(i+1)%len(processes)]
		_, err := p.Publish(ctx, recall.Message{URL: "https://api.test", Delay: time.Hour, Labels: []string{"u"}})
		noError(t, err)
		res, err := p.CancelMatching(ctx, recall.Filter{Labels: []string{"u"}})
		noError(t, err)
		for range 5 { // whoever keeps house does not end it
			for _, p := range processes {
				_, err := p.engine.Maintain(ctx, p.engine.Clock().Now())
				noError(t, err)
			}
		}
		if back, err := other.Restore(ctx, res.Operation); err != nil || back.Restored != 1 {
			t.Errorf("Restore by process %d: %+v, %v", (i+1)%len(processes), back, err)
		}
		_, err = p.CancelMatching(ctx, recall.Filter{Labels: []string{"u"}})
		noError(t, err)
	}
}

// TestSkewedUndoEnds is the other way round: a window that is over is over for all.
func TestSkewedUndoEnds(t *testing.T) {
	const window = 100 * time.Millisecond
	processes, _ := skewed(t, postgres.Options{UndoWindow: window}, time.Hour, -time.Hour)
	ctx := t.Context()
	_, err := processes[0].Publish(ctx, recall.Message{URL: "https://api.test", Delay: time.Hour, Labels: []string{"u"}})
	noError(t, err)
	res, err := processes[0].CancelMatching(ctx, recall.Filter{Labels: []string{"u"}})
	noError(t, err)
	until := time.Now().Add(window + clockFault)
	eventually(t, "the end of the window", func() bool { return time.Now().After(until) })
	if _, err := processes[1].Restore(ctx, res.Operation); !errors.Is(err, recall.ErrUndoExpired) {
		t.Errorf("Restore: %v, want ErrUndoExpired", err)
	}
}

// TestSkewedLease has a process that is behind take over from one that is gone, and not
// from one that is there.
func TestSkewedLease(t *testing.T) {
	processes, _ := skewed(t, postgres.Options{LeaseTime: time.Hour}, time.Hour, -time.Hour)
	ctx := t.Context()
	r, err := processes[0].Publish(ctx, recall.Message{URL: "https://api.test", Delay: time.Hour})
	noError(t, err)
	now := processes[0].engine.Clock().Now()
	res, err := processes[0].engine.Claim(ctx, recall.ClaimRequest{Now: now.Add(2 * time.Hour), Max: 1})
	noError(t, err)
	if len(res.Leases) != 1 || res.Leases[0].Message.ID != r.ID {
		t.Fatalf("Claim: %+v", res)
	}
	noError(t, postgres.Renew(ctx, processes[1].engine.Engine))
	noError(t, processes[0].engine.Finish(ctx, res.Leases[0], recall.Finish{Outcome: recall.Delivered, Now: now, Durable: true}))
}
