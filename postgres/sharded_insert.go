package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/recallmq/recall"
)

// Insert implements [recall.Engine]. Messages for several shards are published shard by
// shard, those of one shard as one unit. If a later shard fails after an earlier one, the
// error is [recall.ErrFailed] and says how many are published: for the others the call
// may be made again. The ids of one shard are in the order of msgs.
func (s *Sharded) Insert(ctx context.Context, msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	parcels, err := s.parcels(msgs, anywhere)
	if err != nil {
		return nil, err
	}
	receipts, done := make([]recall.Receipt, len(msgs)), 0
	for _, p := range parcels {
		part, err := s.insert(ctx, p, now)
		if err != nil {
			return nil, partly(done, len(msgs), "published", err)
		}
		p.put(receipts, part)
		done += len(part)
	}
	return receipts, nil
}

// insert publishes what goes to one shard. What may be in any one goes past a database
// that does not answer.
func (s *Sharded) insert(ctx context.Context, p *parcel, now time.Time) (receipts []recall.Receipt, err error) {
	if p.shard != anywhere {
		return s.insertAt(ctx, s.shards[p.shard], p.msgs, now)
	}
	first := s.next()
	for i := range s.shards {
		// A step of 1 leads from database to database.
		e := s.shards[(first+i)%len(s.shards)]
		if t := s.homeOf(e); t.resting() && i < len(s.shards)-1 {
			continue
		}
		receipts, err = s.insertAt(ctx, e, p.msgs, now)
		if err == nil || !isTrouble(err) || errors.Is(err, recall.ErrFailed) || ctx.Err() != nil {
			return receipts, err
		}
	}
	return nil, err
}

func (s *Sharded) insertAt(ctx context.Context, e *Engine, msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	receipts, err := e.Insert(ctx, msgs, now)
	t := s.homeOf(e)
	if err == nil || ctx.Err() == nil { // a deadline of the caller says nothing about the database
		t.saw(err)
	}
	return receipts, s.at(t, err)
}

// next is where to begin.
func (s *Sharded) next() int { return int(s.turn.Add(1) % uint32(len(s.shards))) }

// partly is the error of a call that has done a part of what it should.
func partly(done, all int, what string, err error) error {
	if done == 0 {
		return err
	}
	return fmt.Errorf("%w: %d of %d were %s, and then a shard failed: %w", recall.ErrFailed, done, all, what, err)
}

// Finish implements [recall.Engine]. What follows the outcome is in the shard of the
// message, and in the same transaction.
func (s *Sharded) Finish(ctx context.Context, l recall.Lease, f recall.Finish) error {
	id, finish := l.Message.ID, func(e *Engine) error { return e.Finish(ctx, l, f) }
	if e := s.of(id); e != nil && s.mayHaveStrayed(&l.Message, e) {
		if err := s.seekStray(ctx, id, recall.ErrLeaseLost, finish); !errors.Is(err, recall.ErrLeaseLost) {
			return err
		}
	}
	return s.seek(ctx, id, recall.ErrLeaseLost, finish)
}

// Cancel implements [recall.Engine].
func (s *Sharded) Cancel(ctx context.Context, req recall.CancelRequest) error {
	return s.seek(ctx, req.ID, recall.ErrNotFound, func(e *Engine) error { return e.Cancel(ctx, req) })
}
