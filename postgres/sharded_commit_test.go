package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// cutShards are two shards whose connections a proxy can cut.
func cutShards(t *testing.T) (*postgres.Sharded, *pgtest.Proxy) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	proxy, through := pgtest.NewProxy(t, dsn)
	s, err := postgres.OpenShards(t.Context(), []string{through}, &postgres.Options{
		AllowUnsafe: true, Schema: schema, Shards: 2, LeaseTime: time.Hour, PollInterval: time.Hour, LongTransaction: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, proxy
}

// TestCutShardedCommit loses the connection during the commit of transactions that shards
// begin themselves. Each says what has become of it: it is made again if nothing was
// committed, where that is its own to make.
func TestCutShardedCommit(t *testing.T) {
	for where, word := range map[pgtest.Cut]string{pgtest.CutBefore: "before", pgtest.CutAfter: "after"} {
		for name, call := range map[string]func(ctx context.Context, s *postgres.Sharded) error{
			"Update": func(ctx context.Context, s *postgres.Sharded) error {
				return s.Update(ctx, func(tx recall.EngineTx) error {
					_, err := tx.CancelMatching(recall.CancelMatchingRequest{Filter: recall.Filter{Queues: []string{queueIn(s, 0)}}, Now: base})
					return err
				})
			},
			"Guard": func(ctx context.Context, s *postgres.Sharded) error {
				_, err := s.CancelMatching(ctx, recall.CancelMatchingRequest{All: true, Now: base, Guard: recall.Guard{Set: true, Most: 9}})
				return err
			},
		} {
			t.Run(name+" "+word, func(t *testing.T) {
				s, proxy := cutShards(t)
				insertAll(t, s, inQueue(queueIn(s, 0)))
				proxy.CutNext(where)
				err := call(t.Context(), s)
				if proxy.Pending() {
					t.Fatal("no commit was cut")
				}
				c, countErr := s.Count(t.Context(), recall.Filter{}, base)
				if countErr != nil {
					t.Fatal(countErr)
				}
				if want := map[bool]int{false: 1}[err == nil]; c.Pending != want {
					t.Errorf("%d messages are left after %v", c.Pending, err)
				}
				var unknown *recall.UnknownError
				if errors.As(err, &unknown) || err != nil && where == pgtest.CutAfter {
					t.Errorf("it says %v", err)
				}
			})
		}
	}
}

// TestSlowCommitOfOneDatabase: while one database takes its time to commit, the transaction
// in the other one stays, however short its bound is.
func TestSlowCommitOfOneDatabase(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	other := pgtest.Pooled(pgtest.Private(t).DSN())
	s, err := postgres.OpenShards(t.Context(), []string{dsn, other}, &postgres.Options{
		AllowUnsafe: true, Schema: schema, Shards: 2, LeaseTime: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	insertAll(t, s, inQueue(queueIn(s, 0)), inQueue(queueIn(s, 1)))
	_, err = newPool(t, dsn).Exec(t.Context(), `
		CREATE FUNCTION `+schema+`.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER slow AFTER UPDATE OR DELETE ON `+schema+`.messages
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION `+schema+`.slow()`)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	res, err := s.CancelMatching(t.Context(), recall.CancelMatchingRequest{All: true, Now: base, Guard: recall.Guard{Set: true, Most: 9}})
	if err != nil || res.Cancelled != 2 {
		t.Errorf("got %+v, %v", res, err)
	}
	if took := time.Since(begin); took < 3*time.Second {
		t.Errorf("the commit took no longer than %v", took)
	}
}

// TestSpanAsksOutside: calls that have the connections of one database, and wait for those of
// another, do not wait for each other when a commit was not answered.
func TestSpanAsksOutside(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	proxy, through := pgtest.NewProxy(t, dsn)
	var pools []*pgxpool.Pool
	for _, d := range []string{through, pgtest.Pooled(pgtest.Private(t).DSN())} {
		c, err := pgxpool.ParseConfig(d)
		noError(t, err)
		c.MaxConns = 1
		p, err := pgxpool.NewWithConfig(t.Context(), c)
		noError(t, err)
		defer p.Close()
		pools = append(pools, p)
	}
	s, err := postgres.OpenShards(t.Context(), pools, &postgres.Options{
		AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, PollInterval: time.Hour, LongTransaction: -1,
	})
	noError(t, err)
	defer s.Close()
	insertAll(t, s, inQueue(queueIn(s, 0)), inQueue(queueIn(s, 1)))
	proxy.CutNext(pgtest.CutAfter)
	done := make(chan error)
	for range 2 {
		go atOnce(t, "CancelMatching", func(ctx context.Context) error {
			_, err := s.CancelMatching(ctx, recall.CancelMatchingRequest{All: true, Now: base, Guard: recall.Guard{Set: true, Most: 9}})
			done <- err
			return err
		})
	}
	for range 2 {
		noError(t, <-done)
	}
	wantCount(t, s, recall.Filter{}, 0, 0)
}

// TestDeadlockInTransaction: a program is told of a deadlock by its own code, in whichever
// chunk of a cancellation it comes about.
func TestDeadlockInTransaction(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool, ctx := newPool(t, dsn), t.Context()
	e, err := postgres.Open(ctx, pool, &postgres.Options{AllowUnsafe: true, Schema: schema, ChunkSize: 1, LeaseTime: time.Hour})
	noError(t, err)
	defer e.Close()
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	noError(t, err)
	_, err = e.Insert(ctx, []recall.Message{message("x"), message("x")}, base)
	noError(t, err)
	one, err := pool.Begin(ctx)
	noError(t, err)
	two, err := pool.Begin(ctx)
	noError(t, err)
	lock := func(order string) error {
		_, err := two.Exec(ctx, "SELECT FROM "+schema+".messages ORDER BY id "+order+" LIMIT 1 FOR UPDATE")
		return err
	}
	noError(t, lock("DESC"))
	cancelled, locked := make(chan error), make(chan error)
	go func() {
		_, err := e.CancelMatchingTx(ctx, b, one, recall.Filter{Labels: []string{"x"}})
		cancelled <- err
	}()
	awaitLock(t, pool, "%"+schema+"%messages%FOR UPDATE%")
	go func() { locked <- lock("ASC") }()
	var pg *pgconn.PgError
	select {
	case err := <-cancelled:
		if !errors.As(err, &pg) || pg.Code != "40P01" {
			t.Errorf("got %v", err)
		}
		noError(t, one.Rollback(ctx))
		noError(t, <-locked)
	case err := <-locked: // the server has chosen the other one
		if !errors.As(err, &pg) || pg.Code != "40P01" {
			t.Errorf("got %v", err)
		}
		noError(t, two.Rollback(ctx))
		noError(t, <-cancelled)
	}
	_ = errors.Join(one.Rollback(ctx), two.Rollback(ctx)) // what is not over
}
