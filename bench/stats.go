package main

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// series is one figure over the repetitions of a run.
type series []float64

func (s series) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// per divides pair by pair: each repetition by the limit taken beside it, so
// that a slow minute of the disk falls on both.
func (s series) per(limit series) series {
	out := make(series, min(len(s), len(limit)))
	for i := range out {
		out[i] = s[i] / limit[i]
	}
	return out
}

// quantiles sum up durations. The maximum stands apart: on a shared machine it
// tells about the neighbours.
type quantiles struct {
	Samples int64         `json:"samples"`
	P50     time.Duration `json:"p50_ns"`
	P99     time.Duration `json:"p99_ns"`
	Max     time.Duration `json:"max_ns"`
}

// exact sorts the samples; for thousands of them, not for millions.
func exact(samples []time.Duration) quantiles {
	if len(samples) == 0 {
		return quantiles{}
	}
	sorted := slices.Sorted(slices.Values(samples))
	at := func(q float64) time.Duration {
		return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
	}
	return quantiles{int64(len(sorted)), at(0.50), at(0.99), sorted[len(sorted)-1]}
}

// latencies collects from many goroutines into one histogram.
type latencies struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func newLatencies() *latencies {
	const digits = 3
	return &latencies{h: hdrhistogram.New(int64(time.Microsecond), int64(5*time.Minute), digits)}
}

func (l *latencies) quantiles() quantiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := func(p float64) time.Duration { return time.Duration(l.h.ValueAtPercentile(p)) }
	return quantiles{l.h.TotalCount(), at(50), at(99), time.Duration(l.h.Max())}
}

// sampler is one goroutine's way into latencies: it takes the lock once in a
// while, so that measuring does not serialise what is measured.
type sampler struct {
	to  *latencies
	buf [256]time.Duration
	n   int
}

func (s *sampler) add(d time.Duration) {
	s.buf[s.n] = d
	s.n++
	if s.n == len(s.buf) {
		s.flush()
	}
}

func (s *sampler) flush() {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	for _, d := range s.buf[:s.n] {
		_ = s.to.h.RecordValue(max(1, int64(d))) // fails only beyond five minutes
	}
	s.n = 0
}
