package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/recallmq/recall"
)

// benchUnlink times how long cancelled messages take to leave memory: index
// entries, posting lists and due times. It has the engine to itself, so that
// no step of background work is hidden in another goroutine. Each repetition has a
// file in which nothing was cancelled before: due times are shed when most of them
// are dead, so a later one would do the work of those before it too.
func (b *bench) benchUnlink(d *dataset) error {
	var took series
	limit := b.newLimits()
	for k := range min(b.Reps, scatteredLabels) {
		b.progress("unlinking from a copy")
		one, err := b.unlinkFromCopy(d, byLabel(k))
		if err != nil {
			return err
		}
		took = append(took, ms(one))
		limit.marks(d.shape.n, d.shape.n/labelCount)
	}
	b.report.rates("unlink after "+byLabel(0).name+", idle", "ms", took).atMost(5, 15)
	perEntry := make(series, len(took))
	for i, t := range took {
		perEntry[i] = t * float64(time.Millisecond) / float64(d.shape.n/labelCount)
	}
	limit.share("unlink, per entry", "ns", bareMark, perEntry)
	return nil
}

func (b *bench) unlinkFromCopy(d *dataset, q query) (took time.Duration, err error) {
	path := b.path("copy.db")
	defer os.Remove(path)
	if err := d.copyTo(path); err != nil {
		return 0, err
	}
	e, err := recall.OpenEngine(path, options(0))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return unlinkOne(e, q, d.shape.n)
}

func unlinkOne(e recall.Engine, q query, n int) (time.Duration, error) {
	if _, err := maintain(e); err != nil { // what was left to do
		return 0, err
	}
	want := 0
	for i := range n {
		if q.match(i) {
			want++
		}
	}
	result, err := e.CancelMatching(bg, recall.CancelMatchingRequest{Filter: q.filter, Now: time.Now()})
	if err == nil && result.Cancelled != want {
		err = fmt.Errorf("%d messages were cancelled, not %d", result.Cancelled, want)
	}
	if err != nil {
		return 0, err
	}
	return maintain(e)
}

// maintain does all background work there is, and returns what it took before
// the first commit: memory comes first, the file after it.
func maintain(e recall.Engine) (memory time.Duration, err error) {
	now, commits := time.Now(), e.Stats().Commits
	for next := now; next.Equal(now) && err == nil; {
		var took time.Duration
		took, err = timed(func() (err error) {
			next, err = e.Maintain(bg, now)
			return err
		})
		if e.Stats().Commits == commits {
			memory += took
		}
	}
	return memory, err
}
