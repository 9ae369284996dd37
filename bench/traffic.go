package main

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// traffic is a little load for stores of any kind: one publisher of messages
// that are due at once, and one worker that takes them. It looks for the
// longest wait of either, so neither is to fill the store: both pause for the
// pace between two messages.
type traffic struct {
	start time.Time
	gate  sync.RWMutex // both hold it shared; whoever wants quiet takes it
	stop  atomic.Bool
	group sync.WaitGroup

	mu        sync.Mutex
	publishes []span
	waits     []span // of the worker, from one message to the next
	errs      []error
}

const pace = time.Millisecond

func newTraffic() *traffic { return &traffic{start: time.Now()} }

func (t *traffic) now() time.Duration { return time.Since(t.start) }

// publisher calls publish over and over, until finish.
func (t *traffic) publisher(publish func(i int) error) {
	t.repeat(func(i int) error {
		from := t.now()
		err := publish(i)
		t.note(&t.publishes, span{from, t.now()})
		return err
	})
}

// repeat calls step, which passes the gate each time, until finish or an error.
func (t *traffic) repeat(step func(i int) error) {
	t.group.Go(func() {
		for i := 0; !t.stop.Load(); i++ {
			t.gate.RLock()
			err := step(i)
			t.gate.RUnlock()
			if err != nil {
				t.fail(err)
				return
			}
			time.Sleep(pace)
		}
	})
}

func (t *traffic) note(to *[]span, s span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*to = append(*to, s)
}

func (t *traffic) waited(s span) { t.note(&t.waits, s) }

func (t *traffic) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, err)
}

// pause runs fn while neither is at work.
func (t *traffic) pause(fn func() error) error {
	t.gate.Lock()
	defer t.gate.Unlock()
	return fn()
}

func (t *traffic) finish() error {
	t.stop.Store(true)
	t.group.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.errs...)
}

// longest returns the longest publish and the longest wait of the worker that
// overlap a window; 0 if none does.
func (t *traffic) longest(window span) (publish, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := []span{window}
	return exact(within(t.publishes, in)).Max, exact(within(t.waits, in)).Max
}

// outside returns the lengths of the publishes that overlap none of the windows.
func (t *traffic) outside(windows []span) (out []time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.publishes {
		if len(within([]span{s}, windows)) == 0 {
			out = append(out, s.length())
		}
	}
	return out
}
