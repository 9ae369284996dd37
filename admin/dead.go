package admin

import (
	"context"
	"iter"
	"time"

	"github.com/recallmq/recall"
)

var deadCalls = map[string]call{
	"dlq/list": many(func(ctx context.Context, b *recall.Broker, q *list) iter.Seq2[DeadLetter, error] {
		return converted(inPages(recall.DeadLetterID(q.After), func(after recall.DeadLetterID) ([]recall.DeadLetter, recall.DeadLetterID, error) {
			p, err := b.DeadLetterPage(ctx, q.Filter, after, deadPage)
			return p.DeadLetters, p.Next, err
		}), WireDeadLetter)
	}, func(d *DeadLetter) string { return string(d.ID) }),
	"dlq/count": one(true, func(ctx context.Context, h *handler, q *byFilter) (number, error) {
		n := number{}
		for _, err := range h.b.DeadLetters(ctx, q.Filter) {
			if err != nil {
				return n, err
			}
			n.Count++
		}
		return n, nil
	}),
	"dlq/get": one(true, func(ctx context.Context, h *handler, q *byID[recall.DeadLetterID]) (DeadLetter, error) {
		d, err := h.b.DeadLetter(ctx, q.ID)
		return WireDeadLetter(d), err
	}),
	"dlq/delete": one(false, func(ctx context.Context, h *handler, q *dead) (number, error) {
		return q.run(func() (int, error) { return h.b.DeleteDeadLetters(ctx, q.IDs...) },
			func(f recall.Filter, opts ...recall.CancelOption) (int, error) {
				return h.b.DeleteDeadMatching(ctx, f, opts...)
			})
	}),
	"dlq/retry": one(false, func(ctx context.Context, h *handler, q *dead) (number, error) {
		return q.run(func() (int, error) {
			receipts, err := h.b.RetryDeadLetters(ctx, q.IDs...)
			return len(receipts), err
		}, func(f recall.Filter, opts ...recall.CancelOption) (int, error) {
			return h.b.RetryDeadMatching(ctx, f, opts...)
		})
	}),
}

const deadPage = 256

// number is an answer that is one.
type number struct {
	Count int `json:"count"`
}

// dead is the request about entries of the dead letter queue: those named by id,
// those that match, or all.
type dead struct {
	IDs    []recall.DeadLetterID `json:"ids,omitempty"`
	Filter recall.Filter         `json:"filter,omitzero"`
	All    bool                  `json:"all,omitempty"`
	Bulk                         // about those that match
}

// errNoEntries is recall.ErrEmptyFilter where there are more ways to say what is meant.
var errNoEntries error = noEntriesError{}

type noEntriesError struct{}

func (noEntriesError) Error() string {
	return "recall: which dead letters? There are neither ids nor a filter, nor all"
}

func (noEntriesError) Is(target error) bool { return target == recall.ErrEmptyFilter }

// everyDeadLetter is a filter that all match: nothing was published before.
var everyDeadLetter = recall.Filter{From: time.Unix(0, 0).UTC()}

func (q *dead) run(
	named func() (int, error), matching func(recall.Filter, ...recall.CancelOption) (int, error),
) (out number, err error) {
	ways := 0
	for _, given := range []bool{len(q.IDs) > 0, !q.Filter.IsZero(), q.All} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return out, errNoEntries
	case ways > 1:
		return out, badRequest("of ids, filter and all there is more than one")
	case len(q.IDs) > 0 && q.Bulk != (Bulk{}):
		return out, badRequest("there are ids, and options for what matches")
	case len(q.IDs) > 0:
		out.Count, err = named()
		return out, err
	case q.All:
		q.Filter = everyDeadLetter
	}
	opts, err := q.options()
	if err != nil {
		return out, err
	}
	out.Count, err = matching(q.Filter, opts...)
	return out, err
}

// inPages lists what is read in pages, from behind one item on.
func inPages[T any, K ~string](after K, read func(after K) ([]T, K, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for next := after; ; {
			var items []T
			var err error
			if items, next, err = read(next); err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for i := range items {
				if !yield(items[i], nil) {
					return
				}
			}
			if next == "" {
				return
			}
		}
	}
}
