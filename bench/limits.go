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

// limitOf is one that needs no measuring.
func (b *bench) limitOf(v float64) *limits { return &limits{b: b, values: series{v}} }

func (l *limits) add(v float64) { l.values = append(l.values, v) }

// log adds the rate of a log with as many writers and batches of that size, which lets
// writers join a group that are about to write.
func (l *limits) log(writers, size int, bodyOf func(int) []byte) error {
	w, err := openWAL(l.b.path("wal"), lingering)
	if err != nil {
		return err
	}
	rate, err := w.rate(writers, size, bodyOf, l.b.Window, newLatencies())
	l.add(rate)
	return err
}

// outcomeBytes is what a log needs to say what became of a message: which one, and what.
const outcomeBytes = 24

// outcomes adds the rate of a log of what became of messages, with a writer for each of the
// many slots.
// Nothing else is done for a message: it is not read, handed to nobody, not removed.
func (l *limits) outcomes() error {
	w, err := openLog(l.b.path("wal"), lingering, nil)
	if err != nil {
		return err
	}
	outcome := bodyPool[:outcomeBytes]
	rate, err := w.rate(manySlots, 1, func(int) []byte { return outcome }, l.b.Window, newLatencies())
	l.add(rate)
	return err
}

// sync adds how long a page takes to be appended and synced, in ms.
func (l *limits) sync() error {
	lat := newLatencies()
	_, err := appendAndSync(l.b.path("append"), l.b.Gap, lat)
	l.add(ms(lat.quantiles().P50))
	return err
}

// put adds how long bbolt takes to put 512 bytes and commit, in ms.
func (l *limits) put() error {
	puts, err := openPuts(l.b.path("puts.db"))
	if err != nil {
		return err
	}
	defer puts.close() // what it held is of no use to anybody
	lat := newLatencies()
	_, err = parallel(1, l.b.Gap, lat, func(int) error { return puts.put() })
	l.add(ms(lat.quantiles().P50))
	return err
}

// perSecond is how many of those fit into a second, for limits in ms.
func (l *limits) perSecond() *limits {
	rates := &limits{b: l.b}
	for _, v := range l.values {
		rates.add(1000 / v)
	}
	return rates
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
	l.add(ms(exact(late).P99))
}

// share adds a line with what part of a limit Recall reaches, or how many times it
// Recall takes: pair by pair if there are as many of each.
func (l *limits) share(what, unit, limit string, recall series) {
	none := func(v float64) bool { return v <= 0 } // too small to be measured
	if len(recall) == 0 || len(l.values) == 0 || slices.ContainsFunc(l.values, none) || slices.ContainsFunc(recall, none) {
		return
	}
	ratio := recall.per(l.values)
	if len(l.values) != len(recall) {
		ratio = series{recall.median() / l.values.median()}
	}
	l.b.report.rates(fmt.Sprintf("%s: Recall to %s", what, limit), unit, recall).ratio(limit, ratio...)
}

// The names of limits that several workloads have.
const (
	bareLog      = "a bare log"
	bareOutcomes = "a bare log of outcomes"
	bareSync     = "appending and syncing a page"
	barePut      = "a bare bbolt put"
	bareLookup   = "a lookup under a lock"
	bareColumn   = "reading a column of them"
	bareMark     = "changing a number of each"
	bareBody     = "its body"
	bareID       = "its id"
)
