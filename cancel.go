package recall

import (
	"context"
	"fmt"
	"time"
)

// Policy says what a cancellation does about a message in flight. It is itself
// a [CancelOption].
type Policy uint8

// The policies for what is in flight. [Wait] is the Stop policy with patience.
const (
	// Stop ends the call at the first message in flight, with a
	// *NotCancellableError. What was cancelled before it stays cancelled. It is
	// the default, and QStash's rule.
	Stop Policy = iota
	// Sticky lets the running attempt finish, but the message is never tried
	// again: it ends delivered or cancelled. The request is durable when the
	// call returns; bulk calls count such messages as Requested.
	Sticky
	// Skip passes over what is in flight: such messages go on as if the call
	// had not met them. The result names them.
	Skip
	// Abort is Sticky, and also cancels the context of the running attempt, so
	// that an HTTP request is torn down and a handler can stop early. An attempt
	// that succeeds all the same is a delivery.
	Abort
)

// String returns the name of the policy.
func (p Policy) String() string {
	names := [...]string{"stop", "sticky", "skip", "abort"}
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// asks tells whether the policy asks for the cancellation of what is in flight.
func (p Policy) asks() bool { return p == Sticky || p == Abort }

// CancelOption changes how a cancellation, or another bulk change, treats what
// it meets: a [Policy] or [Wait], of which a call takes one, [ExpectAtMost],
// [ExpectExactly], [Limit], [DryRun], [Reason] or [Started].
type CancelOption interface{ applyCancel(*cancelOptions) }

type cancelOptions struct {
	policy   Policy
	policies int // how many were given, Wait included
	wait     time.Duration
	limit    int
	guard    Guard
	dryRun   bool
	reason   string
	started  func(OperationID)
	err      error
}

func (p Policy) applyCancel(o *cancelOptions) {
	o.policy = p
	o.policies++
}

type cancelOptionFunc func(*cancelOptions)

func (f cancelOptionFunc) applyCancel(o *cancelOptions) { f(o) }

// Wait makes a bulk cancellation wait for attempts that block it, for at most d
// in the whole call. An attempt that ends delivered or dead is passed; one that
// goes back to pending is cancelled, also if its next attempt is due at once; one
// that is still running when d is used up is the blocker of the [Stop] policy. What was cancelled before a wait is
// committed before it, so after a crash an exact prefix may be cancelled. A
// handler that waits for its own attempt is told at once.
func Wait(d time.Duration) CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) {
		o.wait = d
		o.policies++
		if d < 0 {
			o.fail(invalid("Wait", "%v is negative", d))
		}
	})
}

// Limit makes a bulk call end after the oldest n matches that it takes.
func Limit(n int) CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) {
		o.limit = n
		if n < 1 {
			o.fail(invalid("Limit", "%d is less than 1", n))
		}
	})
}

// ExpectAtMost refuses a bulk call, before it changes anything, when more than
// n messages match and are pending: the error is an *[UnexpectedCountError]
// with the number that was found. The count is taken by the very walk that
// would take the messages, so none can come or go in between. What is in flight
// does not count; the policy deals with it afterwards. [Limit] does not make
// the number smaller.
func ExpectAtMost(n int) CancelOption { return expect("ExpectAtMost", Guard{Set: true, Most: n}) }

// ExpectExactly is [ExpectAtMost] for a number that must be met.
func ExpectExactly(n int) CancelOption {
	return expect("ExpectExactly", Guard{Set: true, Least: n, Most: n})
}

func expect(name string, g Guard) CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) {
		switch {
		case g.Most < 0:
			o.fail(invalid(name, "%d is negative", g.Most))
		case o.guard.Set:
			o.fail(invalid(name, "a call takes one expectation"))
		}
		o.guard = g
	})
}

// DryRun makes a bulk call report what it would do – counts, what it would
// skip, its blocker – without doing it. It does not wait. Another call may
// change the answer at any moment: for safety use [ExpectExactly].
func DryRun() CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) { o.dryRun = true })
}

// MaxReason is the longest text of [Reason], in bytes.
const MaxReason = 1024

// Reason keeps a text for people with the record of the operation, see
// [Broker.Cancellations].
func Reason(text string) CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) {
		o.reason = text
		if err := checkText("Reason", text, MaxReason); err != nil {
			o.fail(err)
		}
	})
}

// Started calls f once, when it is settled which messages a bulk call is about –
// what is published from then on is not touched – and before it changes anything,
// with the id that the record of the operation will have. A call that takes
// nothing leaves no record. f is called by the goroutine of the call, must return
// at once, and must not call the broker; a call that is refused for its arguments
// does not call it. With it a caller can let the call go on by itself, and answer
// meanwhile.
func Started(f func(OperationID)) CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) { o.started = f })
}

// fail keeps the first thing that is wrong.
func (o *cancelOptions) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func collectCancel(opts []CancelOption) (o cancelOptions, err error) {
	for _, opt := range opts {
		if opt != nil {
			opt.applyCancel(&o)
		}
	}
	switch {
	case o.policy > Abort:
		o.fail(invalid("Policy", "%d is unknown", o.policy))
	case o.policies > 1:
		o.fail(invalid("Policy", "a call takes one policy, or Wait"))
	}
	return o, o.err
}

// single refuses what makes no sense for the cancellation of one message.
func (o *cancelOptions) single() error {
	refuse := func(name string) error { return invalid(name, "it is for bulk cancellations") }
	switch {
	case o.wait != 0:
		return refuse("Wait")
	case o.limit != 0:
		return refuse("Limit")
	case o.guard.Set:
		return refuse("Expect")
	case o.dryRun:
		return refuse("DryRun")
	case o.started != nil:
		return refuse("Started")
	case o.policy == Skip:
		return refuse("Policy")
	}
	return nil
}

// CancelResult says what a bulk cancellation did.
type CancelResult struct {
	Cancelled int         // messages that were pending and are gone now; exact
	Requested int         // messages in flight that are not tried again, with Sticky and Abort
	Skipped   []MessageID // messages in flight that were passed over, with Skip; oldest first
	Operation OperationID // names the durable record; empty if nothing was cancelled
	Index     string      // the index that was walked, as in a [Plan]
	Scanned   int         // entries of it that were looked at
}

// Cancel takes back one message. It returns nil when the message was pending
// and is durably gone: it will never be delivered. A message in flight is left
// as it is and named by a *[NotCancellableError], unless [Sticky] or [Abort] is
// given: then the running attempt is the last, and with Abort its context is
// cancelled. Options that are about many messages are refused.
//
// Errors: [ErrNotFound] if there is no such live message (never published,
// delivered, cancelled, dead-lettered), [ErrInvalid] for what is no id,
// [ErrNotCancellable], [ErrClosed], [ErrFailed], or that of ctx, if it was done
// before anything was changed. Safe for concurrent use.
func (b *Broker) Cancel(ctx context.Context, id MessageID, opts ...CancelOption) error {
	o, err := collectCancel(opts)
	if err != nil {
		return err
	}
	if err := o.single(); err != nil {
		return err
	}
	if _, err := id.ulid(); err != nil {
		return err
	}
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.end()
	err = b.engine.Cancel(ctx, CancelRequest{ID: id, Sticky: o.policy.asks(), Reason: o.reason, Now: b.clock.Now()})
	if err == nil && o.policy.asks() {
		b.asked([]MessageID{id}, o.policy)
	}
	return err
}

// CancelMatching takes back the pending messages that matched f when the call
// began, oldest first, walking the narrowest index that f allows. By default it
// stops at the first match that is in flight and returns a
// *[NotCancellableError] that names it; what was cancelled before it stays
// cancelled, and nothing after it is touched. Options change what happens to
// messages in flight ([Wait], [Skip], [Sticky], [Abort]), refuse surprising
// numbers ([ExpectAtMost], [ExpectExactly]), take only the oldest ([Limit]),
// only look ([DryRun]), or keep a text with the record ([Reason]). Messages
// published after the call began are never touched.
//
// It is durable when it returns: one commit, whatever the number of messages,
// so after a crash either all of the call's messages are cancelled or none is
// (with [Wait]: an exact prefix). The counts of the result are exact. For a
// while [Broker.Restore] brings the messages back.
//
// Errors: [ErrEmptyFilter] for a zero Filter (see [Broker.CancelAll]),
// [ErrInvalid], [ErrNotCancellable], [ErrUnexpectedCount] (nothing was
// cancelled), [ErrFull] (nothing was cancelled, with [Wait] nothing more than
// the result says), [ErrFailed] (unknown), [ErrClosed], or that of ctx if it was
// done before the walk ended: then nothing of the walk's last part was cancelled.
// Safe for concurrent use.
func (b *Broker) CancelMatching(ctx context.Context, f Filter, opts ...CancelOption) (CancelResult, error) {
	if f.IsZero() {
		return CancelResult{}, ErrEmptyFilter
	}
	if err := f.Validate(); err != nil {
		return CancelResult{}, err
	}
	return b.cancelMatching(ctx, CancelMatchingRequest{Filter: f.normalise()}, opts)
}

// CancelAll is [Broker.CancelMatching] for every message: delayed, ready,
// waiting for a retry, in any queue.
func (b *Broker) CancelAll(ctx context.Context, opts ...CancelOption) (CancelResult, error) {
	return b.cancelMatching(ctx, CancelMatchingRequest{All: true}, opts)
}

func (b *Broker) cancelMatching(ctx context.Context, req CancelMatchingRequest, opts []CancelOption) (CancelResult, error) {
	o, err := collectCancel(opts)
	if err != nil {
		return CancelResult{}, err
	}
	if err := b.begin(ctx); err != nil {
		return CancelResult{}, err
	}
	defer b.end()
	b.fill(ctx, &req, &o)
	if o.wait > 0 {
		expired := make(chan struct{})
		req.Expired = expired
		stop := b.clock.AfterFunc(o.wait, func() { close(expired) })
		defer stop()
	}
	if o.policy.asks() && !o.dryRun {
		req.Asked = func(ids []MessageID) { b.asked(ids, o.policy) }
	}
	done := b.observeCancel(ctx, &req)
	result, err := b.engine.CancelMatching(ctx, req)
	b.observeCancelled(done, result, err)
	return result, err
}

// fill completes a request with the options of its call.
func (b *Broker) fill(ctx context.Context, req *CancelMatchingRequest, o *cancelOptions) {
	req.Policy, req.Reason, req.Limit, req.Guard, req.DryRun = o.policy, o.reason, o.limit, o.guard, o.dryRun
	req.Now, req.Self, req.Started = b.clock.Now(), attemptOf(ctx), o.started
	req.Elapsed = func() time.Duration { return b.clock.Now().Sub(req.Now) }
}
