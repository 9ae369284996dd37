package recall

import (
	"context"
	"time"
)

// StandingCancellation cancels what arrives, until it expires or is lifted.
type StandingCancellation struct {
	ID       OperationID
	Filter   Filter
	Reason   string
	At       time.Time // when it was made
	Until    time.Time // when it expires
	LiftedAt time.Time // zero: it was not lifted
	Count    int       // messages that it has taken
}

// Active tells whether s takes what arrives at the given time.
func (s *StandingCancellation) Active(now time.Time) bool {
	return s.LiftedAt.IsZero() && now.Before(s.Until)
}

// CancelFuture cancels what matches f when it arrives, until the given time:
// messages that are published, and messages whose attempt has failed and that
// would wait for a retry. What waits already is not touched; for that, call
// [Broker.CancelMatching] afterwards, and nothing slips through between the two.
//
// Publish returns the id of a message that was cancelled on arrival, and in
// Receipt.CancelledBy which operation did it. Such a message was never stored:
// it cannot be restored, only published again. [Broker.WhoCancelled] names the
// operation too. The only option is [Reason].
//
// It is durable when it returns, and holds across restarts. Errors:
// [ErrEmptyFilter], [ErrInvalid] (also for an until that is not in the future, or
// a filter of more than 3,000 bytes as JSON, or when 1,000 are active already),
// [ErrUnsupported], [ErrFull], [ErrFailed] (unknown), [ErrClosed], or that of ctx
// if it was done before anything was changed. Safe for concurrent use.
func (b *Broker) CancelFuture(ctx context.Context, f Filter, until time.Time, opts ...CancelOption) (OperationID, error) {
	if f.IsZero() {
		return "", ErrEmptyFilter
	}
	if err := f.Validate(); err != nil {
		return "", err
	}
	o, err := collectCancel(opts)
	if err != nil {
		return "", err
	}
	if o.policies > 0 || o.single() != nil {
		return "", invalid("CancelOption", "a standing cancellation takes only Reason")
	}
	now := b.clock.Now()
	if !until.After(now) {
		return "", invalid("until", "%s is not in the future", until.UTC().Format(time.RFC3339))
	}
	s, err := asEngine[Stander](b, ctx)
	if err != nil {
		return "", err
	}
	defer b.end()
	return s.CancelFuture(ctx, f.normalise(), until, o.reason, now)
}

// StandingCancellations returns the standing cancellations whose records are
// kept, oldest first: active ones, and for Options.AuditRetention those that
// have expired or were lifted. Errors: [ErrUnsupported], [ErrClosed], that of ctx.
func (b *Broker) StandingCancellations(ctx context.Context) ([]StandingCancellation, error) {
	s, err := asEngine[Stander](b, ctx)
	if err != nil {
		return nil, err
	}
	defer b.end()
	return s.StandingCancellations(ctx, b.clock.Now())
}

// LiftCancellation ends a standing cancellation, durably. What it has taken
// stays cancelled. Lifting again, or lifting what has expired, changes nothing.
//
// Errors: [ErrNotFound], [ErrInvalid] for what is no id, [ErrUnsupported],
// [ErrFull], [ErrFailed] (unknown), [ErrClosed], that of ctx.
func (b *Broker) LiftCancellation(ctx context.Context, op OperationID) error {
	if _, err := op.parse(); err != nil {
		return err
	}
	s, err := asEngine[Stander](b, ctx)
	if err != nil {
		return err
	}
	defer b.end()
	return s.LiftCancellation(ctx, op, b.clock.Now())
}
