package postgres_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// TestOpenAtOnce opens an empty database from ten places at the same time, and then a
// second time.
func TestOpenAtOnce(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	for range 2 {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				e, err := postgres.Open(t.Context(), dsn, &postgres.Options{AllowUnsafe: true, Schema: schema})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := e.Insert(t.Context(), []recall.Message{message("a")}, base); err != nil {
					t.Error(err)
				}
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	e, err := postgres.Open(t.Context(), dsn, &postgres.Options{AllowUnsafe: true, Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if c, err := e.Count(t.Context(), recall.Filter{}, base); err != nil || c.Pending != 20 {
		t.Errorf("Count: %+v, %v, want 20 pending", c, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool := newPool(t, dsn)
	open := func() error {
		e, err := postgres.Open(t.Context(), pool, &postgres.Options{AllowUnsafe: true, Schema: schema})
		if err == nil {
			err = e.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "UPDATE "+schema+".meta SET version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := open(); !errors.Is(err, recall.ErrVersion) {
		t.Errorf("a newer schema: %v", err)
	}
	if _, err := pool.Exec(t.Context(), "UPDATE "+schema+".meta SET version = 1, shards = 4"); err != nil {
		t.Fatal(err)
	}
	if err := open(); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("another number of shards: %v", err)
	}
	for _, o := range []postgres.Options{{Schema: "a.b"}, {Schema: `x"; DROP`}, {Shards: 2}, {LeaseTime: 1}, {ChunkSize: -1}} {
		if _, err := postgres.Open(t.Context(), pool, &o); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestOpenAsOwner opens as a role that owns the schema, and cannot make another one.
func TestOpenAsOwner(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool := newPool(t, dsn)
	for _, text := range []string{"CREATE ROLE " + schema + " LOGIN", "CREATE SCHEMA " + schema + " AUTHORIZATION " + schema} {
		if _, err := pool.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE "+schema)
		return err
	}
	owned, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer owned.Close()
	for range 2 {
		e, err := postgres.Open(t.Context(), owned, &postgres.Options{AllowUnsafe: true, Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err = pool.Exec(t.Context(), "DROP SCHEMA "+schema+" CASCADE; DROP ROLE "+schema) // a server of others keeps roles
	if err != nil {
		t.Error(err)
	}
}

// TestLargeOptions: a limit may be as large as its type has it.
func TestLargeOptions(t *testing.T) {
	e, _ := newEngine(t, postgres.Options{
		LeaseTime: math.MaxInt64, ChunkSize: math.MaxInt, MaxGuarded: math.MaxInt, MaxEvents: math.MaxInt, MaxDeduplicationIDs: math.MaxInt,
		UndoBytes: math.MaxInt64, UndoWindow: math.MaxInt64, DeduplicationWindow: math.MaxInt64, AuditRetention: math.MaxInt64,
		EventRetention: math.MaxInt64, LongTransaction: math.MaxInt64,
	})
	ctx := t.Context()
	m := message("a")
	m.DeduplicationID = "x"
	_, err := e.Insert(ctx, []recall.Message{m}, base)
	errs := []error{err}
	_, err = e.Claim(ctx, recall.ClaimRequest{Now: base, Max: math.MaxInt, Handlers: []string{"local:x"}, Only: true})
	errs = append(errs, err)
	_, err = e.Maintain(ctx, base)
	errs = append(errs, err)
	for _, g := range []recall.Guard{{}, {Set: true, Most: 5}} {
		_, err = e.CancelMatching(ctx, recall.CancelMatchingRequest{All: true, Guard: g, Now: base})
		errs = append(errs, err)
		_, err = e.DeleteDeadMatching(ctx, recall.DeadMatchingRequest{Guard: g, Now: base})
		errs = append(errs, err)
	}
	_, err = e.ListDead(ctx, recall.Filter{MinAttempts: math.MaxInt}, "", math.MaxInt)
	errs = append(errs, err)
	_, err = e.List(ctx, recall.Filter{MinAttempts: math.MaxInt}, "", math.MaxInt, base)
	errs = append(errs, err)
	_, err = e.Events(ctx, recall.EventFilter{}, "", math.MaxInt)
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Error(err)
	}
}

// TestUpgradeLetsOthersThrough: an upgrade that waits for a transaction does not hold up
// those who begin theirs behind it, and is done when that transaction is over.
func TestUpgradeLetsOthersThrough(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	pool := newPool(t, dsn)
	open := func() error {
		e, err := postgres.Open(t.Context(), pool, &postgres.Options{AllowUnsafe: true, Schema: schema})
		if err == nil {
			err = e.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	_, err := pool.Exec(t.Context(), strings.ReplaceAll(`DROP TABLE @looks; DROP INDEX @operations_purge;
		ALTER TABLE @operations DROP COLUMN purged; UPDATE @meta SET version = 4`, "@", schema+"."))
	if err != nil {
		t.Fatal(err)
	}
	look := `SELECT FROM ` + schema + `.operations`
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), look); err != nil {
		t.Fatal(err)
	}
	upgraded := make(chan error, 1)
	go func() { upgraded <- open() }()
	waitForUpgrade(t, pool, schema)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if _, err := pool.Exec(ctx, look); err != nil {
		t.Errorf("behind the upgrade: %v", err)
	}
	select {
	case err := <-upgraded:
		t.Fatalf("the upgrade is over beside the transaction: %v", err)
	default:
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-upgraded; err != nil {
		t.Error(err)
	}
	if err := open(); err != nil {
		t.Error(err)
	}
}

// waitForUpgrade waits until a lock on the operations is waited for.
func waitForUpgrade(t *testing.T, pool *pgxpool.Pool, schema string) {
	t.Helper()
	for waits := false; !waits; {
		err := pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks
			WHERE relation = ($1 || '.operations')::regclass AND mode = 'AccessExclusiveLock' AND NOT granted)`, schema).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
	}
}
