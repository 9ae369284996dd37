package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
)

// Sharded is a [recall.Engine] over a queue of several shards, on one database or on
// several that know nothing of each other. It is safe for concurrent use, and several of
// them, in one or in several processes, may work on one queue.
//
// A shard is a queue by itself, with all that [Engine] promises. A message is in one
// shard, which its id names:
//
//   - With Message.Queue it is in the shard of that name, so the order of a queue and its
//     parallelism hold.
//   - Otherwise with Message.FlowKey in the shard of the key, so its limits hold. A
//     message with both is refused with [recall.ErrUnsupported]: a limit could not be
//     kept over the shards of all queues.
//   - Otherwise with Message.DeduplicationID in the shard of that.
//   - Any other is where there is room: the messages of one call stay together, and in
//     the shard of the first that has one of the above, if there is one; a schedule's
//     are where schedules are, in shard 0; callbacks where the message is that they
//     follow.
//
// An imported message keeps its id, which may name another shard: that knows then where it
// is.
//
// So a deduplication id is known within one queue, one key, or among the messages without
// either, and not across these.
//
// A transaction never spans two databases, nor, but under a guard, two shards. What
// follows of that for each call is said there; a call that has changed one shard durably
// and failed in the next says so with [recall.ErrFailed], unless it may simply be made
// again. What asks all shards – lists, counts, bulk calls – fails while one of their
// databases does not answer; what needs one shard, and claims, go on without the others.
// Ids and the order of lists are those of publication within a process; between processes
// up to how their clocks differ.
type Sharded struct {
	opts    Options
	targets []*target
	shards  []*Engine
	numbers *numbers
	queue   [16]byte // which the databases agree on
	tidying tidying

	patience        time.Duration // of claims
	turn            atomic.Uint32 // where the next claim, or the next message, begins
	claim, maintain chan struct{}
	stop            context.CancelFunc
	loops           sync.WaitGroup
}

// target is a database.
type target struct {
	place int
	pool  *pgxpool.Pool
	own   bool
	trouble
}

// OpenShards opens a queue of several shards, making it if there is none: Options.Shards
// of them, as many as targets by default. Shard i is on target i modulo their number. The
// targets are DSNs or pools, as for [Open]. The schema has one name in all of them: that of
// Options.Schema, or the one that every DSN names.
//
// How many shards and databases there are, and their order, are fixed when the queue is
// made: each database keeps the queue that it belongs to, and its place in it. All
// databases have to answer.
//
// Errors: [recall.ErrInvalid] for another number of shards or targets than the queue was
// made with, targets in another order, a database of another queue, and one that is empty
// while the queue is not new; those of [Open].
func OpenShards[T string | *pgxpool.Pool](ctx context.Context, targets []T, o *Options) (*Sharded, error) {
	opts, err := shardedOptions(len(targets), o)
	if err != nil {
		return nil, err
	}
	if err := commonSchema(&opts, targets, o); err != nil {
		return nil, err
	}
	s := &Sharded{
		opts: opts, numbers: &numbers{shards: opts.Shards}, patience: claimPatience,
		claim: make(chan struct{}, 1), maintain: make(chan struct{}, 1), stop: func() {},
	}
	for i, t := range targets {
		pool, own, err := poolOf(ctx, t)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("database %d: %w", i, err), s.Close())
		}
		s.targets = append(s.targets, &target{place: i, pool: pool, own: own})
	}
	if err := s.begins(ctx); err != nil {
		_ = s.Close() // err is why
		return nil, err
	}
	return s, nil
}

func shardedOptions(targets int, o *Options) (Options, error) {
	if targets == 0 {
		return Options{}, invalid("targets", "there is none")
	}
	var given Options
	if o != nil {
		given = *o
	}
	if given.Shards == 0 {
		given.Shards = targets
	}
	opts, err := given.resolve()
	if err == nil && opts.Shards < targets {
		err = invalid("Options.Shards", "%d shards cannot be on %d databases", opts.Shards, targets)
	}
	return opts, err
}

// begins makes what is missing, checks what is there, and starts the shards.
func (s *Sharded) begins(ctx context.Context) error {
	var all []*Engine
	part := partOf(s.opts)
	for i := range s.opts.Shards {
		e := newEngine(part, s.numbers, s.claim, s.maintain)
		e.shard, e.pool = int16(i), s.home(i).pool
		if i >= len(s.targets) {
			leader := all[s.home(i).place]
			e.leads, e.clock, e.told = false, leader.clock, leader.told
			e.sharePool(leader.lone, leader.updates)
		} else {
			e.sharePool(partsOf(e.pool))
		}
		all = append(all, e)
	}
	for _, t := range s.targets {
		e := all[t.place]
		if err := e.check(ctx); err != nil {
			return s.at(t, err)
		}
		if err := e.migrate(ctx, t.pool, s.opts.Shards); err != nil {
			return s.at(t, err)
		}
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	for i, e := range all {
		if err := e.begins(ctx); err != nil {
			return s.at(s.home(i), err)
		}
		s.shards = append(s.shards, e)
	}
	loops, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.loops.Go(func() { every(loops, s.opts.PollInterval, func(context.Context) { hint(s.claim) }) })
	return nil
}

// partOf are the options of one shard, which keeps its part of what is bounded.
func partOf(o Options) Options {
	o.MaxEvents = max(1, o.MaxEvents/o.Shards)
	o.MaxDeduplicationIDs = max(1, o.MaxDeduplicationIDs/o.Shards)
	o.UndoBytes = max(1, o.UndoBytes/int64(o.Shards))
	return o
}

// home is the database of a shard.
func (s *Sharded) home(shard int) *target { return s.targets[shard%len(s.targets)] }

func (s *Sharded) homeOf(e *Engine) *target { return s.home(int(e.shard)) }

// at says in which database something went wrong, unless it says itself what it is.
func (s *Sharded) at(t *target, err error) error {
	if len(s.targets) == 1 || !isTrouble(err) {
		return err
	}
	return fmt.Errorf("database %d: %w", t.place, err)
}

// Close implements [recall.Engine], as [Engine.Close] does for each shard.
func (s *Sharded) Close() error {
	first := true
	for _, e := range s.shards { // all, before one is waited for: a call may be in several
		first = e.shut() && first
	}
	if !first {
		return recall.ErrClosed
	}
	s.stop()
	errs := make([]error, len(s.shards))
	for i, e := range s.shards {
		errs[i] = s.at(s.homeOf(e), e.drain())
	}
	s.loops.Wait()
	for _, t := range s.targets {
		if t.own {
			t.pool.Close()
		}
	}
	return errors.Join(errs...)
}

// enter begins a call over some shards, which the caller leaves if there is no error.
func (s *Sharded) enter(ctx context.Context, which []*Engine) (leave func(), err error) {
	entered := 0
	leave = func() {
		for _, e := range which[:entered] {
			e.leave()
		}
	}
	for _, e := range which {
		if err := e.enter(ctx); err != nil {
			leave()
			return nil, err
		}
		entered++
	}
	return leave, nil
}

// gather asks shards and returns what they answer, in their order. Those of one database
// are asked one after the other, and databases at the same time.
func gather[T any](s *Sharded, which []*Engine, ask func(e *Engine) (T, error)) ([]T, error) {
	answers, errs := make([]T, len(which)), make([]error, len(which))
	var wg sync.WaitGroup
	for _, t := range s.targets {
		wg.Go(func() {
			for i, e := range which {
				if s.homeOf(e) != t {
					continue
				}
				if answers[i], errs[i] = ask(e); errs[i] != nil {
					errs[i] = s.at(t, errs[i])
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// Hints implements [recall.Engine].
func (s *Sharded) Hints() recall.Hints { return recall.Hints{Claim: s.claim, Maintain: s.maintain} }

// Maintain implements [recall.Engine]: a step in each shard. One that fails does not keep
// the others from theirs.
func (s *Sharded) Maintain(ctx context.Context, now time.Time) (next time.Time, err error) {
	errs := []error{s.numberUnread(ctx, now)}
	for _, e := range s.shards {
		at, err := e.Maintain(ctx, now)
		if err != nil {
			errs = append(errs, s.at(s.homeOf(e), err))
			continue
		}
		next = earlier(next, at)
	}
	more, err := s.tidy(ctx, now)
	if more {
		next = now
	}
	errs = append(errs, err)
	return next, errors.Join(errs...)
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
