package postgres_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

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

// TestCutLastConnection loses a connection during a commit while there is no other: the
// outcome is asked for on the next one.
func TestCutLastConnection(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	proxy, through := pgtest.NewProxy(t, dsn)
	config, err := pgxpool.ParseConfig(through)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	o := &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour}
	e, err := postgres.Open(t.Context(), pool, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Shards, o.Schema = 2, schema+"_2"
	s, err := postgres.OpenShards(t.Context(), []*pgxpool.Pool{pool}, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	count := func(e recall.Engine) int {
		c, err := e.Count(ctx, recall.Filter{}, base)
		if err != nil {
			t.Error(err)
		}
		return c.Pending
	}
	insert := func(tx recall.EngineTx) error {
		_, err := tx.Insert([]recall.Message{message("a")}, base)
		return err
	}
	for name, c := range map[string]struct {
		e    recall.Engine
		call func() error
	}{
		"insert": {e, func() error { _, err := e.Insert(ctx, []recall.Message{message("a")}, base); return err }},
		"update": {e, func() error { return e.Update(ctx, insert) }},
		"shards": {s, func() error { return s.Update(ctx, insert) }},
		"guard": {s, func() error {
			res, err := s.CancelMatching(ctx, recall.CancelMatchingRequest{All: true, Guard: recall.Guard{Set: true, Most: 9}, Now: base})
			if want := count(s); err == nil && (want != 0 || res.Cancelled == 0) {
				t.Errorf("cancelled %d, %d are left", res.Cancelled, want)
			}
			return errors.Join(err, s.Update(ctx, insert))
		}},
	} {
		for _, cut := range []pgtest.Cut{pgtest.CutBefore, pgtest.CutAfter} {
			if err := c.e.(recall.Transactor).Update(ctx, insert); err != nil {
				t.Fatal(err)
			}
			had := count(c.e)
			proxy.CutNext(cut)
			done := make(chan error, 1)
			go func() { done <- c.call() }()
			select {
			case err := <-done:
				if has := count(c.e); name != "guard" && has-had != map[bool]int{true: 1}[err == nil] || err == nil && has == 0 {
					t.Errorf("%s, cut %v: %d messages, had %d: %v", name, cut, has, had, err)
				}
			case <-ctx.Done(): // nothing can be closed
				t.Fatalf("%s, cut %v: it waits for the connection that it has itself", name, cut)
			}
		}
	}
	if err := errors.Join(e.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	pool.Close()
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

// TestCutQuestion loses the connection during a commit, which never arrives, and then the
// answer to one of the requests behind it: whoever asks again what became of the commit does
// not take the row of the first question for that of the commit.
func TestCutQuestion(t *testing.T) {
	for behind := 1; behind < 6; behind++ {
		e, proxy := cutEngine(t)
		seen := 0
		var each func() pgtest.Cut
		each = func() pgtest.Cut {
			if !proxy.Pending() {
				if seen++; seen == behind {
					return pgtest.CutAfter
				}
			}
			proxy.At(1, each)
			return pgtest.CutNever
		}
		proxy.CutNext(pgtest.CutBefore)
		proxy.At(1, each)
		_, err := e.Insert(t.Context(), []recall.Message{message("a")}, base)
		proxy.At(0, nil)
		c, countErr := e.Count(t.Context(), recall.Filter{}, base)
		if countErr != nil {
			t.Fatal(countErr)
		}
		if want := map[bool]int{true: 1}[err == nil]; c.Pending != want {
			t.Errorf("request %d behind the commit: %d messages after %v", behind, c.Pending, err)
		}
	}
}

// TestSuspendedCommit: a process that was suspended, between a commit and its question what
// became of it, for so long that the key may be gone does not get to know.
func TestSuspendedCommit(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	proxy, through := pgtest.NewProxy(t, dsn)
	var behind atomic.Int64
	local := func() time.Time { return time.Now().Add(-time.Duration(behind.Load())) }
	e, err := postgres.Open(t.Context(), through, postgres.WithLocal(postgres.Options{
		AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, PollInterval: time.Hour, LongTransaction: -1,
	}, local))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	behind.Store(int64(31 * time.Minute)) // so the commit was that long ago when it asks
	proxy.CutNext(pgtest.CutBefore)       // as if the key were gone
	_, err = e.Insert(t.Context(), []recall.Message{message("a")}, base)
	var unknown *recall.UnknownError
	if !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
}
