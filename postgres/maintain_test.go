package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// openSmall opens an engine with so many connections, and another pool on its database.
func openSmall(t *testing.T, connections int32) (e *postgres.Engine, outside *pgxpool.Pool) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	config, err := pgxpool.ParseConfig(dsn)
	noError(t, err)
	config.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	noError(t, err)
	t.Cleanup(pool.Close)
	e, err = postgres.Open(t.Context(), pool, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour})
	noError(t, err)
	t.Cleanup(func() { noError(t, e.Close()) })
	return e, newPool(t, dsn)
}

// openPool opens an engine on a pool, whose schema is named too.
func openPool(t *testing.T) (*postgres.Engine, *pgxpool.Pool, string) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	pool := newPool(t, dsn)
	e, err := postgres.Open(t.Context(), pool, &postgres.Options{AllowUnsafe: true, LeaseTime: time.Hour, Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, pool, schema
}

func rowsIn(t *testing.T, pool *pgxpool.Pool, table string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnsweredKeys: the keys of commits that were answered do not pile up.
func TestAnsweredKeys(t *testing.T) {
	e, pool, schema := openPool(t)
	const calls, most = 1200, 600
	for i := range calls {
		if _, err := e.Insert(t.Context(), []recall.Message{message("a")}, base); err != nil {
			t.Fatal(err)
		}
		if n := rowsIn(t, pool, schema+".calls"); n > most {
			t.Fatalf("%d keys after %d calls", n, i+1)
		}
	}
}

// TestEventsInParts: a log that nobody has read for long gets its places a part at a time,
// in the order of what has happened.
func TestEventsInParts(t *testing.T) {
	one, pool, schema := openPool(t)
	two, err := postgres.OpenShards(t.Context(), []*pgxpool.Pool{pool}, &postgres.Options{
		AllowUnsafe: true, LeaseTime: time.Hour, Schema: schema + "_2", Shards: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	postgres.NumberInParts(4, one)
	postgres.NumberInParts(4, postgres.ShardsOf(two)...)
	for name, e := range map[string]recall.Engine{"one shard": one, "two shards": two} {
		var want []recall.MessageID
		for range 30 {
			receipts, err := e.Insert(t.Context(), []recall.Message{message("a")}, base)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, receipts[0].ID)
		}
		page, err := e.(recall.EventLog).Events(t.Context(), recall.EventFilter{OldestFirst: true}, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []recall.MessageID
		for _, ev := range page.Events {
			got = append(got, ev.Message)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the events are of %v, not in the order of %v", name, got, want)
		}
	}
}

// TestOldOperationInParts: what a large cancellation has left is removed a part at a time,
// and its record last.
func TestOldOperationInParts(t *testing.T) {
	e, pool, schema := openPool(t)
	const size, part = 2500, 1000
	if _, err := e.Insert(t.Context(), slices.Repeat([]recall.Message{message("a")}, size), base); err != nil {
		t.Fatal(err)
	}
	res, err := e.CancelMatching(t.Context(), recall.CancelMatchingRequest{All: true, Now: base})
	if err != nil || res.Cancelled != size {
		t.Fatalf("got %+v, %v", res, err)
	}
	maintain := func(now time.Time) {
		t.Helper()
		if _, err := e.Maintain(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	expired := base.Add(recall.DefaultUndoWindow + time.Second)
	for range 2 + size/part {
		maintain(expired)
	}
	members, operations := schema+".members", schema+".operations"
	had := rowsIn(t, pool, members)
	if had != size {
		t.Fatalf("%d members of %d", had, size)
	}
	old := base.Add(recall.DefaultAuditRetention + time.Second)
	for had > 0 {
		if rowsIn(t, pool, operations) != 1 {
			t.Fatalf("the record is gone, %d members are left", had)
		}
		maintain(old)
		has := rowsIn(t, pool, members)
		if has == had || had-has > part {
			t.Fatalf("%d members of %d are left after one step", has, had)
		}
		had = has
	}
	maintain(old)
	if n := rowsIn(t, pool, operations); n != 0 {
		t.Errorf("%d records are left", n)
	}
}
