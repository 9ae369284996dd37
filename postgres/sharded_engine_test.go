package postgres_test

import (
	"cmp"
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
			AllowUnsafe: true,
			Schema:      schema, Shards: 4, LeaseTime: time.Hour, PollInterval: 20 * time.Millisecond, ChunkSize: 100,
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
		Another: func() (recall.Engine, error) { return open() },
		Walk: func(a, b recall.MessageID) int {
			return cmp.Or(cmp.Compare(postgres.HomeOf(s, a), postgres.HomeOf(s, b)), cmp.Compare(a, b))
		},
		Unlike: unlike,
	}
}

// What several shards do in another way, as docs/postgres.md says.
const (
	noQueueAndKey = "a message with a queue and a flow-control key is refused"
	inTurn        = "walks go through the shards in turn, and claims ask them so"
	shardByShard  = "what one call publishes to several shards is not one unit, and its ids are in order within a shard"
)

// unlike are the promises that several shards keep in another way.
var unlike = map[string]string{
	"Insert/what is stored comes back whole":                                      noQueueAndKey,
	"Flow/a queue and a key bind together":                                        noQueueAndKey,
	"Event/the log tells the life of a message":                                   noQueueAndKey,
	"Standing/every field of a filter counts":                                     noQueueAndKey,
	"Policy/stop meets a message that is in flight":                               inTurn,
	"Policy/wait meets a message that is in flight":                               inTurn,
	"Guard/more than one slice of a walk":                                         inTurn,
	"CancelMatching/several values are walked as one list":                        inTurn,
	"Claim/Next is the earliest due time of what is left":                         inTurn,
	"Queue/queues go on where they were, crash":                                   inTurn,
	"Queue/queues go on where they were, clean":                                   inTurn,
	"Change/hold: what is pending is not delivered, and else as it was":           inTurn,
	"Change/retry now: only what waits for a retry":                               inTurn,
	"Deduplication/of a batch the later message is the duplicate":                 shardByShard,
	"Filter/many values":                                                          shardByShard,
	"Wait/the end of the time counts for the whole call":                          inTurn,
	"Filter/an attempt that was waited for is judged again":                       inTurn,
	"Filter/ids are walked in the order of creation":                              inTurn,
	"Cancel/a pending message is gone":                                            inTurn,
	"Audit/a call that waited has one record, crash":                              inTurn,
	"Audit/a call that waited has one record, clean":                              inTurn,
	"DeadLetter/several entries are retried as one unit, in order":                shardByShard,
	"Deduplication/a transaction sees its own ids, and leaves none when it fails": "a transaction belongs to one shard",
	"Lockstep": "the reference engine has one shard",
}
