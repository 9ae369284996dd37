package recall

import (
	"context"
	"slices"
	"time"
)

// MaxReceive is how many messages one [Broker.Receive] may ask for.
const MaxReceive = 1000

// ReceiveOption changes how [Broker.Receive] waits and what it returns:
// [LeaseFor] or [PollFor].
type ReceiveOption interface{ applyReceive(*receiveOptions) }

type receiveOptions struct {
	lanes []string // the one to claim from
	most  int
	lease time.Duration // 0: as long as the message says
	poll  time.Duration // with polls
	polls bool          // it does not wait for ever
	err   error
}

type receiveOptionFunc func(*receiveOptions)

func (f receiveOptionFunc) applyReceive(o *receiveOptions) { f(o) }

// fail keeps the first thing that is wrong.
func (o *receiveOptions) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// LeaseFor makes the leases of a [Broker.Receive] last for d, more than 0 and at
// most [MaxTimeout], whatever the messages say. It is SQS's visibility timeout.
func LeaseFor(d time.Duration) ReceiveOption {
	return receiveOptionFunc(func(o *receiveOptions) {
		o.lease = d
		if err := checkLease("LeaseFor", d); err != nil {
			o.fail(err)
		}
	})
}

// PollFor makes [Broker.Receive] return no messages and no error when none came
// within d; 0 means that it does not wait at all.
func PollFor(d time.Duration) ReceiveOption {
	return receiveOptionFunc(func(o *receiveOptions) {
		o.poll, o.polls = d, true
		if d < 0 {
			o.fail(invalid("PollFor", "%v is negative", d))
		}
	})
}

func checkLease(field string, d time.Duration) error {
	if d <= 0 || d > MaxTimeout {
		return invalid(field, "%v is not more than 0 and at most %v", d, MaxTimeout)
	}
	return nil
}

func collectReceive(queue string, most int, opts []ReceiveOption) (o receiveOptions, err error) {
	o = receiveOptions{lanes: []string{pullScheme + queue}, most: most}
	switch {
	case queue == "":
		return o, invalid("Queue", "it is empty")
	case most < 1 || most > MaxReceive:
		return o, invalid("max", "%d is not between 1 and %d", most, MaxReceive)
	}
	if err := checkName("Queue", queue); err != nil {
		return o, err
	}
	for _, opt := range opts {
		if opt != nil {
			opt.applyReceive(&o)
		}
	}
	return o, o.err
}

// Receive fetches messages that were published for the consumers of a queue –
// with Message.Queue, and without a URL – and leases them to the caller: up to
// max, those that are due, earliest due first, then oldest. It waits until there
// is one at least, or ctx is done, or [PollFor] ends; it does not wait for more.
// Of calls that wait for one queue the first to come is served first.
//
// A lease is an attempt, with the same retries, delays and dead letter queue as
// one that is pushed to an endpoint, and the message is in flight until the
// consumer ends it: by [Received.Ack], [Received.Nack], [Received.Fail] or
// [Received.DeadLetter]. It lasts as long as Message.Timeout, or [LeaseFor],
// and [Received.Extend] prolongs it. A lease that runs out is a failed attempt:
// the message is due again at once, or after Message.RetryDelay if it has one,
// and is a dead letter when it has no attempt left. What the late consumer then
// says of it is [ErrLeaseLost]. So a message may be received more than once, and
// it has one valid lease at a time.
//
// Leases take none of Options.Slots, and work with Options.NoDispatch. They end
// with the broker: [Broker.Close] gives the messages back, the attempt not
// counted; a crash does too, but there the attempt counts once it was noted in
// the file, at the latest after about a second.
//
// The messages that are returned are independent of each other and need not be
// ended in order. Receive may be called from many goroutines at once; each
// message goes to one of them.
//
// Errors: [ErrInvalid] for a queue without a name, a max that is not between 1
// and [MaxReceive], or a bad option; [ErrClosed], also when the broker is closed
// during the call; [ErrFailed]; that of ctx if it was done before a message came:
// then nothing was leased.
func (b *Broker) Receive(ctx context.Context, queue string, max int, opts ...ReceiveOption) ([]*Received, error) {
	o, err := collectReceive(queue, max, opts)
	if err != nil {
		return nil, err
	}
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.end()
	if o.polls && o.poll == 0 {
		got, _, err := b.consumers.claim(ctx, &o)
		return got, err
	}
	return b.consumers.receive(ctx, &o)
}

// receive claims when it is the first in line and something may be claimable.
func (c *consumers) receive(ctx context.Context, o *receiveOptions) ([]*Received, error) {
	w := c.join(o.lanes[0])
	defer c.leave(w)
	clock := c.broker.clock
	due := newAlarm(clock)
	defer due.off()
	var ended chan struct{}
	if o.polls {
		ended = make(chan struct{})
		defer clock.AfterFunc(o.poll, func() { close(ended) })()
	}
	for {
		last := false
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.stopped:
			return nil, ErrClosed
		case <-ended:
			last = true
		case <-w.wake:
		case <-due.C:
			if !due.rang() {
				continue
			}
		}
		got, next, err := c.claim(ctx, o)
		if last || len(got) > 0 || err != nil {
			return got, err
		}
		due.set(next)
	}
}

// claim leases what there is, and says when there will be more.
func (c *consumers) claim(ctx context.Context, o *receiveOptions) (got []*Received, next time.Time, err error) {
	b := c.broker
	now := b.clock.Now()
	asked := b.reach.claiming()
	defer b.reach.claimed(asked)
	res, err := b.engine.Claim(ctx, ClaimRequest{Now: now, Max: o.most, Handlers: o.lanes, Only: true})
	if err != nil || len(res.Leases) == 0 {
		return nil, notBefore(res.Next, now.Add(time.Millisecond)), err
	}
	got, err = c.handOut(res.Leases, o, asked)
	return got, time.Time{}, err
}

// line are the calls that wait for one queue, the first to come first. Only that
// one claims: when it leaves it wakes the next, which then does.
type line []*waiter

// waiter is one call that waits.
type waiter struct {
	lane string
	wake chan struct{} // one hint: it is the first, and there may be something
}

func (c *consumers) join(lane string) *waiter {
	w := &waiter{lane: lane, wake: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines[lane] = append(c.lines[lane], w)
	if c.lines[lane][0] == w {
		hint(w.wake)
	}
	return w
}

// leave wakes whoever is the first in line then: it may be that only what woke w
// said that there is something.
func (c *consumers) leave(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.lines[w.lane]
	if waiting[0] == w { // as most are
		waiting[0], waiting = nil, waiting[1:]
	} else {
		at := slices.Index(waiting, w)
		waiting = slices.Delete(waiting, at, at+1)
	}
	if len(waiting) == 0 {
		delete(c.lines, w.lane)
		return
	}
	c.lines[w.lane] = waiting
	hint(waiting[0].wake)
}

// hinted wakes the first in every line.
func (c *consumers) hinted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, waiting := range c.lines {
		hint(waiting[0].wake)
	}
}
