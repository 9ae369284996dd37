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

// maxDeadLetterID is the length of the longest: two numbers of 64 bits, a sign
// and a dash.
const maxDeadLetterID = 19 + 20 + 2

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

// size is what counts for PageBytes.
func (m *Message) size() int { return len(m.Body) + headersSize(m.Header) }

func (d *DeadLetter) size() int {
	n := d.Message.size()
	if r := d.Response; r != nil {
		n += len(r.Body) + headersSize(r.Header)
	}
	return n
}

// DeadLetters iterates over the dead letter queue, oldest first, like
// [Broker.List]. From and To are about publication, MinAttempts about the
// attempts that were made. A dead letter has no state, and no attempt of it is
// due: a filter on either matches none.
func (b *Broker) DeadLetters(ctx context.Context, f Filter) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		paged(func(after DeadLetterID) ([]DeadLetter, error) {
			return b.deadPage(ctx, f, after, listPage)
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

// deadStep is how many dead letters one commit takes at most.
const deadStep = 1000

// DeleteDeadMatching removes the entries of the dead letter queue that match f,
// oldest first, and returns how many it removed. What dies after the call began is
// left alone. The dates of f are those of publication. [Limit] takes only the
// oldest. [ExpectAtMost] and [ExpectExactly] refuse the call, before it removes
// anything, when another number of entries matches: the set is taken from all other
// calls before it is counted, so none can come or go in between. There are no other
// options.
//
// It removes them in steps of 1,000, each of them durable on its own: if it fails
// half-way, what was removed stays removed and is counted.
//
// Errors: [ErrEmptyFilter], [ErrInvalid], [ErrUnexpectedCount] (nothing was
// removed), [ErrFull], [ErrFailed] (the outcome of the last step is unknown),
// [ErrClosed], that of ctx. Safe for concurrent use.
func (b *Broker) DeleteDeadMatching(ctx context.Context, f Filter, opts ...CancelOption) (int, error) {
	return b.deadMatching(ctx, f, opts, b.engine.DeleteDeadMatching)
}

// RetryDeadMatching publishes the entries of the dead letter queue that match f
// again, like [Broker.RetryDeadLetters], and returns how many it published. Options,
// steps and errors are those of [Broker.DeleteDeadMatching]. Steps are smaller where
// bodies are large, as they go through memory. One that dies again meanwhile is not
// taken a second time.
func (b *Broker) RetryDeadMatching(ctx context.Context, f Filter, opts ...CancelOption) (int, error) {
	return b.deadMatching(ctx, f, opts, b.engine.RetryDeadMatching)
}

func (b *Broker) deadMatching(
	ctx context.Context, f Filter, opts []CancelOption, do func(context.Context, DeadMatchingRequest) (int, error),
) (int, error) {
	o, err := collectCancel(opts)
	switch {
	case f.IsZero():
		return 0, ErrEmptyFilter
	case err != nil:
		return 0, err
	case o.policies > 0 || o.dryRun || o.reason != "" || o.started != nil:
		return 0, invalid("CancelOption", "dead letters take only Limit, ExpectAtMost and ExpectExactly")
	}
	if err := b.checkRead(ctx, f); err != nil {
		return 0, err
	}
	defer b.end()
	return do(ctx, DeadMatchingRequest{Filter: f.normalise(), Guard: o.guard, Limit: o.limit, Now: b.clock.Now()})
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
