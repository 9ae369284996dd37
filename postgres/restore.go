package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// undoUntil is when a cancellation can no longer be undone.
func (e *Engine) undoUntil(now time.Time) *int64 {
	ms := toMS(now.Add(e.opts.UndoWindow))
	return &ms
}

// Restore implements [recall.Restorer]. It is one transaction. A cancellation whose
// call is still running, here or in another process that lives, is waited for.
func (e *Engine) Restore(ctx context.Context, id recall.OperationID, now time.Time) (res recall.RestoreResult, err error) {
	if err := e.enter(ctx); err != nil {
		return res, err
	}
	defer e.leave()
	op, ok := parseOperationID(id)
	if !ok {
		return res, recall.ErrNotFound
	}
	return e.restore(ctx, op, now)
}

func (e *Engine) restore(ctx context.Context, op [16]byte, now time.Time) (res recall.RestoreResult, err error) {
	for {
		ended, outcome := e.ended(), undone
		err := e.do(ctx, func(u *unit) error {
			res, outcome, err = u.restore(op, now)
			return err
		})
		switch {
		case err != nil:
			return recall.RestoreResult{}, err
		case outcome == tooLate:
			return recall.RestoreResult{}, recall.ErrUndoExpired
		case outcome == undone:
			return res, nil
		}
		e.endLate(ctx)
		if err := e.waitFor(ctx, ended); err != nil {
			return recall.RestoreResult{}, err
		}
	}
}

// waitFor waits until something has ended here, or may have elsewhere.
func (e *Engine) waitFor(ctx context.Context, ended <-chan struct{}) error {
	poll, cancel := context.WithTimeout(ctx, e.opts.PollInterval)
	defer cancel()
	select {
	case <-ended:
	case <-poll.Done():
	}
	if e.isClosed() {
		return recall.ErrClosed
	}
	return ctx.Err()
}

// undo says what became of an undo.
type undo int

const (
	undone       undo = iota // by this call, or before
	stillRunning             // the call to undo has not returned
	tooLate                  // what is late once stays late, whatever the clock does
)

// restore undoes an operation, unless its call is still running.
func (u *unit) restore(op [16]byte, now time.Time) (res recall.RestoreResult, _ undo, err error) {
	var kind recall.OperationKind
	var restored, until *int64
	var running bool
	found, err := u.get(`SELECT o.kind, o.restored_ms, o.undo_ms, o.restored, o.lifted,
			o.running <> 0 AND EXISTS (SELECT 1 FROM @owners w WHERE w.shard = $1 AND w.epoch = o.running)
		FROM @operations o WHERE o.shard = $1 AND o.id = $2 FOR UPDATE OF o`, []any{op}, &kind, &restored, &until, &res.Restored, &res.Lifted, &running)
	switch {
	case err != nil:
		return res, undone, err
	case !found:
		return res, undone, recall.ErrNotFound
	case running:
		return res, stillRunning, nil
	case kind != recall.OperationCancel:
		return res, undone, invalid("OperationID", "it is no cancellation")
	case restored != nil:
		return res, undone, nil
	case until == nil || toMS(now) >= *until:
		_, err := u.exec(`UPDATE @operations SET undo_ms = NULL WHERE shard = $1 AND id = $2`, op)
		return res, tooLate, err
	}
	if res, err = u.bringBack(op, now); err != nil {
		return res, undone, err
	}
	_, err = u.exec(`UPDATE @operations SET restored_ms = $3, restored = $4, lifted = $5 WHERE shard = $1 AND id = $2`,
		op, toMS(now), res.Restored, res.Lifted)
	u.claim = true
	u.ends.restored += int64(res.Restored)
	return res, undone, err
}

// bringBack makes what an operation has taken pending again, and lifts its requests
// where the attempt still runs and no other operation has asked for the same.
func (u *unit) bringBack(op [16]byte, now time.Time) (res recall.RestoreResult, err error) {
	made, r := map[string]bool{}, newRooms()
	back, err := collect(u, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var queue, blocks, flow string
		err = row.Scan(&queue, &blocks, &flow)
		r.add(queue, blocks, flow)
		made[queue] = true
		return
	}, `WITH back AS (UPDATE @messages SET state = 0, op = NULL WHERE shard = $1 AND op = $2 AND state = 2
			RETURNING id, queue, blocks, flow_key, labels),
		named AS (INSERT INTO @labels (shard, label, id) SELECT $1, unnest(labels), id FROM back ON CONFLICT DO NOTHING)
		SELECT queue, blocks, flow_key FROM back`, op)
	if err != nil {
		return res, err
	}
	lifted, err := collect(u, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var queue, blocks, flow string
		err = row.Scan(&queue, &blocks, &flow)
		r.add(queue, blocks, flow)
		made[queue] = true // it may have been deleted, as what is to be cancelled does not count
		return
	}, `UPDATE @messages m SET requested = false FROM (SELECT a.id FROM @asks a WHERE a.shard = $1 AND a.op = $2
			AND NOT EXISTS (SELECT 1 FROM @asks b JOIN @operations o ON o.shard = b.shard AND o.id = b.op
				WHERE b.shard = $1 AND b.id = a.id AND b.op <> $2 AND o.restored_ms IS NULL)) l
		WHERE m.shard = $1 AND m.id = l.id AND m.state = 1 AND m.requested RETURNING m.queue, m.blocks, m.flow_key`, op)
	if err != nil {
		return res, err
	}
	b := u.batch()
	delete(made, "")
	makeQueues(b, slices.Sorted(maps.Keys(made)), now)
	r.remakeQueues(b)
	r.makeFlows(b)
	return recall.RestoreResult{Restored: len(back), Lifted: len(lifted)}, b.send()
}
