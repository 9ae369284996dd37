package postgres

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// A claim looks at the queues and flow-control keys in which something may be
// claimable, and at nothing of the others: look_ms says from when on. What may open
// one – a publication, the end of an attempt, a cancellation, a setting – moves it
// to the front, as the last locks that its transaction takes, in the order of the
// names. A claim, which locks the rooms first, never waits for one.

// never is when a room is looked at in which nothing can happen by itself.
const never = math.MaxInt64

// rooms are queues and flow-control keys that something has happened to.
type rooms struct{ queues, flows map[string]bool }

func newRooms() *rooms { return &rooms{map[string]bool{}, map[string]bool{}} }

// add notes the rooms of a message, and the queue that waits for it.
func (r *rooms) add(queue, blocks, flow string) {
	for _, q := range []string{queue, blocks} {
		if q != "" {
			r.queues[q] = true
		}
	}
	if flow != "" {
		r.flows[flow] = true
	}
}

// open queues that claims are to look at the rooms. A room that is at the front already
// is locked all the same, because a claim that has looked into it moves it, but not
// written. PostgreSQL must not take the condition into the part that locks, as it does
// with a subquery: it would lock only what is not at the front.
func (r *rooms) open(b *batch) {
	if b.u.apart || b.u.slow {
		r.openLater(b)
		return
	}
	r.openQueues(b)
	r.makeFlows(b)
}

// What a row of looks is about.
const (
	lookIntoQueue = 1
	lookIntoFlow  = 2
)

// openLater is open for a transaction in which a program does more, and whose end nobody
// knows: it must not have these rows, for which all who publish, claim and finish there would
// wait. Whoever comes first after its commit opens the rooms.
func (r *rooms) openLater(b *batch) {
	for kind, names := range map[int]map[string]bool{lookIntoQueue: r.queues, lookIntoFlow: r.flows} {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			b.add(`INSERT INTO @looks (shard, id, kind, name) VALUES ($1, $2, $3, $4)`, b.u.e.newApartID(b.u.e.clock.Now()), kind, name)
		}
	}
}

func (r *rooms) openQueues(b *batch) {
	if names := slices.Sorted(maps.Keys(r.queues)); len(names) > 0 {
		b.add(`WITH l AS MATERIALIZED (SELECT queue, look_ms FROM @queues WHERE shard = $1 AND queue = ANY($2::text[]) ORDER BY queue FOR UPDATE)
			UPDATE @queues q SET look_ms = 0 FROM l WHERE q.shard = $1 AND q.queue = l.queue AND l.look_ms <> 0`, names)
	}
}

// remakeQueues is openQueues for who does not hold up those that delete queues: one that
// is being deleted is there again, or its deletion waits and finds it in use.
func (r *rooms) remakeQueues(b *batch) {
	if names := slices.Sorted(maps.Keys(r.queues)); len(names) > 0 {
		b.add(`INSERT INTO @queues AS q (shard, queue, parallelism, paused, look_ms) SELECT $1, x.name, 1, false, 0 FROM unnest($2::text[]) AS x (name)
			ON CONFLICT (shard, queue) DO UPDATE SET look_ms = 0`, names)
	}
}

// makeFlows queues that the keys are there, and that claims are to look at them. The row of
// a key without a limit goes when nothing is left of it, see dropFlows: whoever brings
// something back makes it again. A row that is not written is locked by this, too.
func (r *rooms) makeFlows(b *batch) {
	if names := slices.Sorted(maps.Keys(r.flows)); len(names) > 0 {
		b.add(`INSERT INTO @flows AS f (shard, flow_key, limited, rate, period_ms, parallelism, paused, used, look_ms)
			SELECT $1, x.name, false, 0, 0, 0, false, 0, 0 FROM unnest($2::text[]) AS x (name)
			ON CONFLICT (shard, flow_key) DO UPDATE SET look_ms = 0 WHERE f.look_ms <> 0`, names)
	}
}

// settings queues what the stored messages change beside them: queues that come into
// being, limits, and when to look.
func (a *arrivals) settings() error {
	r, made := a.rooms, map[string]bool{}
	limits := map[string]recall.FlowSettings{}
	for _, v := range a.stored {
		r.add(v.m.Queue, v.m.Blocks, v.m.FlowKey)
		made[v.m.Queue] = true
		if v.m.Flow != nil {
			a.limits[v.m.FlowKey] = a.limits[v.m.FlowKey].After(*v.m.Flow)
			limits[v.m.FlowKey] = a.limits[v.m.FlowKey]
		}
	}
	delete(made, "")
	makeQueues(a.out, slices.Sorted(maps.Keys(made)), a.list[0].now)
	r.open(a.out) // all in order, before one is written
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if s := limits[name]; s != (recall.FlowSettings{}) {
			if err := a.limit(name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// limit queues the settings of a key. A transaction in which a program does more must not
// have the row that claims look at: it leaves an errand.
func (a *arrivals) limit(name string, s recall.FlowSettings) error {
	if !a.u.slow {
		return putFlow(a.out, name, s)
	}
	value, err := json.Marshal(s.Limit)
	if err == nil {
		a.leaveErrand(errand{kind: errandFlow, name: name, value: value})
	}
	return err
}

// readLimits queues that the settings of the keys are read that messages bring a limit
// for.
func (a *arrivals) readLimits(b *batch, list []*arrival) {
	a.limits = map[string]recall.FlowSettings{}
	var keys []string
	for _, v := range list {
		if v.m.Flow != nil {
			keys = append(keys, v.m.FlowKey)
		}
	}
	if keys == nil {
		return
	}
	b.read(func(rows pgx.Rows) error {
		var name string
		var value []byte
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		a.limits[name] = readFlowSettings(value)
		return nil
	}, `SELECT name, value FROM @objects WHERE shard = $1 AND kind = $2 AND name = ANY($3::text[])`, recall.ObjectFlow, keys)
}

// makeQueues queues that queues come into being where they are not there.
func makeQueues(b *batch, names []string, now time.Time) {
	if len(names) == 0 {
		return
	}
	ms := fromMS(toMS(now))
	value, err := json.Marshal(recall.QueueSettings{Parallelism: 1, CreatedAt: ms, UpdatedAt: ms})
	if err != nil {
		b.fail(err)
		return
	}
	b.add(`INSERT INTO @objects (shard, kind, name, value) SELECT $1, $2, x.name, $4 FROM unnest($3::text[]) AS x (name) ON CONFLICT DO NOTHING`,
		recall.ObjectQueue, names, value)
	b.add(`INSERT INTO @queues (shard, queue, parallelism, paused, look_ms) SELECT $1, x.name, 1, false, 0 FROM unnest($2::text[]) AS x (name)
		ON CONFLICT DO NOTHING`, names)
}

// putFlow queues the settings of a key.
func putFlow(b *batch, name string, s recall.FlowSettings) error {
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	b.add(`INSERT INTO @objects (shard, kind, name, value) VALUES ($1, $2, $3, $4)
		ON CONFLICT (shard, kind, name) DO UPDATE SET value = EXCLUDED.value`, recall.ObjectFlow, name, value)
	mirrorFlow(b, name, s)
	return nil
}

// mirrorFlow queues what claims have to know of the settings of a key.
func mirrorFlow(b *batch, name string, s recall.FlowSettings) {
	b.add(`INSERT INTO @flows (shard, flow_key, limited, rate, period_ms, parallelism, paused, used, look_ms)
		VALUES ($1, $2, true, $3, $4, $5, $6, 0, 0)
		ON CONFLICT (shard, flow_key) DO UPDATE SET limited = true, rate = EXCLUDED.rate, period_ms = EXCLUDED.period_ms,
			parallelism = EXCLUDED.parallelism, paused = EXCLUDED.paused, look_ms = 0`,
		name, s.Limit.Rate, periodMS(s.Limit), s.Limit.Parallelism, s.Paused)
}

func periodMS(l recall.FlowLimit) int64 {
	if l.Period == 0 {
		return time.Second.Milliseconds()
	}
	return l.Period.Milliseconds()
}

// readFlowSettings reads the value of an object; what cannot be read is none.
func readFlowSettings(value []byte) (s recall.FlowSettings) {
	if json.Unmarshal(value, &s) != nil {
		return recall.FlowSettings{}
	}
	return s
}
