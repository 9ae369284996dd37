package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// The classes of errors of PostgreSQL that are handled here.
var (
	// transient: the same transaction may do now. Serialisation failure, deadlock,
	// a lock that was not there in time, and a process that has stood still; see
	// lazyTx.
	transient = []string{"40001", "40P01", "55P03", "25P03", codeNotCommitted}
	// deadlocked: those of them that nobody had to be waited for.
	deadlocked = []string{"40001", "40P01"}
	// duplicate: another process has made the same thing at the same time. Unique
	// violation, duplicate schema, table, and object.
	duplicate = []string{"23505", "42P06", "42P07", "42710"}
)

// codeNotCommitted is of this package: the connection was lost while the transaction
// was to be committed, and it was not. As PostgreSQL does, it calls an error of
// connections 08.
const codeNotCommitted = "08R01"

// maxTries bounds how often a transaction is made again.
const maxTries = 20

func hasCode(err error, codes []string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && slices.Contains(codes, pg.Code)
}

// again calls f until it fails in another way than with one of the codes, or
// succeeds. Whoever waits for a lock does so as long as the context allows, if that ends.
func again(ctx context.Context, codes []string, f func() error) (err error) {
	for made, counted := 0, 0; counted < maxTries; made++ {
		took := stopwatch()
		if err = f(); !hasCode(err, codes) {
			return err
		}
		if ctx.Done() == nil || !isLockTimeout(err) || took() < lockPatience {
			counted++
		}
		if err := pause(ctx, made); err != nil {
			return err
		}
	}
	return err
}
