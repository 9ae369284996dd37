package peer

import (
	"context"
	"errors"

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
}

type recallPostgresQueue struct {
	*recallQueue
	server *pgServer
	engine *postgres.Engine
}

func openRecallPostgres(ctx context.Context, dir string, o PostgresOptions, broker *recall.Options) (Queue, error) {
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

func newRecallPostgres(ctx context.Context, server *pgServer, o *recall.Options) (Queue, error) {
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

func (q *recallPostgresQueue) Checkpoint(ctx context.Context) error { return q.server.Checkpoint(ctx) }
func (q *recallPostgresQueue) Size() (int64, error)                 { return q.server.Size() }
func (q *recallPostgresQueue) Memory() (int64, error)               { return q.server.Memory() }

func (q *recallPostgresQueue) Close() error {
	return errors.Join(q.recallQueue.Close(), q.server.close())
}
