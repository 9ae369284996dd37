package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// cutEngine is an engine whose connections a proxy can cut.
func cutEngine(t *testing.T) (*postgres.Engine, *pgtest.Proxy) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	proxy, through := pgtest.NewProxy(t, dsn)
	e, err := postgres.Open(t.Context(), through, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, proxy
}

var base = time.UnixMilli(1_800_000_000_000)

func message(labels ...string) recall.Message {
	return recall.Message{
		URL: "https://api.test/hook", Method: "POST", Retries: recall.Retries(3), Timeout: 30 * time.Second,
		CreatedAt: base, DueAt: base, Labels: labels,
	}
}

// TestCutCommit loses the connection during the commit of each call, before and after
// the server has made it. The call answers as if nothing had been, and what it does has
// happened once.
func TestCutCommit(t *testing.T) {
	for name, cut := range map[string]pgtest.Cut{"before": pgtest.CutBefore, "after": pgtest.CutAfter} {
		t.Run(name, func(t *testing.T) {
			e, proxy := cutEngine(t)
			ctx := t.Context()
			during := func(call func() error) {
				t.Helper()
				proxy.CutNext(cut)
				if err := call(); err != nil {
					t.Fatal(err)
				}
				if proxy.Pending() {
					t.Fatal("nothing was cut")
				}
			}
			want := func(pending, inFlight int) {
				t.Helper()
				c, err := e.Count(ctx, recall.Filter{}, base)
				if err != nil || c != (recall.Count{Pending: pending, InFlight: inFlight}) {
					t.Fatalf("Count: got %+v, %v, want %d and %d", c, err, pending, inFlight)
				}
			}
			during(func() error {
				_, err := e.Insert(ctx, []recall.Message{message("a"), message("a"), message("b")}, base)
				return err
			})
			want(3, 0)
			during(func() error {
				res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"a"}}, Now: base})
				if res.Cancelled != 2 {
					t.Errorf("cancelled %d, want 2", res.Cancelled)
				}
				return err
			})
			want(1, 0)
			var leases []recall.Lease
			during(func() error {
				res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 5})
				leases = res.Leases
				return err
			})
			want(0, 1)
			if len(leases) != 1 {
				t.Fatalf("got %d leases", len(leases))
			}
			during(func() error {
				return e.Finish(ctx, leases[0], recall.Finish{Outcome: recall.Retry, Now: base, Due: base})
			})
			want(1, 0)
			if err := e.Finish(ctx, leases[0], recall.Finish{Outcome: recall.Delivered, Now: base}); !errors.Is(err, recall.ErrLeaseLost) {
				t.Errorf("second Finish: %v", err)
			}
			if got := e.Stats(); got.Published != 3 || got.Cancelled != 2 {
				t.Errorf("counted %d published and %d cancelled", got.Published, got.Cancelled)
			}
		})
	}
}
