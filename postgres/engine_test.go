package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

func TestEngine(t *testing.T) { enginetest.RunParallel(t, harness) }

// harness is an engine on a schema of its own, with chunks that the tests of many
// messages fill. A crash is an engine whose process
// is gone: nobody renews its leases, and their time is over.
func harness(t *testing.T) enginetest.Harness {
	dsn, schema := pgtest.Schema(t)
	open := func() (*postgres.Engine, error) {
		return postgres.Open(t.Context(), dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, PollInterval: 20 * time.Millisecond, ChunkSize: 100, MaxGuarded: 1_000_000})
	}
	e, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return enginetest.Harness{
		Engine: e,
		Fewer:  10,
		Reopen: func(crash bool, _ time.Time) (_ recall.Engine, err error) {
			if crash {
				err = postgres.Crash(context.Background(), e)
			} else {
				err = e.Close()
			}
			if err != nil {
				return nil, err
			}
			e, err = open()
			return e, err
		},
		Another: func() (recall.Engine, error) { return open() },
	}
}
