package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// standing is a standing cancellation that is active.
type standing struct {
	id     [16]byte
	filter recall.Filter
	until  int64
	taken  int // by this transaction
}

// activeStanding reads those that are active at a time, oldest first.
const activeStanding = `SELECT id, selects, until_ms FROM @operations
	WHERE shard = $1 AND kind = 'standing cancellation' AND lifted_ms IS NULL AND until_ms > $2 ORDER BY id`

// scanStanding reads one into a list.
func scanStanding(list *[]*standing) func(pgx.Rows) error {
	return func(row pgx.Rows) error {
		s := &standing{}
		var text []byte
		if err := row.Scan(&s.id, &text, &s.until); err != nil {
			return err
		}
		if err := json.Unmarshal(text, &s.filter); err != nil {
			return corrupt("a standing cancellation", err)
		}
		*list = append(*list, s)
		return nil
	}
}

// takes returns the standing cancellation that takes what arrives.
func takes(list []*standing, m *recall.Message, now time.Time) *standing {
	if len(list) == 0 {
		return nil
	}
	shown := *m
	shown.State = arrivingState(m, now)
	for _, s := range list {
		if toMS(now) < s.until && s.filter.Matches(&shown) {
			return s
		}
	}
	return nil
}

// arrivingState is what standing cancellations see: whether a message will wait for
// others is not said yet.
func arrivingState(m *recall.Message, now time.Time) recall.State {
	switch {
	case toMS(m.DueAt) <= toMS(now):
		return recall.StateReady
	case m.Attempts > 0:
		return recall.StateRetrying
	}
	return recall.StateDelayed
}

// take notes that s has taken a message.
func (s *standing) take(b *batch, id [16]byte) {
	s.taken++
	b.add(`INSERT INTO @members (shard, id, op) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, id, s.id)
}

// countStanding queues how many each has taken.
func countStanding(b *batch, list []*standing) {
	for _, s := range list {
		if s.taken > 0 {
			b.add(`UPDATE @operations SET count = count + $3 WHERE shard = $1 AND id = $2`, s.id, s.taken)
		}
	}
}

// CancelFuture implements [recall.Stander]. It takes its place among publications:
// what is published after it returns meets it.
func (e *Engine) CancelFuture(ctx context.Context, f recall.Filter, until time.Time, reason string, now time.Time) (recall.OperationID, error) {
	id := e.numbers.newOperation(now)
	if err := e.cancelFuture(ctx, id, f, until, reason, now); err != nil {
		return "", err
	}
	return operationID(id), nil
}

func (e *Engine) cancelFuture(ctx context.Context, id [16]byte, f recall.Filter, until time.Time, reason string, now time.Time) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	text, err := json.Marshal(f)
	if err != nil {
		return invalid("Filter", "it cannot be kept: %v", err)
	}
	return e.do(ctx, func(u *unit) error {
		if err := u.lockPublishing(now); err != nil {
			return err
		}
		b := u.batch()
		op := operation{id: id, Operation: recall.Operation{
			Kind: recall.OperationStanding, At: now, Filter: f.String(), Reason: reason, Until: until,
		}}
		op.add(b, text)
		return b.send()
	})
}

// StandingCancellations implements [recall.Stander].
func (e *Engine) StandingCancellations(ctx context.Context, _ time.Time) ([]recall.StandingCancellation, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	if err := e.catchUp(ctx); err != nil {
		return nil, err
	}
	return collectFrom(ctx, e.pool, e, func(row pgx.CollectableRow) (s recall.StandingCancellation, err error) {
		var id [16]byte
		var text []byte
		var at int64
		var until, lifted *int64
		if err := row.Scan(&id, &text, &s.Reason, &at, &until, &lifted, &s.Count); err != nil {
			return s, err
		}
		s.ID, s.At, s.Until, s.LiftedAt = operationID(id), fromMS(at), fromNullMS(until), fromNullMS(lifted)
		if err := json.Unmarshal(text, &s.Filter); err != nil {
			return s, corrupt("a standing cancellation", err)
		}
		return s, nil
	}, `SELECT id, selects, reason, at_ms, until_ms, lifted_ms, count FROM @operations
		WHERE shard = $1 AND kind = 'standing cancellation' ORDER BY id`)
}

// LiftCancellation implements [recall.Stander].
func (e *Engine) LiftCancellation(ctx context.Context, id recall.OperationID, now time.Time) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	op, ok := parseOperationID(id)
	if !ok {
		return recall.ErrNotFound
	}
	return e.do(ctx, func(u *unit) error {
		if err := u.lockPublishing(now); err != nil {
			return err
		}
		n, err := u.exec(`UPDATE @operations SET lifted_ms = CASE WHEN lifted_ms IS NULL AND until_ms > $3 THEN $3 ELSE lifted_ms END
			WHERE shard = $1 AND id = $2 AND kind = 'standing cancellation'`, op, toMS(now))
		if err == nil && n == 0 {
			err = recall.ErrNotFound
		}
		return err
	})
}
