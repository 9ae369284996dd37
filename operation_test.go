package recall_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/recallmq/recall"
)

func TestOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{NoDispatch: true})
		var ops []recall.OperationID
		for range 3 {
			publish(t, b, recall.Message{URL: "local:a"})
			res, err := b.CancelAll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ops = append(ops, res.Operation)
		}
		for _, id := range ops {
			if op, err := b.Operation(t.Context(), id); err != nil || op.ID != id || op.Count != 1 {
				t.Errorf("%s: got %+v, %v", id, op, err)
			}
		}
		for _, id := range []recall.OperationID{"op_00000000000000000000000000", "op_01ARZ3NDEKTSV4RRFFQ69G5FAV", "op_7ZZZZZZZZZZZZZZZZZZZZZZZZZ"} {
			if _, err := b.Operation(t.Context(), id); !errors.Is(err, recall.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", id, err)
			}
		}
		if _, err := b.Operation(t.Context(), "op_1"); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("no id: got %v", err)
		}
	})
}
