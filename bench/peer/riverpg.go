package peer

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// RiverPostgres is River where it is at home.
var RiverPostgres = &Peer{
	Name:     "River, PostgreSQL",
	Settings: riverVersion + " on " + postgresConnection + "; " + riverSettings + "; InsertManyFast",
	CancelBy: riverCancel,
	CountBy:  riverCount,
	Program:  postgresProgram,
	Open: func(ctx context.Context, dir string, publishers int) (Queue, error) {
		return openRiverPostgres(ctx, dir, publishersOf(publishers))
	},
	OpenOn: func(ctx context.Context, dir string, o PostgresOptions) (PostgresQueue, error) {
		return openRiverPostgres(ctx, dir, o)
	},
}

type riverPostgresQueue struct {
	*riverQueue[pgx.Tx]
	*pgServer
	driver *riverpgxv5.Driver
}

func openRiverPostgres(ctx context.Context, dir string, o PostgresOptions) (PostgresQueue, error) {
	server, err := startPostgres(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	driver := riverpgxv5.New(server.pool)
	q, err := newRiver(ctx, driver)
	if err == nil {
		err = server.checkLogged(ctx, "river_job")
	}
	if err != nil {
		return nil, errors.Join(err, server.close())
	}
	return &riverPostgresQueue{q, server, driver}, nil
}

// PublishBatch copies the rows in.
func (q *riverPostgresQueue) PublishBatch(ctx context.Context, msgs []Message) error {
	_, err := q.client.InsertManyFast(ctx, riverParams(msgs))
	return err
}

func (q *riverPostgresQueue) Quiet(ctx context.Context) error { return q.warm(ctx, "river_job") }
func (q *riverPostgresQueue) Close() error                    { return q.close() }
