package admin

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/recallmq/recall"
)

var recordCalls = map[string]call{
	"cancellations": many(func(ctx context.Context, b *recall.Broker, q *listAll) iter.Seq2[Operation, error] {
		if err := checkAfter(ctx, b, q.After); err != nil {
			return failed[Operation](err)
		}
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
	"standing": many(func(ctx context.Context, b *recall.Broker, q *listAll) iter.Seq2[Standing, error] {
		if err := checkAfter(ctx, b, q.After); err != nil {
			return failed[Standing](err)
		}
		items := converted(sliced(b.StandingCancellations)(ctx), func(s recall.StandingCancellation) Standing { return Standing(s) })
		return behind(items, standingKey, q.After)
	}, standingKey),
	"cancel-future": one(false, doCancelFuture),
	"lift": done(func(ctx context.Context, b *recall.Broker, q *byID[recall.OperationID]) error {
		return b.LiftCancellation(ctx, q.ID)
	}),
}

func operationKey(o *Operation) string { return string(o.ID) }
func standingKey(s *Standing) string   { return string(s.ID) }

// checkAfter refuses what is not the id of an operation. The record itself may be gone.
func checkAfter(ctx context.Context, b *recall.Broker, after string) error {
	if after == "" {
		return nil
	}
	if _, err := b.Operation(ctx, recall.OperationID(after)); errors.Is(err, recall.ErrInvalid) {
		return err
	}
	return nil
}

// failed is a list that cannot be had.
func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		yield(zero, err)
	}
}

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
