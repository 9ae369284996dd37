package recall

import (
	"context"
	"time"
)

// RetryDeadLettersWith is [Broker.RetryDeadLetters] of entries that change calls
// for first: it is given each message as it would be published, in full, also what
// [Redaction] hides, and may set whatever a publisher may set. Delay and NotBefore
// are zero then, and the message is due at once unless change sets one.
// DeduplicationID and DeduplicateContent are not used: what is published again is
// never a duplicate. A message that is not valid afterwards refuses the whole call
// ([ErrInvalid]), and nothing has changed. An entry for which change returns an
// error does so too, and the error is returned as it is.
//
// change must not call the broker. Other errors: [ErrUnsupported], and those of
// [Broker.Publish]. Safe for concurrent use.
func (b *Broker) RetryDeadLettersWith(ctx context.Context, change func(*Message) error, ids ...DeadLetterID) ([]Receipt, error) {
	if err := b.beginDead(ctx, ids); err != nil {
		return nil, err
	}
	defer b.end()
	r, ok := b.engine.(Redriver)
	if !ok {
		return nil, ErrUnsupported
	}
	now := b.clock.Now()
	return r.RetryDeadWith(ctx, ids, now, b.changeDead(change, now))
}

// changeDead returns change for an engine, which wants messages resolved.
func (b *Broker) changeDead(change func(*Message) error, now time.Time) func(*Message) error {
	return func(m *Message) error {
		endpoint, source := m.Endpoint, m.Source
		m.Delay, m.NotBefore = 0, time.Time{}
		if err := change(m); err != nil {
			return err
		}
		m.DeduplicationID, m.DeduplicateContent = "", false
		again, err := m.resolve(b.opts, now)
		again.Endpoint, again.Source = endpoint, source
		*m = again
		return err
	}
}
