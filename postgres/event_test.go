package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// TestUnreadEvents: the log keeps to its bounds though nobody reads it.
func TestUnreadEvents(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool, ctx := newPool(t, dsn), t.Context()
	o := postgres.Options{AllowUnsafe: true, LeaseTime: time.Hour, MaxEvents: 10, Schema: schema + "_1"}
	one, err := postgres.Open(ctx, pool, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	o.Shards, o.Schema = 2, schema+"_2"
	two, err := postgres.OpenShards(ctx, []*pgxpool.Pool{pool}, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	for schema, e := range map[string]recall.Engine{schema + "_1": one, schema + "_2": two} {
		kept := func(now time.Time) (n int) {
			t.Helper()
			for range 9 {
				if _, err := e.Maintain(ctx, now); err != nil {
					t.Fatal(err)
				}
			}
			if err := pool.QueryRow(ctx, "SELECT count(*) FROM "+schema+".events").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		for range 30 {
			if _, err := e.Insert(ctx, []recall.Message{message("a")}, base); err != nil {
				t.Fatal(err)
			}
		}
		if n := kept(base); n == 0 || n > 20 { // at most as many without a place as with one
			t.Errorf("%s: %d events of 30 are kept", schema, n)
		}
		if n := kept(base.Add(recall.DefaultEventRetention + time.Second)); n != 0 {
			t.Errorf("%s: %d old events are kept", schema, n)
		}
	}
}
