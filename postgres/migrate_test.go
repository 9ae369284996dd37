package postgres_test

import (
	"errors"
	"sync"
	"testing"

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
