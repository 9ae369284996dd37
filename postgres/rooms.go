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

// open queues that claims are to look at the rooms.
func (r *rooms) open(b *batch) {
	if names := slices.Sorted(maps.Keys(r.queues)); len(names) > 0 {
		b.add(`UPDATE @queues q SET look_ms = 0 FROM (SELECT queue FROM @queues WHERE shard = $1 AND queue = ANY($2::text[])
			ORDER BY queue FOR UPDATE) l WHERE q.shard = $1 AND q.queue = l.queue`, names)
	}
	if names := slices.Sorted(maps.Keys(r.flows)); len(names) > 0 {
		b.add(`UPDATE @flows f SET look_ms = 0 FROM (SELECT flow_key FROM @flows WHERE shard = $1 AND flow_key = ANY($2::text[])
			ORDER BY flow_key FOR UPDATE) l WHERE f.shard = $1 AND f.flow_key = l.flow_key`, names)
	}
}

// settings queues what the stored messages change beside them: queues that come into
// being, limits, and when to look.
func (a *arrivals) settings() error {
	limits, err := a.limits()
	if err != nil {
		return err
	}
	r, made := newRooms(), map[string]bool{}
	for _, v := range a.stored {
		r.add(v.m.Queue, v.m.Blocks, v.m.FlowKey)
		made[v.m.Queue] = true
	}
	for _, name := range slices.Sorted(maps.Keys(r.queues)) {
		if made[name] {
			makeQueue(a.out, name, a.now)
		}
		a.out.add(`UPDATE @queues SET look_ms = 0 WHERE shard = $1 AND queue = $2`, name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.flows)) {
		a.out.add(`INSERT INTO @flows (shard, flow_key, limited, rate, period_ms, parallelism, paused, used, look_ms)
			VALUES ($1, $2, false, 0, 0, 0, false, 0, 0)
			ON CONFLICT (shard, flow_key) DO UPDATE SET look_ms = 0`, name)
		if s, ok := limits[name]; ok {
			if err := putFlow(a.out, name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// limits returns the settings of the keys that messages bring a limit for, as they
// are afterwards.
func (a *arrivals) limits() (map[string]recall.FlowSettings, error) {
	out := map[string]recall.FlowSettings{}
	var keys []string
	for _, v := range a.stored {
		if v.m.Flow != nil {
			keys = append(keys, v.m.FlowKey)
		}
	}
	if keys == nil {
		return out, nil
	}
	_, err := collect(a.u, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var name string
		var value []byte
		if err = row.Scan(&name, &value); err == nil {
			out[name] = readFlowSettings(value)
		}
		return
	}, `SELECT name, value FROM @objects WHERE shard = $1 AND kind = $2 AND name = ANY($3::text[])`, recall.ObjectFlow, keys)
	for _, v := range a.stored {
		if v.m.Flow != nil {
			out[v.m.FlowKey] = out[v.m.FlowKey].After(*v.m.Flow)
		}
	}
	maps.DeleteFunc(out, func(_ string, s recall.FlowSettings) bool { return s == recall.FlowSettings{} })
	return out, err
}

// makeQueue queues that a queue comes into being, if it is not there.
func makeQueue(b *batch, name string, now time.Time) {
	ms := fromMS(toMS(now))
	value, err := json.Marshal(recall.QueueSettings{Parallelism: 1, CreatedAt: ms, UpdatedAt: ms})
	if err != nil {
		b.fail(err)
		return
	}
	b.add(`INSERT INTO @objects (shard, kind, name, value) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, recall.ObjectQueue, name, value)
	b.add(`INSERT INTO @queues (shard, queue, parallelism, paused, look_ms) VALUES ($1, $2, 1, false, 0) ON CONFLICT DO NOTHING`, name)
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
