package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// listeners returns how many connections listen for a schema, which it ends if that is
// wanted.
func listeners(t *testing.T, pool *pgxpool.Pool, schema string, end bool) (n int) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE NOT $2 OR pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = $1`,
		`LISTEN "recall `+schema+`"`, end).Scan(&n)
	noError(t, err)
	return n
}

// handled has a process count the messages that it gets.
func handled(t *testing.T, p *process) *atomic.Int64 {
	t.Helper()
	var n atomic.Int64
	noError(t, p.Handle("local:job", func(context.Context, *recall.Delivery) error {
		n.Add(1)
		return nil
	}))
	return &n
}

// TestListen has processes hear of each other that hardly ever ask.
func TestListen(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool, ctx := newPool(t, dsn), t.Context()
	options := func() *postgres.Options {
		return &postgres.Options{
			Schema: schema, LeaseTime: time.Hour, PollInterval: time.Hour, Listen: true, Logger: slog.New(slog.DiscardHandler),
		}
	}
	a := newProcess(t, dsn, options(), &recall.Options{NoDispatch: true})
	b := newProcess(t, dsn, options(), nil)
	n := handled(t, b)
	eventually(t, "two that listen", func() bool { return listeners(t, pool, schema, false) == 2 })
	publish := func(want int64) {
		t.Helper()
		_, err := a.Publish(ctx, recall.Message{URL: "local:job"})
		noError(t, err)
		eventually(t, "a message", func() bool { return n.Load() == want })
	}
	for i := range 20 {
		publish(int64(i + 1))
	}
	was := b.engine.Revision(recall.ObjectTopic)
	_, err := a.AddEndpoints(ctx, "t", recall.Endpoint{URL: "local:job"})
	noError(t, err)
	eventually(t, "another revision", func() bool { return b.engine.Revision(recall.ObjectTopic) != was })

	// They listen again when their connections were ended, also for what they missed.
	if got := listeners(t, pool, schema, true); got != 2 {
		t.Fatalf("%d connections were ended", got)
	}
	eventually(t, "nobody who listens", func() bool { return listeners(t, pool, schema, false) < 2 })
	publish(21)
	eventually(t, "two that listen again", func() bool { return listeners(t, pool, schema, false) == 2 })
	publish(22)
}

// TestListenCut has messages arrive though nobody can listen.
func TestListenCut(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	ctx := t.Context()
	config, err := pgxpool.ParseConfig(dsn)
	noError(t, err)
	var cut atomic.Bool
	config.BeforeConnect = func(context.Context, *pgx.ConnConfig) error {
		if cut.Load() {
			return errors.New("cut")
		}
		return nil
	}
	config.MaxConns, config.MinConns = 4, 4
	pool, err := pgxpool.NewWithConfig(ctx, config)
	noError(t, err)
	t.Cleanup(pool.Close)
	options := &postgres.Options{
		AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, PollInterval: 20 * time.Millisecond, Listen: true, Logger: slog.New(slog.DiscardHandler),
	}
	e, err := postgres.Open(ctx, pool, options)
	noError(t, err)
	broker, err := recall.New(e, nil)
	noError(t, err)
	defer broker.Close(context.Background())
	b := &process{Broker: broker}
	n := handled(t, b)
	a := newProcess(t, dsn, &postgres.Options{Schema: schema, PollInterval: time.Hour}, &recall.Options{NoDispatch: true})
	eventually(t, "all connections", func() bool { return pool.Stat().TotalConns() == 4 && listeners(t, pool, schema, false) == 1 })
	cut.Store(true)
	listeners(t, pool, schema, true)
	eventually(t, "nobody who listens", func() bool { return listeners(t, pool, schema, false) == 0 })
	for i := range 5 {
		_, err := a.Publish(ctx, recall.Message{URL: "local:job"})
		noError(t, err)
		eventually(t, "a message", func() bool { return n.Load() == int64(i+1) })
	}
	if got := listeners(t, pool, schema, false); got != 0 {
		t.Errorf("%d connections listen, and none can", got)
	}
}
