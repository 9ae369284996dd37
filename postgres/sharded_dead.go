package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// ListDead implements [recall.Engine]. It merges the lists of all shards in the order of
// time, which is that of numbers.
func (s *Sharded) ListDead(ctx context.Context, f recall.Filter, after recall.DeadLetterID, limit int) ([]recall.DeadLetter, error) {
	from, err := afterDead(after)
	if err != nil {
		return nil, err
	}
	for {
		list, err := s.findDead(ctx, f, from, limit)
		if err != nil {
			return nil, err
		}
		read, err := gather(s, s.shards, func(e *Engine) ([]recall.DeadLetter, error) { return e.readDeadLetters(ctx, byShard(list, e)) })
		if err != nil {
			return nil, err
		}
		dead := slices.Concat(read...)
		if len(dead) == 0 && len(list) > 0 { // all of them went meanwhile: that is not the end
			from = list[len(list)-1].key
			continue
		}
		slices.SortFunc(dead, func(a, b recall.DeadLetter) int { return compareDead(a.ID, b.ID) })
		return dead, nil
	}
}

// readDeadLetters reads those of some numbers that are there.
func (e *Engine) readDeadLetters(ctx context.Context, numbers []int64) ([]recall.DeadLetter, error) {
	if len(numbers) == 0 {
		return nil, nil
	}
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	return collectFrom(ctx, e.pool, e, scanDead, `SELECT `+deadColumns+` FROM @dead m WHERE m.shard = $1 AND m.n = ANY($2::bigint[])`, numbers)
}

func compareDead(a, b recall.DeadLetterID) int {
	_, m := parseDeadID(a)
	_, n := parseDeadID(b)
	return cmp.Compare(m, n)
}

// findDead returns the numbers of the first dead letters that match behind one, a page
// at most.
func (s *Sharded) findDead(ctx context.Context, f recall.Filter, from int64, limit int) ([]found[int64], error) {
	which, err := s.reach(ctx, &f)
	if err != nil {
		return nil, err
	}
	parts, err := gather(s, which, func(e *Engine) ([]found[int64], error) {
		if err := e.enter(ctx); err != nil {
			return nil, err
		}
		defer e.leave()
		w := deadMatches(&f, from)
		if w == nil || limit <= 0 {
			return nil, nil
		}
		return collectFrom(ctx, e.pool, e, func(row pgx.CollectableRow) (found[int64], error) {
			r := found[int64]{e: e}
			return r, row.Scan(&r.key, &r.size)
		}, `SELECT m.n, m.size FROM @dead m WHERE `+w.String()+` ORDER BY m.n LIMIT `+w.with(limit), w.args...)
	})
	return page(parts, cmp.Compare[int64], max(0, limit)), err
}

// DeadIDs implements [recall.Engine], in the order of ListDead.
func (s *Sharded) DeadIDs(ctx context.Context, f recall.Filter, after recall.DeadLetterID, limit int) ([]recall.DeadLetterID, error) {
	if _, err := afterDead(after); err != nil {
		return nil, err
	}
	which, err := s.reach(ctx, &f)
	if err != nil {
		return nil, err
	}
	parts, err := gather(s, which, func(e *Engine) ([]recall.DeadLetterID, error) { return e.DeadIDs(ctx, f, after, limit) })
	if err != nil || limit <= 0 {
		return nil, err
	}
	all := slices.Concat(parts...)
	slices.SortFunc(all, compareDead)
	return all[:min(limit, len(all))], nil
}

// deadParcel are ids of one call that are in one shard.
type deadParcel struct {
	e   *Engine
	ids []recall.DeadLetterID
}

func (s *Sharded) deadParcels(ids []recall.DeadLetterID) (all []*deadParcel) {
	byShard := map[*Engine]*deadParcel{}
	for _, id := range ids {
		e := s.ofDead(id)
		if e == nil {
			continue
		}
		p := byShard[e]
		if p == nil {
			p = &deadParcel{e: e}
			byShard[e], all = p, append(all, p)
		}
		p.ids = append(p.ids, id)
	}
	slices.SortFunc(all, func(a, b *deadParcel) int { return cmp.Compare(a.e.shard, b.e.shard) })
	return all
}

// DeleteDead implements [recall.Engine], shard by shard. The number is that of those that
// are gone, also with an error, after which the call may be made again.
func (s *Sharded) DeleteDead(ctx context.Context, ids []recall.DeadLetterID) (n int, err error) {
	parcels := s.deadParcels(ids)
	if parcels == nil {
		return s.shards[0].DeleteDead(ctx, nil)
	}
	for _, p := range parcels {
		some, err := p.e.DeleteDead(ctx, p.ids)
		if n += some; err != nil {
			return n, s.at(s.homeOf(p.e), err)
		}
	}
	return n, nil
}

// RetryDead implements [recall.Engine], as RetryDeadWith does [recall.Redriver].
func (s *Sharded) RetryDead(ctx context.Context, ids []recall.DeadLetterID, now time.Time) ([]recall.Receipt, error) {
	return s.RetryDeadWith(ctx, ids, now, nil)
}

// RetryDeadWith implements [recall.Redriver]. All are read and changed first, and then
// published shard by shard: those of one shard are one unit, and their ids are in order.
// If a later shard fails after an earlier one the error is [recall.ErrFailed] and says how
// many are published; the call may be made again for the others. What change gives a queue
// or a flow-control key of another shard is [recall.ErrUnsupported].
func (s *Sharded) RetryDeadWith(
	ctx context.Context, ids []recall.DeadLetterID, now time.Time, change func(*recall.Message) error,
) ([]recall.Receipt, error) {
	parcels := s.deadParcels(ids)
	if parcels == nil {
		return s.shards[0].RetryDead(ctx, nil, now)
	}
	leave, err := s.enter(ctx, s.shards)
	if err != nil {
		return nil, err
	}
	defer leave()
	changed, err := s.redriven(ctx, parcels, ids, now, change)
	if err != nil {
		return nil, err
	}
	became := map[recall.DeadLetterID]recall.Receipt{}
	for _, p := range parcels {
		taken, some, err := p.e.redrive(ctx, p.ids, changed, now)
		if err != nil {
			return nil, partly(len(became), len(ids), "published", s.at(s.homeOf(p.e), err))
		}
		for i, id := range taken {
			became[id] = some[i]
		}
	}
	var receipts []recall.Receipt
	for _, id := range ids {
		if r, ok := became[id]; ok {
			receipts = append(receipts, r)
			delete(became, id) // ids may be named twice
		}
	}
	return receipts, nil
}

// redriven returns what dead letters are to be published as, changed in the order of ids.
func (s *Sharded) redriven(
	ctx context.Context, parcels []*deadParcel, ids []recall.DeadLetterID, now time.Time, change func(*recall.Message) error,
) (map[recall.DeadLetterID]recall.Message, error) {
	all := map[recall.DeadLetterID]recall.Message{}
	for _, p := range parcels {
		some, err := p.e.redriven(ctx, p.ids, now, nil)
		if err != nil {
			return nil, s.at(s.homeOf(p.e), err)
		}
		maps.Copy(all, some)
	}
	if change == nil {
		return all, nil
	}
	seen := map[recall.DeadLetterID]bool{}
	for _, id := range ids {
		m, ok := all[id]
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		if err := change(&m); err != nil {
			return nil, err
		}
		if err := s.stays(s.ofDead(id), &m); err != nil {
			return nil, err
		}
		all[id] = m
	}
	return all, nil
}

// stays refuses a message that could not stay in its shard.
func (s *Sharded) stays(e *Engine, m *recall.Message) error {
	shard, err := s.route(&recall.Message{Queue: m.Queue, FlowKey: m.FlowKey})
	if err == nil && shard != anywhere && shard != int(e.shard) {
		err = errElsewhere
	}
	return err
}

// DeleteDeadMatching implements [recall.Engine]. It goes through the shards in their
// order, and through each as [Engine.DeleteDeadMatching] does. With a guard all matches of
// all shards are locked before it is judged, by one transaction in each database; see
// [Sharded.CancelMatching].
func (s *Sharded) DeleteDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	return s.deadBulk(ctx, req, false)
}

// RetryDeadMatching implements [recall.Engine], as DeleteDeadMatching does.
func (s *Sharded) RetryDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	return s.deadBulk(ctx, req, true)
}

func (s *Sharded) deadBulk(ctx context.Context, req recall.DeadMatchingRequest, retry bool) (done int, err error) {
	which, err := s.reach(ctx, &req.Filter)
	if err != nil {
		return 0, err
	}
	leave, err := s.enter(ctx, which)
	if err != nil {
		return 0, err
	}
	defer leave()
	bulks, err := gather(s, which, func(e *Engine) (*deadBulk, error) {
		b := &deadBulk{e: e, req: req, retry: retry}
		b.req.Guard = recall.Guard{}
		return b, b.begin(ctx)
	})
	if err != nil {
		return 0, err
	}
	if req.Guard.Set {
		return s.guardedDead(ctx, req, bulks)
	}
	for _, b := range bulks {
		if req.Limit > 0 {
			if b.req.Limit = req.Limit - done; b.req.Limit == 0 {
				break
			}
		}
		for end := false; err == nil && !end; {
			end, err = b.next(ctx)
		}
		if done += b.done; err != nil {
			return done, s.at(s.homeOf(b.e), err)
		}
	}
	return done, nil
}

// guardedDead takes what a guard allows, with every match locked.
func (s *Sharded) guardedDead(ctx context.Context, req recall.DeadMatchingRequest, bulks []*deadBulk) (done int, err error) {
	var which []*Engine
	for _, b := range bulks {
		which = append(which, b.e)
	}
	var taken map[*Engine]int
	err = s.together(ctx, which, func(units map[*Engine]*unit) (err error) {
		taken, err = s.takeDead(units, req, bulks)
		return err
	}, func(e *Engine) { done += taken[e] })
	return done, err
}

// takeDead locks, judges and takes, in transactions that are open. It says how many it
// has taken in each shard.
func (s *Sharded) takeDead(units map[*Engine]*unit, req recall.DeadMatchingRequest, bulks []*deadBulk) (map[*Engine]int, error) {
	locked, all := map[*Engine][]int64{}, 0
	for _, b := range bulks {
		if !b.retry {
			break
		}
		if err := units[b.e].lockPublishing(req.Now); err != nil {
			return nil, s.at(s.homeOf(b.e), err)
		}
	}
	for _, b := range bulks {
		numbers, err := b.lock(units[b.e], s.opts.MaxGuarded-all+1)
		if err != nil {
			return nil, s.at(s.homeOf(b.e), err)
		}
		if all += len(numbers); all > s.opts.MaxGuarded {
			return nil, errMostGuarded(s.opts.MaxGuarded, "dead letters")
		}
		locked[b.e] = numbers
	}
	if g := req.Guard; all < g.Least || all > g.Most {
		return nil, &recall.UnexpectedCountError{Found: all, Least: g.Least, Most: g.Most}
	}
	taken, left := map[*Engine]int{}, all
	if req.Limit > 0 {
		left = req.Limit
	}
	for _, b := range bulks {
		numbers := locked[b.e][:min(left, len(locked[b.e]))]
		left -= len(numbers)
		taken[b.e] = len(numbers)
		if err := b.take(units[b.e], numbers); err != nil {
			return nil, s.at(s.homeOf(b.e), err)
		}
	}
	return taken, nil
}
