package main

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// load is traffic beside what is measured: publishers whose messages are due
// at once, and a handler that takes them and does nothing. It keeps every
// publish with its time, so that one can ask later what a publisher noticed.
type load struct {
	broker *recall.Broker
	start  time.Time
	gate   sync.RWMutex // publishers hold it shared; whoever wants quiet takes it
	stop   atomic.Bool
	group  sync.WaitGroup

	mu        sync.Mutex
	publishes []span
	waits     []span // from the start of a publish to the start of its handler
	errs      []error
	delivered atomic.Int64
}

// span is from when to when something took, since the start of the load.
type span struct{ from, to time.Duration }

func (s span) length() time.Duration { return s.to - s.from }
func (s span) overlaps(t span) bool  { return s.from < t.to && t.from < s.to }
func (s span) before(at, gap time.Duration) span {
	to := at - gap
	return span{to - s.length(), to}
}

func startLoad(br *recall.Broker, publishers int) (*load, error) {
	l := &load{broker: br, start: time.Now()}
	if err := br.Handle(sink, l.handle); err != nil {
		return nil, err
	}
	for p := range publishers {
		l.group.Go(func() { l.publish(p) })
	}
	return l, nil
}

func (l *load) now() time.Duration { return time.Since(l.start) }

// finish stops the publishers and waits until all of their messages are gone.
func (l *load) finish() error {
	l.stop.Store(true)
	l.group.Wait()
	if err := errors.Join(l.errs...); err != nil {
		return err
	}
	want := int64(len(l.publishes))
	return waitUntil("the messages of the load", func() bool { return l.delivered.Load() >= want })
}

// pause runs fn while no publish is under way.
func (l *load) pause(fn func() error) error {
	l.gate.Lock()
	defer l.gate.Unlock()
	return fn()
}

func (l *load) publish(p int) {
	var mine []span
	var err error
	for n := p; err == nil && !l.stop.Load(); n += 1009 {
		l.gate.RLock()
		var s span
		s, err = l.publishOne(n)
		l.gate.RUnlock()
		mine = append(mine, s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publishes = append(l.publishes, mine...)
	if err != nil {
		l.errs = append(l.errs, err)
	}
}

// publishOne puts the time into the body, for the handler to read.
func (l *load) publishOne(n int) (span, error) {
	from := l.now()
	body := append([]byte(nil), bodyOf(n)...)
	binary.LittleEndian.PutUint64(body, uint64(from))
	_, err := l.broker.Publish(bg, recall.Message{URL: sink, Body: body})
	return span{from, l.now()}, err
}

func (l *load) handle(_ context.Context, d *recall.Delivery) error {
	at := l.now()
	from := time.Duration(binary.LittleEndian.Uint64(d.Body))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = append(l.waits, span{from, at})
	l.delivered.Add(1)
	return nil
}

// within returns the lengths of the spans that overlap any of the windows.
func within(spans, windows []span) []time.Duration {
	var out []time.Duration
	for _, s := range spans {
		for _, w := range windows {
			if s.overlaps(w) {
				out = append(out, s.length())
				break
			}
		}
	}
	return out
}
