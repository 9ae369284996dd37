package recall

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// verb is what a bulk operation does; its number is the kind of the record.
type verb uint8

const (
	verbCancel verb = iota + 1
	verbHold
	verbRelease
	verbReschedule
	verbRetryNow
	verbStanding
)

var verbNames = [...]OperationKind{
	verbCancel: OperationCancel, verbHold: OperationHold, verbRelease: OperationRelease,
	verbReschedule: OperationReschedule, verbRetryNow: OperationRetryNow, verbStanding: OperationStanding,
}

func (v verb) name() OperationKind {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return ""
}

// newOperation starts the record of a bulk call.
func (e *embedded) newOperation(kind verb, now time.Time, reason, filter string) store.Operation {
	return store.Operation{
		ID: e.opIDs.next(now), Kind: uint8(kind), At: now.UnixMilli(), Reason: []byte(reason), Filter: []byte(filter),
	}
}

// opIDs makes the ids of operations. They ascend, also within a millisecond, when
// the clock is set back and after an open, so that the order of the records is
// that in which the calls began. A record is there
// when its call commits: that of a long call may appear behind who reads them
// page by page.
type opIDs struct {
	random io.Reader

	mu   sync.Mutex
	last ulid.ULID
}

func (o *opIDs) next(now time.Time) ulid.ULID {
	var id ulid.ULID
	_ = id.SetTime(uint64(now.UnixMilli()))
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.ReadFull(o.random, id[6:]) // bits are missing at worst, and ids differ all the same
	if id.Time() <= o.last.Time() {
		id = o.last
		for i := len(id) - 1; i >= 6; i-- {
			if id[i]++; id[i] != 0 {
				break
			}
		}
	}
	o.last = id
	return id
}

// begin makes ids go on behind one.
func (o *opIDs) begin(id ulid.ULID) {
	if o.last.Compare(id) < 0 {
		o.last = id
	}
}

// auditText is the filter as the record of the operation keeps it: readable,
// and short enough for a row.
func auditText(f Filter) string {
	const most = 2048
	text := f.String()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// errEnough ends an iteration over operations.
var errEnough = errors.New("enough")

// Operations implements [Auditor].
func (e *embedded) Operations(ctx context.Context, after OperationID, limit int) (page []Operation, err error) {
	if err := e.checkOpen(ctx); err != nil {
		return nil, err
	}
	var from [16]byte
	if after != "" {
		if from, err = after.parse(); err != nil {
			return nil, err
		}
	}
	err = e.store.Operations(from, func(op store.Operation, _ store.Progress) error {
		page = append(page, e.operation(&op))
		if len(page) == limit {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	e.markUndoable(page)
	return page, err
}

// markUndoable says of each operation whether it can be undone: in one pass over
// what can, because that may be long.
func (e *embedded) markUndoable(page []Operation) {
	at := make(map[[16]byte]int, len(page))
	for i := range page {
		if id, err := page[i].ID.parse(); err == nil {
			at[id] = i
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.undo.buried {
		if i, asked := at[b.op]; asked && b.state == burialUndoable {
			page[i].Undoable = true
		}
	}
}

// operation is the record as users see it.
func (e *embedded) operation(op *store.Operation) Operation {
	o := Operation{
		ID: operationID(op.ID), Kind: verb(op.Kind).name(), At: time.UnixMilli(op.At),
		Filter: string(op.Filter), Reason: string(op.Reason), Policy: Policy(op.Policy),
		Count: int(op.Count), Requested: int(op.Requested), Index: string(op.Index), Scanned: int(op.Scanned),
		Took: time.Duration(op.Took) * time.Microsecond, Until: timeOf(op.Until), LiftedAt: timeOf(op.Lifted),
		RestoredAt: timeOf(op.Restored),
	}
	if op.Blocker != [16]byte{} {
		o.Blocker = messageID(op.Blocker)
	}
	if verb(op.Kind) == verbStanding {
		o.Filter = standingText(op.Filter)
	}
	return o
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// WhoCancelled implements [Auditor].
func (e *embedded) WhoCancelled(ctx context.Context, id MessageID) (Operation, error) {
	if err := e.checkOpen(ctx); err != nil {
		return Operation{}, err
	}
	r, ok := e.resolve(id)
	if !ok {
		return Operation{}, ErrNotFound
	}
	op, found, err := e.store.WhoTook(r.seq)
	if err != nil {
		return Operation{}, err
	}
	if !found {
		return Operation{}, ErrNotFound
	}
	list := []Operation{e.operation(&op)}
	e.markUndoable(list)
	return list[0], nil
}

// auditStep drops the record of an operation that was kept long enough. It
// returns when there will be another.
func (e *embedded) auditStep(ctx context.Context, now time.Time) (next time.Time, did bool, err error) {
	e.mu.Lock()
	due, from := e.upkeep.audit, e.upkeep.auditFrom
	e.mu.Unlock()
	if now.Before(due) {
		return due, false, nil
	}
	old, next, err := e.oldOperations(now, from)
	if err != nil {
		return next, false, err
	}
	drop := &dropWork{old: old}
	if len(old) > 0 {
		err = e.submit(ctx, drop)
	}
	if err != nil {
		return next, false, err
	}
	more := len(old) == auditBatch
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upkeep.auditFrom = [16]byte{}
	if more { // those that cannot go yet must not keep the others
		e.upkeep.auditFrom = old[len(old)-1]
	}
	e.upkeep.audit = next
	return next, more || drop.dropped > 0, nil
}

// dropWork deletes records. A standing cancellation goes with its record: if the
// clock goes back, it must not take what it could no longer count.
type dropWork struct {
	old     [][16]byte
	dropped int
}

func (w *dropWork) bound() store.Bound { return upkeepBound(1 << 20) }

func (w *dropWork) write(t *turn) error {
	for _, op := range w.old {
		ok, err := t.tx.DropOperation(op)
		if err != nil {
			return err
		}
		if ok {
			w.dropped++
			t.standing = slices.DeleteFunc(slices.Clone(t.standing), func(s *standing) bool { return s.op.ID == op })
		}
	}
	return nil
}

func (w *dropWork) apply(*embedded) {}

// auditPause is the least time between two looks at the records; auditBatch is
// how many are dropped in one commit.
const (
	auditPause = time.Minute
	auditBatch = 64
)

// oldOperations returns a few behind one that may go, and when to look again.
func (e *embedded) oldOperations(now time.Time, from [16]byte) (old [][16]byte, next time.Time, err error) {
	next = now.Add(max(auditPause, e.retention))
	err = e.store.Operations(from, func(op store.Operation, progress store.Progress) error {
		end := time.UnixMilli(max(op.At, op.Until)).Add(e.retention)
		if now.Before(end) {
			next = earlier(next, now.Add(max(auditPause, end.Sub(now))))
			if verb(op.Kind) == verbStanding {
				return nil // those behind it may be older
			}
			return errEnough
		}
		if progress == store.SetFolded || op.Count == 0 || op.Restored != 0 || verb(op.Kind) != verbCancel {
			old = append(old, op.ID)
		}
		if len(old) == auditBatch {
			next = now
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return old, next, err
}
