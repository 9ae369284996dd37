package recall

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Clock is the only source of time of a [Broker]. The default reads package
// time, and with it everything also runs inside a testing/synctest bubble; a
// Clock of one's own moves time by hand. Implementations must be safe for
// concurrent use.
type Clock interface {
	// Now returns the current time.
	Now() time.Time
	// AfterFunc calls f in its own goroutine once d has passed, and returns a
	// function that prevents that and reports whether it did.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// AlarmClock is a [Clock] that can be told the time of a call instead of how long
// it is until then. It is for clocks that jump: a broker that asks what time it is
// and then for a call in so long would ask for the wrong time if the clock moved
// in between, and it would look at such a clock once a minute, as it does at that
// of a machine, which may be suspended. At is for waking up the broker's own
// goroutines; a call that comes early is harmless.
type AlarmClock interface {
	Clock
	// At calls f in its own goroutine when Now has reached t, and returns a
	// function that prevents that and reports whether it did.
	At(t time.Time, f func()) (stop func() bool)
}

// OffsetClock is a [Clock] that runs at the pace of package time and shows another
// time: that of a server. Contexts of attempts have deadlines by the clock of this
// machine then, which package net goes by.
type OffsetClock interface {
	Clock
	// Offset returns how far Now is ahead of time.Now.
	Offset() time.Duration
}

// Clocked is an [Engine] that has a clock: one that all its processes share, because
// theirs may differ. [New] goes by it if Options.Clock is not set.
type Clocked interface{ Clock() Clock }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// stopwatch measures how long this process has been at something. It tells no
// time of any message, so it is not of Options.Clock.
type stopwatch time.Time

func startStopwatch() stopwatch { return stopwatch(time.Now()) }

func (s stopwatch) ran() time.Duration { return time.Since(time.Time(s)) }

// timer rings once, when so much time has passed in this process. Like a stopwatch it has
// nothing to do with the time of any message. It is owned by one goroutine.
type timer struct{ own *time.Timer }

func (t *timer) start(d time.Duration) {
	if t.own == nil {
		t.own = time.NewTimer(d)
		return
	}
	t.own.Reset(d)
}

// rings is where a timer rings that was started.
func (t *timer) rings() <-chan time.Time { return t.own.C }

func (t *timer) stop() {
	if t.own != nil {
		t.own.Stop()
	}
}

// maxNap is the longest that an alarm trusts its timer, which stands still while
// the machine is suspended and knows nothing of a wall clock that was set: then
// what is due is late by that much at most.
const maxNap = time.Minute

// alarm rings a one-slot channel at the time it was last set to, or earlier, when
// it is time to look at the clock again: [alarm.rang] tells which. It is owned by
// one goroutine, which selects on C.
type alarm struct {
	clock Clock
	C     chan struct{}
	at    time.Time
	asked time.Time // what the clock showed when at was last asked for
	stop  func() bool
}

func newAlarm(c Clock) *alarm { return &alarm{clock: c, C: make(chan struct{}, 1)} }

// set moves the alarm to at; the zero time switches it off. A ring that was
// already under way may still arrive: rings are hints.
func (a *alarm) set(at time.Time) {
	a.asked = wall(a.clock)
	if at.Equal(a.at) && a.stop != nil {
		return
	}
	a.off()
	if at.IsZero() {
		return
	}
	a.at = at
	if c, ok := a.clock.(AlarmClock); ok {
		a.stop = c.At(at, a.ring)
		return
	}
	a.stop = a.clock.AfterFunc(min(max(0, at.Sub(a.asked)), maxNap), a.ring)
}

func (a *alarm) ring() { hint(a.C) }

// rang must be called after a ring. It reports whether the time has come, and
// sets the alarm again if it has not. If the clock was set back it has: what was
// to be done at that time may have to be done at another.
func (a *alarm) rang() bool {
	at, asked, now := a.at, a.asked, wall(a.clock)
	a.off()
	if !at.After(now) || now.Before(asked) {
		return true
	}
	a.set(at)
	return false
}

// wall is what the clock shows, without the monotonic reading of package time: that
// does not know of a clock that was set.
func wall(c Clock) time.Time { return c.Now().Round(0) }

// off stops the alarm; it must be called before the owner leaves, and after a
// ring that ends a pause, whatever the clock says.
func (a *alarm) off() {
	if a.stop != nil {
		a.stop()
	}
	a.stop, a.at = nil, time.Time{}
}

// withTimeout is context.WithTimeout on a Clock: the deadline is visible and
// passing it makes Err return context.DeadlineExceeded.
func withTimeout(parent context.Context, c Clock, d time.Duration) (context.Context, context.CancelFunc) {
	switch c.(type) {
	case systemClock, OffsetClock:
		return context.WithTimeout(parent, d)
	}
	inner, cancel := context.WithCancelCause(parent)
	t := &timedContext{Context: inner, deadline: c.Now().Add(d)}
	stop := c.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	var once sync.Once
	return t, func() {
		once.Do(func() { stop(); cancel(context.Canceled) })
	}
}

type timedContext struct {
	context.Context
	deadline time.Time
}

func (t *timedContext) Deadline() (time.Time, bool) {
	if outer, ok := t.Context.Deadline(); ok && outer.Before(t.deadline) {
		return outer, true
	}
	return t.deadline, true
}

func (t *timedContext) Err() error {
	err := t.Context.Err()
	if err != nil && errors.Is(context.Cause(t.Context), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
