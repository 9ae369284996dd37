package postgres

import "strings"

// The state of a message follows from its row, its queue and its flow-control key.
// The texts are expressions over a message m; $NOW stands for the parameter with the
// time.

// queueBlocked: m waits for others of its queue. It is not among the first that may
// be out – callbacks that keep a place there count –, enough are out already, or the
// queue is paused.
const queueBlocked = `(m.queue <> '' AND (SELECT s.paused
	OR (SELECT count(*) FROM (SELECT 1 FROM @messages o
		WHERE o.shard = $1 AND o.queue = m.queue AND o.queue <> '' AND o.state = 1 LIMIT s.places) x) >= s.places
	OR (SELECT count(*) FROM (SELECT 1 FROM @messages o
		WHERE o.shard = $1 AND o.queue = m.queue AND o.queue <> '' AND o.state < 2 AND o.id < m.id ORDER BY o.id LIMIT s.places) y)
		>= s.places - ` + placesKept + `
	FROM (SELECT m.queue AS queue,
		COALESCE((SELECT q.parallelism FROM @queues q WHERE q.shard = $1 AND q.queue = m.queue), 1) AS places,
		COALESCE((SELECT q.paused FROM @queues q WHERE q.shard = $1 AND q.queue = m.queue), false) AS paused) s))`

// placesKept is how many places of the queue s.queue are kept by callbacks of what is
// gone.
const placesKept = `(SELECT count(DISTINCT CASE WHEN o.place = '' THEN o.id::text ELSE o.place END) FROM @messages o
	WHERE o.shard = $1 AND o.blocks = s.queue AND o.blocks <> '' AND o.state < 2 AND (o.place = '' OR o.place_id IS NULL
		OR NOT EXISTS (SELECT 1 FROM @messages l WHERE l.shard = $1 AND l.id = o.place_id AND l.state < 2)))`

// flowShut: the flow-control key of m lets no attempt begin.
const flowShut = `(m.flow_key <> '' AND EXISTS (SELECT 1 FROM @flows f
	WHERE f.shard = $1 AND f.flow_key = m.flow_key AND f.limited AND (f.paused
		OR f.parallelism > 0 AND f.parallelism <= (SELECT count(*) FROM (SELECT 1 FROM @messages o
			WHERE o.shard = $1 AND o.flow_key = m.flow_key AND o.flow_key <> '' AND o.state = 1 LIMIT f.parallelism) x)
		OR f.rate > 0 AND f.used >= f.rate AND f.start_ms IS NOT NULL
			AND $NOW < LEAST(f.start_ms, $NOW) + f.period_ms)))`

// stateByTime is the state of a message that waits for nothing else.
const stateByTime = `CASE WHEN m.due_ms <= $NOW THEN 'ready' WHEN m.attempts > 0 THEN 'retrying' ELSE 'delayed' END`

const stateNow = `CASE WHEN m.state = 1 THEN 'in flight' WHEN m.held THEN 'held'
	WHEN ` + queueBlocked + ` THEN 'queue blocked'
	WHEN m.due_ms <= $NOW AND ` + flowShut + ` THEN 'flow waiting'
	ELSE ` + stateByTime + ` END`

// stateAt is stateNow with the parameter of the time, "$2::bigint".
func stateAt(now string) string { return strings.ReplaceAll(stateNow, "$NOW", now) }
