package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// limits are figures of the bare machine, each taken just before one of Recall in the
// same workload, so that a slow minute of the disk falls on both.
type limits struct {
	b      *bench
	values series
}

func (b *bench) newLimits() *limits { return &limits{b: b} }

// log adds the rate of a log with as many writers and batches of that size, which lets
// writers join a group that are about to write. It takes what a message of the peers
// is made of.
func (l *limits) log(writers, size int) error {
	w, err := openWAL(l.b.path("wal"), lingering)
	if err != nil {
		return err
	}
	rate, err := w.rate(writers, size, peerText, l.b.Window, newLatencies())
	l.values = append(l.values, rate)
	return err
}

// sync adds how long a page takes to be appended and synced, in ms.
func (l *limits) sync() error {
	lat := newLatencies()
	_, err := appendAndSync(l.b.path("append"), l.b.Gap, lat)
	l.values = append(l.values, ms(lat.quantiles().P50))
	return err
}

// timers adds how late one of a hundred timers is that ring each millisecond, in ms.
func (l *limits) timers(perSecond int, window time.Duration) {
	var mu sync.Mutex
	var late []time.Duration
	start := time.Now().Add(10 * time.Millisecond)
	n := int(window.Seconds() * float64(perSecond))
	var rung sync.WaitGroup
	rung.Add(n)
	for k := range n {
		at := start.Add(time.Duration(k) * time.Second / time.Duration(perSecond))
		time.AfterFunc(time.Until(at), func() {
			defer rung.Done()
			d := time.Since(at)
			mu.Lock()
			late = append(late, d)
			mu.Unlock()
		})
	}
	rung.Wait()
	l.values = append(l.values, ms(exact(late).P99))
}

// share adds a line with what part of a limit Recall reaches, or how many times it
// Recall takes.
func (l *limits) share(what, unit, limit string, recall *figure) {
	if len(recall.values) == 0 || slices.Contains(l.values, 0) {
		return
	}
	ratio := recall.values.per(l.values)
	if len(l.values) != len(recall.values) {
		ratio = series{recall.values.median() / l.values.median()}
	}
	l.b.report.rates(fmt.Sprintf("%s: Recall to %s", what, limit), unit, recall.values).ratio(limit, ratio...)
}
