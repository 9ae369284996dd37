package admin

import (
	"context"
	"iter"
	"strings"

	"github.com/recallmq/recall"
)

var messageCalls = map[string]call{
	"count": one(true, func(ctx context.Context, h *handler, q *byFilter) (Count, error) {
		n, err := h.b.Count(ctx, q.Filter)
		return Count(n), err
	}),
	"explain": one(true, func(ctx context.Context, h *handler, q *byFilter) (Plan, error) {
		p, err := h.b.Explain(ctx, q.Filter)
		return WirePlan(p), err
	}),
	"get": one(true, func(ctx context.Context, h *handler, q *byID[recall.MessageID]) (Message, error) {
		m, err := h.b.Get(ctx, q.ID)
		return Message(m), err
	}),
	"list": many(func(ctx context.Context, b *recall.Broker, q *list) iter.Seq2[Message, error] {
		after := recall.MessageID(q.After)
		return converted(b.ListAfter(ctx, q.Filter, after), func(m recall.Message) Message { return Message(m) })
	}, func(m *Message) string { return string(m.ID) }),
	"publish": one(false, doPublish),
	"stats": one(true, func(_ context.Context, h *handler, _ *nothing) (Stats, error) {
		return Stats(h.b.Stats()), nil
	}),
}

// publish is the request to publish messages as one unit.
type publish struct {
	Messages []Message `json:"messages"`
}

// published has the receipts of each message, in the order of the request.
type published struct {
	Receipts [][]Receipt `json:"receipts"`
}

func doPublish(ctx context.Context, h *handler, q *publish) (published, error) {
	out := published{Receipts: [][]Receipt{}}
	messages := make([]recall.Message, len(q.Messages))
	for i, m := range q.Messages {
		messages[i] = recall.Message(m)
		setCaller(ctx, &messages[i])
		if err := h.checkLocal(&messages[i]); err != nil {
			return out, &recall.BatchError{Index: i, Err: err}
		}
	}
	lists, err := h.b.PublishMixed(ctx, messages)
	for _, list := range lists {
		receipts := []Receipt{}
		for _, r := range list {
			receipts = append(receipts, WireReceipt(r))
		}
		out.Receipts = append(out.Receipts, receipts)
	}
	return out, err
}

// checkLocal refuses a message to a handler of this process, if requests may not
// publish any.
func (h *handler) checkLocal(m *recall.Message) error {
	if h.o.AllowLocal {
		return nil
	}
	if isLocal(m.URL) {
		return refusedLocal("URL")
	}
	if localCallback(m.Callback) || localCallback(m.FailureCallback) {
		return refusedLocal("Callback")
	}
	return nil
}

func (h *handler) checkLocalEndpoints(list []recall.Endpoint) error {
	for _, e := range list {
		if !h.o.AllowLocal && isLocal(e.URL) {
			return refusedLocal("Endpoints")
		}
	}
	return nil
}

func isLocal(url string) bool { return strings.HasPrefix(strings.ToLower(url), "local:") }

func localCallback(c *recall.Callback) bool {
	return c != nil && (isLocal(c.URL) || localCallback(c.Callback) || localCallback(c.FailureCallback))
}

func refusedLocal(field string) error {
	return &recall.InvalidError{Field: field, Reason: "requests may not publish to handlers of the server's process"}
}
