package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/recallmq/recall"
)

// Crash lets an engine end as its process would: it says nothing to the database. Its
// leases are made to expire, as they do when nobody renews them.
func Crash(ctx context.Context, e *Engine) error {
	lapse := func() error {
		_, err := e.pool.Exec(ctx, e.sql(`UPDATE @owners SET until_us = 0 WHERE shard = $1 AND epoch = $2`), e.shard, e.epoch.Load())
		return err
	}
	err := lapse()
	e.mu.Lock()
	if e.closed {
		err = errors.Join(err, recall.ErrClosed)
	}
	e.closed = true
	close(e.wake)
	e.mu.Unlock()
	e.stop()
	e.loops.Wait()
	e.calls.Wait()
	err = errors.Join(err, lapse()) // a claim that found the end of its leases has begun new ones
	e.closePool()
	return err
}

// Renew does at once what an engine does every few seconds.
func Renew(ctx context.Context, e *Engine) error {
	e.renew(ctx)
	e.endOthers(ctx)
	return ctx.Err()
}

// Epoch is that of the leases which an engine gives out, once it has made sure that they
// are still valid.
func Epoch(ctx context.Context, e *Engine) (uint64, error) {
	err := Renew(ctx, e)
	return e.epoch.Load(), err
}

// CrashShards is Crash for all shards.
func CrashShards(ctx context.Context, s *Sharded) error {
	s.stop()
	s.loops.Wait()
	var errs []error
	for _, e := range s.shards {
		errs = append(errs, Crash(ctx, e))
	}
	for _, t := range s.targets {
		if t.own {
			t.pool.Close()
		}
	}
	return errors.Join(errs...)
}

// HomeOf is the shard of a message, -1 for what is none.
func HomeOf(s *Sharded, id recall.MessageID) int {
	e := s.of(id)
	if e == nil {
		return anywhere
	}
	if places, err := s.strays(context.Background(), []recall.MessageID{id}); err == nil {
		for _, others := range places {
			return int(others[0].shard)
		}
	}
	return int(e.shard)
}

// HomeOfQueue is that of a queue.
func HomeOfQueue(s *Sharded, name string) int { return s.shardOf(byQueue, name) }

// PublishOf does what comes first in a change: it ends where the process may.
func PublishOf(ctx context.Context, s *Sharded, c recall.Change) error {
	parcels, err := s.parcels(c.Messages, 0)
	for _, p := range parcels {
		nameAfter(&c, p.msgs)
		if err == nil {
			_, err = s.insertAt(ctx, s.shards[p.shard], p.msgs, c.Now)
		}
	}
	return err
}

// SetPatience changes how long claims wait for one shard.
func SetPatience(s *Sharded, d time.Duration) { s.patience = d }

// SchemaOf is the name of the schema, as statements have it.
func SchemaOf(e *Engine) string { return e.schema }

// WithLocal has an engine count the time by another clock than that of package time.
func WithLocal(o Options, local func() time.Time) *Options {
	o.local = local
	return &o
}

// NumberInParts has the engines give fewer events their places in one transaction.
func NumberInParts(n int, engines ...*Engine) {
	for _, e := range engines {
		e.numbered = n
	}
}

// ShardsOf are the engines of the shards.
func ShardsOf(s *Sharded) []*Engine { return s.shards }

// RenewedLongAgo has an engine believe that it has not renewed its leases in time.
func RenewedLongAgo(e *Engine) {
	ago := func() time.Duration { return 2 * e.opts.LeaseTime }
	e.renewed.Store(&ago)
}
