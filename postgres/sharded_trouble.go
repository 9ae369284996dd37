package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/recallmq/recall"
)

// trouble is what was seen last of a database that does not answer. Whoever has a choice
// leaves it alone for a while.
type trouble struct {
	mu    sync.Mutex
	since func() time.Duration // nil: none
	stuck int                  // calls that were left alone, and still run
}

// rest is how long a database is left alone. To be refused takes no time, but to learn
// that nobody is there may.
const rest = time.Second

// saw notes how a call has ended.
func (t *trouble) saw(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.since = nil
	case isTrouble(err):
		t.since = stopwatch()
	}
}

func (t *trouble) resting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stuck > 0 || t.since != nil && t.since() < rest
}

// leave notes that a call was left alone, or that it has ended at last.
func (t *trouble) leave(calls int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stuck += calls
}

// isTrouble tells what a database, or the way to it, is the reason of. A refusal of what
// was asked is no trouble, nor is a call that was given up.
func isTrouble(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, recall.ErrClosed) {
		return false
	}
	var connecting *pgconn.ConnectError
	var network net.Error
	var answer *pgconn.PgError
	switch {
	case errors.As(err, &answer):
		class := answer.Code[:min(2, len(answer.Code))]
		return class == "08" || class == "57" || class == "53"
	case errors.As(err, &connecting), errors.As(err, &network):
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}

// late is the error of a database that has not answered in time.
type late struct{}

func (late) Error() string   { return "postgres: the database did not answer in time" }
func (late) Timeout() bool   { return true }
func (late) Temporary() bool { return true }

var errLate net.Error = late{}
