package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// can returns the engine as one that can do more than all engines can. If it
// cannot, the test is skipped.
func can[E any](x *fixture) E {
	x.Helper()
	e, ok := x.e.(E)
	if !ok {
		x.Skip("the engine is no " + strings.TrimPrefix(fmt.Sprintf("%T", (*E)(nil)), "*"))
	}
	return e
}

// bulkOf makes a bulk cancellation now.
func (x *fixture) bulkOf(req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	req.Now = x.now
	return x.e.CancelMatching(x.ctx, req)
}

// operations returns all records, oldest first.
func (x *fixture) operations() []recall.Operation {
	x.Helper()
	ops, err := can[recall.Auditor](x).Operations(x.ctx, "", 1<<30)
	x.check(err, "Operations")
	return ops
}

// operation returns one record.
func (x *fixture) operation(id recall.OperationID) recall.Operation {
	x.Helper()
	ops := x.operations()
	i := slices.IndexFunc(ops, func(o recall.Operation) bool { return o.ID == id })
	if i < 0 {
		x.Fatalf("Operations: %s is not in %d records", id, len(ops))
	}
	return ops[i]
}

func (x *fixture) wantTaker(op recall.OperationID, ids ...recall.MessageID) {
	x.Helper()
	for _, id := range ids {
		got, err := can[recall.Auditor](x).WhoCancelled(x.ctx, id)
		if err != nil || got.ID != op {
			x.Fatalf("WhoCancelled of %s: got %q, %v, want %q", id, got.ID, err, op)
		}
	}
}

func (x *fixture) wantNoTaker(ids ...recall.MessageID) {
	x.Helper()
	for _, id := range ids {
		if got, err := can[recall.Auditor](x).WhoCancelled(x.ctx, id); !errors.Is(err, recall.ErrNotFound) {
			x.Fatalf("WhoCancelled of %s: got %q, %v, want ErrNotFound", id, got.ID, err)
		}
	}
}

// restore undoes an operation, now.
func (x *fixture) restore(op recall.OperationID) (recall.RestoreResult, error) {
	x.Helper()
	return can[recall.Restorer](x).Restore(x.ctx, op, x.now)
}

// wantRestored undoes an operation and compares what that brings.
func (x *fixture) wantRestored(op recall.OperationID, restored, lifted int) {
	x.Helper()
	res, err := x.restore(op)
	x.check(err, "Restore")
	if want := (recall.RestoreResult{Restored: restored, Lifted: lifted}); res != want {
		x.Fatalf("Restore: got %+v, want %+v", res, want)
	}
}

// change makes a bulk change now.
func (x *fixture) change(kind recall.OperationKind, req recall.ChangeRequest) (recall.ChangeResult, error) {
	x.Helper()
	req.Kind, req.Now = kind, x.now
	return can[recall.Changer](x).Change(x.ctx, req)
}

// wantChanged makes a bulk change of what f matches, and expects that it
// changes as many.
func (x *fixture) wantChanged(kind recall.OperationKind, f recall.Filter, due time.Time, want int) recall.ChangeResult {
	x.Helper()
	res, err := x.change(kind, recall.ChangeRequest{CancelMatchingRequest: recall.CancelMatchingRequest{Filter: f}, Due: due})
	x.check(err, string(kind))
	if res.Changed != want || (res.Operation != "") != (want > 0) || len(res.Skipped) > 0 {
		x.Fatalf("%s of %s: got %+v, want %d changed", kind, f, res, want)
	}
	return res
}

func (x *fixture) hold(f recall.Filter, want int) recall.ChangeResult {
	x.Helper()
	return x.wantChanged(recall.OperationHold, f, time.Time{}, want)
}

func (x *fixture) release(f recall.Filter, want int) recall.ChangeResult {
	x.Helper()
	return x.wantChanged(recall.OperationRelease, f, time.Time{}, want)
}

// byID is a filter for some messages.
func byID(ids ...recall.MessageID) recall.Filter { return recall.Filter{IDs: ids} }

// byLabel is a filter for messages with one of some labels.
func byLabel(labels ...string) recall.Filter { return recall.Filter{Labels: labels} }

// snapshot is everything that a test can see of the messages, as text.
func (x *fixture) snapshot() string {
	x.Helper()
	msgs, err := x.e.List(x.ctx, recall.Filter{}, "", 1<<30, x.now)
	x.check(err, "List")
	var b strings.Builder
	for _, m := range msgs {
		fmt.Fprintln(&b, m.ID, outline(m))
	}
	for _, d := range x.listDead(recall.Filter{}) {
		fmt.Fprintln(&b, "dead", d.ID, d.Message.ID)
	}
	if a, ok := x.e.(recall.Auditor); ok {
		ops, err := a.Operations(x.ctx, "", 1<<30)
		x.check(err, "Operations")
		fmt.Fprintln(&b, ops)
	}
	return b.String()
}

// wantUnchanged compares everything with how it was.
func (x *fixture) wantUnchanged(before string) {
	x.Helper()
	if now := x.snapshot(); now != before {
		x.Fatalf("something has changed:\nbefore %s\nafter  %s", before, now)
	}
}

const unknownOperation recall.OperationID = "op_01ARZ3NDEKTSV4RRFFQ69G5FAV"
