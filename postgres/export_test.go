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
	_, err := e.pool.Exec(ctx, e.sql(`UPDATE @owners SET until_us = 0 WHERE shard = $1 AND epoch = $2`), e.shard, e.epoch.Load())
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
	e.closePool()
	return err
}

// Renew does at once what an engine does every few seconds.
func Renew(ctx context.Context, e *Engine) error {
	e.renew(ctx)
	return ctx.Err()
}

// WithLocal has an engine count the time by another clock than that of package time.
func WithLocal(o Options, local func() time.Time) *Options {
	o.local = local
	return &o
}
