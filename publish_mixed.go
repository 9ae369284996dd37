package recall

import (
	"context"
	"errors"
	"slices"
	"time"
)

// PublishMixed is [Broker.PublishBatch] for messages of which some are for
// topics: one with a Topic and without a URL goes to every endpoint, as in
// [Broker.PublishTopic]. All of it is one unit. The result has for each of msgs
// the receipts of what was made of it, in the order of the endpoints; a message
// with a URL of its own has one, whose Endpoint is that URL.
//
// A message that cannot be published refuses the whole with a *[BatchError],
// which wraps [ErrNoTopic] if its topic does not exist. More than
// Options.MaxBatch messages, each endpoint counted, are [ErrInvalid]. The positions
// in a *[DeduplicationFullError] are those in msgs. Otherwise it is like the other
// two.
func (b *Broker) PublishMixed(ctx context.Context, msgs []Message) ([][]TopicReceipt, error) {
	if !slices.ContainsFunc(msgs, Message.isForTopic) {
		receipts, err := b.PublishBatch(ctx, msgs)
		return each(msgs, receipts), err
	}
	if _, err := b.beginTopics(ctx); err != nil {
		return nil, err
	}
	defer b.end()
	b.topics.turn.RLock()
	defer b.topics.turn.RUnlock()
	now := b.clock.Now()
	all, sizes, err := b.resolveMixed(msgs, now)
	if err != nil {
		return nil, err
	}
	receipts, err := b.storeMessages(ctx, all, now)
	if err != nil {
		return nil, unmixed(err, sizes)
	}
	out := make([][]TopicReceipt, 0, len(msgs))
	for _, n := range sizes {
		out = append(out, receiptsOf(all[:n], receipts[:n]))
		all, receipts = all[n:], receipts[n:]
	}
	return out, nil
}

// isForTopic tells whether m goes to the endpoints of its topic.
func (m Message) isForTopic() bool { return m.URL == "" && m.Topic != "" }

// resolveMixed returns msgs as engines want them, one behind the other, and how
// many each has become.
func (b *Broker) resolveMixed(msgs []Message, now time.Time) (all []Message, sizes []int, err error) {
	for i, m := range msgs {
		list := []Message{m}
		if m.isForTopic() {
			list, err = b.fanOut(m, now)
		} else {
			list[0], err = m.resolve(b.opts, now)
		}
		if err != nil {
			return nil, nil, &BatchError{Index: i, Err: err}
		}
		if all = append(all, list...); len(all) > b.opts.MaxBatch {
			return nil, nil, overLimit("batch", "the messages to all endpoints are more than the limit of %d", b.opts.MaxBatch)
		}
		sizes = append(sizes, len(list))
	}
	return all, sizes, nil
}

func (b *Broker) fanOut(m Message, now time.Time) ([]Message, error) {
	if err := checkTopic(m.Topic); err != nil {
		return nil, err
	}
	t, err := b.findTopic(m.Topic)
	if err != nil {
		return nil, err
	}
	return t.fan(m, b.opts, now)
}

// unmixed makes an error of the engine's name messages as the caller has them, of
// which each has become so many.
func unmixed(err error, sizes []int) error {
	var full *DeduplicationFullError
	if !errors.As(err, &full) {
		return err
	}
	var out DeduplicationFullError
	i, end := 0, sizes[0]
	for _, at := range full.Indexes {
		for ; at >= end; end += sizes[i] {
			i++
		}
		if n := len(out.Indexes); n == 0 || out.Indexes[n-1] != i {
			out.Indexes = append(out.Indexes, i)
		}
	}
	return &out
}

// each gives every message a list of its own.
func each(msgs []Message, receipts []Receipt) [][]TopicReceipt {
	if receipts == nil {
		return nil
	}
	out := make([][]TopicReceipt, len(receipts))
	for i := range receipts {
		out[i] = receiptsOf(msgs[i:i+1], receipts[i:i+1])
	}
	return out
}

func receiptsOf(msgs []Message, receipts []Receipt) []TopicReceipt {
	out := make([]TopicReceipt, len(receipts))
	for i, r := range receipts {
		out[i] = TopicReceipt{Receipt: r, Endpoint: Endpoint{Name: msgs[i].Endpoint, URL: msgs[i].URL}}
	}
	return out
}
