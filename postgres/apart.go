package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/recallmq/recall"
)

// A publication in a transaction of the program takes part in nothing that others
// would have to wait for, because nobody knows when that transaction ends. Its messages
// have ids of the clock of their process and no number; what it would change beside
// them it leaves as an errand, which is run by who comes next after the commit.

// apartIDs makes what keeps the ids of one process in the order of its calls.
type apartIDs struct {
	ms     int64
	number uint64
}

// newApartID makes the id of a message that takes no number of the shard.
func (e *Engine) newApartID(now time.Time) [16]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.apart.number == 0 { // not those of another process in this millisecond
		e.apart.number = rand.Uint64N(1 << 38)
	}
	e.apart.ms = max(e.apart.ms, toMS(now))
	e.apart.number++
	return e.numbers.newMessageID(e.shard, e.apart.ms, e.apart.number)
}

// The kinds of errands.
const (
	errandQueue    = 1
	errandFlow     = 2
	errandStanding = 3
	errandDedup    = 4
)

// errand is what is to be done after a commit.
type errand struct {
	id    [16]byte
	kind  int
	name  string
	op    *[16]byte
	n     int64
	value []byte
}

func (a *arrivals) leaveErrand(r errand) {
	a.out.add(`INSERT INTO @errands (shard, id, kind, name, op, n, value) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		a.u.e.newApartID(a.list[0].now), r.kind, r.name, r.op, r.n, bytesOf(r.value))
}

// leaveErrands queues what publishing in a transaction of the program leaves to do.
func (a *arrivals) leaveErrands() error {
	queues, flows := map[string]bool{}, map[string]bool{}
	for _, v := range a.stored {
		if q := v.m.Queue; q != "" && !queues[q] {
			queues[q] = true
			a.leaveErrand(errand{kind: errandQueue, name: q})
		}
		key := v.m.FlowKey
		if key == "" || v.m.Flow == nil && flows[key] {
			continue
		}
		flows[key] = true
		var limit []byte
		if v.m.Flow != nil {
			var err error
			if limit, err = json.Marshal(v.m.Flow); err != nil {
				return err
			}
		}
		a.leaveErrand(errand{kind: errandFlow, name: key, value: limit})
	}
	for _, s := range a.standing {
		if s.taken > 0 {
			a.leaveErrand(errand{kind: errandStanding, op: &s.id, n: int64(s.taken)})
		}
	}
	if a.first.more > 0 {
		a.leaveErrand(errand{kind: errandDedup, n: a.first.more})
	}
	return nil
}

// hasErrands asks whether there is something to do.
const hasErrands = `(EXISTS (SELECT 1 FROM @errands WHERE shard = $1) OR EXISTS (SELECT 1 FROM @looks WHERE shard = $1))`

// catchUp runs the errands that there are. While somebody else publishes, it does
// nothing: the next call will.
func (e *Engine) catchUp(ctx context.Context) error {
	var any bool
	if err := e.pool.QueryRow(ctx, e.sql(`SELECT `+hasErrands), e.shard).Scan(&any); err != nil || !any {
		return err
	}
	return e.runErrands(ctx)
}

func (e *Engine) runErrands(ctx context.Context) error {
	if err := e.runLooks(ctx); err != nil {
		return err
	}
	return e.do(ctx, func(u *unit) error {
		n, err := u.exec(`SELECT FROM @counters WHERE shard = $1 AND name = '` + counterMessage + `' FOR UPDATE SKIP LOCKED`)
		if u.nothing = n == 0; err != nil || u.nothing {
			return err
		}
		list, err := collect(u, func(row pgx.CollectableRow) (r errand, err error) {
			return r, row.Scan(&r.id, &r.kind, &r.name, &r.op, &r.n, &r.value)
		}, `WITH l AS (SELECT id FROM @errands WHERE shard = $1 ORDER BY id LIMIT $2 FOR UPDATE),
				gone AS (DELETE FROM @errands r USING l WHERE r.shard = $1 AND r.id = l.id RETURNING r.*)
			SELECT id, kind, name, op, n, value FROM gone ORDER BY id`, purgePart)
		if u.nothing = len(list) == 0; err != nil || u.nothing {
			return err
		}
		u.claim = true
		return u.runAll(list)
	})
}

// runLooks opens rooms. That is in no order with what is published, so it waits for nobody
// who publishes.
func (e *Engine) runLooks(ctx context.Context) error {
	return e.do(ctx, func(u *unit) error {
		r := newRooms()
		list, err := collect(u, func(row pgx.CollectableRow) (name string, err error) {
			var kind int
			if err := row.Scan(&kind, &name); err != nil {
				return "", err
			}
			if kind == lookIntoFlow {
				r.flows[name] = true
			} else {
				r.queues[name] = true
			}
			return name, nil
		}, `WITH l AS (SELECT id FROM @looks WHERE shard = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
			DELETE FROM @looks k USING l WHERE k.shard = $1 AND k.id = l.id RETURNING k.kind, k.name`, purgePart)
		if u.nothing = len(list) == 0; err != nil || u.nothing {
			return err
		}
		u.claim = true
		b := u.batch()
		r.open(b)
		return b.sendLast()
	})
}

// runAll does what errands say.
func (u *unit) runAll(list []errand) error {
	a := &arrivals{u: u, list: []*publication{{now: ulidTime(list[0].id)}}, out: u.batch(), rooms: newRooms()}
	for _, r := range list {
		switch r.kind {
		case errandQueue:
			a.stored = append(a.stored, &arrival{m: recall.Message{Queue: r.name}})
		case errandFlow:
			v := &arrival{m: recall.Message{FlowKey: r.name}}
			if len(r.value) > 0 {
				if err := json.Unmarshal(r.value, &v.m.Flow); err != nil {
					return corrupt("the limit of a flow-control key", err)
				}
			}
			a.stored = append(a.stored, v)
		case errandStanding:
			a.out.add(`UPDATE @operations SET count = count + $3 WHERE shard = $1 AND id = $2`, r.op, r.n)
		case errandDedup:
			a.out.add(countReserved, r.n)
		}
	}
	b := u.batch()
	a.readLimits(b, a.stored)
	if err := b.send(); err != nil {
		return err
	}
	if err := a.settings(); err != nil {
		return err
	}
	return a.out.sendLast()
}

// numberApart gives numbers to what transactions of programs have published, and
// returns the newest of these numbers, and what has none since somebody has it locked: an
// open transaction, perhaps, that must not be waited for. Who walks up to the one, and
// through the others, meets nothing that becomes visible from now on.
func (e *Engine) numberApart(ctx context.Context) (late int64, locked [][16]byte, err error) {
	err = e.do(ctx, func(u *unit) error {
		locked = nil
		b := u.batch()
		b.read(func(rows pgx.Rows) error { return rows.Scan(&late) },
			`UPDATE @counters SET n = n + 1 WHERE shard = $1 AND name = '`+counterApart+`' RETURNING n`)
		b.add(`UPDATE @messages m SET seq = -(SELECT n FROM @counters WHERE shard = $1 AND name = '` + counterApart + `')
			FROM (SELECT id FROM @messages WHERE shard = $1 AND seq = 0 ORDER BY id FOR UPDATE SKIP LOCKED) l WHERE m.shard = $1 AND m.id = l.id`)
		b.read(func(rows pgx.Rows) error {
			var id [16]byte
			err := rows.Scan(&id)
			locked = append(locked, id)
			return err
		}, `SELECT id FROM @messages WHERE shard = $1 AND seq = 0 ORDER BY id`)
		return b.sendLast()
	})
	return late, locked, err
}

// errReserved says that another transaction, which is not over, reserves the same
// deduplication id.
var errReserved = errors.New("postgres: a deduplication id is being reserved in an open transaction")

// reservePatience is how long whoever publishes for others waits for a deduplication id
// that an open transaction reserves.
const reservePatience = "30ms"

// codeLockNotAvailable: a lock was not there in time.
const codeLockNotAvailable = "55P03"

func isLockTimeout(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == codeLockNotAvailable
}

// awaitReservations waits until no open transaction reserves one of the ids of p. It
// keeps nothing, so it holds nobody up. One caller waits at a time, as each has a
// connection. It may end early, as who waits for several ids may be in a circle with a
// transaction that goes on to reserve another of them: whoever called looks again.
func (e *Engine) awaitReservations(ctx context.Context, p *publication) error {
	select {
	case e.patient <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-e.patient }()
	tx, err := e.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	u := &unit{e: e, tx: tx, ctx: ctx}
	if _, err := tx.Exec(ctx, e.bound); err != nil {
		return err
	}
	b := u.batch()
	reserveApart(b, keysOf([]*publication{p}), nil)
	if err = b.send(); hasCode(err, transient) {
		return ctx.Err()
	}
	return err
}

// reserveApart queues that ids are locked, those included that nobody has reserved: they
// get a row without a message, which fresh collects.
func reserveApart(b *batch, keys [][]byte, fresh *[][]byte) {
	b.read(func(rows pgx.Rows) error {
		var key []byte
		err := rows.Scan(&key)
		if fresh != nil {
			*fresh = append(*fresh, key)
		}
		return err
	}, `INSERT INTO @dedup (shard, key, id, created_ms, at_ms) SELECT $1, x.key, '00000000-0000-0000-0000-000000000000', 0, 0
		FROM (SELECT DISTINCT unnest($2::bytea[]) AS key ORDER BY 1) x ON CONFLICT DO NOTHING RETURNING key`, keys)
	b.add(`SELECT FROM @dedup WHERE shard = $1 AND key = ANY($2::bytea[]) ORDER BY key FOR UPDATE`, keys)
}
