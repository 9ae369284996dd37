package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
)

// unit is one transaction, and what is to be told when it is committed.
type unit struct {
	e     *Engine
	tx    session
	call  *[16]byte // the key that is written already
	began time.Time // by the clock of the server, before the key was
	// dropped are keys that are removed, as others' outcomes are known.
	dropped [][16]byte
	// apart: it publishes without the lock of the shard, as others do not know when it ends.
	apart bool
	// slow: a program takes its time in it. It holds no room, in which others claim, end
	// attempts and cancel.
	slow bool
	// spans: whoever has begun it has connections of other databases.
	spans bool
	ctx   context.Context
	ends  ends // of messages, to be counted
	// claim, maintain and wake: there is something to claim, background work, and the
	// end of a lease.
	claim, maintain, wake bool
	claims                bool                        // it gives out what was promised to nobody
	idle                  bool                        // it has changed nothing that anybody asks for
	bounded               bool                        // it must not stand still
	bound                 string                      // what sees to that
	lockPatience          time.Duration               // how long it waits for a lock; 0: as long as it takes
	nothing               bool                        // it has changed nothing at all
	changed               map[recall.ObjectKind]int64 // by which number objects of a kind were changed
}

// do runs f in a transaction, again from the start when it failed for a reason that
// may pass. Once it has begun, the context does not end it: the outcome is the true
// one. f keeps nothing of a try that failed.
func (e *Engine) do(ctx context.Context, f func(u *unit) error) error { return e.doOn(ctx, nil, f) }

// doOn makes the first try on a connection, unless that is nil, and releases it.
func (e *Engine) doOn(ctx context.Context, conn *pgxpool.Conn, f func(u *unit) error) error {
	var u *unit
	err := again(ctx, transient, func() (err error) {
		conn := take(&conn)
		if conn == nil {
			if conn, err = e.pool.Acquire(ctx); err != nil {
				return err
			}
		}
		defer conn.Release()
		u = &unit{e: e, ctx: context.WithoutCancel(ctx), began: e.clock.Now(), bounded: true}
		u.bound = e.boundFor(ctx)
		if ctx.Done() != nil {
			u.lockPatience = lockPatience
		}
		return u.run(conn, f)
	})
	if err == nil {
		u.tell()
	}
	return err
}

// take returns what p points to, and leaves nothing there.
func take[T any](p **T) (v *T) {
	v, *p = *p, nil
	return v
}

// run makes one try. It may have given conn back when it returns.
func (u *unit) run(conn *pgxpool.Conn, f func(u *unit) error) (err error) {
	tx := &lazyTx{conn: conn.Conn()}
	if u.bounded {
		tx.first = u.bound
	}
	u.tx = tx
	defer tx.rollback(u.ctx)
	defer func() { u.forgets(err == nil && !u.nothing) }()
	if err := f(u); err != nil || u.nothing {
		return u.before(conn, err)
	}
	return u.commit(func() {
		tx.rollback(u.ctx)
		conn.Release()
	})
}

// before is the error of a transaction that was not to be committed yet.
func (u *unit) before(conn *pgxpool.Conn, err error) error {
	if err == nil || !u.bounded {
		return err
	}
	return lostBefore(conn, err)
}

// lostBefore is the error of a transaction that was not to be committed yet, and may be made
// again. That is told by the error if the connection was lost, because the server has ended
// it or is gone.
func lostBefore(conn *pgxpool.Conn, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) || !conn.Conn().IsClosed() {
		return err
	}
	return notCommitted(err)
}

// tell counts and wakes after the commit.
func (u *unit) tell() {
	u.e.counts.add(u.ends)
	for kind, n := range u.changed {
		u.e.revisions.made(kind, n)
	}
	if len(u.changed) > 0 {
		u.e.objects.Store(true)
	}
	if u.claim {
		hint(u.e.claim)
		hint(u.e.told)
	}
	if u.maintain {
		hint(u.e.maintain)
	}
	if u.wake {
		u.e.wakeWalks()
	}
}

// exec executes one statement, whose first parameter is the shard.
func (u *unit) exec(text string, args ...any) (int, error) {
	tag, err := u.tx.Exec(u.ctx, u.e.sql(text), append([]any{u.e.shard}, args...)...)
	return int(tag.RowsAffected()), err
}

// get reads one row into where. It reports whether there is one.
func (u *unit) get(text string, args []any, where ...any) (bool, error) {
	err := u.tx.QueryRow(u.ctx, u.e.sql(text), append([]any{u.e.shard}, args...)...).Scan(where...)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// collect reads the rows of a statement.
func collect[T any](u *unit, scan func(pgx.CollectableRow) (T, error), text string, args ...any) ([]T, error) {
	return collectFrom(u.ctx, u.tx, u.e, scan, text, args...)
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func collectFrom[T any](
	ctx context.Context, q querier, e *Engine, scan func(pgx.CollectableRow) (T, error), text string, args ...any,
) ([]T, error) {
	rows, err := q.Query(ctx, e.sql(text), append([]any{e.shard}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// batch is statements that are sent together.
type batch struct {
	u      *unit
	b      pgx.Batch
	events events
	err    error
}

func (u *unit) batch() *batch { return &batch{u: u} }

// add queues a statement, whose first parameter is the shard.
func (b *batch) add(text string, args ...any) {
	b.b.Queue(b.u.e.sql(text), append([]any{b.u.e.shard}, args...)...)
}

// read queues a statement whose rows are read.
func (b *batch) read(scan func(pgx.Rows) error, text string, args ...any) {
	b.b.Queue(b.u.e.sql(text), append([]any{b.u.e.shard}, args...)...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// send executes what was queued.
func (b *batch) send() error {
	b.writeEvents()
	if b.err != nil || b.b.Len() == 0 {
		return b.err
	}
	return b.u.tx.SendBatch(b.u.ctx, &b.b).Close()
}

// sendLast is send for what a transaction ends with: the key of its commit goes with it.
func (b *batch) sendLast() error {
	b.writeEvents()
	if b.u.call == nil && b.err == nil {
		b.u.call = newCall()
		b.add(insertCall, *b.u.call)
	}
	b.dropAnswered()
	return b.send()
}

func hint(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wakeWalks lets walks that wait for attempts look again.
func (e *Engine) wakeWalks() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	close(e.wake)
	e.wake = make(chan struct{})
}

// fail has send fail.
func (b *batch) fail(err error) { b.err = errors.Join(b.err, err) }
