package admin

import (
	"context"

	"github.com/recallmq/recall"
)

var queueCalls = map[string]call{
	"queues/list": whole(func(b *recall.Broker) func(context.Context) ([]recall.QueueInfo, error) { return b.Queues },
		WireQueue, func(q *Queue) string { return q.Name }),
	"queues/get": one(true, func(ctx context.Context, h *handler, q *byName) (Queue, error) {
		info, err := h.b.Queue(ctx, q.Name)
		return WireQueue(info), err
	}),
	"queues/set": done(func(ctx context.Context, b *recall.Broker, q *setQueue) error {
		return b.UpdateQueue(ctx, q.Name, recall.QueueUpdate{Parallelism: q.Parallelism, Paused: q.Paused})
	}),
	"queues/pause":  done(func(ctx context.Context, b *recall.Broker, q *byName) error { return b.PauseQueue(ctx, q.Name) }),
	"queues/resume": done(func(ctx context.Context, b *recall.Broker, q *byName) error { return b.ResumeQueue(ctx, q.Name) }),
	"queues/delete": done(func(ctx context.Context, b *recall.Broker, q *byName) error { return b.DeleteQueue(ctx, q.Name) }),
	"queues/cancel": one(false, doCancelQueue),
}

// setQueue is the request for UpdateQueue.
type setQueue struct {
	Name        string `json:"name"`
	Parallelism int    `json:"parallelism,omitempty"`
	Paused      *bool  `json:"paused,omitempty"`
}

// cancelQueue is the request for CancelQueue.
type cancelQueue struct {
	Name string `json:"name"`
	Bulk
}

func doCancelQueue(ctx context.Context, h *handler, q *cancelQueue) (CancelResult, error) {
	opts, err := q.options()
	if err != nil {
		return CancelResult{}, err
	}
	r, err := h.b.CancelQueue(ctx, q.Name, opts...)
	return CancelResult(r), err
}
