package recalltest

import (
	"container/heap"
	"sync"
	"time"

	"github.com/recallmq/recall"
)

// clock is the time of a server, and how to move it.
type clock interface {
	recall.Clock
	// moveTo returns when it is t.
	moveTo(t time.Time)
	// nextTimer is when the first timer rings that the broker's own goroutines do
	// not merely wake up by. A clock that moves by itself has none to wait for.
	nextTimer() (time.Time, bool)
}

// bubbleClock is package time, of which a testing/synctest bubble has its own.
type bubbleClock struct{}

func (bubbleClock) Now() time.Time { return time.Now() }

func (bubbleClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

func (bubbleClock) moveTo(t time.Time) { time.Sleep(time.Until(t)) }

func (bubbleClock) nextTimer() (time.Time, bool) { return time.Time{}, false }

// virtualClock stands still until it is moved. It is a recall.AlarmClock, so
// that a year without a message is one step.
type virtualClock struct {
	mu     sync.Mutex
	now    time.Time
	made   uint64
	timers timers // of those who wait for the time
	alarms timers // of the broker's goroutines
}

func newVirtualClock(start time.Time) *virtualClock {
	return &virtualClock{now: start.Truncate(time.Millisecond).UTC()}
}

func (c *virtualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *virtualClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addLocked(&c.timers, c.now.Add(d), f)
}

// At makes it a recall.AlarmClock.
func (c *virtualClock) At(t time.Time, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addLocked(&c.alarms, t, f)
}

func (c *virtualClock) addLocked(in *timers, at time.Time, f func()) func() bool {
	if !at.After(c.now) {
		go f()
		return func() bool { return false }
	}
	c.made++
	t := &timer{at: at, number: c.made, f: f}
	heap.Push(in, t)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if t.place < 0 {
			return false
		}
		heap.Remove(in, t.place)
		return true
	}
}

func (c *virtualClock) moveTo(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.now) {
		c.now = t
	}
	c.alarms.ring(c.now)
	c.timers.ring(c.now)
}

func (c *virtualClock) nextTimer() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return time.Time{}, false
	}
	return c.timers[0].at, true
}

// timer calls f at a time. Those of the same time ring in the order in which they
// were made.
type timer struct {
	at     time.Time
	number uint64
	f      func()
	place  int // in timers; -1: it has rung or was stopped
}

// timers are a heap, the first to ring in front.
type timers []*timer

func (t *timers) ring(now time.Time) {
	for len(*t) > 0 && !(*t)[0].at.After(now) {
		go heap.Pop(t).(*timer).f()
	}
}

// Len implements heap.Interface, as do the others.
func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool {
	if !t[i].at.Equal(t[j].at) {
		return t[i].at.Before(t[j].at)
	}
	return t[i].number < t[j].number
}

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].place, t[j].place = i, j
}

func (t *timers) Push(x any) {
	added := x.(*timer)
	added.place = len(*t)
	*t = append(*t, added)
}

func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	old[len(old)-1], *t = nil, old[:len(old)-1]
	last.place = -1
	return last
}

// wallNow is where a virtual clock starts unless it is told.
func wallNow() time.Time { return time.Now() }

// afterReal is for what waits for other goroutines and not for the time of a
// test.
func afterReal(d time.Duration, f func()) (stop func() bool) { return time.AfterFunc(d, f).Stop }
