package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// purgePart is how many rows one step of the background work removes.
const purgePart = 1000

// Maintain implements [recall.Engine]: what can be undone expires, and what is kept
// only for a time is removed. Every process may do that; they do not wait for each
// other.
func (e *Engine) Maintain(ctx context.Context, now time.Time) (next time.Time, err error) {
	if err := e.enter(ctx); err != nil {
		return next, err
	}
	defer e.leave()
	if err := e.catchUp(ctx); err != nil {
		return next, err
	}
	if !e.numbers.many() { // else they are numbered for all shards at once
		if some, err := e.unread(ctx, now); err != nil {
			return next, err
		} else if some {
			if err := e.numberEvents(ctx); err != nil {
				return next, err
			}
		}
	}
	more := false
	err = e.do(ctx, func(u *unit) error {
		if err := u.expire(now); err != nil {
			return err
		}
		more, u.idle = false, true
		for _, step := range []func(time.Time) (bool, error){u.purge, u.dropEvents, u.dropOperations, u.dropCalls, u.dropReservations, u.dropFlows} {
			again, err := step(now)
			if err != nil {
				return err
			}
			more = more || again
		}
		return nil
	})
	if err != nil || more {
		return now, err
	}
	var undo *int64
	err = e.pool.QueryRow(ctx, e.sql(`SELECT min(undo_ms) FROM @operations WHERE shard = $1 AND undo_ms IS NOT NULL AND restored_ms IS NULL`),
		e.shard).Scan(&undo)
	return fromNullMS(undo), err
}

// expire ends the undo of what is old enough. If the clock has gone back, the time
// that is left is not longer than it was.
func (u *unit) expire(now time.Time) error {
	_, err := u.exec(`UPDATE @operations SET undo_ms = CASE WHEN undo_ms <= $2 THEN NULL ELSE LEAST(undo_ms, $3) END
		WHERE shard = $1 AND undo_ms IS NOT NULL AND (undo_ms <= $2 OR undo_ms > $3) AND restored_ms IS NULL`,
		toMS(now), toMS(now.Add(u.e.opts.UndoWindow)))
	if err == nil {
		_, err = u.exec(giveWay, u.e.opts.UndoBytes)
	}
	return err
}

// giveWay ends the undo of the oldest cancellations while all of them together hold
// more than $2 bytes. None is touched whose call still runs.
const giveWay = `UPDATE @operations SET undo_ms = NULL WHERE shard = $1 AND id IN (
	SELECT o.id FROM (SELECT id, running, sum(bytes) OVER (ORDER BY id DESC) AS held FROM @operations
		WHERE shard = $1 AND undo_ms IS NOT NULL AND restored_ms IS NULL) o
	WHERE o.held > $2 AND (o.running = 0 OR NOT EXISTS (SELECT 1 FROM @owners w WHERE w.shard = $1 AND w.epoch = o.running)))`

// giveWayPart: a call that takes more than such a part of what may be kept sees to it itself.
const giveWayPart = 16

// unpurged are cancellations (o) that cannot be undone, and have left messages, perhaps.
const unpurged = `o.shard = $1 AND o.kind = 'cancel' AND o.undo_ms IS NULL AND o.restored_ms IS NULL AND NOT o.purged`

// purge removes cancelled messages that cannot be restored any more. Who has cancelled
// them stays known. It begins with the operations: those that can be undone may have
// taken a million.
func (u *unit) purge(time.Time) (more bool, err error) {
	n := 0
	_, err = u.get(`WITH gone AS MATERIALIZED (SELECT l.id, l.op FROM @operations o CROSS JOIN LATERAL (
				SELECT m.id, m.op FROM @messages m WHERE m.shard = $1 AND m.op = o.id AND m.state = 2
				ORDER BY m.id LIMIT $2 FOR UPDATE SKIP LOCKED) l WHERE `+unpurged+` LIMIT $2),
			known AS (INSERT INTO @members (shard, id, op) SELECT $1, id, op FROM gone ON CONFLICT DO NOTHING),
			bodies AS (DELETE FROM @payloads p USING gone WHERE p.shard = $1 AND p.id = gone.id),
			rows AS (DELETE FROM @messages m USING gone WHERE m.shard = $1 AND m.id = gone.id)
		SELECT count(*) FROM gone`, []any{purgePart}, &n)
	if err != nil || n == purgePart {
		return true, err
	}
	return false, u.notePurged()
}

// notePurged has purge pass over the operations of which nothing is left. One whose call
// runs may still take messages, and one whose process is gone may be that of a process
// that stands still: that has an hour.
func (u *unit) notePurged() error {
	_, err := u.exec(`UPDATE @operations o SET purged = true WHERE `+unpurged+`
		AND (o.running = 0 OR o.at_ms < $2 AND NOT EXISTS (SELECT 1 FROM @owners w WHERE w.shard = $1 AND w.epoch = o.running))
		AND NOT EXISTS (SELECT 1 FROM @messages m WHERE m.shard = $1 AND m.op = o.id AND m.state = 2)`,
		toMS(u.e.clock.Now().Add(-callTime)))
	return err
}

// dropFlows removes keys that have no limit, and no message. It waits for nobody, and comes
// behind what does: who publishes takes the counter of deduplication ids before keys.
func (u *unit) dropFlows(time.Time) (more bool, err error) {
	n, err := u.exec(`DELETE FROM @flows f USING (SELECT k.flow_key FROM @flows k WHERE k.shard = $1 AND k.look_ms = `+neverText+` AND NOT k.limited
			AND NOT EXISTS (SELECT FROM @messages m WHERE m.shard = $1 AND m.flow_key = k.flow_key AND m.flow_key <> '' AND m.state < 2)
			LIMIT $2 FOR UPDATE OF k SKIP LOCKED) l
		WHERE f.shard = $1 AND f.flow_key = l.flow_key`, purgePart)
	return n == purgePart, err
}

// dropReservations removes deduplication ids whose window is over. It comes late: from then
// until the commit whoever publishes with such an id waits for their counter, and everybody
// for him.
func (u *unit) dropReservations(now time.Time) (more bool, err error) {
	free, err := u.exec(`SELECT FROM @counters WHERE shard = $1 AND name = '` + counterDedup + `' FOR UPDATE SKIP LOCKED`)
	if err != nil || free == 0 { // somebody has it, who may take his time
		return false, err
	}
	n, err := u.exec(`DELETE FROM @dedup d USING (SELECT key FROM @dedup WHERE shard = $1 AND at_ms <= $2 LIMIT $3 FOR UPDATE SKIP LOCKED) l
		WHERE d.shard = $1 AND d.key = l.key`, toMS(now.Add(-u.e.opts.DeduplicationWindow)), purgePart)
	if err == nil && n > 0 {
		_, err = u.exec(countReserved, -n)
	}
	return n == purgePart, err
}

// dropOperations removes records that are old enough, with what they say about
// messages. Standing cancellations are kept while they are active.
func (u *unit) dropOperations(now time.Time) (more bool, err error) {
	end := now.Add(-u.e.opts.AuditRetention)
	old, err := collect(u, pgx.RowTo[[16]byte], `SELECT o.id FROM @operations o WHERE o.shard = $1 AND o.id <= $4 AND o.at_ms <= $2
			AND (o.until_ms IS NULL OR o.until_ms <= $2 OR o.lifted_ms <= $2) AND (o.undo_ms IS NULL OR o.restored_ms IS NOT NULL)
			AND NOT EXISTS (SELECT 1 FROM @messages m WHERE m.shard = $1 AND m.op = o.id AND m.state = 2)
		LIMIT $3 FOR UPDATE OF o SKIP LOCKED`, toMS(end), dropPart, lastID(end))
	if err != nil || len(old) == 0 {
		return false, err
	}
	for _, table := range []string{"@members", "@asks"} { // first, as these may be many
		n, err := u.exec(`DELETE FROM `+table+` m USING (SELECT id, op FROM `+table+` WHERE shard = $1 AND op = ANY($2::uuid[]) LIMIT $3) l
			WHERE m.shard = $1 AND m.id = l.id AND m.op = l.op`, old, purgePart)
		if err != nil || n == purgePart {
			return true, err
		}
	}
	_, err = u.exec(`DELETE FROM @operations o WHERE o.shard = $1 AND o.id = ANY($2::uuid[])`, old)
	return len(old) == dropPart, err
}

// dropPart is how many records one step removes.
const dropPart = 10
