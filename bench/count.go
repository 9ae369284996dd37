package main

import (
	"fmt"
	"time"

	"github.com/recallmq/recall"
)

// benchCount counts matches in the big file and checks every answer.
func benchCount(b *bench) error {
	d, err := b.big()
	if err != nil {
		return err
	}
	return b.withCopy(d, 0, func(br *recall.Broker) error {
		for _, q := range countQueries(d.shape) {
			took, err := timeCount(br, d.shape, q, 40*b.Reps)
			if err != nil {
				return err
			}
			b.report.times(q.name, exact(took))
			b.limitOfCount(q, d.shape.n).share(q.name+", p50", "ms", limitNameOf(q), series{ms(exact(took).P50)})
		}
		return nil
	})
}

func countQueries(s shape) []query {
	return []query{
		byLabel(0), byMark(0), byQueue(s, 0), byTopic(0), byLabelAndAddress(0, 0), byHost(),
	}
}

// limitOfCount is a counter for a filter by one field. By two, each message must be
// looked at that the field with the fewest has: those with the label.
func (b *bench) limitOfCount(q query, n int) *limits {
	limit := b.newLimits()
	if byTwo(q) {
		limit.column(n, n/labelCount)
	} else {
		limit.lookup()
	}
	return limit
}

func byTwo(q query) bool { return len(q.filter.Labels) > 0 && len(q.filter.CallerIPs) > 0 }

func limitNameOf(q query) string {
	if byTwo(q) {
		return bareColumn
	}
	return bareLookup
}

func timeCount(br *recall.Broker, s shape, q query, times int) ([]time.Duration, error) {
	want := newModel(s.n).matches(q)
	return repeat(times, func(int) error {
		got, err := br.Count(bg, q.filter)
		if err == nil && got.Pending != want {
			err = fmt.Errorf("count of %s is %d, not %d", q.name, got.Pending, want)
		}
		return err
	})
}
