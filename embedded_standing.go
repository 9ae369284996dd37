package recall

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall/store"
)

// standing is a cancellation that waits for what arrives. The list of them is
// replaced, never changed, by the commit that makes a change durable; the
// committer asks it for every insert, and a failed attempt asks it under the
// lock.
type standing struct {
	op     store.Operation
	filter Filter // normalised
}

func (s *standing) active(now int64) bool { return s.op.Lifted == 0 && now < s.op.Until }

// anyActive tells whether there is anything to compare messages with. What has
// expired stays in the list until its record is dropped: the clock may go back.
func anyActive(list []*standing, now int64) bool {
	return slices.ContainsFunc(list, func(s *standing) bool { return s.active(now) })
}

// taker returns the oldest standing cancellation that takes a message.
func taker(list []*standing, m *Message, now int64) *standing {
	for _, s := range list {
		if s.active(now) && s.filter.takes(m) {
			return s
		}
	}
	return nil
}

// maxStandingFilter keeps the record within a row.
const maxStandingFilter = 3000

// CancelFuture implements [Stander].
func (e *embedded) CancelFuture(ctx context.Context, f Filter, until time.Time, reason string, now time.Time) (OperationID, error) {
	if err := e.checkOpen(ctx); err != nil {
		return "", err
	}
	text, err := json.Marshal(f)
	if err != nil {
		return "", invalid("Filter", "%v", err)
	}
	if len(text)+len(reason) > maxStandingFilter {
		return "", invalid("Filter", "it takes %d bytes as JSON, with the reason; the limit is %d", len(text)+len(reason), maxStandingFilter)
	}
	s := &standing{op: e.newOperation(verbStanding, now, reason, string(text)), filter: f.normalise()}
	s.op.Until = until.UnixMilli()
	w := &standingWork{s: s}
	if err := e.submit(ctx, w); err != nil {
		return "", err
	}
	if w.refused != nil {
		return "", w.refused
	}
	return operationID(s.op.ID), nil
}

// LiftCancellation implements [Stander].
func (e *embedded) LiftCancellation(ctx context.Context, id OperationID, now time.Time) error {
	if err := e.checkOpen(ctx); err != nil {
		return err
	}
	op, err := id.parse()
	if err != nil {
		return err
	}
	w := &liftWork{op: op, now: now.UnixMilli()}
	if err := e.submit(ctx, w); err != nil {
		return err
	}
	if w.found {
		return nil
	}
	return e.wasStanding(op)
}

// wasStanding tells an expired or lifted one from what never was.
func (e *embedded) wasStanding(op [16]byte) error {
	o, _, found, err := e.store.Operation(op)
	if err == nil && (!found || verb(o.Kind) != verbStanding) {
		err = ErrNotFound
	}
	return err
}

// StandingCancellations implements [Stander].
func (e *embedded) StandingCancellations(ctx context.Context, _ time.Time) (list []StandingCancellation, err error) {
	if err := e.checkOpen(ctx); err != nil {
		return nil, err
	}
	err = e.store.Operations([16]byte{}, func(op store.Operation, _ store.Progress) error {
		if verb(op.Kind) != verbStanding {
			return nil
		}
		s, err := loadStanding(op)
		if err != nil {
			return err
		}
		list = append(list, StandingCancellation{
			ID: operationID(op.ID), Filter: s.filter, Reason: string(op.Reason), At: time.UnixMilli(op.At),
			Until: timeOf(op.Until), LiftedAt: timeOf(op.Lifted), Count: int(op.Count),
		})
		return nil
	})
	return list, err
}

func loadStanding(op store.Operation) (*standing, error) {
	s := &standing{op: op}
	err := json.Unmarshal(op.Filter, &s.filter)
	s.filter = s.filter.normalise()
	if err != nil {
		return nil, &store.CorruptError{Bucket: "tombstone", Key: hex.EncodeToString(op.ID[:]), Err: err}
	}
	return s, nil
}

// standingText is the filter of a standing cancellation for people.
func standingText(filter []byte) string {
	var f Filter
	if err := json.Unmarshal(filter, &f); err != nil {
		return strings.ToValidUTF8(string(filter), "")
	}
	return auditText(f)
}

// standingWork makes a standing cancellation durable. It holds for what comes
// behind it in the same commit.
type standingWork struct {
	s       *standing
	refused error
}

// maxStanding bounds those that are active: every message that is published,
// and every failed attempt, is compared with each.
const maxStanding = 1000

func (w *standingWork) bound() store.Bound {
	return store.Bound{Rows: 1, Bytes: 8 << 10, Essential: true}
}

func (w *standingWork) write(t *turn) error {
	if active := countActive(t.standing, w.s.op.At); active >= maxStanding {
		w.refused = invalid("Filter", "%d standing cancellations are active, which is the limit", active)
		return nil
	}
	t.standing = append(slices.Clip(t.standing), w.s)
	// The order is that of the records, so that a restart changes nothing.
	slices.SortFunc(t.standing, func(a, b *standing) int { return bytes.Compare(a.op.ID[:], b.op.ID[:]) })
	return t.tx.PutOperation(w.s.op)
}

func (w *standingWork) apply(*embedded) {}

func countActive(list []*standing, now int64) (n int) {
	for _, s := range list {
		if s.active(now) {
			n++
		}
	}
	return n
}

// liftWork ends a standing cancellation.
type liftWork struct {
	op    [16]byte
	now   int64
	found bool
}

func (w *liftWork) bound() store.Bound { return (*standingWork)(nil).bound() }

func (w *liftWork) write(t *turn) error {
	i := slices.IndexFunc(t.standing, func(s *standing) bool { return s.op.ID == w.op })
	if i < 0 {
		return nil
	}
	w.found = true
	if t.standing[i].op.Until <= w.now {
		return nil
	}
	lifted := t.standing[i].op
	lifted.Lifted = w.now
	t.standing = slices.Delete(slices.Clone(t.standing), i, i+1)
	return t.tx.PutOperation(lifted)
}

func (w *liftWork) apply(*embedded) {}

// take notes that a standing cancellation has taken a message.
func (t *turn) take(s *standing, seq uint64) {
	if t.taken == nil {
		t.taken = map[[16]byte][]uint64{}
	}
	t.taken[s.op.ID] = append(t.taken[s.op.ID], seq)
}
