package recall

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// OperationID names a bulk operation: "op_" and a ULID, whose time is when the
// operation began. Operations sort by it.
type OperationID string

const opPrefix = "op_"

func operationID(id [16]byte) OperationID { return OperationID(opPrefix + ulid.ULID(id).String()) }

func (id OperationID) parse() (op [16]byte, err error) {
	text, ok := strings.CutPrefix(string(id), opPrefix)
	u, err := ulid.ParseStrict(text)
	if !ok || err != nil {
		return op, invalid("OperationID", "%q is not the id of an operation", clip(string(id)))
	}
	return u, nil
}

// RestoreResult says what an undo brought back.
type RestoreResult struct {
	Restored int // cancelled messages that are pending again
	Lifted   int // messages in flight that may be tried again after all
}

// Restore undoes a bulk cancellation, whole: every message that it took is
// pending again, with its due time, attempts and place in every order; what is
// overdue runs at once. Requests for messages in flight ([Sticky], [Abort]) are
// lifted where the attempt is still running. It is one durable commit; if it is
// not acknowledged, all of it holds or nothing.
//
// A cancellation can be undone for Options.UndoWindow, and as long as the later
// ones leave it room in Options.UndoBytes: afterwards the answer is
// [ErrUndoExpired]. Restoring again changes nothing and gives the same result.
// An operation that still runs is waited for.
//
// Errors: [ErrUndoExpired], [ErrNotFound] for an operation that there is no
// record of, [ErrInvalid] for what is no id of one or is an operation of another
// kind, [ErrUnsupported], [ErrClosed], [ErrFull], [ErrFailed] (unknown), or that
// of ctx if it was done before anything was changed. Safe for concurrent use.
func (b *Broker) Restore(ctx context.Context, op OperationID) (RestoreResult, error) {
	if _, err := op.parse(); err != nil {
		return RestoreResult{}, err
	}
	r, err := asEngine[Restorer](b, ctx)
	if err != nil {
		return RestoreResult{}, err
	}
	defer b.end()
	return r.Restore(ctx, op, b.clock.Now())
}

// asEngine begins a call that needs an engine which can do more than all can.
func asEngine[E any](b *Broker, ctx context.Context) (e E, err error) {
	e, ok := b.engine.(E)
	if !ok {
		return e, ErrUnsupported
	}
	return e, b.begin(ctx)
}

// OperationKind says what a bulk operation did.
type OperationKind string

// The kinds of bulk operations.
const (
	OperationCancel     OperationKind = "cancel"
	OperationHold       OperationKind = "hold"
	OperationRelease    OperationKind = "release"
	OperationReschedule OperationKind = "reschedule"
	OperationRetryNow   OperationKind = "retry now"
	OperationStanding   OperationKind = "standing cancellation"
)

// Operation is the record of a bulk operation, kept for Options.AuditRetention.
type Operation struct {
	ID        OperationID
	Kind      OperationKind
	At        time.Time     // when it began
	Filter    string        // as Filter.String writes it; long ones are cut
	Reason    string        // of the option Reason
	Policy    Policy        // for what was in flight
	Count     int           // messages that it took
	Requested int           // messages in flight that it asked for
	Blocker   MessageID     // the message in flight that ended it; empty: none
	Index     string        // that was walked
	Scanned   int           // entries of it
	Took      time.Duration // until it was written
	Until     time.Time     // of a standing cancellation: when it expires
	LiftedAt  time.Time     // of a standing cancellation: when it was lifted; zero: not
	// RestoredAt is when it was undone; zero: it was not. Undoable tells
	// whether it still can be.
	RestoredAt time.Time
	Undoable   bool
}

// Cancellations iterates over the records of bulk operations, oldest first:
// cancellations, standing ones, and the other verbs, see [Operation.Kind]. The
// cancellation of a single pending message leaves no record. The order and the
// errors are those of [Broker.List].
func (b *Broker) Cancellations(ctx context.Context) iter.Seq2[Operation, error] {
	return func(yield func(Operation, error) bool) {
		paged(func(after OperationID) ([]Operation, error) {
			a, err := asEngine[Auditor](b, ctx)
			if err != nil {
				return nil, err
			}
			defer b.end()
			return a.Operations(ctx, after, listPage)
		}, func(o *Operation) OperationID { return o.ID }, yield)
	}
}

// WhoCancelled returns the operation that took a message, as long as its record
// is kept. Restored operations do not count, and the cancellation of a single
// pending message leaves no record. Of a message in flight whose cancellation was
// requested it names the operation only while the request is kept: until some
// time after the attempt has ended, however it ended.
//
// Errors: [ErrNotFound] if no operation is known to have taken the message,
// [ErrInvalid] for what is no id, [ErrUnsupported], [ErrClosed], that of ctx.
func (b *Broker) WhoCancelled(ctx context.Context, id MessageID) (Operation, error) {
	if _, err := id.ulid(); err != nil {
		return Operation{}, err
	}
	a, err := asEngine[Auditor](b, ctx)
	if err != nil {
		return Operation{}, err
	}
	defer b.end()
	return a.WhoCancelled(ctx, id)
}

// Operation returns the record of one bulk operation. Errors: [ErrNotFound] if
// there is none, or none any more, [ErrInvalid] for what is no id of one,
// [ErrUnsupported], [ErrClosed], that of ctx. Safe for concurrent use.
func (b *Broker) Operation(ctx context.Context, id OperationID) (Operation, error) {
	op, err := id.parse()
	if err != nil {
		return Operation{}, err
	}
	a, err := asEngine[Auditor](b, ctx)
	if err != nil {
		return Operation{}, err
	}
	defer b.end()
	page, err := a.Operations(ctx, before(op), 1)
	if err != nil {
		return Operation{}, err
	}
	if len(page) == 0 || page[0].ID != id {
		return Operation{}, ErrNotFound
	}
	return page[0], nil
}

// before is the last id that sorts before one; empty if there is none.
func before(op [16]byte) OperationID {
	for i := len(op) - 1; i >= 0; i-- {
		if op[i]--; op[i] != 0xff {
			return operationID(op)
		}
	}
	return ""
}
