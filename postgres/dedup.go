package postgres

import (
	"crypto/sha256"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// reservations are the deduplication ids of one publication.
type reservations struct {
	now    time.Time
	window time.Duration
	have   map[[32]byte]reservation
	fresh  map[[32]byte]reservation // that are new, or again
}

// reservation is the first message with an id.
type reservation struct {
	id      [16]byte
	created int64 // by the wall clock of the publisher
	at      int64 // when it was reserved
}

// readReservations reads what is reserved of the ids of messages.
func (u *unit) readReservations(msgs []recall.Message, now time.Time) (*reservations, error) {
	r := &reservations{now: now, window: u.e.opts.DeduplicationWindow, have: map[[32]byte]reservation{}, fresh: map[[32]byte]reservation{}}
	var keys [][]byte
	for i := range msgs {
		if id := msgs[i].DeduplicationID; id != "" {
			key := sha256.Sum256([]byte(id))
			keys = append(keys, key[:])
		}
	}
	if keys == nil {
		return r, nil
	}
	_, err := collect(u, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var key []byte
		var v reservation
		if err = row.Scan(&key, &v.id, &v.created, &v.at); err == nil {
			r.have[[32]byte(key)] = v
		}
		return
	}, `SELECT key, id, created_ms, at_ms FROM @dedup WHERE shard = $1 AND key = ANY($2::bytea[])`, keys)
	return r, err
}

// of returns the first message with the id of m, if m is a duplicate of it: the id
// was reserved less than the window ago, or less than that ahead.
func (r *reservations) of(m *recall.Message) (reservation, bool) {
	if m.DeduplicationID == "" {
		return reservation{}, false
	}
	first, ok := r.have[sha256.Sum256([]byte(m.DeduplicationID))]
	past := fromMS(toMS(r.now)).Sub(fromMS(first.at))
	return first, ok && past < r.window && -past < r.window
}

func (r *reservations) reserve(m *recall.Message, id [16]byte) {
	if m.DeduplicationID == "" {
		return
	}
	key := sha256.Sum256([]byte(m.DeduplicationID))
	v := reservation{id: id, created: toMS(m.CreatedAt), at: toMS(r.now)}
	r.have[key], r.fresh[key] = v, v
}

// keep queues what is new.
func (r *reservations) keep(b *batch) {
	for key, v := range r.fresh {
		b.add(`INSERT INTO @dedup (shard, key, id, created_ms, at_ms) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (shard, key) DO UPDATE SET id = EXCLUDED.id, created_ms = EXCLUDED.created_ms, at_ms = EXCLUDED.at_ms`,
			key[:], v.id, v.created, v.at)
	}
}
