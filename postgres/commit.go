package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/recallmq/recall"
)

// A connection that is lost during a commit leaves the outcome unknown. So every
// transaction writes a row with a key of its own, and whoever does not know asks for
// that row by inserting it, marked: if another is there, the transaction was committed. If
// it is not, it never will be, as the old transaction, should it still be about to commit,
// now violates the key. The insert waits for one that is neither. By the mark, a time
// that is negative, whoever has to ask again knows the row of the first question.

// callTime is how long keys are kept. Who asks later than half of that, by the clock of the
// server, as a process may have been suspended, does not get to know.
const callTime = time.Hour

// commit commits. An error says that nothing has happened, but for [recall.ErrFailed],
// which says that this is not known. If there was no answer the connection is given back
// by release before anybody asks for the outcome: that takes one, too, and where many
// commits are cut off at once, as when a server goes, there may be no other.
func (u *unit) commit(release func()) error {
	answered, err := u.commitOnce()
	if !answered {
		release()
		err = u.unanswered(err)
	}
	if u.claims && errors.Is(err, errAbandoned) { // what it gives out was promised to nobody
		return nil
	}
	return err
}

// commitOnce commits, and reports whether there was an answer.
func (u *unit) commitOnce() (answered bool, err error) {
	if u.idle {
		return true, u.tx.Commit(u.ctx)
	}
	if u.call == nil {
		u.call = newCall()
		if _, err := u.exec(insertCall, *u.call); err != nil {
			return true, err
		}
	}
	err = commitWatched(u.ctx, u.tx)
	var refused *pgconn.PgError
	switch {
	case err == nil, errors.Is(err, errAbandoned), errors.Is(err, pgx.ErrTxCommitRollback):
		return true, err
	case errors.As(err, &refused):
		return refused.Code[:2] != "08" && refused.Code[:2] != "57", err
	}
	return false, err
}

// unanswered finds out what became of the commit. Who has connections of other databases
// must not wait for one of this pool: others have those, perhaps, and wait for the others.
func (u *unit) unanswered(err error) error {
	on := u.e.acquire
	if u.spans {
		on = u.e.connect
	}
	return u.e.outcome(u.ctx, *u.call, u.began, err, on)
}

// connects gives a connection, and what it is given back by.
type connects func(ctx context.Context) (conn *pgx.Conn, release func(), err error)

const insertCall = `INSERT INTO @calls (shard, call, at_us) VALUES ($1, $2, ` + clockUS + `)`

func newCall() *[16]byte {
	var call [16]byte
	_, _ = rand.Read(call[:]) // never fails
	return &call
}

// askOutcome returns the time of the row that is there, and that of the server.
const askOutcome = `INSERT INTO @calls AS c (shard, call, at_us) VALUES ($1, $2, -` + clockUS + `)
	ON CONFLICT (shard, call) DO UPDATE SET at_us = c.at_us RETURNING c.at_us, ` + clockUS

// outcome finds out what became of a commit, begun at a time of the server, that was not
// answered.
func (e *Engine) outcome(ctx context.Context, call [16]byte, began time.Time, cause error, on connects) error {
	ctx, cancel := context.WithTimeout(ctx, callTime/2)
	defer cancel()
	for try := 0; ; try++ {
		there, now, err := e.askFor(ctx, call, on)
		var unknown *recall.UnknownError
		switch {
		case there && (err == nil || errors.As(err, &unknown)):
			return err
		case err == nil && now.Sub(began) > callTime/2:
			return &recall.UnknownError{Err: fmt.Errorf("the connection was lost during a commit, and its key may be forgotten: %w", cause)}
		case err == nil:
			return notCommitted(cause)
		case e.isClosed() || pause(ctx, try) != nil:
			return &recall.UnknownError{Err: fmt.Errorf("the connection was lost during a commit: %w", cause)}
		}
	}
}

// askFor asks for the key of a commit, and when it is there has it durable. It returns the
// time of the server.
func (e *Engine) askFor(ctx context.Context, call [16]byte, on connects) (there bool, now time.Time, err error) {
	conn, release, err := on(ctx)
	if err != nil {
		return false, now, err
	}
	defer release()
	var at, us int64
	err = conn.QueryRow(ctx, e.sql(askOutcome), e.shard, call).Scan(&at, &us)
	if there = err == nil && at > 0; there {
		err = e.settle(ctx, conn, call)
	}
	return there, time.UnixMicro(us), err
}

// notCommitted is the error of a transaction that may be made again.
func notCommitted(cause error) error {
	return fmt.Errorf("postgres: the transaction was not committed: %w", &pgconn.PgError{
		Severity: "ERROR", Code: codeNotCommitted, Message: cause.Error(),
	})
}

// settle returns when a commit that is visible is durable, too: where there is a
// synchronous standby, its wait for that may have been cut short together with the
// connection. What is committed after it waits for the standby to have both.
func (e *Engine) settle(ctx context.Context, conn *pgx.Conn, call [16]byte) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // it is over, or what went wrong is known
	if _, err := tx.Exec(ctx, e.sql(`UPDATE @calls SET at_us = `+clockUS+` WHERE shard = $1 AND call = $2`), e.shard, call); err != nil {
		return err
	}
	return commitWatched(ctx, tx)
}

// dropCalls removes keys that nobody asks for any more.
func (u *unit) dropCalls(time.Time) (more bool, err error) {
	n, err := u.exec(`DELETE FROM @calls c USING (SELECT call FROM @calls WHERE shard = $1
			AND at_us BETWEEN $2 - `+clockUS+` AND `+clockUS+` - $2 LIMIT $3 FOR UPDATE SKIP LOCKED) l
		WHERE c.shard = $1 AND c.call = l.call`, callTime.Microseconds(), purgePart)
	return n == purgePart, err
}
