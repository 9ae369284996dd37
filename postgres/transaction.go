package postgres

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Update implements [recall.Transactor]. Other processes publish again when it is
// done; claims, attempts and cancellations go on beside it. fn is called once: if the
// transaction fails for a reason that may pass, a deadlock for example, the error is
// returned, and nothing has happened.
func (e *Engine) Update(ctx context.Context, fn func(recall.EngineTx) error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	if err := e.beginUpdate(ctx); err != nil {
		return err
	}
	defer e.endUpdate()
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	u := &unit{e: e, ctx: context.WithoutCancel(ctx), began: e.clock.Now(), slow: true}
	err = u.run(conn, func(u *unit) error {
		t := &transaction{u: u}
		defer func() { t.over = true }()
		if err := u.publishAlone(ctx); err != nil {
			return err
		}
		return errors.Join(fn(t), t.failed)
	})
	if err == nil {
		u.tell()
	}
	return err
}

// publishAlone has nobody else publish in this shard until the transaction ends. Whoever
// publishes now may take as long as it likes; the context is looked at meanwhile.
func (u *unit) publishAlone(ctx context.Context) error {
	const lock = `SELECT FROM @counters WHERE shard = $1 AND name = '` + counterMessage + `' FOR UPDATE`
	if ctx.Done() == nil {
		_, err := u.exec(lock)
		return err
	}
	for {
		b := u.batch()
		b.b.Queue("SAVEPOINT alone")
		b.b.Queue("SELECT set_config('lock_timeout', '" + strconv.FormatInt(lockPatience.Milliseconds(), 10) + "', true)")
		b.add(lock)
		b.b.Queue("SET LOCAL lock_timeout TO DEFAULT")
		b.b.Queue("RELEASE SAVEPOINT alone")
		if err := b.send(); !isLockTimeout(err) {
			return cmp.Or(err, ctx.Err())
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := u.tx.Exec(u.ctx, "ROLLBACK TO SAVEPOINT alone"); err != nil {
			return err
		}
	}
}

// beginUpdate waits until a connection is left for others beside one more transaction that
// may take its time. The caller ends it if there is no error.
func (e *Engine) beginUpdate(ctx context.Context) error {
	select {
	case e.updates <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) endUpdate() { <-e.updates }

// transaction is one of [Engine.Update].
type transaction struct {
	u       *unit
	written int   // bytes
	failed  error // of a call that has broken the transaction
	over    bool
}

// begin has a call refused once the transaction is over or broken.
func (t *transaction) begin() error {
	if t.over {
		return recall.ErrClosed
	}
	return t.failed
}

// broke notes an error that PostgreSQL answers with refusing everything that follows.
func (t *transaction) broke(err error) error {
	if err != nil && t.u.tx.Conn().PgConn().TxStatus() == 'E' {
		t.failed = err
	}
	return err
}

// write counts against the limit.
func (t *transaction) write(n int) error {
	if t.written += n; t.written > recall.MaxTransaction {
		return invalid("Update", "it writes more than %d bytes", recall.MaxTransaction)
	}
	return nil
}

// Insert implements [recall.EngineTx], as do the others below.
func (t *transaction) Insert(msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	if err := t.begin(); err != nil {
		return nil, err
	}
	for i := range msgs {
		if err := t.write(sizeOf(&msgs[i]) + len(msgs[i].URL)); err != nil {
			return nil, err
		}
	}
	receipts, err := t.u.insert(msgs, now)
	return receipts, t.broke(err)
}

func (t *transaction) Cancel(req recall.CancelRequest) error {
	if err := t.begin(); err != nil {
		return err
	}
	return t.broke(t.u.cancel(&req))
}

// CancelMatching takes what matches in this transaction, whole.
func (t *transaction) CancelMatching(req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	if err := t.begin(); err != nil {
		return recall.CancelResult{}, err
	}
	if !req.All && req.Filter.IsZero() {
		return recall.CancelResult{Index: indexTime}, recall.ErrEmptyFilter
	}
	req.Expired = nil
	b := t.u.e.newBulk(req, recall.OperationCancel, time.Time{})
	if err := b.plan(t.u.ctx, t.u.tx); err != nil {
		return b.res, t.broke(err)
	}
	var unnumbered bool
	if _, err := t.u.get(boundaries, nil, &b.asOf, &b.late, &unnumbered); err != nil {
		return b.res, t.broke(err)
	}
	b.within = true
	err := t.broke(b.runWithin(t.u))
	if b.kept && t.failed == nil {
		if err := b.end(t.u); err != nil {
			return b.res, t.broke(err)
		}
	}
	return b.res, err
}

// runWithin walks in a transaction that goes on.
func (b *bulk) runWithin(u *unit) error {
	for {
		s, err := b.chunk(u)
		if err != nil {
			return err
		}
		b.passed(&s)
		if s.blocker != nil {
			_, err := b.wait(u.ctx, *s.blocker, nil)
			return err
		}
		if s.end {
			return nil
		}
	}
}

// Lookup implements [recall.Transactor].
func (e *Engine) Lookup(ctx context.Context, name string, key []byte) (value []byte, err error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	err = e.pool.QueryRow(ctx, e.sql(`SELECT value FROM @buckets WHERE shard = $1 AND bucket = $2 AND hash = sha256($3)`), e.shard, name, key).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return value, err
}

// Bucket implements [recall.EngineTx].
func (t *transaction) Bucket(name string) (recall.Bucket, error) {
	if err := t.begin(); err != nil {
		return nil, err
	}
	return &bucket{t: t, name: name}, nil
}

// bucket is one of the program's own.
type bucket struct {
	t    *transaction
	name string
}

// bucketRow is what each change counts at least against the limit of a transaction.
const bucketRow = 4 << 10

// maxKey is the longest key.
const maxKey = 32_768

func (b *bucket) Get(key []byte) (value []byte) {
	if b.t.begin() != nil {
		return nil
	}
	_, err := b.t.u.get(`SELECT value FROM @buckets WHERE shard = $1 AND bucket = $2 AND hash = sha256($3)`, []any{b.name, key}, &value)
	_ = b.t.broke(err) // then the transaction fails
	return value
}

func (b *bucket) Put(key, value []byte) error {
	if err := b.begin(key, len(value)); err != nil {
		return err
	}
	if value == nil {
		value = []byte{}
	}
	_, err := b.t.u.exec(`INSERT INTO @buckets (shard, bucket, hash, key, value) VALUES ($1, $2, sha256($3), $3, $4)
		ON CONFLICT (shard, bucket, hash) DO UPDATE SET value = EXCLUDED.value`, b.name, key, value)
	return b.t.broke(err)
}

func (b *bucket) begin(key []byte, more int) error {
	if err := b.t.begin(); err != nil {
		return err
	}
	if len(key) == 0 || len(key) > maxKey {
		return invalid("Bucket", "a key has 1 to %d bytes, not %d", maxKey, len(key))
	}
	return b.t.write(max(bucketRow, len(key)+more))
}

func (b *bucket) Delete(key []byte) error {
	if err := b.begin(key, 0); err != nil {
		return err
	}
	_, err := b.t.u.exec(`DELETE FROM @buckets WHERE shard = $1 AND bucket = $2 AND hash = sha256($3)`, b.name, key)
	return b.t.broke(err)
}

// keyBegins is what of a key is in the index that has their order.
const keyBegins = `substring(key FROM 1 FOR 1024)`

// bucketPart is how many keys All reads at once.
const bucketPart = 256

type pair struct{ Key, Value []byte }

func (b *bucket) All(from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for op := ">="; b.t.begin() == nil; op = ">" {
			if from == nil {
				from = []byte{}
			}
			part, err := collect(b.t.u, pgx.RowToStructByPos[pair], `SELECT key, value FROM @buckets
				WHERE shard = $1 AND bucket = $2 AND `+keyBegins+` >= substring($3::bytea FROM 1 FOR 1024) AND key `+op+` $3
				ORDER BY `+keyBegins+`, key LIMIT $4`, b.name, from, bucketPart)
			if b.t.broke(err) != nil {
				return
			}
			for _, p := range part {
				if !yield(p.Key, p.Value) {
					return
				}
				from = p.Key
			}
			if len(part) < bucketPart {
				return
			}
		}
	}
}

func (b *bucket) NextSequence() (n uint64, err error) {
	if err := b.t.begin(); err != nil {
		return 0, err
	}
	var next int64
	_, err = b.t.u.get(`INSERT INTO @sequences AS s (shard, bucket, n) VALUES ($1, $2, 1)
		ON CONFLICT (shard, bucket) DO UPDATE SET n = s.n + 1 RETURNING n`, []any{b.name}, &next)
	return uint64(next), b.t.broke(err)
}
