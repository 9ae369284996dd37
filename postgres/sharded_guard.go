package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
)

// span are transactions in several databases, one in each, that are open at the same
// time. Whoever makes them takes locks in the order of shards, and uses no other connection of
// the pools meanwhile: those that wait for each other across databases, which no database
// could see, do not wait in a circle.
type span struct {
	s     *Sharded
	conns map[*target]*pgxpool.Conn
	txs   []pgx.Tx
	units map[*Engine]*unit
	last  map[*target]*unit
}

// together begins a transaction in each database of some shards, calls f, and commits
// them one after the other. It is made again if it failed for a reason that may pass
// before the first of them was committed. committed is called for each shard whose
// changes are durable.
func (s *Sharded) together(ctx context.Context, which []*Engine, f func(units map[*Engine]*unit) error, committed func(e *Engine)) error {
	return again(ctx, transient, func() error {
		j := &span{s: s, conns: map[*target]*pgxpool.Conn{}, units: map[*Engine]*unit{}, last: map[*target]*unit{}}
		defer j.end()
		for _, t := range s.targets {
			if err := j.begin(ctx, t, which); err != nil {
				return s.at(t, err)
			}
		}
		if err := f(j.units); err != nil {
			return j.before(err)
		}
		return j.commit(which, committed)
	})
}

// begin begins the transaction in one database, if it has one of the shards.
func (j *span) begin(ctx context.Context, t *target, which []*Engine) error {
	var tx pgx.Tx
	for _, e := range which {
		if j.s.homeOf(e) != t {
			continue
		}
		u := &unit{e: e, ctx: context.WithoutCancel(ctx), began: e.clock.Now(), spans: true}
		j.units[e], j.last[t] = u, u
		if tx == nil {
			conn, err := t.pool.Acquire(ctx)
			if err != nil {
				return err
			}
			j.conns[t] = conn
			if tx, err = conn.BeginTx(u.ctx, readCommitted); err != nil {
				return err
			}
			j.txs = append(j.txs, tx)
			if _, err := tx.Exec(u.ctx, e.boundFor(ctx)); err != nil {
				return err
			}
		}
		u.tx = tx
	}
	return nil
}

// commit commits in the order of databases. The error says whether some were committed
// before.
func (j *span) commit(which []*Engine, committed func(e *Engine)) error {
	if err := j.stay(); err != nil {
		return j.before(err)
	}
	done := 0
	for _, t := range j.s.targets {
		u := j.last[t]
		if u == nil {
			continue
		}
		if err := j.s.at(t, u.commit(j.conns[t].Release)); err != nil {
			if done == 0 {
				return err
			}
			// %v: what may pass must not have this made again.
			return fmt.Errorf("%w: %d databases have committed, and then one failed: %v", recall.ErrFailed, done, err) //nolint:errorlint // see above
		}
		done++
		for _, e := range which {
			if j.s.homeOf(e) == t {
				j.units[e].tell()
				committed(e)
			}
		}
	}
	return nil
}

// stayTime is how long the transactions of several databases wait for each other's commits.
const stayTime = 10 * time.Minute

// stay has the transactions wait for each other's commits: a server must not end the second
// because the first takes long. A process that stands still there keeps what it has locked
// for that long.
func (j *span) stay() error {
	if len(j.txs) < 2 {
		return nil
	}
	for _, tx := range j.txs {
		if _, err := tx.Exec(context.Background(), boundOf(stayTime, 0)); err != nil {
			return err
		}
	}
	return nil
}

// before is the error of transactions none of which was to be committed yet.
func (j *span) before(err error) error {
	for _, c := range j.conns {
		err = lostBefore(c, err)
	}
	return err
}

// end rolls back what is not committed, and gives the connections back.
func (j *span) end() {
	for _, tx := range j.txs {
		_ = tx.Rollback(context.Background()) // it is over, or what went wrong is known
	}
	for _, c := range j.conns {
		c.Release()
	}
}

// readCommitted is what all transactions are, whatever the default of the server.
var readCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// errMostGuarded is for more matches than a guard may lock.
func errMostGuarded(most int, of string) error {
	return fmt.Errorf("%w: a guard over more than %d %s", recall.ErrUnsupported, most, of)
}

// guarded judges the guard over all shards, with every match locked, and takes what the
// call may up to the first in flight. It returns from which walk on there is more to do,
// if the call may wait for what is in its way.
func (b *shardedBulk) guarded(ctx context.Context) (from int, stopped bool, err error) {
	var stop error
	durable := map[*Engine]bool{}
	err = b.s.together(ctx, b.which, func(units map[*Engine]*unit) error {
		b.restart()
		if err := b.judge(units); err != nil {
			return err
		}
		b.started()
		from, stop, err = b.take(units)
		return err
	}, func(e *Engine) { durable[e] = true })
	for _, w := range b.walks {
		w.counted = nil // they are not locked any more
	}
	if err != nil {
		b.forget(durable, err)
		return 0, true, err
	}
	return from, stop != nil || from == len(b.walks), stop
}

// judge locks all matches and compares their number with what is expected.
func (b *shardedBulk) judge(units map[*Engine]*unit) error {
	most, seen, found := b.s.opts.MaxGuarded, 0, 0
	for _, w := range b.walks {
		rows, err := w.lock(units[w.e], most-seen+1)
		if err != nil {
			return b.s.at(b.s.homeOf(w.e), err)
		}
		if seen += len(rows); seen > most {
			return errMostGuarded(most, "messages")
		}
		if w.counted = rows; rows == nil {
			w.counted = []row{}
		}
		for i := range rows {
			if !rows[i].inFlight {
				found++
			}
		}
	}
	if g := b.req.Guard; found < g.Least || found > g.Most {
		return &recall.UnexpectedCountError{Found: found, Least: g.Least, Most: g.Most}
	}
	return nil
}

// take takes what is locked. It returns the walk that has met a blocker, and the error
// of that unless the call may wait.
func (b *shardedBulk) take(units map[*Engine]*unit) (from int, stop, err error) {
	for i, w := range b.walks {
		if b.full() {
			break
		}
		b.allow(w)
		blocker, err := w.takeAll(units[w.e])
		switch {
		case err != nil:
			return 0, nil, b.s.at(b.s.homeOf(w.e), err)
		case blocker == "":
		case b.req.Expired != nil && !b.req.DryRun && b.req.Self != blocker:
			return i, nil, nil
		default:
			w.op.Blocker = blocker
			return i, b.stopped(w, &recall.NotCancellableError{ID: blocker, State: recall.StateInFlight}), nil
		}
	}
	return len(b.walks), nil, nil
}

// takeAll takes, in a transaction that goes on, what matches up to the first in flight.
func (b *bulk) takeAll(u *unit) (blocker recall.MessageID, err error) {
	for {
		s, err := b.chunk(u)
		if err != nil {
			return "", err
		}
		b.passed(&s)
		if s.blocker != nil {
			return *s.blocker, nil
		}
		if s.end {
			return "", nil
		}
	}
}

// forget leaves out what has not become durable, or of which that is not known.
func (b *shardedBulk) forget(durable map[*Engine]bool, err error) {
	for _, w := range b.walks {
		if !durable[w.e] {
			if w.kept {
				w.doubts(err)
			}
			w.kept, w.asked, w.res = false, nil, recall.CancelResult{}
		}
	}
}
