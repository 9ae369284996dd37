package admin

import (
	"context"

	"github.com/recallmq/recall"
)

var topicCalls = map[string]call{
	"topics/list": whole(func(b *recall.Broker) func(context.Context) ([]recall.Topic, error) { return b.Topics },
		func(t recall.Topic) Topic { return Topic(t) }, func(t *Topic) string { return t.Name }),
	"topics/get": one(true, func(ctx context.Context, h *handler, q *byName) (Topic, error) {
		t, err := h.b.Topic(ctx, q.Name)
		return Topic(t), err
	}),
	"topics/add": one(false, func(ctx context.Context, h *handler, q *endpoints) (Topic, error) {
		if err := h.checkLocalEndpoints(q.Endpoints); err != nil {
			return Topic{}, err
		}
		t, err := h.b.AddEndpoints(ctx, q.Name, q.Endpoints...)
		return Topic(t), err
	}),
	"topics/remove": one(false, func(ctx context.Context, h *handler, q *endpoints) (Topic, error) {
		t, err := h.b.RemoveEndpoints(ctx, q.Name, q.Endpoints...)
		return Topic(t), err
	}),
	"topics/delete": done(func(ctx context.Context, b *recall.Broker, q *byName) error { return b.DeleteTopic(ctx, q.Name) }),
}

// endpoints is the request for AddEndpoints and RemoveEndpoints.
type endpoints struct {
	Name      string            `json:"name"`
	Endpoints []recall.Endpoint `json:"endpoints"`
}
