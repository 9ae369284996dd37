package recall

import (
	"context"
	"runtime/debug"
	"time"
)

// Observer is told what a broker does while it does it, see Options.Observer; package
// tracing makes one for OpenTelemetry. Every field may be nil. The functions are
// called by the goroutine that does the work, from many at once, and it waits for
// them: they return at once, and call nothing of the broker. One that panics is
// logged and passed over. So may the functions that they return be nil.
type Observer struct {
	// Publish is called before messages are stored, with the context of the call; for
	// what a schedule publishes it is one without values. The messages are the broker's
	// own, as they will be stored, without ids: their Header may be replaced, by a
	// changed copy and not in place, with headers that are delivered with them. Such
	// headers count neither for limits nor for DeduplicateContent. Callbacks and dead
	// letters that are retried are not shown. done is called when the call is about to
	// return, with receipts in the order of msgs or an error. In a transaction that is
	// before its commit.
	Publish func(ctx context.Context, msgs []Message) (done func([]Receipt, error))
	// Attempt is called when an attempt begins: of a handler, over HTTP, or by a
	// consumer, whose lease is one. The context that it returns, which is derived from
	// ctx, becomes that of the handler, of the HTTP request that Options.OnRequest gets,
	// or of the [Received]; nil leaves it as it is. done is called when the attempt is
	// over and its outcome was handed to the engine.
	Attempt func(ctx context.Context, d *Delivery) (derived context.Context, done func(AttemptEnd))
	// Cancel is called before a bulk cancellation, and done with what it returns.
	Cancel func(ctx context.Context, c Cancellation) (done func(CancelResult, error))
}

// AttemptEnd is how an attempt ended.
type AttemptEnd struct {
	Outcome Outcome
	Failure FailureClass // FailureNone if it was delivered
	Reason  string       // of a failure, for a person
	Status  int          // that an endpoint has answered with; 0: none has
	Due     time.Time    // of the next attempt, with Retry
}

// Cancellation is a call of [Broker.CancelMatching] or [Broker.CancelAll].
type Cancellation struct {
	Filter Filter // zero with All
	All    bool
	Policy Policy
	DryRun bool
	Reason string
}

// String returns the filter as the records of operations have it.
func (c Cancellation) String() string {
	if c.All {
		return auditText(Filter{})
	}
	return auditText(c.Filter)
}

func (b *Broker) observePublish(ctx context.Context, msgs []Message) (done func([]Receipt, error)) {
	if o := b.opts.Observer; o != nil && o.Publish != nil {
		defer b.observerPanicked()
		return o.Publish(ctx, msgs)
	}
	return nil
}

func (b *Broker) observePublished(done func([]Receipt, error), receipts []Receipt, err error) {
	if done != nil {
		defer b.observerPanicked()
		done(receipts, err)
	}
}

func (b *Broker) observeAttempt(
	ctx context.Context, m *Message, began time.Time,
) (derived context.Context, done func(AttemptEnd)) {
	o := b.opts.Observer
	if o == nil || o.Attempt == nil {
		return ctx, nil
	}
	defer b.observerPanicked()
	derived = ctx // whatever follows
	got, done := o.Attempt(ctx, &Delivery{Message: *m, Attempt: m.Attempts, StartedAt: began})
	if got != nil {
		derived = got
	}
	return derived, done
}

func (b *Broker) observeEnd(done func(AttemptEnd), f *Finish, status int) {
	if done != nil {
		defer b.observerPanicked()
		done(AttemptEnd{Outcome: f.Outcome, Failure: f.Failure, Reason: f.Reason, Status: status, Due: f.Due})
	}
}

func (b *Broker) observeCancel(ctx context.Context, req *CancelMatchingRequest) (done func(CancelResult, error)) {
	if o := b.opts.Observer; o != nil && o.Cancel != nil {
		defer b.observerPanicked()
		return o.Cancel(ctx, Cancellation{
			Filter: req.Filter, All: req.All, Policy: req.Policy, DryRun: req.DryRun, Reason: req.Reason,
		})
	}
	return nil
}

func (b *Broker) observeCancelled(done func(CancelResult, error), result CancelResult, err error) {
	if done != nil {
		defer b.observerPanicked()
		done(result, err)
	}
}

// observerPanicked keeps a panic of the observer's from whom it observes. It is
// deferred by who calls it.
func (b *Broker) observerPanicked() {
	if p := recover(); p != nil {
		b.log.Error("recall: Options.Observer panicked", "reason", panicText(p), "stack", string(debug.Stack()))
	}
}
