package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Cancel implements [recall.Engine].
func (e *Engine) Cancel(ctx context.Context, req recall.CancelRequest) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	return e.do(ctx, func(u *unit) error { return u.cancel(&req) })
}

func (u *unit) cancel(req *recall.CancelRequest) error {
	id, ok := parseMessageID(req.ID)
	if !ok {
		return recall.ErrNotFound
	}
	var state int
	var requested bool
	list, err := collect(u, func(row pgx.CollectableRow) (recall.Message, error) { return readMessage(row, &state, &requested) },
		`SELECT m.state, m.requested, NULL::text, `+columns+` FROM @messages m JOIN @payloads p ON p.shard = m.shard AND p.id = m.id
		WHERE m.shard = $1 AND m.id = $2 AND m.state < 2 FOR UPDATE OF m`, id)
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		return recall.ErrNotFound
	case state == 1 && !req.Sticky:
		return &recall.NotCancellableError{ID: req.ID, State: recall.StateInFlight}
	}
	m, b := &list[0], u.batch()
	if state == 1 {
		u.request(b, req, m, id)
		return b.sendLast()
	}
	b.log(m, &id, recall.Event{State: recall.EventCancelled, At: req.Now}, 0)
	removeMessages(b, [][16]byte{id})
	r := newRooms()
	r.add(m.Queue, m.Blocks, m.FlowKey)
	r.open(b)
	u.ends.cancelled++
	u.claim = true
	return b.sendLast()
}

// request queues that a message in flight is not tried again, with a record of that.
func (u *unit) request(b *batch, req *recall.CancelRequest, m *recall.Message, id [16]byte) {
	op := operation{id: u.e.numbers.newOperation(req.Now), undo: u.e.undoUntil(req.Now), Operation: recall.Operation{
		Kind: recall.OperationCancel, At: req.Now, Filter: recall.Filter{IDs: []recall.MessageID{req.ID}}.String(), Reason: req.Reason,
		Policy: recall.Sticky, Requested: 1,
	}}
	op.add(b, nil)
	ask(b, [][16]byte{id}, op.id)
	b.log(m, &id, recall.Event{
		State: recall.EventCancelRequested, At: req.Now, Attempt: m.Attempts, Operation: operationID(op.id),
	}, 0)
	u.wake = true
}

// ask queues that messages in flight are not tried again.
func ask(b *batch, ids [][16]byte, op [16]byte) {
	b.add(`UPDATE @messages SET requested = true WHERE shard = $1 AND id = ANY($2::uuid[]) AND state = 1`, ids)
	b.add(`INSERT INTO @asks (shard, id, op) SELECT $1, unnest($2::uuid[]), $3 ON CONFLICT DO NOTHING`, ids, op)
}

// removeMessages queues that nothing is left of messages.
func removeMessages(b *batch, ids [][16]byte) {
	b.add(`DELETE FROM @labels l USING @messages m WHERE l.shard = $1 AND m.shard = $1 AND m.id = ANY($2::uuid[])
		AND l.id = m.id AND l.label = ANY(m.labels)`, ids)
	b.add(`DELETE FROM @payloads WHERE shard = $1 AND id = ANY($2::uuid[])`, ids)
	b.add(`DELETE FROM @messages WHERE shard = $1 AND id = ANY($2::uuid[])`, ids)
}
