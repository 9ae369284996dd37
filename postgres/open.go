package postgres

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
)

// Engine is a [recall.Engine] on PostgreSQL. Several engines, in one or in several
// processes, may work on one database. It is safe for concurrent use.
type Engine struct {
	pool   *pgxpool.Pool
	own    bool // the pool is closed with the engine
	opts   Options
	schema string
	shard  int16
	log    *slog.Logger
	clock  *serverClock

	calls  sync.WaitGroup
	mu     sync.Mutex // of closed, wake, opTime
	closed bool
	wake   chan struct{} // closed, and made anew, when a lease ends here
	opTime time.Time     // largest time in the id of an operation
	opTie  uint64
	stop   context.CancelFunc
	loops  sync.WaitGroup

	epoch  atomic.Uint64 // of the leases that are given out
	number atomic.Uint64 // of the newest lease
	counts counts
	sizes  sizes
	first  uint64 // the first epoch, the name of this engine where others hear of it

	revisions *revisions
	asked     chan struct{} // a hint: another process has changed an object
	told      chan struct{} // a hint: there is something to tell other processes
	objects   atomic.Bool   // objects have changed since they were told

	claim, maintain chan struct{}
}

// Names of counters.
const (
	counterMessage = "message"
	counterDead    = "dead"
	counterEvent   = "event"
)

// Open opens the queue in a database, making it if there is none. The target is a
// DSN, as pgx reads it, or a [*pgxpool.Pool], which stays the caller's. A DSN may also
// name the schema: postgres://host/database?schema=shop. The role needs to be able to
// create the schema, or to own it.
//
// Errors: [recall.ErrInvalid] for options, another number of shards than the queue
// was made with, or a DSN that cannot be read; [recall.ErrVersion] if a newer version
// made the schema; a *[ServerError] for a server that cannot keep a queue, because it is
// too old, a standby, or would lose what it has acknowledged; those of the connection.
// None of them has a password in it.
func Open[T string | *pgxpool.Pool](ctx context.Context, target T, o *Options) (*Engine, error) {
	opts, err := o.resolve()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		opts: opts, schema: pgx.Identifier{opts.Schema}.Sanitize(),
		log: opts.Logger, clock: newServerClock(opts.local), revisions: newRevisions(),
		asked: make(chan struct{}, 1), told: make(chan struct{}, 1),
		wake: make(chan struct{}), claim: make(chan struct{}, 1), maintain: make(chan struct{}, 1),
	}
	switch target := any(target).(type) {
	case *pgxpool.Pool:
		e.pool = target
	case string:
		if err := e.connect(ctx, target, o); err != nil {
			return nil, err
		}
	}
	if err := e.begins(ctx); err != nil {
		e.closePool()
		return nil, err
	}
	return e, nil
}

// begins makes the schema, and registers this engine as an owner of leases.
func (e *Engine) begins(ctx context.Context) error {
	if err := e.check(ctx); err != nil {
		return err
	}
	if err := e.migrate(ctx, e.pool, e.opts.Shards); err != nil {
		return err
	}
	if err := e.register(ctx); err != nil {
		return err
	}
	e.first = e.epoch.Load()
	if err := e.readLatest(ctx); err != nil {
		return err
	}
	if err := e.poll(ctx); err != nil {
		return err
	}
	if err := e.reap(ctx); err != nil {
		return err
	}
	e.counts.reset() // the ends of what others left were theirs
	loops, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.loops.Go(func() { every(loops, e.opts.LeaseTime/3, e.renew) })
	e.loops.Go(func() { e.pollAgain(loops) })
	if e.opts.Listen {
		e.loops.Go(func() { e.listen(loops) })
		e.loops.Go(func() { e.notify(loops) })
	}
	if e.opts.LongTransaction > 0 {
		e.loops.Go(func() { e.watchForeign(loops) })
	}
	hint(e.claim)
	hint(e.maintain)
	return nil
}

// readLatest has the ids of operations go on behind those that there are.
func (e *Engine) readLatest(ctx context.Context) error {
	var id [16]byte
	err := e.pool.QueryRow(ctx, e.sql(`SELECT id FROM @operations WHERE shard = $1 ORDER BY id DESC LIMIT 1`), e.shard).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	e.opTime, e.opTie = ulidTime(id), operationTie(id)
	return err
}

// newEpoch draws the first half of lease tokens. 0 is no epoch, and the database has
// signed numbers.
func newEpoch() uint64 { return 1 + rand.Uint64N(math.MaxInt64-1) }

// enter begins a call, which the caller leaves if there is no error.
func (e *Engine) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return recall.ErrClosed
	}
	e.calls.Add(1)
	return nil
}

func (e *Engine) leave() { e.calls.Done() }

// Close waits for the calls that run, gives back the leases that are still out, and
// closes the pool if Open made it. What was in flight is pending again, its attempt
// not counted; what was to be cancelled is cancelled.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return recall.ErrClosed
	}
	e.closed = true
	close(e.wake) // walks that wait give up
	e.mu.Unlock()
	e.calls.Wait()
	e.stop()
	e.loops.Wait()
	err := e.giveBack(context.Background())
	e.closePool()
	return err
}

func (e *Engine) closePool() {
	if e.own {
		e.pool.Close()
	}
}
