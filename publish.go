package recall

import (
	"context"
	"errors"
	"time"
)

// Receipt acknowledges a published message.
type Receipt struct {
	ID        MessageID
	CreatedAt time.Time
	// CancelledBy, if not empty, says that the message was cancelled on arrival
	// by that standing cancellation, see [Broker.CancelFuture].
	CancelledBy OperationID
	// Deduplicated says that the message was a duplicate, see
	// [Message.DeduplicationID]: it was not stored, and ID and CreatedAt are those
	// of the first message with its id.
	Deduplicated bool
}

// Publish stores m and returns when it is durable (see [Durability]); it is
// delivered as soon as it is due and a slot is free. What a standing
// cancellation matches is cancelled on arrival: Receipt.CancelledBy says so, and
// its deduplication id is reserved all the same. A duplicate is not stored:
// Receipt.Deduplicated says so, once its first message is durable.
//
// Errors: [ErrInvalid] for what [Message] does not allow, [ErrFull],
// [ErrDeduplicationFull] if the message has a deduplication id,
// [ErrFailed] (outcome unknown until the next Open), [ErrClosed], or that of
// ctx if it was done before the message was queued for its commit: then
// nothing was published. Safe for concurrent use; concurrent calls share
// commits, so many goroutines publish much faster than one.
func (b *Broker) Publish(ctx context.Context, m Message) (Receipt, error) {
	if err := b.begin(ctx); err != nil {
		return Receipt{}, err
	}
	defer b.end()
	now := b.clock.Now()
	m, err := m.resolve(b.opts, now)
	if err != nil {
		return Receipt{}, err
	}
	receipts, err := b.storeMessages(ctx, []Message{m}, now)
	if err != nil {
		return Receipt{}, unbatched(err)
	}
	return receipts[0], nil
}

// PublishBatch is [Broker.Publish] for several messages as one unit: either
// all of them are durable and become visible at once, or none is. Receipts are
// in the order of msgs; of two with the same deduplication id the later one is a
// duplicate of the other. An invalid message refuses the whole batch with a
// *[BatchError] that names it, and one whose deduplication id finds no room with a
// *[DeduplicationFullError] that names all of these; more than Options.MaxBatch
// messages are [ErrInvalid]. An empty batch does nothing.
func (b *Broker) PublishBatch(ctx context.Context, msgs []Message) ([]Receipt, error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.end()
	now := b.clock.Now()
	resolved, err := b.resolveBatch(msgs, now)
	if err != nil || len(resolved) == 0 {
		return nil, err
	}
	return b.storeMessages(ctx, resolved, now)
}

// storeMessages stores messages that are as engines want them, and measures it.
func (b *Broker) storeMessages(ctx context.Context, msgs []Message, now time.Time) ([]Receipt, error) {
	watch := startStopwatch()
	done := b.observePublish(ctx, msgs)
	receipts, err := b.engine.Insert(ctx, msgs, now)
	if err == nil {
		b.publishTime.observe(watch.ran())
	}
	b.observePublished(done, receipts, err)
	return receipts, err
}

// Validate returns the error that [Broker.Publish] would refuse m with because of what
// m is, an *[InvalidError], and publishes nothing. Of a message for a topic, with a
// Topic and without a URL, it looks at everything but whether the topic exists. Safe
// for concurrent use.
func (b *Broker) Validate(m Message) error {
	if m.isForTopic() {
		if err := checkTopic(m.Topic); err != nil {
			return err
		}
		m.URL = localScheme + "endpoint" // as good as that of any
	}
	return m.validate(b.opts, b.clock.Now())
}

// resolveBatch returns msgs as engines want them.
func (b *Broker) resolveBatch(msgs []Message, now time.Time) ([]Message, error) {
	if len(msgs) > b.opts.MaxBatch {
		return nil, overLimit("batch", "%d messages are more than the limit of %d", len(msgs), b.opts.MaxBatch)
	}
	resolved := make([]Message, len(msgs))
	for i, m := range msgs {
		var err error
		if resolved[i], err = m.resolve(b.opts, now); err != nil {
			return nil, &BatchError{Index: i, Err: err}
		}
	}
	return resolved, nil
}

// unbatched is the error of a batch that was one message for the caller.
func unbatched(err error) error {
	var b *BatchError
	var full *DeduplicationFullError
	switch {
	case errors.As(err, &b):
		return b.Err
	case errors.As(err, &full):
		return ErrDeduplicationFull
	}
	return err
}
