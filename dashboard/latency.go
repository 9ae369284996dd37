package dashboard

import (
	"context"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

const (
	// followPages bounds the events that one sample reads. Who is further behind
	// goes on with what happens from then on.
	followPages = 4
	// maxRunning bounds the attempts whose end is waited for.
	maxRunning = 20_000
)

// follower reads how long attempts take from the log of events, which has their
// start and their end.
type follower struct {
	after   recall.EventID
	from    time.Time
	running map[recall.MessageID]time.Time // when the attempt has started
}

// latencies returns the median and the 95th percentile of the attempts that have
// ended since the last call, and how many those were. A log that cannot be read
// has none.
func (f *follower) latencies(ctx context.Context, b *recall.Broker, now time.Time) (middle, high time.Duration, n int) {
	if f.from.IsZero() {
		f.begin(now)
	}
	var list []time.Duration
	for range followPages {
		page, err := b.EventPage(ctx, recall.EventFilter{OldestFirst: true, From: f.from}, f.after, recall.MaxEventPage)
		if err != nil {
			return 0, 0, 0
		}
		for i := range page.Events {
			if took, ended := f.note(&page.Events[i]); ended {
				list = append(list, took)
			}
			f.after = page.Events[i].ID
		}
		if page.Next == "" {
			return percentiles(list)
		}
		f.after = page.Next
	}
	f.begin(now)
	return percentiles(list)
}

// begin lets the follower go on with what happens from now on.
func (f *follower) begin(now time.Time) {
	f.after, f.from, f.running = "", now, map[recall.MessageID]time.Time{}
}

// note returns how long an attempt took if the event is its end.
func (f *follower) note(ev *recall.Event) (took time.Duration, ended bool) {
	switch ev.State {
	case recall.EventActive:
		if len(f.running) < maxRunning {
			f.running[ev.Message] = ev.At
		}
	case recall.EventDelivered, recall.EventError:
		began, known := f.running[ev.Message]
		delete(f.running, ev.Message)
		return max(0, ev.At.Sub(began)), known
	case recall.EventFailed, recall.EventCancelled:
		delete(f.running, ev.Message)
	}
	return 0, false
}

func percentiles(list []time.Duration) (middle, high time.Duration, n int) {
	if len(list) == 0 {
		return 0, 0, 0
	}
	slices.Sort(list)
	return list[(len(list)-1)/2], list[(len(list)-1)*95/100], len(list)
}
