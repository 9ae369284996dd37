package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
)

// errElsewhere is for what cannot be reached from a shard.
var errElsewhere = fmt.Errorf("%w: it is in another shard than what it would be one with", recall.ErrUnsupported)

// Update implements [recall.Transactor]. A transaction belongs to one shard: that of what
// it does first, or shard 0 for a bucket of the program, all of which are there. What
// reaches another one is refused with [recall.ErrUnsupported], and the transaction may go
// on: a message of a queue or a flow-control key in another shard, the cancellation of a
// message there, and a filter that may match there – one for a queue, or for ids of one
// shard, cannot. That is so with one database, too, so that a program does not depend on
// how many there are. Until its first call a transaction keeps nobody waiting.
func (s *Sharded) Update(ctx context.Context, fn func(recall.EngineTx) error) error {
	leave, err := s.enter(ctx, s.shards)
	if err != nil {
		return err
	}
	defer leave()
	t := &shardedTx{s: s, ctx: context.WithoutCancel(ctx)}
	var begun ownTx
	t.begin, t.end = func(e *Engine) (*transaction, error) { return begun.begin(ctx, e) }, begun.end
	t.ask = func(home *Engine) querier {
		switch {
		case t.t == nil: // it has no connection yet
			return home.pool
		case s.homeOf(home) == s.homeOf(t.e):
			return t.t.u.tx
		}
		return nil
	}
	defer begun.end()
	defer t.close()
	if err := fn(t); err != nil || t.t == nil {
		return errors.Join(err, t.failed())
	}
	return t.commit()
}

// shardedTx is a transaction whose shard is that of its first call.
type shardedTx struct {
	s     *Sharded
	begin func(e *Engine) (*transaction, error)
	end   func() // gives the connection back
	ctx   context.Context
	ask   func(home *Engine) querier // for strays of a shard, without another connection; nil: it cannot be known
	e     *Engine                    // where messages go that may be anywhere; nil: shard 0
	t     *transaction
	over  bool
}

// ownTx is a transaction of this package.
type ownTx struct {
	e    *Engine // whose turn it has
	conn *pgxpool.Conn
	tx   pgx.Tx
}

// begin begins one in which nobody else publishes, as [Engine.Update] does.
func (o *ownTx) begin(ctx context.Context, e *Engine) (t *transaction, err error) {
	if err := e.beginUpdate(ctx); err != nil {
		return nil, err
	}
	o.e = e
	defer func() {
		if err != nil {
			o.end()
		}
	}()
	if o.conn, err = e.pool.Acquire(ctx); err != nil {
		return nil, err
	}
	u := &unit{e: e, ctx: context.WithoutCancel(ctx), began: e.clock.Now(), slow: true}
	if o.tx, err = o.conn.BeginTx(u.ctx, readCommitted); err != nil {
		return nil, err
	}
	u.tx = o.tx
	return &transaction{u: u}, u.publishAlone(ctx)
}

// end undoes what was not committed.
func (o *ownTx) end() {
	if o.tx != nil {
		_ = o.tx.Rollback(context.Background()) // it is over, or what went wrong is known
	}
	if o.conn != nil {
		o.conn.Release()
	}
	if o.e != nil {
		o.e.endUpdate()
	}
	*o = ownTx{}
}

// at returns the transaction, which has to be, or to become, that of a shard.
func (t *shardedTx) at(e *Engine) (*transaction, error) {
	switch {
	case t.over:
		return nil, recall.ErrClosed
	case t.t != nil && t.e != e:
		return nil, errElsewhere
	case t.t != nil:
		return t.t, nil
	}
	begun, err := t.begin(e)
	if err != nil {
		return nil, t.s.at(t.s.homeOf(e), err)
	}
	t.e, t.t = e, begun
	return begun, nil
}

func (t *shardedTx) failed() error {
	if t.t == nil {
		return nil
	}
	return t.t.failed
}

func (t *shardedTx) commit() error {
	t.close()
	if t.t.failed != nil {
		return t.t.failed
	}
	if err := t.t.u.commit(t.end); err != nil {
		return t.s.at(t.s.homeOf(t.e), err)
	}
	t.t.u.tell()
	return nil
}

// close has later calls refused.
func (t *shardedTx) close() {
	t.over = true
	if t.t != nil {
		t.t.over = true
	}
}

// Insert implements [recall.EngineTx], as do the others below.
func (t *shardedTx) Insert(msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	free := anywhere
	if t.e != nil {
		free = int(t.e.shard)
	}
	parcels, err := t.s.parcels(msgs, free)
	switch {
	case err != nil:
		return nil, err
	case len(parcels) == 0:
		return nil, nil
	case len(parcels) > 1:
		return nil, errElsewhere
	}
	shard := parcels[0].shard
	if shard == anywhere {
		shard = 0
	}
	inner, err := t.at(t.s.shards[shard])
	if err != nil {
		return nil, err
	}
	return inner.Insert(msgs, now)
}

func (t *shardedTx) Cancel(req recall.CancelRequest) error {
	id, ok := parseMessageID(req.ID)
	if !ok {
		return recall.ErrNotFound
	}
	places := map[[16]byte][]*Engine{}
	known, err := t.strays(t.s.homeOfID(id), [][16]byte{id}, places)
	if err != nil {
		return err
	}
	e := t.s.homeOfID(id)
	switch here := places[id]; {
	case !known, slices.Contains(here, t.e):
		e = t.e
	case here != nil:
		e = here[0]
	}
	inner, err := t.at(e)
	if err != nil {
		return err
	}
	if err = inner.Cancel(req); !known && errors.Is(err, recall.ErrNotFound) {
		return errElsewhere
	}
	return err
}

// strays adds where some ids are beside the shard that they name, which tells it. It
// reports false if that shard cannot be asked.
func (t *shardedTx) strays(home *Engine, ids [][16]byte, places map[[16]byte][]*Engine) (known bool, err error) {
	switch q := t.ask(home); {
	case t.over:
		return false, recall.ErrClosed
	case !t.s.numbers.many():
		return true, nil
	case q == nil:
		return false, nil
	default:
		rows, err := straysOf(t.ctx, q, home, ids)
		if err != nil && t.t != nil {
			return false, t.t.broke(err)
		}
		for _, r := range rows {
			places[r.id] = append(places[r.id], t.s.shards[r.place])
		}
		return true, err
	}
}

// reach is that of the engine. An id of a shard that cannot be asked may be anywhere.
func (t *shardedTx) reach(f *recall.Filter) ([]*Engine, error) {
	places, unknown := map[[16]byte][]*Engine{}, map[*Engine]bool{}
	for home, ids := range t.s.byHome(f.IDs) {
		known, err := t.strays(home, ids, places)
		if err != nil {
			return nil, err
		}
		unknown[home] = !known
	}
	return t.s.reachOf(f, func(id [16]byte) []*Engine {
		home := t.s.homeOfID(id)
		if unknown[home] {
			return t.s.shards
		}
		return append(places[id], home)
	}), nil
}

func (t *shardedTx) CancelMatching(req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	res := recall.CancelResult{Index: indexTime}
	if !req.All && req.Filter.IsZero() {
		return res, recall.ErrEmptyFilter
	}
	if req.All {
		req.Filter = recall.Filter{}
	}
	which, err := t.reach(&req.Filter)
	if err != nil {
		return res, err
	}
	if len(which) > 1 {
		return res, fmt.Errorf("%w: the filter may match in several shards; one for a queue does not", recall.ErrUnsupported)
	}
	inner, err := t.at(which[0])
	if err != nil {
		return res, err
	}
	return inner.CancelMatching(req)
}

func (t *shardedTx) Bucket(name string) (recall.Bucket, error) {
	inner, err := t.at(t.s.shards[0])
	if err != nil {
		return nil, err
	}
	return inner.Bucket(name)
}

// Lookup implements [recall.Transactor].
func (s *Sharded) Lookup(ctx context.Context, bucket string, key []byte) ([]byte, error) {
	value, err := s.shards[0].Lookup(ctx, bucket, key)
	return value, s.at(s.targets[0], err)
}

// PublishTx is [Engine.PublishTx]. A transaction of the program, too, belongs to one
// shard, which has to be on its database: that of what it does first, or any one there.
// What has to be elsewhere is [recall.ErrUnsupported], and nothing has happened then.
func (s *Sharded) PublishTx(ctx context.Context, b *recall.Broker, tx pgx.Tx, m recall.Message) (r recall.Receipt, err error) {
	err = s.within(ctx, b, tx, func(t *recall.Tx) error {
		r, err = t.Publish(m)
		return err
	})
	return r, err
}

// PublishBatchTx is PublishTx for several messages.
func (s *Sharded) PublishBatchTx(ctx context.Context, b *recall.Broker, tx pgx.Tx, msgs []recall.Message) (r []recall.Receipt, err error) {
	err = s.within(ctx, b, tx, func(t *recall.Tx) error {
		r, err = t.PublishBatch(msgs)
		return err
	})
	return r, err
}

// CancelMatchingTx is [Engine.CancelMatchingTx] in the shard of the transaction, as
// PublishTx. A filter that may match in others is [recall.ErrUnsupported].
func (s *Sharded) CancelMatchingTx(
	ctx context.Context, b *recall.Broker, tx pgx.Tx, f recall.Filter, opts ...recall.CancelOption,
) (res recall.CancelResult, err error) {
	err = s.within(ctx, b, tx, func(t *recall.Tx) error {
		res, err = t.CancelMatching(f, opts...)
		return err
	})
	return res, err
}

// within takes part in a transaction of the program. A setting that lasts as long as
// the transaction says which shard it has begun with.
func (s *Sharded) within(ctx context.Context, b *recall.Broker, tx pgx.Tx, fn func(*recall.Tx) error) error {
	leave, err := s.enter(ctx, s.shards)
	if err != nil {
		return err
	}
	defer leave()
	setting := "recall.shard_" + s.opts.Schema
	var id identity
	var begun string
	err = tx.QueryRow(ctx, s.sql(`SELECT queue, place, places, COALESCE(current_setting($1, true), '') FROM @identity WHERE one`), setting).
		Scan(&id.queue, &id.place, &id.places, &begun)
	if err != nil {
		return fmt.Errorf("postgres: finding out which database the transaction is on: %w", err)
	}
	if id.queue != s.queue || id.place >= len(s.targets) {
		return invalid("tx", "it is on a database of another queue")
	}
	t := &shardedTx{s: s, ctx: ctx, e: s.shards[id.place]}
	t.ask = func(home *Engine) querier {
		if s.homeOf(home).place == id.place {
			return tx
		}
		return nil
	}
	t.begin = func(e *Engine) (*transaction, error) {
		if s.homeOf(e).place != id.place || begun != "" && begun != fmt.Sprint(e.shard) {
			return nil, errElsewhere
		}
		if begun == "" {
			if _, err := tx.Exec(ctx, `SELECT set_config($1, $2, true)`, setting, fmt.Sprint(e.shard)); err != nil {
				return nil, err
			}
		}
		return &transaction{u: &unit{e: e, tx: tx, ctx: ctx, call: new([16]byte), apart: true}}, nil
	}
	if begun != "" {
		var shard int
		if _, err := fmt.Sscan(begun, &shard); err != nil || shard < 0 || shard >= len(s.shards) {
			return invalid("tx", "its setting %s is no shard", setting)
		}
		t.e = s.shards[shard]
	}
	defer t.close()
	return b.Within(ctx, t, fn)
}
