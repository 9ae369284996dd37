package recall

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
)

// Received is a message that a consumer has leased by [Broker.Receive]. The
// consumer ends the lease, once, by Ack, Nack, Fail or DeadLetter; until then
// nobody else gets the message. The methods are safe for concurrent use.
//
// Their errors: [ErrLeaseLost] when the lease is over – it has ended or expired
// – and the call has changed nothing; [ErrClosed] after [Broker.Close];
// [ErrFailed] (outcome unknown until the next Open); [ErrInvalid]; that of ctx if
// it was done before the call, which then has changed nothing. That the lease's
// own Context has ended does not stop them.
type Received struct {
	Delivery

	consumers *consumers
	lease     Lease
	began     time.Time
	observed  func(AttemptEnd) // nil: nobody is told
	ctx       context.Context
	cancel    context.CancelCauseFunc

	// Guarded by consumers.mu:
	held    bool // in consumers.out; what ends the lease takes it from there
	expires time.Time
}

// Context ends with the lease: when it was ended, has expired (then its cause is
// [ErrLeaseLost]) or is void because the broker was closed. It also ends when
// the message is cancelled with [Abort]; the lease goes on then, and the
// consumer may end it early. As with a handler, a cancellation by it with [Wait]
// does not wait for this very message. It has no deadline, as that may move: see
// ExpiresAt.
func (r *Received) Context() context.Context { return r.ctx }

// ExpiresAt is when the lease runs out, or has run out, if it is not extended.
func (r *Received) ExpiresAt() time.Time {
	r.consumers.mu.Lock()
	defer r.consumers.mu.Unlock()
	return r.expires
}

// Ack ends the lease: the message is delivered. When it returns nil that is
// durable, and the message will not come again.
func (r *Received) Ack(ctx context.Context) error { return r.end(ctx, result{}) }

// Nack ends the lease as a failed attempt: the message is due again after delay,
// which is at most [MaxDelay] and may be 0, or a dead letter if it has no attempt
// left. Durable when it returns nil.
func (r *Received) Nack(ctx context.Context, delay time.Duration) error {
	if delay < 0 || delay > MaxDelay {
		return invalid("delay", "%v is not between 0 and %v", delay, MaxDelay)
	}
	return r.end(ctx, result{failure: FailureHandler, reason: "the consumer gave it back", next: delay, hasNext: true})
}

// Fail ends the lease as a handler does that returns err: the message is due
// again after Message.RetryDelay or Options.Backoff, or a dead letter if it has
// no attempt left; [RetryAfter] and [Permanent] say otherwise. The text of err
// is kept with a dead letter. Fail(ctx, nil) is Ack. Durable when it returns nil.
func (r *Received) Fail(ctx context.Context, err error) error {
	if err == nil {
		return r.Ack(ctx)
	}
	return r.end(ctx, ownError(err))
}

// DeadLetter ends the lease and moves the message to the dead letter queue at
// once, whatever attempts it has left. The reason is for people; the dead letter
// keeps 256 bytes of it, and a failure callback tells 1,024. Durable when it returns
// nil.
func (r *Received) DeadLetter(ctx context.Context, reason string) error {
	return r.end(ctx, result{failure: FailureHandler, reason: boundReason(reason), permanent: true})
}

// Extend makes the lease run out d from now, be that later or earlier than
// before; d is more than 0 and at most [MaxTimeout]. It may be called as often as
// needed. Nothing of it is durable, as no lease outlives the broker.
func (r *Received) Extend(ctx context.Context, d time.Duration) error {
	if err := checkLease("Extend", d); err != nil {
		return err
	}
	c := r.consumers
	if err := c.broker.begin(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer c.broker.end()
	now := c.broker.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := r.takeLocked(ctx); err != nil {
		return err
	}
	c.holdLocked(r, now.Add(d))
	return nil
}

// end ends the lease by the wish of the consumer.
func (r *Received) end(ctx context.Context, how result) error {
	c := r.consumers
	if err := c.broker.begin(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer c.broker.end()
	c.mu.Lock()
	err := r.takeLocked(ctx)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	how.durable = true
	if err = c.end(r, how); stays(err) {
		c.hold(r, r.ExpiresAt())
	} else {
		r.cancel(nil)
	}
	return err
}

// takeLocked takes the lease out of the table for a call, if it is still there.
// That comes before the context, which may have ended with the lease.
func (r *Received) takeLocked(ctx context.Context) error {
	switch {
	case r.consumers.closed:
		return ErrClosed
	case !r.held:
		return ErrLeaseLost
	case r.ctx.Err() == nil || attemptOf(ctx) != r.lease.Message.ID: // else it is the lease's own, and was aborted
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	r.consumers.out.Delete(r)
	r.held = false
	return nil
}

// stays tells whether a lease is still valid after err: the engine did not take
// its end, but may yet.
func stays(err error) bool { return err != nil && !lost(err) && !errors.Is(err, ErrLeaseLost) }

// consumers keeps the leases of pulled messages and the calls that wait for some.
// One goroutine, watch, ends the leases that expire.
type consumers struct {
	broker  *Broker
	expired atomic.Int64  // leases
	stopped chan struct{} // closed by stop
	done    chan struct{} // closed when watch has ended
	sooner  chan struct{} // one hint: a lease expires before all others
	lookout lookout

	mu     sync.Mutex // guards everything below
	closed bool
	lines  map[string]line          // by lane
	out    *btree.BTreeG[*Received] // by time of expiry
}

func startConsumers(b *Broker) *consumers {
	c := &consumers{
		broker:  b,
		stopped: make(chan struct{}),
		done:    make(chan struct{}),
		sooner:  make(chan struct{}, 1),
		lookout: newLookout(),
		lines:   map[string]line{},
		out: btree.NewG(32, func(a, b *Received) bool {
			return a.expires.Before(b.expires) ||
				a.expires.Equal(b.expires) && a.lease.Token.Number < b.lease.Token.Number
		}),
	}
	go c.watch()
	return c
}

// leased counts what consumers hold.
func (c *consumers) leased() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Len()
}

// handOut hands out what was claimed, unless the broker was closed meanwhile.
func (c *consumers) handOut(leases []Lease, o *receiveOptions, asked *claiming) ([]*Received, error) {
	now := c.broker.clock.Now()
	got := make([]*Received, len(leases))
	for i := range leases {
		got[i] = c.received(leases[i], now)
		c.broker.reach.add(leases[i].Message.ID, got[i].cancel, asked)
	}
	if !c.holdAll(got, now, o.lease) {
		c.giveBack(got)
		return nil, ErrClosed
	}
	return got, nil
}

// received is a lease as its consumer sees it.
func (c *consumers) received(l Lease, now time.Time) *Received {
	m := &l.Message
	c.broker.outcomes.lateness.observe(now.Sub(m.DueAt))
	ctx, cancel := context.WithCancelCause(context.WithValue(context.Background(), attemptKey{},
		&attemptMark{broker: c.broker, id: m.ID, pulled: true}))
	ctx, observed := c.broker.observeAttempt(ctx, m, now)
	return &Received{
		Delivery:  Delivery{Message: *m, Attempt: m.Attempts, StartedAt: now},
		consumers: c, lease: l, began: now, observed: observed, ctx: ctx, cancel: cancel,
	}
}

// holdAll puts leases into the table; their messages say for how long if lease
// is 0. It reports false when it is too late for that.
func (c *consumers) holdAll(got []*Received, now time.Time, lease time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	for _, r := range got {
		d := lease
		if d == 0 {
			d = r.lease.Message.timeout(c.broker.opts)
		}
		c.holdLocked(r, now.Add(d))
	}
	return true
}

// hold puts a lease back into the table, if that is not too late: then its
// message is pending after the next open.
func (c *consumers) hold(r *Received, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.holdLocked(r, expires)
	}
}

func (c *consumers) holdLocked(r *Received, expires time.Time) {
	r.held, r.expires = true, expires
	c.out.ReplaceOrInsert(r)
	if first, _ := c.out.Min(); first == r {
		hint(c.sooner)
	}
}

// end ends a lease that was taken from the table. If the engine does not take
// that the lease may stay.
func (c *consumers) end(r *Received, how result) error {
	how.cancelled = c.broker.reach.remove(r.lease.Message.ID)
	how.leased, how.ended = true, r.observed
	return c.broker.outcomes.end(&r.lease, how, r.began)
}

// watch ends leases when they expire.
func (c *consumers) watch() {
	defer close(c.done)
	alarm := newAlarm(c.broker.clock)
	defer alarm.off()
	for {
		r, next := c.takeExpired(c.broker.clock.Now())
		if r != nil {
			c.endExpired(r)
			continue
		}
		alarm.set(next)
		c.lookout.reply(next, nil)
		select {
		case <-c.stopped:
			return
		case q := <-c.lookout.questions:
			c.lookout.note(q)
		case <-c.sooner:
		case <-alarm.C:
			alarm.rang()
		}
	}
}

// takeExpired takes a lease that has run out from the table, or says when the
// next one will have.
func (c *consumers) takeExpired(now time.Time) (r *Received, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, ok := c.out.Min()
	switch {
	case !ok:
		return nil, time.Time{}
	case first.expires.After(now):
		return nil, first.expires
	}
	c.out.DeleteMin()
	first.held = false
	return first, time.Time{}
}

// endExpired ends a lease as a failed attempt. The consumer has had its time and is
// likely dead, so the next one need not wait, unless the publisher says so.
func (c *consumers) endExpired(r *Received) {
	how := result{
		failure: FailureTimeout,
		reason:  fmt.Sprintf("the consumer did not end its lease within %v", r.ExpiresAt().Sub(r.began)),
		hasNext: r.lease.Message.RetryDelay == "",
	}
	c.expired.Add(1)
	r.cancel(ErrLeaseLost) // before anybody else can have the message
	if stays(c.end(r, how)) {
		c.hold(r, c.broker.clock.Now().Add(maxPause))
	}
}

// stop sends the calls that wait away and gives back what is leased.
func (c *consumers) stop() {
	c.mu.Lock()
	c.closed = true
	var out []*Received
	c.out.Ascend(func(r *Received) bool {
		r.held = false
		out = append(out, r)
		return true
	})
	c.out.Clear(false)
	c.mu.Unlock()
	close(c.stopped)
	<-c.done
	c.giveBack(out)
}

// giveBack makes messages pending again as if they had not been received.
func (c *consumers) giveBack(leases []*Received) {
	for _, r := range leases {
		r.cancel(errShutdown)
		_ = c.end(r, result{cut: true}) // what is not taken is pending after the next open
	}
}
