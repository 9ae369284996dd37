package postgres

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// ends is what has become of messages in one transaction.
type ends struct{ published, duplicates, cancelled, restored, died int64 }

// counts is what has become of messages by the calls of this engine, since it was
// opened.
type counts struct {
	published, duplicates, cancelled, restored, died, commits atomic.Int64
}

func (c *counts) add(n ends) {
	c.published.Add(n.published)
	c.duplicates.Add(n.duplicates)
	c.cancelled.Add(n.cancelled)
	c.restored.Add(n.restored)
	c.died.Add(n.died)
	c.commits.Add(1)
}

// reset begins to count anew.
func (c *counts) reset() {
	for _, n := range []*atomic.Int64{&c.published, &c.duplicates, &c.cancelled, &c.restored, &c.died, &c.commits} {
		n.Store(0)
	}
}

// sizes is what was counted last in the database.
type sizes struct {
	mu    sync.Mutex
	last  recall.EngineStats
	since func() time.Duration // the last count; nil: there was none
	took  time.Duration
}

// How much of the time may go to counting: where a count takes long, the next one has
// to wait.
const (
	quickCount = time.Second
	countShare = 20
)

// Stats implements [recall.Engine]. What is published, cancelled and so on counts what
// this engine did; sizes are those of the whole queue. They are counted in the
// database, and may be some time old when that takes long. They stay as they were
// while the database does not answer.
func (e *Engine) Stats() recall.EngineStats {
	s := e.count()
	c := &e.counts
	s.Published, s.Duplicates, s.Cancelled = c.published.Load(), c.duplicates.Load(), c.cancelled.Load()
	s.Restored, s.Died, s.Commits = c.restored.Load(), c.died.Load(), c.commits.Load()
	return s
}

func (e *Engine) count() recall.EngineStats {
	z := &e.sizes
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.since != nil && z.took > quickCount && z.since() < countShare*z.took {
		return z.last
	}
	if e.enter(context.Background()) != nil {
		return z.last
	}
	defer e.leave()
	took := stopwatch()
	if s, err := e.readSizes(); err == nil {
		z.last = s
	}
	z.since, z.took = stopwatch(), took()
	return z.last
}

// countPatience bounds how long a count may take.
const countPatience = 10 * time.Second

func (e *Engine) readSizes() (s recall.EngineStats, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), countPatience)
	defer cancel()
	var clamp int64
	err = e.pool.QueryRow(ctx, e.sql(`SELECT m.pending, m.out, m.undoable, m.size, m.old, (SELECT count(*) FROM @dead WHERE shard = $1),
			(SELECT count(*) FROM @dedup WHERE shard = $1), (SELECT count(*) FROM @events WHERE shard = $1),
			(SELECT clamp FROM @counters WHERE shard = $1 AND name = '`+counterMessage+`'),
			(SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relnamespace = $2::regnamespace AND c.relkind = 'r')
		FROM (SELECT count(*) FILTER (WHERE m.state = 0) AS pending, count(*) FILTER (WHERE m.state = 1) AS out,
				count(*) FILTER (WHERE m.state = 2 AND o.undo_ms IS NOT NULL) AS undoable,
				COALESCE(sum(m.size + `+strconv.Itoa(undoRow)+`) FILTER (WHERE m.state = 2), 0)::bigint AS size,
				count(*) FILTER (WHERE m.state = 2 AND o.undo_ms IS NULL) AS old
			FROM @messages m LEFT JOIN @operations o ON o.shard = m.shard AND o.id = m.op WHERE m.shard = $1) m`), e.shard, e.schema).Scan(
		&s.Pending, &s.InFlight, &s.Undoable, &s.UndoBytes, &s.Backlog, &s.DeadLetters, &s.DeduplicationIDs, &s.Events, &clamp, &s.FileBytes)
	s.ClockClamp = time.Duration(clamp) * time.Millisecond
	return s, err
}

// allStates are those of live messages.
var allStates = []recall.State{
	recall.StateDelayed, recall.StateReady, recall.StateRetrying, recall.StateHeld, recall.StateQueueBlocked, recall.StateFlowWaiting,
	recall.StateInFlight,
}

// CountStates implements [recall.StateCounter]. It is one statement, which looks at
// every message, and at its queue for those that are in one.
func (e *Engine) CountStates(ctx context.Context, now time.Time) (recall.StateCounts, error) {
	out := recall.StateCounts{Counts: map[recall.State]int{}}
	if err := e.enter(ctx); err != nil {
		return out, err
	}
	defer e.leave()
	for _, s := range allStates {
		out.Counts[s] = 0
	}
	_, err := collectFrom(ctx, e.pool, e, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var state recall.State
		var n int
		var first int64
		if err = row.Scan(&state, &n, &first); err != nil {
			return
		}
		if out.Counts[state] = n; state == recall.StateReady {
			out.ReadySince = fromMS(first)
		}
		return
	}, `SELECT s.state, count(*), min(s.due_ms) FROM (SELECT `+stateAt("$2::bigint")+` AS state, m.due_ms FROM @messages m
		WHERE m.shard = $1 AND m.state < 2 AND NOT m.requested) s GROUP BY s.state`, toMS(now))
	return out, err
}
