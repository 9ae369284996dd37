package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// operation is a record with the id of its row.
type operation struct {
	recall.Operation
	id      [16]byte
	undo    *int64 // it can be undone before that
	running uint64 // the owner whose call has not returned
	bytes   int64  // that its messages hold
}

const operationColumns = `o.id, o.kind, o.at_ms, o.filter, o.reason, o.policy, o.count, o.requested, o.blocker, o.walked, o.scanned, o.took_ns,
	o.until_ms, o.lifted_ms, o.restored_ms, o.undo_ms`

func scanOperation(row pgx.CollectableRow) (recall.Operation, error) {
	var o operation
	var at, took int64
	var until, lifted, restored *int64
	err := row.Scan(&o.id, &o.Kind, &at, &o.Filter, &o.Reason, &o.Policy, &o.Count, &o.Requested, &o.Blocker, &o.Index, &o.Scanned, &took,
		&until, &lifted, &restored, &o.undo)
	o.ID, o.At, o.Took = operationID(o.id), fromMS(at), time.Duration(took)
	o.Until, o.LiftedAt, o.RestoredAt = fromNullMS(until), fromNullMS(lifted), fromNullMS(restored)
	o.Undoable = o.undo != nil && restored == nil
	return o.Operation, err
}

// add queues a record, or what has become of it: what it has taken, and how it ended.
// What a standing cancellation selects is kept as it is.
//
// It fails with errUndone if the operation was undone, as may be while its process stood
// still for so long that others took it for gone: what it took now, nobody could undo.
func (o *operation) add(b *batch, selects []byte) {
	if selects == nil {
		selects = []byte{}
	}
	b.read(func(rows pgx.Rows) error {
		var undone bool
		if err := rows.Scan(&undone); err != nil || !undone {
			return err
		}
		return errUndone
	}, `INSERT INTO @operations AS o (shard, id, kind, at_ms, filter, selects, reason, policy, count, requested, blocker, walked, scanned,
			took_ns, until_ms, restored, lifted, undo_ms, running, bytes)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, 0, $16, $17, $18)
		ON CONFLICT (shard, id) DO UPDATE SET count = EXCLUDED.count, requested = EXCLUDED.requested, blocker = EXCLUDED.blocker,
			scanned = EXCLUDED.scanned, took_ns = EXCLUDED.took_ns, running = EXCLUDED.running, bytes = EXCLUDED.bytes, purged = false
		RETURNING o.restored_ms IS NOT NULL`,
		o.id, o.Kind, toMS(o.At), storableText(o.Filter), selects, storableText(o.Reason), o.Policy, o.Count, o.Requested, o.Blocker, o.Index,
		o.Scanned, o.Took.Nanoseconds(), toNullMS(o.Until), o.undo, o.running, o.bytes)
}

var errUndone = errors.New("postgres: this call stood still for longer than Options.LeaseTime, and what it had done was undone meanwhile")

// Operations implements [recall.Auditor].
func (e *Engine) Operations(ctx context.Context, after recall.OperationID, limit int) ([]recall.Operation, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	from, err := afterOperation(after)
	if err != nil || limit <= 0 {
		return nil, err
	}
	if err := e.catchUp(ctx); err != nil {
		return nil, err
	}
	return collectFrom(ctx, e.pool, e, scanOperation, `SELECT `+operationColumns+` FROM @operations o
		WHERE o.shard = $1 AND o.id > $2 ORDER BY o.id LIMIT $3`, from, limit)
}

// WhoCancelled implements [recall.Auditor].
func (e *Engine) WhoCancelled(ctx context.Context, id recall.MessageID) (recall.Operation, error) {
	if err := e.enter(ctx); err != nil {
		return recall.Operation{}, err
	}
	defer e.leave()
	u, ok := parseMessageID(id)
	if !ok {
		return recall.Operation{}, recall.ErrNotFound
	}
	list, err := collectFrom(ctx, e.pool, e, scanOperation, `SELECT `+operationColumns+` FROM @operations o
		WHERE o.shard = $1 AND o.restored_ms IS NULL AND o.id IN (
			SELECT m.op FROM @messages m WHERE m.shard = $1 AND m.id = $2 AND m.state = 2
			UNION ALL SELECT m.op FROM @members m WHERE m.shard = $1 AND m.id = $2)
		ORDER BY o.id DESC LIMIT 1`, u)
	if err != nil {
		return recall.Operation{}, err
	}
	if len(list) == 0 {
		return recall.Operation{}, recall.ErrNotFound
	}
	return list[0], nil
}
