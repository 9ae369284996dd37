package peer

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresName is the peer whose DELETE is a mark of its own.
const PostgresName = "PostgreSQL by hand"

// PostgresByHand is the same table as that of SQLite, on a server.
var PostgresByHand = &Peer{
	Name:     PostgresName,
	Settings: postgresConnection + "; an index per column; COPY for batches; 4 workers claim 100 with SKIP LOCKED and finish 100 in one commit",
	CancelBy: byDelete,
	CountBy:  bySelect,
	Program:  postgresProgram,
	Open: func(ctx context.Context, dir string, publishers int) (Queue, error) {
		return openPostgres(ctx, dir, postgresTable, publishersOf(publishers))
	},
	OpenOn: func(ctx context.Context, dir string, o PostgresOptions) (PostgresQueue, error) {
		return openPostgres(ctx, dir, postgresTable, o)
	},
}

const postgresColumns = ` (
	id         bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	state      text    NOT NULL DEFAULT 'pending',
	created_at bigint  NOT NULL,
	due        bigint  NOT NULL,
	attempts   integer NOT NULL DEFAULT 0,
	url        text    NOT NULL,
	queue      text,
	topic      text,
	schedule   text,
	ip         text,
	label      text,
	mark       text,
	body       bytea   NOT NULL
)`

// The table, and one that a crash would empty.
const (
	postgresTable    = `CREATE TABLE IF NOT EXISTS messages` + postgresColumns
	postgresUnlogged = `CREATE UNLOGGED TABLE IF NOT EXISTS messages` + postgresColumns
)

const (
	postgresInsert = `INSERT INTO messages (created_at, due, url, topic, schedule, ip, label, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	postgresClaim  = `UPDATE messages SET state = 'in flight', attempts = attempts + 1 WHERE id IN
		(SELECT id FROM messages WHERE state = 'pending' AND due <= $1 ORDER BY due, id LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id, body`
	postgresFinish = `DELETE FROM messages WHERE id = ANY($1)`

	postgresWorkers = 4
	postgresClaims  = 100
)

type postgresQueue struct{ *pgServer }

func openPostgres(ctx context.Context, dir, table string, o PostgresOptions) (PostgresQueue, error) {
	server, err := startPostgres(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	q := &postgresQueue{server}
	if err := q.migrate(ctx, table); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func (q *postgresQueue) migrate(ctx context.Context, table string) error {
	if _, err := q.pool.Exec(ctx, table); err != nil {
		return err
	}
	var indexes int
	if err := q.pool.QueryRow(ctx, `SELECT count(*) FROM pg_indexes WHERE tablename = 'messages'`).Scan(&indexes); err != nil {
		return err
	}
	if indexes == 1 { // the key alone
		for _, index := range SQLiteIndexes { // the statements are the same
			if _, err := q.pool.Exec(ctx, index); err != nil {
				return err
			}
		}
	}
	return q.checkLogged(ctx, "messages")
}

// postgresRow has the values of the columns that are inserted.
func postgresRow(m Message) []any {
	now := time.Now().UnixMilli()
	due := now
	if !m.Due.IsZero() {
		due = m.Due.UnixMilli()
	}
	return []any{now, due, m.URL, m.Topic, m.Schedule, m.IP, m.Label, m.Body}
}

func (q *postgresQueue) Publish(ctx context.Context, m Message) error {
	_, err := q.pool.Exec(ctx, postgresInsert, postgresRow(m)...)
	return err
}

func (q *postgresQueue) PublishBatch(ctx context.Context, msgs []Message) error {
	_, err := q.pool.CopyFrom(ctx, pgx.Identifier{"messages"},
		[]string{"created_at", "due", "url", "topic", "schedule", "ip", "label", "body"},
		pgx.CopyFromSlice(len(msgs), func(i int) ([]any, error) { return postgresRow(msgs[i]), nil }))
	return err
}

// Deliver has workers that forget what they handled in the commit that claims
// the next.
func (q *postgresQueue) Deliver(h Handler) (func() error, error) {
	held := make([][]int64, postgresWorkers)
	stop := startWorkers(postgresWorkers, func(_ context.Context, w int) (bool, error) {
		ids, err := q.turn(held[w], h)
		if err != nil {
			return false, err
		}
		held[w] = ids
		return len(ids) > 0, nil
	})
	return func() error {
		err := stop()
		for _, ids := range held {
			_, failed := q.pool.Exec(context.Background(), postgresFinish, ids)
			err = errors.Join(err, failed)
		}
		return err
	}, nil
}

// Claim has workers that claim in one commit and forget in the next, unlike
// those of Deliver.
func (q *postgresQueue) Claim(workers, n int, done Claimed) (Claims, error) {
	ctx := context.Background() // what was claimed is forgotten
	return startTurns(workers, done, func() (int, error) {
		rows, err := q.pool.Query(ctx, postgresClaim, time.Now().UnixMilli(), n)
		if err != nil {
			return 0, err
		}
		ids, _, err := scanClaimed(rows)
		if err != nil || len(ids) == 0 {
			return 0, err
		}
		_, err = q.pool.Exec(ctx, postgresFinish, ids)
		return len(ids), err
	}), nil
}

func scanClaimed(rows pgx.Rows) (ids []int64, bodies [][]byte, err error) {
	var id int64
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &body}, func() error {
		ids, bodies = append(ids, id), append(bodies, body)
		body = nil // each row has its own
		return nil
	})
	return ids, bodies, err
}

// turn sends both statements at once: they are one transaction.
func (q *postgresQueue) turn(held []int64, h Handler) (ids []int64, err error) {
	var batch pgx.Batch
	if len(held) > 0 {
		batch.Queue(postgresFinish, held)
	}
	var bodies [][]byte
	batch.Queue(postgresClaim, time.Now().UnixMilli(), postgresClaims).Query(func(rows pgx.Rows) (err error) {
		ids, bodies, err = scanClaimed(rows)
		return err
	})
	if err := q.pool.SendBatch(context.Background(), &batch).Close(); err != nil {
		return nil, err
	}
	for _, body := range bodies {
		h(body)
	}
	return ids, nil
}

func (q *postgresQueue) Cancel(ctx context.Context, label string) (int, error) {
	tag, err := q.pool.Exec(ctx, `DELETE FROM messages WHERE label = $1 AND state = 'pending'`, label)
	return int(tag.RowsAffected()), err
}

func (q *postgresQueue) Count(ctx context.Context, label string) (n int, err error) {
	err = q.pool.QueryRow(ctx, `SELECT count(*) FROM messages WHERE label = $1 AND state = 'pending'`, label).Scan(&n)
	return n, err
}

func (q *postgresQueue) Quiet(ctx context.Context) error { return q.warm(ctx, "messages") }
func (q *postgresQueue) Close() error                    { return q.close() }
