package metrics

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/recallmq/recall"
)

// counts is what has to be counted: it is not in [recall.Stats].
type counts struct {
	states   *recall.StateCounts // nil: they could not be counted
	queues   []recall.QueueInfo  // those that are exported
	all      int                 // queues that there are
	listed   bool                // queues could be listed
	failures int64
	at       time.Time
}

// counter counts at most once in an interval, whoever asks.
type counter struct {
	broker   *recall.Broker
	clock    recall.Clock
	interval time.Duration
	named    []string
	top      int

	mu   sync.Mutex // held while counting, so that scrapes at one time count once
	last counts
}

func newCounter(b *recall.Broker, o *Options) *counter {
	return &counter{
		broker: b, clock: b.Options().Clock, interval: o.CountInterval,
		named: slices.Clone(o.Queues), top: o.TopQueues,
	}
}

func (c *counter) on() bool { return c.interval >= 0 }

// get returns counts that are not older than the interval. What cannot be counted is
// left out: a broker that was closed has no states any more, and there are engines
// that count none.
func (c *counter) get() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	if age := now.Sub(c.last.at); !c.last.at.IsZero() && age >= 0 && age < c.interval {
		return c.last
	}
	ctx := context.Background()
	next := counts{at: now, failures: c.last.failures}
	states, err := c.broker.CountStates(ctx)
	if err == nil {
		next.states = &states
	}
	queues, failed := c.broker.Queues(ctx)
	if failed == nil {
		next.queues, next.all, next.listed = c.choose(queues), len(queues), true
	}
	for _, err := range []error{err, failed} {
		if err != nil && !errors.Is(err, recall.ErrUnsupported) && !errors.Is(err, recall.ErrClosed) {
			next.failures++
		}
	}
	c.last = next
	return next
}

// choose returns the queues that are exported, in the order of their names.
func (c *counter) choose(all []recall.QueueInfo) []recall.QueueInfo {
	chosen := make([]recall.QueueInfo, 0, min(len(all), len(c.named)+c.top))
	rest := make([]recall.QueueInfo, 0, len(all))
	for _, q := range all {
		if slices.Contains(c.named, q.Name) {
			chosen = append(chosen, q)
		} else {
			rest = append(rest, q)
		}
	}
	slices.SortFunc(rest, func(a, b recall.QueueInfo) int {
		return cmp.Or(cmp.Compare(b.Lag, a.Lag), cmp.Compare(b.InFlight, a.InFlight), cmp.Compare(a.Name, b.Name))
	})
	chosen = append(chosen, rest[:min(c.top, len(rest))]...)
	slices.SortFunc(chosen, func(a, b recall.QueueInfo) int { return cmp.Compare(a.Name, b.Name) })
	return chosen
}

// countMetrics are what counts are exported as.
type countMetrics struct {
	messages, oldest, queues, failures           *prometheus.Desc
	waiting, inFlight, oneParallelism, onePaused *prometheus.Desc
}

func newCountMetrics(d describer) countMetrics {
	return countMetrics{
		messages:       d(metric{"messages", "Live messages by state."}, "state"),
		oldest:         d(metric{"oldest_ready_age_seconds", "How long the ready message that was due first has waited."}),
		queues:         d(metric{"queues", "Queues that there are."}),
		failures:       d(metric{"count_failures_total", "Counts by state or queue that failed."}),
		waiting:        d(metric{"queue_messages_waiting", "Messages that wait in a queue."}, "queue"),
		inFlight:       d(metric{"queue_messages_in_flight", "Messages of a queue that are out."}, "queue"),
		oneParallelism: d(metric{"queue_parallelism", "Messages of a queue that may be out at a time."}, "queue"),
		onePaused:      d(metric{"queue_paused", "1 while a queue is paused."}, "queue"),
	}
}

func (m *countMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.messages, m.oldest, m.queues, m.failures, m.waiting, m.inFlight, m.oneParallelism, m.onePaused,
	} {
		ch <- d
	}
}

func (m *countMetrics) collect(ch chan<- prometheus.Metric, c counts) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	ch <- prometheus.MustNewConstMetric(m.failures, prometheus.CounterValue, float64(c.failures))
	if s := c.states; s != nil {
		for state, n := range s.Counts {
			gauge(m.messages, float64(n), stateLabel(state))
		}
		age := time.Duration(0)
		if !s.ReadySince.IsZero() {
			age = max(0, c.at.Sub(s.ReadySince))
		}
		gauge(m.oldest, age.Seconds())
	}
	if c.listed {
		gauge(m.queues, float64(c.all))
	}
	for _, q := range c.queues {
		gauge(m.waiting, float64(q.Lag), q.Name)
		gauge(m.inFlight, float64(q.InFlight), q.Name)
		gauge(m.oneParallelism, float64(q.Parallelism), q.Name)
		gauge(m.onePaused, oneIf(q.Paused), q.Name)
	}
}
