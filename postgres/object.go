package postgres

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Objects implements [recall.Keeper].
func (e *Engine) Objects(ctx context.Context, kind recall.ObjectKind) ([]recall.Object, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	if err := e.catchUp(ctx); err != nil {
		return nil, err
	}
	return collectFrom(ctx, e.pool, e, func(row pgx.CollectableRow) (recall.Object, error) {
		o := recall.Object{Kind: kind}
		return o, row.Scan(&o.Name, &o.Value)
	}, `SELECT name, value FROM @objects WHERE shard = $1 AND kind = $2 ORDER BY name`, kind)
}

// Apply implements [recall.Keeper]. It takes its place among publications, which
// change objects, too.
func (e *Engine) Apply(ctx context.Context, c recall.Change) (receipts []recall.Receipt, err error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	err = e.do(ctx, func(u *unit) error {
		receipts, err = u.apply(&c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return receipts, nil
}

func (u *unit) apply(c *recall.Change) ([]recall.Receipt, error) {
	if err := u.lockPublishing(c.Now); err != nil {
		return nil, err
	}
	for i := range c.If {
		if err := u.expect(&c.If[i]); err != nil {
			return nil, err
		}
	}
	b := u.batch()
	for i := range c.Objects {
		if err := u.put(b, &c.Objects[i]); err != nil {
			return nil, err
		}
	}
	u.claim = true
	if err := u.countChanges(c.Objects); err != nil {
		return nil, err
	}
	if err := b.send(); err != nil {
		return nil, err
	}
	return u.insert(c.Messages, c.Now)
}

// expect compares an object with what the caller has read.
func (u *unit) expect(o *recall.Object) error {
	var value []byte
	_, err := u.get(`SELECT value FROM @objects WHERE shard = $1 AND kind = $2 AND name = $3 FOR UPDATE`, []any{o.Kind, o.Name}, &value)
	if err == nil && !o.Is(value) {
		err = recall.ErrObjectChanged
	}
	return err
}

// put queues the change of one object, and of what claims know of it.
func (u *unit) put(b *batch, o *recall.Object) error {
	if o.Kind == recall.ObjectQueue && o.Value == nil {
		if err := u.mayDeleteQueue(o.Name); err != nil {
			return err
		}
	}
	if o.Value == nil {
		b.add(`DELETE FROM @objects WHERE shard = $1 AND kind = $2 AND name = $3`, o.Kind, o.Name)
	} else {
		b.add(`INSERT INTO @objects (shard, kind, name, value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (shard, kind, name) DO UPDATE SET value = EXCLUDED.value`, o.Kind, o.Name, o.Value)
	}
	switch o.Kind {
	case recall.ObjectQueue:
		return mirrorQueue(b, o)
	case recall.ObjectFlow:
		if o.Value == nil {
			b.add(`UPDATE @flows SET limited = false, paused = false, rate = 0, parallelism = 0, look_ms = 0
				WHERE shard = $1 AND flow_key = $2`, o.Name)
		} else {
			mirrorFlow(b, o.Name, readFlowSettings(o.Value))
		}
	}
	return nil
}

func mirrorQueue(b *batch, o *recall.Object) error {
	if o.Value == nil {
		b.add(`DELETE FROM @queues WHERE shard = $1 AND queue = $2`, o.Name)
		return nil
	}
	s := recall.QueueSettings{Parallelism: 1}
	if err := json.Unmarshal(o.Value, &s); err != nil {
		return errors.Join(invalid("Object", "%q is no settings of a queue", o.Name), err)
	}
	b.add(`INSERT INTO @queues (shard, queue, parallelism, paused, look_ms) VALUES ($1, $2, $3, $4, 0)
		ON CONFLICT (shard, queue) DO UPDATE SET parallelism = EXCLUDED.parallelism, paused = EXCLUDED.paused, look_ms = 0`,
		o.Name, s.Parallelism, s.Paused)
	return nil
}

// mayDeleteQueue refuses to delete a queue that has messages. Those whose last
// attempt runs do not count.
func (u *unit) mayDeleteQueue(name string) error {
	var has bool
	// Who brings messages of the queue back has its row locked.
	if _, err := u.exec(`SELECT FROM @queues WHERE shard = $1 AND queue = $2 FOR UPDATE`, name); err != nil {
		return err
	}
	_, err := u.get(`SELECT EXISTS (SELECT 1 FROM @messages WHERE shard = $1 AND queue = $2 AND queue <> '' AND state < 2 AND NOT requested)`,
		[]any{name}, &has)
	if err == nil && has {
		err = recall.ErrQueueNotEmpty
	}
	return err
}
