package peer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// PostgresQueue is a queue on a PostgreSQL that it has to itself.
type PostgresQueue interface {
	Queue
	// Claim has so many workers claim at most n due messages at a time and then
	// forget them, in a commit of its own each, until the claims are stopped or
	// nothing is left.
	Claim(workers, n int, done Claimed) (Claims, error)
	// Durable reads back that a commit is on the disk when it is answered, and with
	// a standby on both disks; it answers a [*NotDurableError] if not.
	Durable(ctx context.Context) error
	// Address is where the server is, for those who look or stand in the way.
	Address() string
}

// OnPostgres are the peers that OpenOn opens, Recall first.
var OnPostgres = []*Peer{RecallPostgres, PostgresByHand, RiverPostgres}

// Claimed hears that n messages are claimed and forgotten, and how long that
// took; 0 if the peer does not tell. It is called from many goroutines at once.
type Claimed func(n int, took time.Duration)

// Claims are workers that run.
type Claims interface {
	// Dry tells whether a worker has found nothing left to claim: then the others
	// may have had less to do, too.
	Dry(ctx context.Context) (bool, error)
	// Stop waits for what was claimed.
	Stop() error
}

// claimTries is how often a worker finds nothing before it believes it: what
// others have locked is passed over.
const claimTries = 5

// turns are workers that take turns of their own.
type turns struct {
	stop  context.CancelFunc
	group sync.WaitGroup
	dry   atomic.Bool
	errs  []error
}

// startTurns has so many workers take turns, each of which claims and forgets.
func startTurns(workers int, done Claimed, turn func() (n int, err error)) Claims {
	ctx, stop := context.WithCancel(context.Background())
	t := &turns{stop: stop, errs: make([]error, workers)}
	for w := range workers {
		t.group.Go(func() { t.errs[w] = t.work(ctx, done, turn) })
	}
	return t
}

func (t *turns) work(ctx context.Context, done Claimed, turn func() (int, error)) error {
	for empty := 0; ctx.Err() == nil; {
		start := time.Now()
		n, err := turn()
		switch {
		case err != nil:
			t.dry.Store(true) // there is one worker less
			return err
		case n > 0:
			done(n, time.Since(start))
			empty = 0
			continue
		}
		if empty++; empty == claimTries {
			t.dry.Store(true)
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (t *turns) Dry(context.Context) (bool, error) { return t.dry.Load(), nil }

func (t *turns) Stop() error {
	t.stop()
	t.group.Wait()
	return errors.Join(t.errs...)
}
