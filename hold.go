package recall

import (
	"context"
	"errors"
	"time"
)

// ChangeResult says what a bulk change other than a cancellation did.
type ChangeResult struct {
	Changed   int         // messages that were pending and are changed now; exact
	Skipped   []MessageID // matches in flight, which were passed over; oldest first
	Operation OperationID // names the durable record; empty if nothing was changed
	Index     string      // the index that was walked, as in a [Plan]
	Scanned   int         // entries of it that were looked at
}

// Hold pauses the pending messages that match f: they are not delivered until
// they are released, and lose neither their due time nor their place. Held
// messages are pending: they can be cancelled, listed and counted, in state
// [StateHeld]. What is in flight is passed over and named in the result, or
// ends the call with [Stop]; what fails its attempt later is not held.
//
// The walk, the options ([Stop], [Skip], [ExpectAtMost], [ExpectExactly],
// [Limit], [DryRun], [Reason]), durability and errors are those of
// [Broker.CancelMatching], with Skip as the default. Safe for concurrent use.
func (b *Broker) Hold(ctx context.Context, f Filter, opts ...CancelOption) (ChangeResult, error) {
	return b.change(ctx, f, ChangeRequest{Kind: OperationHold}, opts)
}

// Release ends the hold of the messages that match f; what is overdue runs at
// once, oldest due first. Otherwise it is like [Broker.Hold].
func (b *Broker) Release(ctx context.Context, f Filter, opts ...CancelOption) (ChangeResult, error) {
	return b.change(ctx, f, ChangeRequest{Kind: OperationRelease}, opts)
}

// Reschedule moves the next attempt of the pending messages that match f to
// due, which may be in the past (at once) and at most ten years ahead
// ([ErrInvalid] otherwise). Attempts that were made still count. Otherwise it is
// like [Broker.Hold].
func (b *Broker) Reschedule(ctx context.Context, f Filter, due time.Time, opts ...CancelOption) (ChangeResult, error) {
	now := b.clock.Now()
	if err := checkTimes(&Message{NotBefore: due}, now); err != nil || due.IsZero() {
		return ChangeResult{}, invalid("due", "%s is not a time within ten years", due.UTC().Format(time.RFC3339))
	}
	if due.Before(now) { // a time long gone must not come before what was due all along
		due = now
	}
	return b.change(ctx, f, ChangeRequest{Kind: OperationReschedule, Due: due}, opts)
}

// RetryNow makes the matches of f that wait for a retry due at once. Otherwise
// it is like [Broker.Hold].
func (b *Broker) RetryNow(ctx context.Context, f Filter, opts ...CancelOption) (ChangeResult, error) {
	return b.change(ctx, f, ChangeRequest{Kind: OperationRetryNow}, opts)
}

func (b *Broker) change(ctx context.Context, f Filter, req ChangeRequest, opts []CancelOption) (ChangeResult, error) {
	if f.IsZero() {
		return ChangeResult{}, ErrEmptyFilter
	}
	if err := f.Validate(); err != nil {
		return ChangeResult{}, err
	}
	o, err := collectCancel(opts)
	if err != nil {
		return ChangeResult{}, err
	}
	if o.wait != 0 || o.policy.asks() {
		return ChangeResult{}, invalid("Policy", "only Stop and Skip make sense here")
	}
	if o.policies == 0 {
		o.policy = Skip
	}
	c, err := asEngine[Changer](b, ctx)
	if err != nil {
		return ChangeResult{}, err
	}
	defer b.end()
	req.Filter = f.normalise()
	b.fill(ctx, &req.CancelMatchingRequest, &o)
	result, err := c.Change(ctx, req)
	var stop *NotCancellableError
	if errors.As(err, &stop) {
		stop.Operation = req.Kind
	}
	return result, err
}
