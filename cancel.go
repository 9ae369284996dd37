package recall

import (
	"context"
	"time"
)

// Policy says what a cancellation does about a message in flight. It is itself
// a [CancelOption].
type Policy uint8

// The policies for what is in flight. [Wait] is the Stop policy with patience.
const (
	// Stop ends the call at the first message in flight, with a
	// *NotCancellableError. What was cancelled before it stays cancelled. It is
	// the default.
	Stop Policy = iota
	// Sticky lets the running attempt finish, but the message is never tried
	// again: it ends delivered or cancelled. The request is durable when the
	// call returns.
	Sticky
)

// CancelOption changes how a cancellation treats what it meets: a [Policy],
// [Wait], [Limit] or [Reason].
type CancelOption interface{ applyCancel(*cancelOptions) }

type cancelOptions struct {
	policy Policy
	wait   time.Duration
	limit  int
	reason string
	err    error
}

func (p Policy) applyCancel(o *cancelOptions) { o.policy = p }

type cancelOptionFunc func(*cancelOptions)

func (f cancelOptionFunc) applyCancel(o *cancelOptions) { f(o) }

// Wait makes a bulk cancellation wait for attempts that block it, for at most d
// in the whole call. An attempt that ends delivered or dead is passed; one that
// goes back to pending is cancelled; one that is still running when d is used
// up is the blocker of the [Stop] policy. What was cancelled before a wait is
// committed before it, so after a crash an exact prefix may be cancelled.
func Wait(d time.Duration) CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) {
		o.wait = d
		if d < 0 {
			o.err = invalid("Wait", "%v is negative", d)
		}
	})
}

// Limit makes a bulk cancellation end after the oldest n matches.
func Limit(n int) CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) {
		o.limit = n
		if n < 1 {
			o.err = invalid("Limit", "%d is less than 1", n)
		}
	})
}

// MaxReason is the longest text of [Reason], in bytes.
const MaxReason = 1024

// Reason keeps a text for people with the record of the cancellation.
func Reason(text string) CancelOption {
	return cancelOptionFunc(func(o *cancelOptions) {
		o.reason = text
		if err := checkText("Reason", text, MaxReason); err != nil {
			o.err = err
		}
	})
}

func collectCancel(opts []CancelOption) (o cancelOptions, err error) {
	for _, opt := range opts {
		if opt != nil {
			opt.applyCancel(&o)
		}
	}
	if o.policy > Sticky {
		return o, invalid("Policy", "%d is unknown", o.policy)
	}
	return o, o.err
}

// single refuses what makes no sense for the cancellation of one message.
func (o *cancelOptions) single() error {
	switch {
	case o.wait != 0:
		return invalid("Wait", "it is for bulk cancellations")
	case o.limit != 0:
		return invalid("Limit", "it is for bulk cancellations")
	}
	return nil
}

// OperationID names a cancellation: "op_" and a ULID.
type OperationID string

// CancelResult says what a bulk cancellation did.
type CancelResult struct {
	Cancelled int         // messages that were pending and are gone now; exact
	Operation OperationID // names the durable record; empty if nothing was cancelled
	Index     string      // the index that was walked, as in a [Plan]
	Scanned   int         // entries of it that were looked at
}

// Cancel takes back one message. It returns nil when the message was pending
// and is durably gone: it will never be delivered. A message in flight is left
// as it is and named by a *[NotCancellableError], unless [Sticky] is given:
// then the running attempt may finish, but is the last. Wait and Limit are
// refused: they are for bulk calls.
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
	return b.engine.Cancel(ctx, CancelRequest{ID: id, Sticky: o.policy == Sticky, Reason: o.reason, Now: b.clock.Now()})
}

// CancelMatching takes back the pending messages that matched f when the call
// began, oldest first, walking the narrowest index that f allows. It stops at
// the first match that is in flight and returns a *[NotCancellableError] that
// names it; what was cancelled before it stays cancelled, and nothing after it
// is touched. Messages published after the call began are never touched.
//
// It is durable when it returns: one commit, whatever the number of messages,
// so after a crash either all of the call's messages are cancelled or none is
// (with [Wait]: an exact prefix). The count of the result is exact.
//
// Errors: [ErrEmptyFilter] for a zero Filter (see [Broker.CancelAll]),
// [ErrInvalid], [ErrNotCancellable], [ErrFull] (nothing was cancelled),
// [ErrFailed] (unknown), [ErrClosed], or that of ctx if it was done before the
// walk ended: then nothing of the walk's last part was cancelled. Safe for
// concurrent use.
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
	if o.policy != Stop {
		return CancelResult{}, invalid("Policy", "a bulk cancellation stops at what is in flight")
	}
	if err := b.begin(ctx); err != nil {
		return CancelResult{}, err
	}
	defer b.end()
	req.Policy, req.Reason, req.Limit, req.Now, req.Self = o.policy, o.reason, o.limit, b.clock.Now(), attemptOf(ctx)
	if o.wait > 0 {
		expired := make(chan struct{})
		req.Expired = expired
		stop := b.clock.AfterFunc(o.wait, func() { close(expired) })
		defer stop()
	}
	return b.engine.CancelMatching(ctx, req)
}
