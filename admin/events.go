package admin

import (
	"context"
	"iter"

	"github.com/recallmq/recall"
)

var eventCalls = map[string]call{
	"events": many(func(ctx context.Context, b *recall.Broker, q *events) iter.Seq2[Event, error] {
		return converted(inPages(recall.EventID(q.After), func(after recall.EventID) ([]recall.Event, recall.EventID, error) {
			p, err := b.EventPage(ctx, q.Filter, after, eventPage)
			return p.Events, p.Next, err
		}), wireEvent)
	}, func(e *Event) string { return string(e.ID) }),
	"events/message": many(func(ctx context.Context, b *recall.Broker, q *messageEvents) iter.Seq2[Event, error] {
		read := func(ctx context.Context) ([]recall.Event, error) { return b.MessageEvents(ctx, q.ID) }
		return converted(sliced(read)(ctx), wireEvent)
	}, func(e *Event) string { return string(e.ID) }),
}

func wireEvent(e recall.Event) Event { return Event(e) }

const eventPage = 256

// events is the request for the log.
type events struct {
	page
	Filter recall.EventFilter `json:"filter,omitzero"`
}

// messageEvents is the request for what has happened to one message. It is short:
// there are no pages of it.
type messageEvents struct {
	ID recall.MessageID `json:"id"`
}

func (messageEvents) paging() page { return page{} }
