package dashboard

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/recallmq/recall"
)

const (
	// span is how far back plots go.
	span = 2 * time.Minute
	// samplePause is the least time between two samples, whoever looks.
	samplePause = 900 * time.Millisecond
	// summaryShare bounds the time spent on summaries, which go through all messages:
	// after one that took long, the next one waits for as many times as long.
	summaryShare = 20
)

// watch samples a broker while somebody looks: there is nothing to sample for
// otherwise, and so nothing runs by itself. All who look share the samples.
type watch struct {
	mu      sync.Mutex
	samples []sample
	last    summary
}

// summary is what has to be searched for.
type summary struct {
	at     time.Time
	took   time.Duration
	states []stateCount
	recent []recall.Operation
}

// sample is what a broker was like at one time, and what happened since the
// sample before.
type sample struct {
	at                         time.Time
	stats                      recall.Stats
	delivered, failed, commits float64 // per second
	middle, high               time.Duration
	attempts                   int64 // that middle and high are of
	first                      bool
}

// stateCount is how many messages are in a state.
type stateCount struct {
	State recall.State
	Count int
}

// look returns the samples of the last two minutes, and takes one if the last one
// is old enough.
func (w *watch) look(b *recall.Broker, now time.Time) []sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.samples); n == 0 || now.Sub(w.samples[n-1].at) >= samplePause || now.Before(w.samples[n-1].at) {
		w.take(b, now)
	}
	return append([]sample(nil), w.samples...)
}

func (w *watch) take(b *recall.Broker, now time.Time) {
	s := sample{at: now, stats: b.Stats(), first: true}
	if n := len(w.samples); n > 0 {
		s.since(&w.samples[n-1])
	}
	w.samples = append(w.samples, s)
	for len(w.samples) > 0 && (now.Sub(w.samples[0].at) > span || now.Before(w.samples[0].at)) {
		w.samples = w.samples[1:]
	}
}

// since fills in the rates. Between samples that lie far apart nobody looked, and
// a rate would say little.
func (s *sample) since(last *sample) {
	seconds := s.at.Sub(last.at).Seconds()
	if seconds <= 0 || seconds > span.Seconds() {
		return
	}
	s.first = false
	s.delivered = float64(s.stats.Delivered-last.stats.Delivered) / seconds
	s.failed = float64(s.stats.Failed-last.stats.Failed) / seconds
	s.commits = float64(s.stats.Commits-last.stats.Commits) / seconds
	s.middle, s.high, s.attempts = latencies(&last.stats.AttemptTime, &s.stats.AttemptTime)
}

// summarise counts the messages of each state and finds the latest operations. It
// does so again only when that costs little beside the time since the last summary.
func (w *watch) summarise(ctx context.Context, b *recall.Broker, now time.Time) (s summary, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if age := now.Sub(w.last.at); !w.last.at.IsZero() && age >= 0 && age < max(samplePause, summaryShare*w.last.took) {
		return w.last, nil
	}
	s.at = now
	for _, state := range states {
		c, err := b.Count(ctx, recall.Filter{States: []recall.State{state}})
		if err != nil {
			return s, err
		}
		s.states = append(s.states, stateCount{state, c.Pending + c.InFlight})
	}
	if s.recent, err = newestOperations(ctx, b, "", recentOnOverview); err != nil && !errors.Is(err, recall.ErrUnsupported) {
		return s, err
	}
	s.took = b.Options().Clock.Now().Sub(now)
	w.last = s
	return s, nil
}
