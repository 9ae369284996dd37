package recall

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// errShutdown is the cause of the attempt contexts that Close cancels.
var errShutdown = errors.New("recall: the broker is closing")

// Pauses after a Claim or Maintain that failed for a reason that may pass.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 10 * time.Second
)

// dispatcher claims messages for free slots and runs their attempts. One
// goroutine, loop, claims; it sleeps until there is both something that may be
// claimed and a slot to run it in. Attempts run in workers, which end the
// attempt, free the slot and ring freed.
type dispatcher struct {
	*outcomes
	transport http.RoundTripper
	idle      interface{ CloseIdleConnections() } // nil when the transport is the caller's

	busy     atomic.Int64   // slots taken; only loop adds, so it never exceeds Slots
	settling atomic.Int64   // of those, by attempts that wait for a commit
	running  sync.WaitGroup // attempts; only loop adds
	workers  workers
	freed    chan struct{} // one hint: a slot was freed
	wake     chan struct{} // one hint: the set of handlers changed
	lookout  lookout
	hint     <-chan struct{}
	alarm    *alarm // owned by loop

	stopClaiming context.CancelFunc
	abort        context.CancelCauseFunc // ends the contexts of all attempts
	done         chan struct{}           // closed when loop has ended
}

// outcomes is where every attempt ends, a dispatcher's or a consumer's.
type outcomes struct {
	broker                     *Broker
	delivered, failed, retried atomic.Int64
	lateness, took             durationHistogram
	engineLost                 sync.Once // ErrFailed and ErrClosed of the engine are logged once
}

// addTo fills in what is counted.
func (d *outcomes) addTo(s *Stats) {
	s.Delivered, s.Failed, s.Retried = d.delivered.Load(), d.failed.Load(), d.retried.Load()
	s.Lateness, s.AttemptTime = d.lateness.read(), d.took.read()
}

// count counts an attempt.
func (d *outcomes) count(f *Finish, took time.Duration) {
	switch f.Outcome {
	case Delivered:
		d.delivered.Add(1)
	case Retry, Dead:
		d.failed.Add(1)
	default:
		return
	}
	if f.Outcome == Retry {
		d.retried.Add(1)
	}
	d.took.observe(took)
}

func startDispatch(b *Broker, claimable <-chan struct{}) *dispatcher {
	d := &dispatcher{
		outcomes: &b.outcomes,
		freed:    make(chan struct{}, 1),
		wake:     make(chan struct{}, 1),
		lookout:  newLookout(),
		hint:     claimable,
		alarm:    newAlarm(b.clock),
		done:     make(chan struct{}),
		workers:  newWorkers(),
	}
	d.transport = b.opts.Transport
	if d.transport == nil {
		own := newTransport(b.opts.Slots)
		d.transport, d.idle = own, own
	}
	claiming, stopClaiming := context.WithCancel(context.Background())
	attempts, abort := context.WithCancelCause(context.Background())
	d.stopClaiming, d.abort = stopClaiming, abort
	go d.loop(claiming, attempts)
	return d
}

// stop ends claiming at once, gives running attempts until ctx is done, then
// cancels their contexts, and returns when all have ended. A handler that
// ignores its context is waited for: its message could otherwise be delivered
// again beside it.
func (d *dispatcher) stop(ctx context.Context) {
	d.stopClaiming()
	<-d.done
	ended := make(chan struct{})
	go func() {
		d.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		d.broker.log.Info("recall: closing cuts attempts short", "running", d.busy.Load())
	}
	d.abort(errShutdown)
	<-ended
	d.workers.stop()
	if d.idle != nil {
		d.idle.CloseIdleConnections()
	}
}

// addTo fills in what the dispatcher counts.
func (d *dispatcher) addTo(s *Stats) {
	s.Busy, s.Settling = int(d.busy.Load()), int(d.settling.Load())
}

// loop claims until claiming is done or the engine is lost. Both have to hold
// before it claims: more, something may be claimable, and a free slot.
func (d *dispatcher) loop(claiming, attempts context.Context) {
	defer close(d.done)
	defer d.alarm.off()
	faults := 0
	for more := true; claiming.Err() == nil; {
		free := d.broker.opts.Slots - int(d.busy.Load())
		if !more || free <= 0 {
			d.lookout.reply(d.next(more), nil)
			d.wait(claiming, more)
			more = true
			continue
		}
		full, err := d.claim(claiming, attempts, free)
		switch {
		case err == nil:
			more, faults = full, 0
		case claiming.Err() != nil:
		case lost(err):
			d.logLost(err)
			return
		default:
			d.broker.log.Error("recall: claiming failed, trying again later", "error", err)
			d.lookout.reply(time.Time{}, err)
			d.lookout.pause(claiming, d.alarm, faults)
			faults++
		}
	}
}

// next is when something will be due that no slot is missing for.
func (d *dispatcher) next(more bool) time.Time {
	if more {
		return time.Time{}
	}
	return d.alarm.at
}

// wait sleeps until claiming may succeed. With something to claim only a slot
// is missing, and hints can wait: none is lost.
func (d *dispatcher) wait(claiming context.Context, more bool) {
	if more {
		select {
		case <-claiming.Done():
		case <-d.freed:
		case q := <-d.lookout.questions:
			d.lookout.note(q)
		}
		return
	}
	for rang := false; !rang; {
		select {
		case <-claiming.Done():
			return
		case <-d.hint:
			return
		case <-d.wake:
			return
		case q := <-d.lookout.questions:
			d.lookout.note(q)
			return
		case <-d.alarm.C:
			rang = d.alarm.rang()
		}
	}
}

// claim leases at most free messages and starts their attempts. It reports
// whether it got all it asked for, so that there may be more.
func (d *dispatcher) claim(claiming, attempts context.Context, free int) (full bool, err error) {
	b := d.broker
	now := b.clock.Now()
	asked := b.reach.claiming()
	defer b.reach.claimed(asked)
	res, err := b.engine.Claim(claiming, ClaimRequest{Now: now, Max: free, Handlers: b.handlers.urls()})
	if err != nil {
		return false, err
	}
	for _, l := range res.Leases { // a copy each: a long attempt must not keep the others' bodies
		d.start(claiming, attempts, &l, asked)
	}
	if len(res.Leases) >= free {
		return true, nil
	}
	d.alarm.set(notBefore(res.Next, now.Add(time.Millisecond)))
	return false, nil
}

// notBefore keeps an engine that names a time in the past, though it had
// nothing more to give, from being asked in a tight loop.
func notBefore(next, earliest time.Time) time.Time {
	if next.IsZero() || next.After(earliest) {
		return next
	}
	return earliest
}

// start runs the attempt of a lease, or gives the lease back when the broker
// was closed while it was claimed.
func (d *dispatcher) start(claiming, attempts context.Context, l *Lease, asked *claiming) {
	if claiming.Err() != nil {
		_ = d.finish(l, Finish{Outcome: Release, Now: d.broker.clock.Now(), Failure: FailureShutdown})
		return
	}
	d.busy.Add(1)
	d.running.Add(1)
	ctx, cancel := context.WithCancelCause(attempts)
	d.broker.reach.add(l.Message.ID, cancel, asked)
	d.workers.run(func() { d.attempt(ctx, cancel, l) })
}

// attempt runs in a worker.
func (d *dispatcher) attempt(ctx context.Context, cancel context.CancelCauseFunc, l *Lease) {
	defer d.leave()
	defer cancel(nil)
	b := d.broker
	started := b.clock.Now()
	d.lateness.observe(started.Sub(l.Message.DueAt))
	ctx, release := withTimeout(ctx, b.clock, l.Message.timeout(b.opts))
	defer release()
	ctx = context.WithValue(ctx, attemptKey{}, &attemptMark{broker: b, id: l.Message.ID})
	observed, ended := b.observeAttempt(ctx, &l.Message, started)
	// Deferred, because a handler may end the goroutine instead of returning.
	r := result{failure: FailureHandler, reason: "the handler ended its goroutine"}
	defer func() {
		r.cancelled = b.reach.remove(l.Message.ID)
		r.cut, r.ended = r.wasCut(ctx), ended
		if b.opts.WaitFinish {
			d.settling.Add(1)
			defer d.settling.Add(-1)
		}
		_ = d.end(l, r, started)
	}()
	r = d.deliver(observed, &l.Message)
}

// wasCut tells whether it was Close that ended the attempt of ctx. Success
// stays success, and what an endpoint has answered stays answered.
func (r result) wasCut(ctx context.Context) bool {
	return r.failure != FailureNone && r.failure != FailureStatus && errors.Is(context.Cause(ctx), errShutdown)
}

// leave frees the slot of an attempt.
func (d *dispatcher) leave() {
	d.busy.Add(-1)
	select {
	case d.freed <- struct{}{}:
	default:
	}
	d.running.Done()
}

// end decides what follows an attempt, hands that to the engine and logs it.
// What the engine does not take is logged, and the error.
func (d *outcomes) end(l *Lease, r result, started time.Time) error {
	now := d.broker.clock.Now()
	f := Finish{Outcome: Release, Failure: r.failure, Reason: r.reason}
	switch {
	case r.cut:
		f.Failure, f.Reason = FailureShutdown, errShutdown.Error()
	case !r.released:
		f = d.broker.decide(&l.Message, r, now)
	}
	f.Now, f.Durable = now, r.durable
	f.addCallbacks(&l.Message, r.truncated, d.broker.opts)
	if f.Outcome == Delivered {
		d.broker.kept.put(&l.Message, now)
	}
	err := d.finish(l, f)
	if !r.leased || !stays(err) { // else it is not over
		d.broker.observeEnd(r.ended, &f, r.status)
	}
	if err != nil {
		d.broker.kept.takeBack(l.Message.ID)
		return err
	}
	d.count(&f, now.Sub(started))
	d.logEnd(&l.Message, f, r.cancelled, now.Sub(started))
	return nil
}

// finish hands an outcome to the engine, whatever the attempt's context. What is
// not taken is delivered again after the next open.
func (d *outcomes) finish(l *Lease, f Finish) error {
	f.Durable = f.Durable || d.broker.opts.WaitFinish
	err := d.broker.engine.Finish(context.Background(), *l, f)
	switch {
	case err == nil:
	case lost(err):
		d.logLost(err)
	default:
		d.broker.log.Error("recall: the outcome of an attempt was not taken",
			"message", l.Message.ID, "attempt", l.Message.Attempts, "error", err)
	}
	return err
}

// logEnd tells people how an attempt ended.
func (d *outcomes) logEnd(m *Message, f Finish, cancelled bool, took time.Duration) {
	level, text := slog.LevelDebug, "recall: delivered"
	cancelled = cancelled && (f.Outcome == Retry || f.Outcome == Dead)
	switch {
	case cancelled:
		level, text = slog.LevelInfo, "recall: attempt failed, and the message is cancelled"
	case f.Outcome == Retry:
		level, text = slog.LevelInfo, "recall: attempt failed, another one follows"
	case f.Outcome == Dead:
		level, text = slog.LevelWarn, "recall: message is dead"
	case f.Outcome == Release:
		text = "recall: message was not tried"
	}
	ctx := context.Background()
	if !d.broker.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("message", string(m.ID)), slog.Int("attempt", m.Attempts),
		slog.String("url", redacted(m.URL)), slog.Duration("duration", took),
	}
	if f.Reason != "" {
		attrs = append(attrs, slog.String("reason", f.Reason))
	}
	if f.Response != nil {
		attrs = append(attrs, slog.Int("status", f.Response.Status))
	}
	if f.Outcome == Retry && !cancelled {
		attrs = append(attrs, slog.Time("due", f.Due))
	}
	d.broker.log.LogAttrs(ctx, level, text, attrs...)
}

// lost tells whether the engine will do nothing more until it is opened again.
func lost(err error) bool {
	var unknown *UnknownError
	return (errors.Is(err, ErrFailed) || errors.Is(err, ErrClosed)) && !errors.As(err, &unknown)
}

func (d *outcomes) logLost(err error) {
	d.engineLost.Do(func() {
		d.broker.log.Error("recall: delivering has stopped until the next open", "error", err)
	})
}

// pause waits for the clock to move, longer after each fault in a row, or for
// ctx.
func pause(ctx context.Context, a *alarm, faults int) {
	var never lookout
	never.pause(ctx, a, faults)
}

// pause is ended by a question, too: who asks does not wait for the clock.
func (l *lookout) pause(ctx context.Context, a *alarm, faults int) {
	a.off()
	select {
	case <-a.C: // a ring of before
	default:
	}
	a.set(a.clock.Now().Add(min(firstPause<<min(faults, 10), maxPause)))
	select {
	case <-ctx.Done():
	case <-a.C:
	case q := <-l.questions:
		l.note(q)
	}
	a.off()
}
