package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// awaitBlocked returns when somebody waits for what a transaction has locked, or it is over
// without that.
func awaitBlocked(t *testing.T, pool *pgxpool.Pool, tx pgx.Tx, over func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for blocked := false; !blocked && !over(); {
		err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid)))`, int32(tx.Conn().PgConn().PID())).Scan(&blocked)
		if err != nil {
			t.Fatalf("nobody waits for a lock: %v", err)
		}
	}
}

// TestWalkMeetsClaim begins a cancellation while another process is about to claim a
// match. The walk waits for that, and then stops there: it neither passes over the row
// nor takes it.
func TestWalkMeetsClaim(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool, ctx := newPool(t, dsn), t.Context()
	e, err := postgres.Open(ctx, dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, ChunkSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	receipts, err := e.Insert(ctx, []recall.Message{message("a"), message("a"), message("a"), message("a"), message("a")}, base)
	if err != nil {
		t.Fatal(err)
	}
	for name, claims := range map[string]bool{"the claim is committed": true, "the claim comes to nothing": false} {
		tx, err := pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n, err := tx.Exec(ctx, `UPDATE `+schema+`.messages SET state = 1, epoch = 1, number = 1 WHERE state = 0 AND id = (
			SELECT id FROM `+schema+`.messages ORDER BY id OFFSET 3 LIMIT 1)`)
		if err != nil || n.RowsAffected() != 1 {
			t.Fatal(n, err)
		}
		type answer struct {
			res recall.CancelResult
			err error
		}
		defer func() { _ = tx.Rollback(context.Background()) }() // so that the pool can be closed
		answers := make(chan answer, 1)
		go func() {
			res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"a"}}, Now: base})
			answers <- answer{res, err}
		}()
		awaitBlocked(t, pool, tx, func() bool { return len(answers) > 0 })
		if len(answers) > 0 {
			t.Fatalf("%s: the walk did not wait: %+v", name, <-answers)
		}
		end := tx.Rollback
		if claims {
			end = tx.Commit
		}
		if err := end(ctx); err != nil {
			t.Fatal(err)
		}
		got := <-answers
		var stop *recall.NotCancellableError
		switch {
		case !claims && (got.err != nil || got.res.Cancelled != 5):
			t.Errorf("%s: %+v, %v", name, got.res, got.err)
		case claims && (!errors.As(got.err, &stop) || stop.ID != receipts[3].ID || got.res.Cancelled != 3):
			t.Errorf("%s: %+v, %v", name, got.res, got.err)
		}
		if res, err := e.Restore(ctx, got.res.Operation, base); err != nil || res.Restored != got.res.Cancelled {
			t.Fatalf("%s: restored %+v, %v", name, res, err)
		}
		if _, err := pool.Exec(ctx, `UPDATE `+schema+`.messages SET state = 0`); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGuardIsOneTransaction: between the count of a guard and the end of the call
// nothing can be claimed, and more than can be locked is refused.
func TestGuardIsOneTransaction(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	ctx := t.Context()
	e, err := postgres.Open(ctx, dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, ChunkSize: 1, MaxGuarded: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	publish := func(n int) {
		for range n {
			if _, err := e.Insert(ctx, []recall.Message{message("a")}, base); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(3)
	claimed := -1
	res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{
		Filter: recall.Filter{Labels: []string{"a"}}, Guard: recall.Guard{Set: true, Least: 3, Most: 3}, Now: base,
		Started: func(recall.OperationID) {
			res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 9})
			if err != nil {
				t.Error(err)
			}
			claimed = len(res.Leases)
		},
	})
	if err != nil || res.Cancelled != 3 || claimed != 0 {
		t.Errorf("%d were claimed while a guard held; then %+v, %v", claimed, res, err)
	}
	publish(4)
	_, err = e.CancelMatching(ctx, recall.CancelMatchingRequest{
		Filter: recall.Filter{Labels: []string{"a"}}, Guard: recall.Guard{Set: true, Most: 9}, Now: base,
	})
	if !errors.Is(err, recall.ErrUnsupported) {
		t.Errorf("a guard over too much: %v", err)
	}
	if c, err := e.Count(ctx, recall.Filter{}, base); err != nil || c.Pending != 4 {
		t.Errorf("Count: %+v, %v", c, err)
	}
}

// TestTwoOwners: what one process has in flight another one neither claims nor
// finishes, until the first has not renewed its leases in time. Then the attempt
// counts, and the old lease is stale.
func TestTwoOwners(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	ctx := t.Context()
	open := func() *postgres.Engine {
		e, err := postgres.Open(ctx, dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	one, two := open(), open()
	defer two.Close()
	m := message("a")
	m.Retries = recall.Retries(0)
	if _, err := one.Insert(ctx, []recall.Message{message("a"), m}, base); err != nil {
		t.Fatal(err)
	}
	claim := func(e *postgres.Engine) []recall.Lease {
		res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 9})
		if err != nil {
			t.Fatal(err)
		}
		return res.Leases
	}
	old := claim(one)
	if got := claim(two); len(old) != 2 || len(got) != 0 {
		t.Fatalf("%d leases for the first, %d for the second", len(old), len(got))
	}
	if err := postgres.Crash(ctx, one); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Renew(ctx, two); err != nil {
		t.Fatal(err)
	}
	got := claim(two)
	if len(got) != 1 || got[0].Message.Attempts != 2 {
		t.Fatalf("after the end of the first owner: %+v", got)
	}
	if err := two.Finish(ctx, old[0], recall.Finish{Outcome: recall.Delivered, Now: base}); !errors.Is(err, recall.ErrLeaseLost) {
		t.Errorf("Finish with the old lease: %v", err)
	}
	dead, err := two.ListDead(ctx, recall.Filter{}, "", 9)
	if err != nil || len(dead) != 1 || dead[0].Message.ID != old[1].Message.ID {
		t.Errorf("the attempt that was the last: %+v, %v", dead, err)
	}
}
