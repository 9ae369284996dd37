package postgres

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
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
	// bound bounds a transaction in which nothing happens, see lazyTx, and boundAll also how
	// long it waits for a lock.
	bound, boundAll string
	shard           int16
	log             *slog.Logger
	clock           *serverClock

	numbers *numbers // shared by the shards of a queue
	leads   bool     // it is the first of this process in its database

	calls  sync.WaitGroup
	mu     sync.Mutex // of closed, wake, late
	closed bool
	late   []*bulk       // whose end is still to be written
	wake   chan struct{} // closed, and made anew, when a lease ends here
	stop   context.CancelFunc
	loops  sync.WaitGroup

	publishing joint[*publication]
	finishing  joint[*ending]
	following  joint[*ending] // with messages that follow

	apart   apartIDs      // mu
	patient chan struct{} // taken by who waits for a deduplication id
	lone    chan struct{} // taken by attempts that end with nobody else
	updates chan struct{} // taken by transactions in which the program may take its time

	epoch atomic.Uint64 // of the leases that are given out
	// registering is held by who makes a new one.
	registering sync.Mutex
	renewed     atomic.Pointer[func() time.Duration] // how long ago that, or a renewal, began
	number      atomic.Uint64                        // of the newest lease
	begun       begun

	answered answered
	numbered int // how many events get their places in one transaction
	counts   counts
	sizes    sizes
	first    uint64 // the first epoch, the name of this engine where others hear of it

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
	counterDedup   = "dedup"
	counterApart   = "apart"
)

// Open opens the queue in a database, making it if there is none. The target is a
// DSN, as pgx reads it, or a [*pgxpool.Pool], which stays the caller's. A DSN may also
// name the schema: postgres://host/database?schema=shop. The role needs to be able to
// create the schema, or to own it.
//
// Errors: [recall.ErrInvalid] for options, another number of shards than the queue
// was made with, or a DSN that cannot be read; [recall.ErrVersion] if a newer version
// made the schema; a *[ServerError] for a server that cannot keep a queue, because it is
// too old, a standby, not in UTF-8, or would lose what it has acknowledged; those of the connection.
// None of them has a password in it.
func Open[T string | *pgxpool.Pool](ctx context.Context, target T, o *Options) (*Engine, error) {
	opts, err := o.resolve()
	if err != nil {
		return nil, err
	}
	if opts.Shards != 1 {
		return nil, invalid("Options.Shards", "Open knows 1, not %d: see OpenShards", opts.Shards)
	}
	if dsn, ok := any(target).(string); ok {
		if err := opts.takeSchema(dsn, o); err != nil {
			return nil, err
		}
	}
	e := newEngine(opts, &numbers{shards: 1}, make(chan struct{}, 1), make(chan struct{}, 1))
	if e.pool, e.own, err = poolOf(ctx, target); err != nil {
		return nil, err
	}
	e.sharePool(partsOf(e.pool))
	if err := e.begins(ctx); err != nil {
		e.closePool()
		return nil, err
	}
	return e, nil
}

func newEngine(opts Options, n *numbers, claim, maintain chan struct{}) *Engine {
	e := &Engine{
		opts: opts, schema: schemaOf(&opts), numbers: n, leads: true,
		bound: boundOf(opts.LeaseTime, 0), boundAll: boundOf(opts.LeaseTime, lockPatience),
		log: opts.Logger, clock: newServerClock(opts.local), revisions: newRevisions(),
		asked: make(chan struct{}, 1), told: make(chan struct{}, 1),
		wake: make(chan struct{}), claim: claim, maintain: maintain,
		patient: make(chan struct{}, 1), numbered: numberedPart,
	}
	e.publishing = joint[*publication]{e: e, run: e.publish}
	e.finishing = joint[*ending]{e: e, run: e.endAll, fits: otherMessage}
	e.following = joint[*ending]{e: e, run: e.endAll, fits: otherMessage, wait: e.awaitMessage}
	return e
}

// lockPatience is how long a transaction waits for a lock before it is made anew, if its
// caller has a context, so that somebody looks at that.
const lockPatience = 2 * time.Second

// boundOf is the statement that bounds a transaction; 0 is no bound.
func boundOf(idle, lock time.Duration) string {
	ms := func(d time.Duration) string { return strconv.FormatInt(min(d.Milliseconds(), math.MaxInt32), 10) }
	return "SELECT set_config('idle_in_transaction_session_timeout', '" + ms(idle) + "', true), set_config('lock_timeout', '" + ms(lock) + "', true)"
}

// boundFor is the statement for a caller with that context.
func (e *Engine) boundFor(ctx context.Context) string {
	if ctx.Done() == nil {
		return e.bound
	}
	return e.boundAll
}

// poolOf returns the pool of a target, and whether it was made for it.
func poolOf[T string | *pgxpool.Pool](ctx context.Context, target T) (*pgxpool.Pool, bool, error) {
	if pool, ok := any(target).(*pgxpool.Pool); ok {
		return pool, false, nil
	}
	pool, err := newPool(ctx, any(target).(string))
	return pool, true, err
}

// partsOf have room for those who may use half, and a quarter, of the connections of a
// pool for as long as they like.
func partsOf(pool *pgxpool.Pool) (lone, updates chan struct{}) {
	n := pool.Stat().MaxConns()
	return make(chan struct{}, max(1, n/2)), make(chan struct{}, max(1, n/4))
}

// sharePool bounds the calls that may wait for others for long. An attempt that ends alone
// waits for who has its message locked. A publication waits for other publications only: one
// at a time is as fast.
func (e *Engine) sharePool(lone, updates chan struct{}) {
	e.lone, e.updates = lone, updates
	e.finishing.lone, e.following.lone = lone, lone
	e.publishing.lone = make(chan struct{}, 1)
}

// begins makes the schema, and registers this engine as an owner of leases.
func (e *Engine) begins(ctx context.Context) error {
	if e.leads {
		if err := e.check(ctx); err != nil {
			return err
		}
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
	e.loops.Go(func() { every(loops, e.opts.LeaseTime/3, e.endOthers) })
	if e.leads {
		e.lead(loops)
	}
	hint(e.claim)
	hint(e.maintain)
	return nil
}

// lead starts what one engine does for all shards that this process has in a database.
func (e *Engine) lead(loops context.Context) {
	e.loops.Go(func() { e.pollAgain(loops) })
	if e.opts.Listen {
		e.loops.Go(func() { e.listen(loops) })
		e.loops.Go(func() { e.notify(loops) })
	}
	if e.opts.LongTransaction > 0 {
		e.loops.Go(func() { e.watchForeign(loops) })
	}
}

// readLatest has the numbers of this process go on behind those that there are.
func (e *Engine) readLatest(ctx context.Context) error {
	var message, ms, dead int64
	err := e.pool.QueryRow(ctx, e.sql(`SELECT m.n, m.ms, d.n FROM @counters m JOIN @counters d ON d.shard = m.shard AND d.name = '`+counterDead+`'
		WHERE m.shard = $1 AND m.name = '`+counterMessage+`'`), e.shard).Scan(&message, &ms, &dead)
	if err != nil {
		return err
	}
	e.numbers.sawMessage(message, ms)
	e.numbers.sawDead(dead)
	var id [16]byte
	err = e.pool.QueryRow(ctx, e.sql(`SELECT id FROM @operations WHERE shard = $1 ORDER BY id DESC LIMIT 1`), e.shard).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	e.numbers.sawOperation(id)
	return nil
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
	if !e.shut() {
		return recall.ErrClosed
	}
	return e.drain()
}

// shut refuses further calls and has walks that wait give up. It reports false if that
// was done before.
func (e *Engine) shut() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.closed = true
	close(e.wake)
	return true
}

// drain waits for the calls that run, and ends what is left. It comes after shut.
func (e *Engine) drain() error {
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
