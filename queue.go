package recall

import (
	"context"
	"iter"
)

// listPage is how many messages one read brings, or fewer if they are large: no
// read outlives a call into user code, so a list is read page by page.
const listPage = 256

// Get returns a live message, pending or in flight, with its body; what of it is
// not to be shown is redacted, see [Redaction]. A message that was delivered,
// cancelled or dead-lettered is [ErrNotFound].
func (b *Broker) Get(ctx context.Context, id MessageID) (Message, error) {
	if _, err := id.ulid(); err != nil {
		return Message{}, err
	}
	if err := b.begin(ctx); err != nil {
		return Message{}, err
	}
	defer b.end()
	m, err := b.engine.Get(ctx, id, b.clock.Now())
	return m.shown(), err
}

// List iterates over the live messages that match f in the order of
// publication, as [Broker.Get] shows them; a zero Filter lists everything. It reads in pages and holds
// nothing in between, so the loop may take its time and call the broker; what
// is published or ends meanwhile may or may not be seen. The iteration ends
// with the first error.
func (b *Broker) List(ctx context.Context, f Filter) iter.Seq2[Message, error] {
	return b.ListAfter(ctx, f, "")
}

// paged yields page after page until one is empty.
func paged[T any, K ~string](read func(after K) ([]T, error), key func(*T) K, yield func(T, error) bool) {
	var after K
	for {
		page, err := read(after)
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		for i := range page {
			if !yield(page[i], nil) {
				return
			}
		}
		if len(page) == 0 {
			return
		}
		after = key(&page[len(page)-1])
	}
}

// Count returns how many live messages match f, pending and in flight apart;
// a zero Filter counts everything. It keeps no writer waiting, and is exact if
// nothing changed meanwhile.
func (b *Broker) Count(ctx context.Context, f Filter) (Count, error) {
	if err := b.checkRead(ctx, f); err != nil {
		return Count{}, err
	}
	defer b.end()
	return b.engine.Count(ctx, f.normalise(), b.clock.Now())
}

// checkRead validates f and begins a call, which the caller ends if there is
// no error.
func (b *Broker) checkRead(ctx context.Context, f Filter) error {
	if err := f.Validate(); err != nil {
		return err
	}
	return b.begin(ctx)
}
