package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// guardEngines are an engine of one shard and one of two, with that lease time, and a pool of
// connections to their database.
func guardEngines(t *testing.T, lease time.Duration) (map[string]recall.Engine, *pgxpool.Pool) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	pool := newPool(t, dsn)
	o := postgres.Options{AllowUnsafe: true, LeaseTime: lease, Schema: schema}
	one, err := postgres.Open(t.Context(), pool, &o)
	if err != nil {
		t.Fatal(err)
	}
	o.Shards, o.Schema = 2, schema+"_2"
	two, err := postgres.OpenShards(t.Context(), []*pgxpool.Pool{pool}, &o)
	if err != nil {
		t.Fatal(err)
	}
	engines := map[string]recall.Engine{"one shard": one, "two shards": two}
	t.Cleanup(func() {
		for _, e := range engines {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return engines, pool
}

// TestGuardTakesWhatItCounted: what comes to match after the guard has counted is not taken.
func TestGuardTakesWhatItCounted(t *testing.T) {
	engines, _ := guardEngines(t, time.Hour)
	for name, e := range engines {
		t.Run(name, func(t *testing.T) {
			ctx, later := t.Context(), base.Add(time.Hour)
			leases := publishAndClaim(t, e, message("a"), message("a"))
			retry := func(l recall.Lease) {
				if err := e.Finish(ctx, l, recall.Finish{Outcome: recall.Retry, Now: base, Due: later}); err != nil {
					t.Error(err)
				}
			}
			retry(leases[0])
			res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{
				Filter: recall.Filter{States: []recall.State{recall.StateRetrying}}, Now: base,
				Guard:   recall.Guard{Set: true, Least: 1, Most: 1},
				Started: func(recall.OperationID) { retry(leases[1]) },
			})
			if err != nil || res.Cancelled != 1 {
				t.Errorf("exactly one was expected: got %+v, %v", res, err)
			}
		})
	}
}

// publishAndClaim returns the leases of messages, all of which are due.
func publishAndClaim(t *testing.T, e recall.Engine, msgs ...recall.Message) (leases []recall.Lease) {
	t.Helper()
	if _, err := e.Insert(t.Context(), msgs, base); err != nil {
		t.Fatal(err)
	}
	for len(leases) < len(msgs) {
		res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: len(msgs)})
		if err != nil || len(res.Leases) == 0 {
			t.Fatalf("%d leases of %d: %v", len(leases), len(msgs), err)
		}
		leases = append(leases, res.Leases...)
	}
	return leases
}

// TestGuardStandsStill: a process that stands still while it has all matches locked does not
// keep them.
func TestGuardStandsStill(t *testing.T) {
	engines, pool := guardEngines(t, time.Second)
	for name, e := range engines {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			if _, err := e.Insert(ctx, []recall.Message{message("a"), message("a")}, base); err != nil {
				t.Fatal(err)
			}
			stands := func() (n int) {
				if err := pool.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'
					AND datname = current_database()`).Scan(&n); err != nil {
					t.Error(err)
				}
				return n
			}
			res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{
				All: true, Now: base, Guard: recall.Guard{Set: true, Most: 9},
				Started: func(recall.OperationID) {
					for seen := stands(); seen > 0 && ctx.Err() == nil; {
						seen = stands()
					}
					if ctx.Err() != nil {
						t.Error("it keeps them")
					}
				},
			})
			if err != nil || res.Cancelled != 2 {
				t.Errorf("got %+v, %v", res, err)
			}
		})
	}
}
