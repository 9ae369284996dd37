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

// TestShardedEngine holds four shards in one database to the contract.
func TestShardedEngine(t *testing.T) { enginetest.RunParallel(t, shardedHarness) }

func shardedHarness(t *testing.T) enginetest.Harness {
	dsn, schema := pgtest.Schema(t)
	open := func() (*postgres.Sharded, error) {
		return postgres.OpenShards(t.Context(), []string{dsn}, &postgres.Options{
			Schema: schema, Shards: 4, LeaseTime: time.Hour, PollInterval: 20 * time.Millisecond, ChunkSize: 100,
		})
	}
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return enginetest.Harness{
		Engine: s,
		Fewer:  10,
		Reopen: func(crash bool, _ time.Time) (_ recall.Engine, err error) {
			if crash {
				err = postgres.CrashShards(context.Background(), s)
			} else {
				err = s.Close()
			}
			if err != nil {
				return nil, err
			}
			s, err = open()
			return s, err
		},
		Unlike: unlike,
	}
}

// unlike are the promises that several shards keep in another way.
var unlike = map[string]string{}
