package postgres_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// TestReleaseOfAnotherPeriod: an attempt that did not happen is given back to its own
// period only. Given back to the next one it would let one more begin there.
func TestReleaseOfAnotherPeriod(t *testing.T) {
	e, _ := newEngine(t, postgres.Options{})
	ctx := t.Context()
	value, err := json.Marshal(recall.FlowSettings{Limit: recall.FlowLimit{Rate: 2, Period: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(ctx, recall.Change{Now: base, Objects: []recall.Object{{Kind: recall.ObjectFlow, Name: "k", Value: value}}}); err != nil {
		t.Fatal(err)
	}
	m := message("a")
	m.FlowKey = "k"
	if _, err := e.Insert(ctx, []recall.Message{m, m, m, m, m, m, m}, base); err != nil {
		t.Fatal(err)
	}
	claim := func(now time.Time, want int) []recall.Lease {
		t.Helper()
		res, err := e.Claim(ctx, recall.ClaimRequest{Now: now, Max: 9})
		if err != nil || len(res.Leases) != want {
			t.Fatalf("claimed %d, want %d: %v", len(res.Leases), want, err)
		}
		return res.Leases
	}
	release := func(l recall.Lease, now time.Time) {
		t.Helper()
		if err := e.Finish(ctx, l, recall.Finish{Outcome: recall.Release, Now: now}); err != nil {
			t.Fatal(err)
		}
	}
	first, next := claim(base, 2), base.Add(1500*time.Millisecond)
	second := claim(next, 2)
	release(first[0], next)
	claim(next, 0)
	release(second[0], next)
	claim(next, 1)
	claim(next, 0)
}

// TestKeysGo: of a key without a limit nothing is left when its last message is gone. What
// is restored is claimed all the same.
func TestKeysGo(t *testing.T) {
	e, dsn := newEngine(t, postgres.Options{})
	pool, ctx := newPool(t, dsn), t.Context()
	keys := func(want int) {
		t.Helper()
		if res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 0}); err != nil || len(res.Leases) > 0 {
			t.Fatal(len(res.Leases), err)
		}
		if _, err := e.Maintain(ctx, base); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := pool.QueryRow(ctx, `SELECT count(*) FROM `+postgres.SchemaOf(e)+`.flows`).Scan(&n); err != nil || n != want {
			t.Errorf("%d keys are there, want %d: %v", n, want, err)
		}
	}
	m := message("a")
	m.FlowKey = "k"
	if _, err := e.Insert(ctx, []recall.Message{m}, base); err != nil {
		t.Fatal(err)
	}
	keys(1)
	res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{All: true, Now: base})
	if err != nil || res.Cancelled != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	keys(0)
	if _, err := e.Restore(ctx, res.Operation, base); err != nil {
		t.Fatal(err)
	}
	leases := claimOne(t, e)
	keys(1)
	if err := e.Finish(ctx, leases[0], recall.Finish{Outcome: recall.Retry, Now: base, Due: base}); err != nil {
		t.Fatal(err)
	}
	leases = claimOne(t, e)
	if err := e.Finish(ctx, leases[0], recall.Finish{Outcome: recall.Delivered, Now: base}); err != nil {
		t.Fatal(err)
	}
	keys(0)
}
