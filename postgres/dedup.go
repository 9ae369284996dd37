package postgres

import (
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// reservations are the deduplication ids of the publications of one transaction.
type reservations struct {
	window time.Duration
	have   map[[32]byte]reservation
	fresh  map[[32]byte]reservation // that are new, or again
	used   int64                    // how many there are
	more   int64                    // that come with this transaction
	made   [][]byte                 // rows that were made to be locked
}

// reservation is the first message with an id.
type reservation struct {
	id      [16]byte
	created int64 // by the wall clock of the publisher
	at      int64 // when it was reserved
}

// read queues that what is reserved of the ids of messages is read.
func (r *reservations) read(b *batch, list []*publication, window time.Duration) {
	r.window, r.have, r.fresh = window, map[[32]byte]reservation{}, map[[32]byte]reservation{}
	keys := keysOf(list)
	if keys == nil {
		return
	}
	b.read(func(rows pgx.Rows) error {
		var key []byte
		var v reservation
		if err := rows.Scan(&key, &v.id, &v.created, &v.at); err != nil {
			return err
		}
		if v.id != [16]byte{} { // else this transaction has made the row to lock it
			r.have[[32]byte(key)] = v
		}
		return nil
	}, `SELECT key, id, created_ms, at_ms FROM @dedup WHERE shard = $1 AND key = ANY($2::bytea[])`, keys)
	b.read(func(rows pgx.Rows) error { return rows.Scan(&r.used) },
		`SELECT n FROM @counters WHERE shard = $1 AND name = '`+counterDedup+`'`)
}

// lock queues that the ids are locked until the end of the transaction: apart from
// others the one who comes second waits, as it cannot know whether it is a duplicate.
func (r *reservations) lock(b *batch, list []*publication) {
	if keys := keysOf(list); keys != nil {
		reserveApart(b, keys, &r.made)
	}
}

// keysOf are the keys of all deduplication ids.
func keysOf(list []*publication) (keys [][]byte) {
	for _, p := range list {
		for _, v := range p.arrivals {
			if v.key != nil {
				keys = append(keys, v.key[:])
			}
		}
	}
	return keys
}

// room takes room for the ids of a publication. If there is not enough it says for
// which, and takes none.
func (r *reservations) room(p *publication, limit int) error {
	var full recall.DeduplicationFullError
	asked := map[[32]byte]bool{}
	for i, v := range p.arrivals {
		if v.key == nil || asked[*v.key] {
			continue
		}
		if _, ok := r.have[*v.key]; ok {
			continue
		}
		if r.used+r.more+int64(len(asked)) >= int64(limit) {
			full.Indexes = append(full.Indexes, i)
			continue
		}
		asked[*v.key] = true
	}
	if full.Indexes != nil {
		return &full
	}
	r.more += int64(len(asked))
	return nil
}

// of returns the first message with the id of v, if it is a duplicate of it: the id
// was reserved less than the window ago, or less than that ahead.
func (r *reservations) of(v *arrival, now time.Time) (reservation, bool) {
	if v.key == nil {
		return reservation{}, false
	}
	first, ok := r.have[*v.key]
	past := fromMS(toMS(now)).Sub(fromMS(first.at))
	return first, ok && past < r.window && -past < r.window
}

func (r *reservations) reserve(v *arrival, now time.Time) {
	if v.key == nil {
		return
	}
	x := reservation{id: v.id, created: toMS(v.m.CreatedAt), at: toMS(now)}
	r.have[*v.key], r.fresh[*v.key] = x, x
}

// keep queues what is new.
func (r *reservations) keep(b *batch) {
	if len(r.made) > 0 { // those that nothing has come of
		b.add(`DELETE FROM @dedup WHERE shard = $1 AND key = ANY($2::bytea[])`, r.made)
	}
	if len(r.fresh) == 0 {
		return
	}
	var keys [][]byte
	var ids [][16]byte
	var created, at []int64
	for key, x := range r.fresh {
		keys, ids = append(keys, key[:]), append(ids, x.id)
		created, at = append(created, x.created), append(at, x.at)
	}
	b.add(`INSERT INTO @dedup (shard, key, id, created_ms, at_ms) SELECT $1, x.* FROM unnest($2::bytea[], $3::uuid[], $4::bigint[], $5::bigint[]) AS x
		ON CONFLICT (shard, key) DO UPDATE SET id = EXCLUDED.id, created_ms = EXCLUDED.created_ms, at_ms = EXCLUDED.at_ms`,
		keys, ids, created, at)
}

// keepSoon is keep for who holds the lock of the shard: it does not wait for open
// transactions that reserve the same ids, see awaitReservations.
func (r *reservations) keepSoon(b *batch) {
	if len(r.fresh) == 0 {
		return
	}
	b.add(`SELECT set_config('lock_timeout', '` + reservePatience + `', true) WHERE $1::smallint IS NOT NULL`)
	r.keep(b)
	b.add(`SELECT set_config('lock_timeout', $2, true) WHERE $1::smallint IS NOT NULL`, strconv.FormatInt(b.u.lockPatience.Milliseconds(), 10))
	if r.more > 0 {
		b.add(countReserved, r.more)
	}
}

// countReserved changes the number of ids that are reserved. Whoever changes it has
// changed the ids before.
const countReserved = `UPDATE @counters SET n = n + $2 WHERE shard = $1 AND name = '` + counterDedup + `'`
