package recall

import (
	"slices"
	"sync/atomic"
	"time"
)

// HistogramBuckets is how many bounds a [Histogram] has.
const HistogramBuckets = 20

// Histogram counts values in buckets with fixed bounds, since open. It is a copy:
// nobody writes to it.
type Histogram struct {
	// Bounds are the upper bounds of the buckets, ascending and inclusive: seconds
	// of a duration, or a number of rows. They are shared, never change while the
	// process runs, and must not be written to. Nil in the zero value, which is what
	// engines report that do not measure.
	Bounds *[HistogramBuckets]float64
	// Counts[i] is how many values were at most Bounds[i], and more than the bound
	// before it; the last is how many were above all bounds.
	Counts [HistogramBuckets + 1]int64
	// Sum is the sum of all values, in the unit of Bounds.
	Sum float64
}

// Count returns how many values there were.
func (h *Histogram) Count() (n int64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// durationBounds reach from what a fast disk takes for a commit to an hour, which
// messages may be late while an endpoint is down.
var durationBounds = [HistogramBuckets]float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600,
}

// rowBounds are powers of two.
var rowBounds = func() (b [HistogramBuckets]float64) {
	for i := range b {
		b[i] = float64(int64(1) << i)
	}
	return b
}()

// histogram is one that is being counted into, by several goroutines. Values are whole
// numbers: microseconds or rows.
type histogram struct {
	counts [HistogramBuckets + 1]atomic.Int64
	sum    atomic.Int64
}

// Histograms of either.
type (
	durationHistogram struct{ histogram }
	rowHistogram      struct{ histogram }
)

func (h *durationHistogram) observe(d time.Duration) {
	d = max(0, d)
	h.add(bucketOf(&durationBounds, d.Seconds()), d.Microseconds())
}

func (h *rowHistogram) observe(n int) { h.add(bucketOf(&rowBounds, float64(n)), int64(n)) }

func (h *histogram) add(bucket int, value int64) {
	h.counts[bucket].Add(1)
	h.sum.Add(value)
}

func bucketOf(bounds *[HistogramBuckets]float64, value float64) int {
	i, _ := slices.BinarySearch(bounds[:], value)
	return i
}

func (h *durationHistogram) read() Histogram {
	return h.histogram.read(&durationBounds, float64(time.Second/time.Microsecond))
}

func (h *rowHistogram) read() Histogram { return h.histogram.read(&rowBounds, 1) }

// read copies what was counted. A value that comes meanwhile may be in the counts
// and not in the sum.
func (h *histogram) read(bounds *[HistogramBuckets]float64, unit float64) Histogram {
	out := Histogram{Bounds: bounds, Sum: float64(h.sum.Load()) / unit}
	for i := range h.counts {
		out.Counts[i] = h.counts[i].Load()
	}
	return out
}
