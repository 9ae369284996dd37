package postgres_test

import (
	"errors"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// TestStrangeDeadLetterIDs: what is written in another way than ids are is none. A dead
// letter is not lost by it.
func TestStrangeDeadLetterIDs(t *testing.T) {
	e, _ := newEngine(t, postgres.Options{})
	ctx := t.Context()
	if _, err := e.Insert(ctx, []recall.Message{message("a")}, base); err != nil {
		t.Fatal(err)
	}
	res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 1})
	if err != nil || len(res.Leases) != 1 {
		t.Fatal(len(res.Leases), err)
	}
	if err := e.Finish(ctx, res.Leases[0], recall.Finish{Outcome: recall.Dead, Now: base}); err != nil {
		t.Fatal(err)
	}
	ids, err := e.DeadIDs(ctx, recall.Filter{}, "", 9)
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	for _, id := range []recall.DeadLetterID{"0" + ids[0], "+" + ids[0]} {
		receipts, err := e.RetryDead(ctx, []recall.DeadLetterID{id}, base)
		n, err2 := e.DeleteDead(ctx, []recall.DeadLetterID{id})
		if len(receipts) != 0 || err != nil || n != 0 || err2 != nil {
			t.Errorf("%s: %v, %v; %d, %v", id, receipts, err, n, err2)
		}
	}
	if left, err := e.DeadIDs(ctx, recall.Filter{}, "", 9); err != nil || len(left) != 1 {
		t.Errorf("%v are left, %v", left, err)
	}
	if receipts, err := e.RetryDead(ctx, ids, base); err != nil || len(receipts) != 1 {
		t.Errorf("%v, %v", receipts, err)
	}
}

// TestStrangeNames: there is nothing by a name that no column can hold.
func TestStrangeNames(t *testing.T) {
	e, _ := newEngine(t, postgres.Options{})
	for _, name := range []string{"a\x00b", "a\xffb"} {
		if err := e.ResetFlow(t.Context(), name, base); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("ResetFlow(%q): %v", name, err)
		}
		if o, err := e.Object(t.Context(), recall.ObjectQueue, name); err != nil || o.Value != nil {
			t.Errorf("Object(%q): %+v, %v", name, o, err)
		}
	}
}
