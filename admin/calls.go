package admin

import (
	"context"
	"iter"

	"github.com/recallmq/recall"
)

// calls are all that there is, by name. Each file that serves some lists its own.
var calls = join(messageCalls, cancelCalls, recordCalls, deadCalls, queueCalls, topicCalls, scheduleCalls, flowCalls, eventCalls, backupCalls)

func join(lists ...map[string]call) map[string]call {
	all := map[string]call{}
	for _, list := range lists {
		for name, c := range list {
			all[name] = c
		}
	}
	return all
}

// nothing is the request of a call that needs none.
type nothing struct{}

// byID is the request of a call about one thing.
type byID[T ~string] struct {
	ID T `json:"id"`
}

// byName is that of a call about one named thing.
type byName struct {
	Name string `json:"name"`
}

// byFilter is the request of a call about what matches.
type byFilter struct {
	Filter recall.Filter `json:"filter,omitzero"`
}

// list is the request for what matches, in pages.
type list struct {
	page
	Filter recall.Filter `json:"filter,omitzero"`
}

// listAll is the request for a list without a filter.
type listAll struct{ page }

// converted changes the items of a list.
func converted[T, W any](items iter.Seq2[T, error], convert func(T) W) iter.Seq2[W, error] {
	return func(yield func(W, error) bool) {
		for item, err := range items {
			if !yield(convert(item), err) {
				return
			}
		}
	}
}

// behind passes over the items up to the one named after, in lists that are short
// and sorted by that name.
func behind[T any](items iter.Seq2[T, error], key func(*T) string, after string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for item, err := range items {
			if err == nil && after != "" && key(&item) <= after {
				continue
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// sliced lists what a call returns at once. An error beside a list is about items
// that could not be read, and comes behind the others.
func sliced[T any](read func(context.Context) ([]T, error)) func(context.Context) iter.Seq2[T, error] {
	return func(ctx context.Context) iter.Seq2[T, error] {
		return func(yield func(T, error) bool) {
			items, err := read(ctx)
			for i := range items {
				if !yield(items[i], nil) {
					return
				}
			}
			if err != nil {
				var zero T
				yield(zero, err)
			}
		}
	}
}

// whole makes a call that lists all of something, sorted by key.
func whole[T, W any](read func(*recall.Broker) func(context.Context) ([]T, error), convert func(T) W, key func(*W) string) call {
	return many(func(ctx context.Context, b *recall.Broker, q *listAll) iter.Seq2[W, error] {
		return behind(converted(sliced(read(b))(ctx), convert), key, q.After)
	}, key)
}
