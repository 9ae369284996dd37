package recall

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"time"
)

// DeadLetterID names an entry of the dead letter queue: the millisecond of its
// arrival, "-", and a number that counts up.
type DeadLetterID string

func deadLetterID(died int64, number uint64) DeadLetterID {
	return DeadLetterID(strconv.FormatInt(died, 10) + "-" + strconv.FormatUint(number, 10))
}

func (id DeadLetterID) parse() (died int64, number uint64, err error) {
	ms, n, ok := strings.Cut(string(id), "-")
	if ok {
		if died, err = strconv.ParseInt(ms, 10, 64); err == nil {
			number, err = strconv.ParseUint(n, 10, 64)
		}
	}
	if !ok || err != nil || number == 0 {
		return 0, 0, invalid("DeadLetterID", "%q is not the id of a dead letter", clip(string(id)))
	}
	return died, number, nil
}

// DeadLetter is a message whose attempts are used up, or whose endpoint said
// that more would not help.
type DeadLetter struct {
	ID       DeadLetterID
	Message  Message // as it was, with its original id
	DiedAt   time.Time
	Attempts int           // that were made
	Reason   string        // of the last failure
	Response *HTTPResponse // of the last attempt, nil if there was none; the body is bounded
}

// DeadLetters iterates over the dead letter queue, oldest first, like
// [Broker.List]. From and To are about publication, MinAttempts about the
// attempts that were made. A dead letter has no state, and no attempt of it is
// due: a filter on either matches none.
func (b *Broker) DeadLetters(ctx context.Context, f Filter) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		paged(func(after DeadLetterID) ([]DeadLetter, error) {
			if err := b.checkRead(ctx, f); err != nil {
				return nil, err
			}
			defer b.end()
			return b.engine.ListDead(ctx, f.normalise(), after, listPage)
		}, func(d *DeadLetter) DeadLetterID { return d.ID }, yield)
	}
}

// DeleteDeadLetters removes entries of the dead letter queue, durably, and
// returns how many it removed. Ids that name no entry are passed over; what is
// no id at all is [ErrInvalid], and then nothing is removed.
func (b *Broker) DeleteDeadLetters(ctx context.Context, ids ...DeadLetterID) (int, error) {
	if err := b.beginDead(ctx, ids); err != nil {
		return 0, err
	}
	defer b.end()
	return b.engine.DeleteDead(ctx, ids)
}

// RetryDeadLetters publishes each entry again as a new message, due at once
// and with all its attempts, and removes it from the dead letter queue, as one
// durable unit. Ids that name no entry are passed over; receipts are in the
// order of the entries.
func (b *Broker) RetryDeadLetters(ctx context.Context, ids ...DeadLetterID) ([]Receipt, error) {
	if err := b.beginDead(ctx, ids); err != nil {
		return nil, err
	}
	defer b.end()
	return b.engine.RetryDead(ctx, ids, b.clock.Now())
}

func (b *Broker) beginDead(ctx context.Context, ids []DeadLetterID) error {
	if len(ids) > maxBatch {
		return invalid("ids", "%d are more than the limit of %d", len(ids), maxBatch)
	}
	for _, id := range ids {
		if _, _, err := id.parse(); err != nil {
			return err
		}
	}
	return b.begin(ctx)
}
