package peer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// RecallPostgres is the same broker with the queue on a server, as several processes
// share it.
var RecallPostgres = &Peer{
	Name:     "Recall, PostgreSQL",
	Settings: "module postgres on " + postgresConnection + "; 256 slots, the rest as by default",
	CancelBy: "CancelMatching by label, in chunks of 1,000",
	CountBy:  "Count by label",
	Program:  postgresProgram,
	Open: func(ctx context.Context, dir string, publishers int) (Queue, error) {
		return openRecallPostgres(ctx, dir, publishersOf(publishers), &recall.Options{Slots: 256})
	},
	OpenOn: func(ctx context.Context, dir string, o PostgresOptions) (PostgresQueue, error) {
		return openRecallPostgres(ctx, dir, o, &recall.Options{NoDispatch: true})
	},
}

type recallPostgresQueue struct {
	*recallQueue
	server *pgServer
	engine *postgres.Engine
}

func openRecallPostgres(ctx context.Context, dir string, o PostgresOptions, broker *recall.Options) (PostgresQueue, error) {
	o.configure = postgres.Configure
	server, err := startPostgres(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	q, err := newRecallPostgres(ctx, server, broker)
	if err != nil {
		return nil, errors.Join(err, server.close())
	}
	return q, nil
}

func newRecallPostgres(ctx context.Context, server *pgServer, o *recall.Options) (PostgresQueue, error) {
	engine, err := postgres.Open(ctx, server.pool, nil)
	if err != nil {
		return nil, err
	}
	o.Logger = warnings()
	br, err := recall.New(engine, o)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	q := &recallPostgresQueue{&recallQueue{br, server.dir}, server, engine}
	for _, table := range []string{"messages", "payloads", "labels"} {
		if err := server.checkLogged(ctx, postgres.DefaultSchema+"."+table); err != nil {
			return nil, errors.Join(err, q.recallQueue.Close())
		}
	}
	return q, nil
}

func (q *recallPostgresQueue) Quiet(ctx context.Context) error {
	return q.server.warm(ctx, postgres.DefaultSchema, "messages")
}

// Claim calls the engine as a broker does, with as many slots for each worker as it
// may claim at a time: each message is forgotten by a call of its own.
func (q *recallPostgresQueue) Claim(workers, n int, done Claimed) (Claims, error) {
	ctx := context.Background() // what was claimed is forgotten
	return startTurns(workers, done, func() (int, error) {
		result, err := q.engine.Claim(ctx, recall.ClaimRequest{Now: time.Now(), Max: n})
		if err != nil {
			return 0, err
		}
		var group sync.WaitGroup
		errs := make([]error, len(result.Leases))
		for i, lease := range result.Leases {
			group.Go(func() {
				errs[i] = q.engine.Finish(ctx, lease, recall.Finish{Outcome: recall.Delivered, Now: time.Now()})
			})
		}
		group.Wait()
		return len(result.Leases), errors.Join(errs...)
	}), nil
}

func (q *recallPostgresQueue) Durable(ctx context.Context) error    { return q.server.Durable(ctx) }
func (q *recallPostgresQueue) Address() string                      { return q.server.Address() }
func (q *recallPostgresQueue) Checkpoint(ctx context.Context) error { return q.server.Checkpoint(ctx) }
func (q *recallPostgresQueue) Size() (int64, error)                 { return q.server.Size() }
func (q *recallPostgresQueue) Memory() (int64, error)               { return q.server.Memory() }

func (q *recallPostgresQueue) Close() error {
	return errors.Join(q.recallQueue.Close(), q.server.close())
}
