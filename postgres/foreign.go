package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// A transaction that is open for long keeps PostgreSQL from removing the old versions of
// rows, of which a queue makes many: every claim has to step over those.

// foreignPause is how long after a warning there is no other one, and how often it is
// looked at most.
const foreignPause = time.Minute

// watchForeign warns of transactions that are open for long.
func (e *Engine) watchForeign(ctx context.Context) {
	pause := min(e.opts.LongTransaction, foreignPause)
	for sleep(ctx, pause) == nil {
		pause = min(e.opts.LongTransaction, foreignPause)
		if e.warnOfForeign(ctx) {
			pause = foreignPause
		}
	}
}

// warnOfForeign reports whether there was something to warn of. What the database does
// not show, or when it does not answer, it does not know.
func (e *Engine) warnOfForeign(ctx context.Context) bool {
	var pid, seconds int
	var user, application, state string
	err := e.pool.QueryRow(ctx, `SELECT pid, COALESCE(usename, ''), application_name, COALESCE(state, ''),
			extract(epoch FROM clock_timestamp() - xact_start)::int
		FROM pg_stat_activity
		WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
			AND xact_start < clock_timestamp() - $1 * interval '1 millisecond'
		ORDER BY xact_start LIMIT 1`, e.opts.LongTransaction.Milliseconds()).Scan(&pid, &user, &application, &state, &seconds)
	switch {
	case err == nil:
	case errors.Is(err, pgx.ErrNoRows):
		return false
	default:
		return false // another warning would be about something else
	}
	e.log.Warn("recall: a transaction that is open for long makes claims slow", "pid", pid, "user", user,
		"application", application, "state", state, "age", time.Duration(seconds)*time.Second)
	return true
}
