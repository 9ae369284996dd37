package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
)

// A commit that waits for a synchronous standby can be made to wait no longer: by
// pg_cancel_backend, for example. PostgreSQL then says that it was committed, and warns
// that this is so on the primary only, where a failover would undo it. The warning comes
// before the answer, as a notice of the connection.

// noticesKey is where a connection has its *notices.
const noticesKey = "github.com/recallmq/recall/postgres: notices"

// notices is what a connection was warned of. Who uses the connection uses it, too.
type notices struct{ abandoned bool }

// codeWarning is the code of that warning; its text depends on the language of the
// server. Nothing else warns of anything during a commit here. When the server ends the
// connection, it warns with another code, which says as little about the commit as the
// lost connection: see outcome.
const codeWarning = "01000"

// Configure has the connections of a pool watched for the warning that a commit no
// longer waits for a synchronous standby. A program that gives [Open] a pool of its own
// calls it before it makes the pool; for a DSN it is done. Without it such a commit
// counts as done, although a failover may undo it. The program's own OnNotice and
// AfterConnect are called as before.
func Configure(c *pgxpool.Config) {
	onNotice, afterConnect := c.ConnConfig.OnNotice, c.AfterConnect
	c.ConnConfig.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if w := noticesOf(conn); w != nil && n.Code == codeWarning {
			w.abandoned = true
		}
		if onNotice != nil {
			onNotice(conn, n)
		}
	}
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		conn.PgConn().CustomData()[noticesKey] = &notices{}
		if afterConnect != nil {
			return afterConnect(ctx, conn)
		}
		return nil
	}
}

// noticesOf is nil for a connection that nobody watches.
func noticesOf(conn *pgconn.PgConn) *notices {
	w, _ := conn.CustomData()[noticesKey].(*notices)
	return w
}

// errAbandoned is what a commit fails with that did not wait for the standby.
var errAbandoned = errors.New("the commit no longer waited for the synchronous standby: a failover may undo it")

// commitWatched commits, and fails if the commit did not wait for the standby.
func commitWatched(ctx context.Context, tx session) error {
	w := noticesOf(tx.Conn().PgConn())
	if w != nil {
		w.abandoned = false
	}
	err := tx.Commit(ctx)
	if err == nil && w != nil && w.abandoned {
		return &recall.UnknownError{Err: errAbandoned}
	}
	return err
}

// checkNotices warns where a commit that does not wait would go unseen.
func (e *Engine) checkNotices(ctx context.Context) error {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if noticesOf(conn.Conn().PgConn()) == nil {
		e.log.Warn("recall: there is a synchronous standby, and a commit that does not wait for it counts as done: the pool was made without postgres.Configure")
	}
	return nil
}
