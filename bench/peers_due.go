package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall/bench/peer"
)

// Target 20: how long it takes until all is handled that was due at one instant,
// and how late one of a hundred is when a thousand are due each second.
const (
	mostInstant  = 2.5 // s
	mostLateness = 10  // ms
	// mostInstantOf is how many messages that is stated for, and how many there
	// are at most.
	mostInstantOf = 100_000
)

// benchPeerDue publishes ahead of time, with a worker that waits for it.
func benchPeerDue(b *bench) error {
	n := min(b.Peers, mostInstantOf)
	instant, late, limit := b.newFigures(), b.newFigures(), b.newLimits()
	early := make([]int64, len(late))
	what := short(float64(n)) + " due at one instant"
	err := b.inTurn(b.longReps(), what, func(i int, p *peer.Peer) error {
		if i == 0 {
			if err := limit.outcomes(); err != nil {
				return err
			}
		}
		// A whole second: a peer that knows no others is not to begin early.
		run, err := b.peerAhead(p, n, time.Second, func(at time.Time, _ int) time.Time { return at })
		if err != nil {
			return err
		}
		instant[i].add(run.drained.took.Seconds())
		instant[i].cut = instant[i].cut || run.drained.cut
		early[i] += run.early
		return nil
	})
	if err != nil {
		return err
	}
	instant.print(b.report, "until all is handled, "+what, "s")
	limit.share(what, "msg/s", bareOutcomes, series{float64(n) / instant[0].values.median()})
	b.noteCut(instant)
	b.noteEarly(instant, early)
	b.report.rates(what+": Recall", "s", instant[0].values).atMost(20, mostInstant)
	return b.peerLateness(late)
}

// peerLateness takes messages that fall due one after the other.
func (b *bench) peerLateness(late figures) error {
	early, limit := make([]int64, len(late)), b.newLimits()
	what := fmt.Sprintf("late, %d due per second", perSecond)
	err := b.inTurn(b.longReps(), what, func(i int, p *peer.Peer) error {
		if i == 0 {
			limit.timers(perSecond, b.DueFor)
		}
		run, err := b.peerAhead(p, int(b.DueFor*perSecond/time.Second), time.Millisecond, func(at time.Time, k int) time.Time {
			return at.Add(time.Duration(k) * time.Second / perSecond)
		})
		if err != nil {
			return err
		}
		late[i].add(ms(exact(run.late).P99))
		late[i].note(run.late)
		late[i].cut = late[i].cut || run.drained.cut
		early[i] += run.early
		return nil
	})
	if err != nil {
		return err
	}
	late.print(b.report, what+", p99", "ms")
	limit.share(what+", p99", "ms", "timers of the process", late[0].values)
	b.noteEarly(late, early)
	b.report.rates(what+", p99: Recall", "ms", late[0].values).atMost(20, mostLateness)
	b.notePeers(late)
	return nil
}

func (b *bench) noteEarly(all figures, early []int64) {
	for i, n := range early {
		if n > 0 {
			b.report.note("%s handled %s before their time", all[i].of.Name, plural(int(n), "message"))
		}
	}
}

// aheadRun is what became of messages that were published ahead.
type aheadRun struct {
	drained drained
	early   int64
	late    []time.Duration // of those that were handled, in time 0
}

// peerAhead publishes n messages that are due from an instant on, a whole number
// of units, which is after the last publish: when a peer needs longer than was
// left, again with more time than it needed.
func (b *bench) peerAhead(p *peer.Peer, n int, unit time.Duration, due func(at time.Time, i int) time.Time) (run aheadRun, err error) {
	const tries = 5
	lead, err := b.leadOf(p, n)
	if err != nil {
		return run, err
	}
	for range tries {
		inTime := false
		err = b.withPeer(p, peerSingles, func(q peer.Queue) error {
			at := time.Now().Add(lead).Truncate(unit).Add(unit)
			took, err := timed(func() error { return publishFast(q, n, func(i int) time.Time { return due(at, i) }) })
			lead = max(2*lead, 3*took/2)
			if inTime = time.Now().Before(at); err != nil || !inTime {
				return err
			}
			run, err = b.deliverAhead(q, n, at, due(at, n-1))
			return err
		})
		if err != nil || inTime {
			return run, err
		}
	}
	return run, fmt.Errorf("publishing %d messages took longer than was foreseen, %d times", n, tries)
}

// leadOf is how long a peer may need to publish n messages: by what a part of them
// takes, which is shorter than to find out with all of them that it was not enough.
func (b *bench) leadOf(p *peer.Peer, n int) (lead time.Duration, err error) {
	part := max(1, n/50)
	err = b.withPeer(p, peerSingles, func(q peer.Queue) error {
		later := time.Now().Add(time.Hour)
		took, err := timed(func() error { return publishFast(q, part, func(int) time.Time { return later }) })
		lead = time.Second/5 + 3*took/2*time.Duration(n/part)
		return err
	})
	return lead, err
}

// deliverAhead waits until all are handled. The time runs from the instant on,
// and the cap from when the last one is due.
func (b *bench) deliverAhead(q peer.Queue, n int, at, last time.Time) (aheadRun, error) {
	c := &clockedHandler{}
	stop, err := q.Deliver(c.handle)
	if err != nil {
		return aheadRun{}, err
	}
	time.Sleep(time.Until(last))
	d := b.waitDrained(&c.handled, n, last)
	if err := errors.Join(b.waitForgotten(q, &d, last), stop()); err != nil {
		return aheadRun{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	run := aheadRun{drained: d, early: c.early, late: c.late}
	run.drained.took += last.Sub(at)
	return run, c.err
}

// clockedHandler compares the time in a message with that of its handler.
type clockedHandler struct {
	handled atomic.Int64

	mu    sync.Mutex
	late  []time.Duration
	early int64
	err   error
}

func (c *clockedHandler) handle(body []byte) {
	now := time.Now()
	due, err := dueOf(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.err = err
	}
	d := now.Sub(due)
	if d < 0 {
		c.early++
	}
	c.late = append(c.late, max(d, 0))
	c.handled.Add(1)
}
