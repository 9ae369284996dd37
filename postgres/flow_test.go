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
