package postgres

import (
	"context"
	"time"

	"github.com/recallmq/recall"
)

// Get implements [recall.Engine].
func (e *Engine) Get(ctx context.Context, id recall.MessageID, now time.Time) (recall.Message, error) {
	if err := e.enter(ctx); err != nil {
		return recall.Message{}, err
	}
	defer e.leave()
	u, _ := parseMessageID(id)
	list, err := collectFrom(ctx, e.pool, e, scanMessage, `SELECT `+stateAt("$3::bigint")+`, `+columns+`
		FROM @messages m JOIN @payloads p ON p.shard = m.shard AND p.id = m.id
		WHERE m.shard = $1 AND m.state < 2 AND m.id = $2`, u, toMS(now))
	if err != nil {
		return recall.Message{}, err
	}
	if len(list) == 0 {
		return recall.Message{}, recall.ErrNotFound
	}
	return list[0], nil
}

// List implements [recall.Engine]. It is one statement: a batch appears whole.
func (e *Engine) List(ctx context.Context, f recall.Filter, after recall.MessageID, limit int, now time.Time) ([]recall.Message, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	from, err := afterMessage(after)
	if err != nil || limit <= 0 {
		return nil, err
	}
	w := liveMatches(&f, now)
	w.behind(from)
	at, most, page := w.with(toMS(now))+"::bigint", w.with(limit), w.with(recall.PageBytes)
	return collectFrom(ctx, e.pool, e, scanMessage, `WITH found AS MATERIALIZED (
			SELECT m.shard, m.id, sum(m.size) OVER (ORDER BY m.id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - m.size AS before
			FROM (SELECT m.* FROM @messages m WHERE `+w.String()+` ORDER BY m.id LIMIT `+most+`) m)
		SELECT `+stateAt(at)+`, `+columns+`
		FROM found JOIN @messages m ON m.shard = found.shard AND m.id = found.id JOIN @payloads p ON p.shard = m.shard AND p.id = m.id
		WHERE found.before < `+page+` ORDER BY m.id`, w.args...)
}

// Count implements [recall.Engine].
func (e *Engine) Count(ctx context.Context, f recall.Filter, now time.Time) (c recall.Count, err error) {
	if err := e.enter(ctx); err != nil {
		return c, err
	}
	defer e.leave()
	w := liveMatches(&f, now)
	err = e.pool.QueryRow(ctx, e.sql(`SELECT count(*) FILTER (WHERE m.state = 0), count(*) FILTER (WHERE m.state = 1)
		FROM @messages m WHERE `+w.String()), append([]any{e.shard}, w.args...)...).Scan(&c.Pending, &c.InFlight)
	return c, err
}

// Hints implements [recall.Engine].
func (e *Engine) Hints() recall.Hints { return recall.Hints{Claim: e.claim, Maintain: e.maintain} }
