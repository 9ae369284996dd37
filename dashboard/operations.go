package dashboard

import (
	"context"
	"slices"

	"github.com/recallmq/recall"
)

// operationsOnPage is how many operations a page of the history shows.
const operationsOnPage = 50

// newestOperations returns up to limit records, newest first, those before one if
// it is given. Records are read oldest first, so all are gone through.
func newestOperations(ctx context.Context, b *recall.Broker, before recall.OperationID, limit int) ([]recall.Operation, error) {
	var kept []recall.Operation
	for op, err := range b.Cancellations(ctx) {
		if err != nil {
			return nil, err
		}
		if before != "" && op.ID >= before {
			break
		}
		if kept = append(kept, op); len(kept) >= 2*limit {
			kept = append(kept[:0], kept[len(kept)-limit:]...)
		}
	}
	kept = kept[max(0, len(kept)-limit):]
	slices.Reverse(kept)
	return kept, nil
}

func operationsPage(v *visit) error {
	before := recall.OperationID(v.r.Form.Get("before"))
	list, err := newestOperations(v.r.Context(), v.site.broker, before, operationsOnPage+1)
	if err != nil {
		return err
	}
	data := struct {
		List  []recall.Operation
		Older recall.OperationID
		Later bool
	}{List: list, Later: before != ""}
	if len(list) > operationsOnPage {
		data.List = list[:operationsOnPage]
		data.Older = data.List[operationsOnPage-1].ID
	}
	return v.show("operations", "History", data)
}

func operationPage(v *visit) error {
	op, err := v.site.broker.Operation(v.r.Context(), recall.OperationID(v.r.PathValue("id")))
	if err != nil {
		return err
	}
	return v.show("operation", "Operation", op)
}

func restoreOperation(v *visit) error {
	id := recall.OperationID(v.r.PathValue("id"))
	if _, err := v.site.broker.Restore(v.r.Context(), id); err != nil {
		return err
	}
	return v.done("operations/"+string(id), "restored")
}
