package dashboard

import (
	"time"

	"github.com/recallmq/recall"
)

// latencies returns about how long the attempts took that have ended between two
// readings of a histogram: the median and the 95th percentile, and how many those were.
func latencies(before, after *recall.Histogram) (middle, high time.Duration, n int64) {
	counts := after.Counts
	for i := range counts {
		counts[i] -= before.Counts[i]
		n += counts[i]
	}
	if n <= 0 || after.Bounds == nil {
		return 0, 0, 0
	}
	return quantile(0.5, after.Bounds, &counts, n), quantile(0.95, after.Bounds, &counts, n), n
}

// quantile is where a share of n values lies, as if those of a bucket were spread
// evenly over it. Above all bounds it is the last one.
func quantile(share float64, bounds *[recall.HistogramBuckets]float64, counts *[recall.HistogramBuckets + 1]int64, n int64) time.Duration {
	below, lower := 0.0, 0.0
	for i, upper := range bounds {
		inside := float64(counts[i])
		if rank := share*float64(n) - below; inside > 0 && rank <= inside {
			return time.Duration((lower + (upper-lower)*rank/inside) * float64(time.Second))
		}
		below, lower = below+inside, upper
	}
	return time.Duration(lower * float64(time.Second))
}
