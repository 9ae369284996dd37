package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// deadBulk is one call for the dead letters that match a filter. It takes them in
// chunks, oldest first, each of which is one transaction. With a guard there is one
// chunk: every match is locked before it is counted, and stays so until the end.
type deadBulk struct {
	e      *Engine
	req    recall.DeadMatchingRequest
	retry  bool  // they are published again, otherwise deleted
	asOf   int64 // what dies from now on is not touched
	cursor int64 // the last dead letter that was taken
	done   int
}

// DeleteDeadMatching implements [recall.Engine]. Its chunks are durable one by one;
// with a guard it is one transaction, see the package.
func (e *Engine) DeleteDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	return e.deadBulk(ctx, &deadBulk{e: e, req: req})
}

// RetryDeadMatching implements [recall.Engine], as DeleteDeadMatching does.
func (e *Engine) RetryDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	return e.deadBulk(ctx, &deadBulk{e: e, req: req, retry: true})
}

func (e *Engine) deadBulk(ctx context.Context, b *deadBulk) (int, error) {
	if err := e.enter(ctx); err != nil {
		return 0, err
	}
	defer e.leave()
	err := b.begin(ctx)
	for end := false; err == nil && !end; {
		end, err = b.next(ctx)
	}
	return b.done, err
}

// begin fixes what is looked at.
func (b *deadBulk) begin(ctx context.Context) error {
	return b.e.pool.QueryRow(ctx, b.e.sql(`SELECT n FROM @counters WHERE shard = $1 AND name = '`+counterDead+`'`), b.e.shard).Scan(&b.asOf)
}

// next makes one transaction, and reports whether there is nothing behind it.
func (b *deadBulk) next(ctx context.Context) (end bool, err error) {
	var numbers []int64
	err = b.e.do(ctx, func(u *unit) error {
		numbers, end, err = b.chunk(u)
		return err
	})
	if err != nil {
		return false, err
	}
	if b.done += len(numbers); len(numbers) > 0 {
		b.cursor = numbers[len(numbers)-1]
	}
	return end, nil
}

// chunk locks the next matches and takes as many of them as the call still may.
func (b *deadBulk) chunk(u *unit) (numbers []int64, end bool, err error) {
	limit := b.e.opts.ChunkSize
	if b.req.Guard.Set {
		limit = b.e.opts.MaxGuarded + 1 // all in this transaction
	}
	if b.retry { // first, as whoever publishes dead letters by their ids does
		if err := u.lockPublishing(b.req.Now); err != nil {
			return nil, false, err
		}
	}
	if numbers, err = b.lock(u, limit); err != nil {
		return nil, false, err
	}
	if err := b.guard(len(numbers)); err != nil {
		return nil, false, err
	}
	end = b.req.Guard.Set || len(numbers) < limit
	if left := b.req.Limit - b.done; b.req.Limit > 0 && len(numbers) >= left {
		numbers, end = numbers[:left], true
	}
	return numbers, end, b.take(u, numbers)
}

// take has dead letters that this transaction has locked leave the queue.
func (b *deadBulk) take(u *unit, numbers []int64) error {
	if b.retry {
		return u.publishDead(numbers, b.req.Now)
	}
	return u.deleteDead(numbers)
}

// lock locks the next matches. All calls do so in one order: they wait for each other,
// and not in a circle.
func (b *deadBulk) lock(u *unit, limit int) ([]int64, error) {
	w := deadMatches(&b.req.Filter, 0)
	if w == nil {
		return nil, nil
	}
	w.and("m.n > ?", b.cursor)
	w.and("m.n <= ?", b.asOf)
	return collect(u, pgx.RowTo[int64], `SELECT m.n FROM @dead m WHERE `+w.String()+` ORDER BY m.n LIMIT `+w.with(limit)+` FOR UPDATE OF m`, w.args...)
}

// guard refuses a call, before anything is changed, that finds another number of
// matches than it expects.
func (b *deadBulk) guard(found int) error {
	g := b.req.Guard
	switch {
	case !g.Set:
		return nil
	case found > b.e.opts.MaxGuarded:
		return fmt.Errorf("%w: a guard over more than %d dead letters", recall.ErrUnsupported, b.e.opts.MaxGuarded)
	case found < g.Least || found > g.Most:
		return &recall.UnexpectedCountError{Found: found, Least: g.Least, Most: g.Most}
	}
	return nil
}

// deleteDead removes dead letters that this transaction has locked.
func (u *unit) deleteDead(numbers []int64) error {
	_, err := u.exec(`DELETE FROM @dead WHERE shard = $1 AND n = ANY($2::bigint[])`, numbers)
	return err
}

// publishDead publishes again what this transaction has locked, and removes it. No
// more than a page is in memory at a time.
func (u *unit) publishDead(numbers []int64, now time.Time) error {
	for len(numbers) > 0 {
		w := &where{dead: true}
		w.also("m.shard = $1")
		w.and("m.n = ANY(?::bigint[])", numbers)
		list, err := readDead(u.ctx, u.tx, u.e, w, len(numbers))
		if err != nil {
			return err
		}
		msgs := make([]recall.Message, len(list))
		for i := range list {
			msgs[i] = anew(&list[i], now)
		}
		if _, err := u.insert(msgs, now); err != nil {
			return err
		}
		if err := u.deleteDead(numbers[:len(list)]); err != nil {
			return err
		}
		numbers = numbers[len(list):]
	}
	return nil
}
