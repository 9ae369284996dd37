package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// session is a transaction: one of this package, or of the program.
type session interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Commit(ctx context.Context) error
	Conn() *pgx.Conn
}

// lazyTx is a transaction whose BEGIN is sent with its first statements: that saves a
// round trip.
type lazyTx struct {
	conn  *pgx.Conn
	begun bool
	over  bool // it was rolled back
	// first, if not empty, bounds how long the server waits for the next statement. A
	// process that stands still in the middle of a transaction holds what it has locked,
	// which others wait for: the right to publish, perhaps. A transaction of the program
	// may take its time.
	first string
}

const beginText = "begin isolation level read committed"

func (t *lazyTx) Conn() *pgx.Conn { return t.conn }

func (t *lazyTx) begin(ctx context.Context) error {
	if t.begun {
		return nil
	}
	text := beginText
	if t.first != "" {
		text += "; " + t.first
	}
	_, err := t.conn.Exec(ctx, text)
	t.begun = err == nil
	return err
}

func (t *lazyTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := t.begin(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.conn.Exec(ctx, sql, args...)
}

func (t *lazyTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	return t.conn.Query(ctx, sql, args...)
}

func (t *lazyTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := t.begin(ctx); err != nil {
		return failedRow{err}
	}
	return t.conn.QueryRow(ctx, sql, args...)
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

func (t *lazyTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if !t.begun {
		t.begun = true // or it fails whole
		whole := &pgx.Batch{}
		whole.Queue(beginText)
		if t.first != "" {
			whole.Queue(t.first)
		}
		whole.QueuedQueries = append(whole.QueuedQueries, b.QueuedQueries...)
		b = whole
	}
	return t.conn.SendBatch(ctx, b)
}

func (t *lazyTx) Commit(ctx context.Context) error {
	if !t.begun {
		return nil
	}
	tag, err := t.conn.Exec(ctx, "commit")
	if err == nil && tag.String() == "ROLLBACK" {
		err = pgx.ErrTxCommitRollback
	}
	return err
}

// rollback ends what was not committed. What cannot be ended ends with its connection.
func (t *lazyTx) rollback(ctx context.Context) {
	const idle = 'I'
	if t.over {
		return
	}
	t.over = true // the connection may be somebody else's from now on
	if t.conn.IsClosed() || t.conn.PgConn().TxStatus() == idle {
		return
	}
	if _, err := t.conn.Exec(ctx, "rollback"); err != nil {
		_ = t.conn.Close(ctx)
	}
}
