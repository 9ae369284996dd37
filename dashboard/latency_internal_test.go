package dashboard

import (
	"testing"
	"time"

	"github.com/recallmq/recall"
)

func TestLatencies(t *testing.T) {
	bounds := new([recall.HistogramBuckets]float64)
	for i := range bounds {
		bounds[i] = float64(i+1) * 0.01
	}
	of := func(counts map[int]int64) *recall.Histogram {
		h := &recall.Histogram{Bounds: bounds}
		for i, n := range counts {
			h.Counts[i] = n
		}
		return h
	}
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		before, after *recall.Histogram
		middle, high  time.Duration
		n             int64
	}{
		"none":                    {of(nil), of(nil), 0, 0, 0},
		"none since":              {of(map[int]int64{3: 7}), of(map[int]int64{3: 7}), 0, 0, 0},
		"nothing is measured":     {&recall.Histogram{}, &recall.Histogram{}, 0, 0, 0},
		"the first bucket":        {of(nil), of(map[int]int64{0: 100}), 5 * ms, 9500 * time.Microsecond, 100},
		"one bucket, since":       {of(map[int]int64{0: 50}), of(map[int]int64{0: 50, 3: 20}), 35 * ms, 39500 * time.Microsecond, 20},
		"a few are slow":          {of(nil), of(map[int]int64{1: 90, 9: 10}), 15555555 * time.Nanosecond, 95 * ms, 100},
		"above all bounds":        {of(nil), of(map[int]int64{recall.HistogramBuckets: 3}), 200 * ms, 200 * ms, 3},
		"half of it above bounds": {of(nil), of(map[int]int64{0: 2, recall.HistogramBuckets: 2}), 10 * ms, 200 * ms, 4},
	} {
		middle, high, n := latencies(c.before, c.after)
		if (middle-c.middle).Abs() > time.Microsecond || (high-c.high).Abs() > time.Microsecond || n != c.n {
			t.Errorf("%s: %v, %v of %d, want %v, %v of %d", name, middle, high, n, c.middle, c.high, c.n)
		}
	}
}
