package recall

import (
	"cmp"
	"context"
	"iter"
)

// ListAfter is [Broker.List] of what was published behind a message, so that a list
// can be read in parts. That message may be gone; an empty id is the beginning, and
// what is no id is [ErrInvalid].
func (b *Broker) ListAfter(ctx context.Context, f Filter, after MessageID) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if after != "" {
			if _, err := after.ulid(); err != nil {
				yield(Message{}, err)
				return
			}
		}
		paged(func(last MessageID) ([]Message, error) {
			return b.listPage(ctx, f, cmp.Or(last, after))
		}, func(m *Message) MessageID { return m.ID }, yield)
	}
}

// listPage reads a page as it may be shown.
func (b *Broker) listPage(ctx context.Context, f Filter, after MessageID) ([]Message, error) {
	if err := b.checkRead(ctx, f); err != nil {
		return nil, err
	}
	defer b.end()
	page, err := b.engine.List(ctx, f.normalise(), after, listPage, b.clock.Now())
	for i := range page {
		page[i] = page[i].shown()
	}
	return page, err
}
