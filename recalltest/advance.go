package recalltest

import (
	"context"
	"errors"
	"time"

	"github.com/recallmq/recall"
)

// Bounds of what looks endless: rounds at one time, and steps of a Drain.
const (
	mostRounds = 100_000
	mostSteps  = 100_000
)

// patience is how long a bulk cancellation lets attempts end that are not held up
// by their endpoint, in real time.
const patience = 300 * time.Millisecond

// Advance moves the time on by d and returns when all that has become due on the
// way was delivered, one time after the other: what schedules publish, retries,
// callbacks, the next messages of queues. Attempts that hang or are slow end when
// their time comes. With 0 it waits for what is due already, as [Server.Settle].
func (s *Server) Advance(d time.Duration) {
	if d < 0 {
		s.problem("Advance(%v): time does not go back", d)
		return
	}
	s.moving.Lock()
	defer s.moving.Unlock()
	w := s.now()
	s.advanceTo(w, w.clock.Now().Add(d))
}

// AdvanceToNext moves the time on to where something happens next – a message is
// due, a schedule, the end of an attempt that is held up, the end of a consumer's
// lease – and returns when it has happened, and how long that was. Without anything
// to come it changes nothing and reports false.
func (s *Server) AdvanceToNext() (d time.Duration, ok bool) {
	s.moving.Lock()
	defer s.moving.Unlock()
	w := s.now()
	began := w.clock.Now()
	next := s.settle(w)
	at := earlier(earlier(next.Schedule, next.Lease), earlier(next.Delivery, w.watch.firstParked()))
	if at.IsZero() { // in a bubble it may have passed while something was delivered
		d = w.clock.Now().Sub(began)
		return d, d > 0
	}
	s.advanceTo(w, at)
	return w.clock.Now().Sub(began), true
}

// Next is when something happens next, see [Server.AdvanceToNext]. It first waits
// for what is due now.
func (s *Server) Next() (at time.Time, ok bool) {
	s.moving.Lock()
	defer s.moving.Unlock()
	w := s.now()
	next := s.settle(w)
	at = earlier(earlier(next.Schedule, next.Lease), earlier(next.Delivery, w.watch.firstParked()))
	return at, !at.IsZero()
}

// Drain moves the time on until no message waits for an attempt: each was delivered
// or is dead. What schedules publish on the way is delivered as well, but the next
// time of a schedule is not waited for; nor is what is held, or in a queue that is
// paused, or for consumers.
// Where something always waits, such as what a schedule publishes to an endpoint that
// always fails, it gives up after 100,000 steps, which fails the test.
func (s *Server) Drain() {
	s.moving.Lock()
	defer s.moving.Unlock()
	w := s.now()
	for range mostSteps {
		at := earlier(s.settle(w).Delivery, w.watch.firstParked())
		if at.IsZero() {
			return
		}
		s.advanceTo(w, at)
	}
	s.problem("Drain: messages still come after %d steps, at %v", mostSteps, w.clock.Now())
}

// Settle waits until all that is due by now was delivered, without moving the
// time. The checks do so first.
func (s *Server) Settle() {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.settle(s.now())
}

// advanceTo goes from one time at which something happens to the next. In a bubble
// the time goes by itself.
func (s *Server) advanceTo(w *world, target time.Time) {
	if s.o.bubble {
		w.clock.moveTo(target)
		s.settle(w)
		return
	}
	next := s.settle(w)
	for {
		timer, _ := w.clock.nextTimer()
		at := earlier(timer, earlier(earlier(next.Schedule, next.Lease), earlier(next.Delivery, w.watch.firstParked())))
		if at.IsZero() || at.After(target) {
			break
		}
		if now := w.clock.Now(); !at.After(now) {
			at = now.Add(time.Millisecond)
		}
		if at.After(target) {
			break
		}
		w.clock.moveTo(at)
		next = s.settle(w)
	}
	w.clock.moveTo(target)
	s.settle(w)
}

// settle has everything done that is due, and says when there is more.
func (s *Server) settle(w *world) (next recall.NextDue) {
	for range mostRounds {
		before, closed := w.watch.steps()
		if closed {
			return recall.NextDue{}
		}
		next, err := w.broker.DispatchDue(context.Background())
		switch {
		case errors.Is(err, recall.ErrClosed):
			return recall.NextDue{}
		case err != nil && !errors.Is(err, ErrInjected):
			s.problem("what is due could not be delivered: %v", err)
			return next
		}
		w.watch.awaitQuiet(w.clock.Now, nil)
		if after, _ := w.watch.steps(); after == before && err == nil {
			return next
		}
	}
	s.problem("messages are still due after %d rounds at %v", mostRounds, w.clock.Now())
	return recall.NextDue{}
}

// settleBefore gives attempts a moment to end, as QStash's API does before a
// cancellation reports a message in flight. It does not wait for one that its
// endpoint holds up: only the test moves the time.
func (s *Server) settleBefore(w *world) {
	cut := make(chan struct{})
	defer afterReal(patience, func() { close(cut) })()
	w.watch.awaitQuiet(w.clock.Now, cut)
}
