package postgres

import (
	"context"
	"slices"

	"github.com/recallmq/recall"
)

// changeKinds are all changes.
var changeKinds = []recall.OperationKind{
	recall.OperationHold, recall.OperationRelease, recall.OperationReschedule, recall.OperationRetryNow,
}

// Change implements [recall.Changer]. Like a cancellation it works in chunks, each of
// which is durable by itself.
func (e *Engine) Change(ctx context.Context, req recall.ChangeRequest) (recall.ChangeResult, error) {
	if !slices.Contains(changeKinds, req.Kind) {
		return recall.ChangeResult{}, invalid("Kind", "it is no change")
	}
	due := req.Due
	if req.Kind == recall.OperationRetryNow {
		due = req.Now
	}
	req.Expired, req.Asked = nil, nil
	res, err := e.bulk(ctx, req.CancelMatchingRequest, req.Kind, due)
	return recall.ChangeResult{
		Changed: res.Cancelled, Skipped: res.Skipped, Operation: res.Operation, Index: res.Index, Scanned: res.Scanned,
	}, err
}
