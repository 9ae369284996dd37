package admin

import (
	"context"
	"iter"
	"time"

	"github.com/recallmq/recall"
)

var recordCalls = map[string]call{
	"cancellations": many(func(ctx context.Context, b *recall.Broker, q *listAll) iter.Seq2[Operation, error] {
		return behind(converted(b.Cancellations(ctx), WireOperation), operationKey, q.After)
	}, operationKey),
	"operation": one(true, func(ctx context.Context, h *handler, q *byID[recall.OperationID]) (Operation, error) {
		o, err := h.b.Operation(ctx, q.ID)
		return WireOperation(o), err
	}),
	"who-cancelled": one(true, func(ctx context.Context, h *handler, q *byID[recall.MessageID]) (Operation, error) {
		o, err := h.b.WhoCancelled(ctx, q.ID)
		return WireOperation(o), err
	}),
	"standing": whole(func(b *recall.Broker) func(context.Context) ([]recall.StandingCancellation, error) {
		return b.StandingCancellations
	}, func(s recall.StandingCancellation) Standing { return Standing(s) }, func(s *Standing) string { return string(s.ID) }),
	"cancel-future": one(false, doCancelFuture),
	"lift": done(func(ctx context.Context, b *recall.Broker, q *byID[recall.OperationID]) error {
		return b.LiftCancellation(ctx, q.ID)
	}),
}

func operationKey(o *Operation) string { return string(o.ID) }

// cancelFuture is the request for CancelFuture.
type cancelFuture struct {
	Filter recall.Filter `json:"filter"`
	Until  time.Time     `json:"until"`
	Reason string        `json:"reason,omitempty"`
}

func doCancelFuture(ctx context.Context, h *handler, q *cancelFuture) (byID[recall.OperationID], error) {
	op, err := h.b.CancelFuture(ctx, q.Filter, q.Until, recall.Reason(q.Reason))
	return byID[recall.OperationID]{op}, err
}
