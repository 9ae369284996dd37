package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Operations implements [recall.Auditor]. What one call has done in several shards is one
// record, with the sums.
func (s *Sharded) Operations(ctx context.Context, after recall.OperationID, limit int) ([]recall.Operation, error) {
	if _, err := afterOperation(after); err != nil {
		return nil, err
	}
	parts, err := gather(s, s.shards, func(e *Engine) ([]recall.Operation, error) { return e.Operations(ctx, after, limit) })
	if err != nil || limit <= 0 {
		return nil, err
	}
	ops := joinOperations(parts)
	return ops[:min(limit, len(ops))], nil
}

// joinOperations puts the records of shards together, in the order of ids.
func joinOperations(parts [][]recall.Operation) []recall.Operation {
	all := slices.Concat(parts...)
	slices.SortStableFunc(all, func(a, b recall.Operation) int { return strings.Compare(string(a.ID), string(b.ID)) })
	joined := all[:0]
	for _, o := range all {
		if last := len(joined) - 1; last >= 0 && joined[last].ID == o.ID {
			joined[last] = joinOperation(joined[last], o)
			continue
		}
		joined = append(joined, o)
	}
	return joined
}

// joinOperation puts together what one call has left in two shards.
func joinOperation(a, b recall.Operation) recall.Operation {
	if a.Kind != recall.OperationStanding {
		a.Took = max(a.Took, b.Took)
	}
	a.Count += b.Count
	a.Requested += b.Requested
	a.Scanned += b.Scanned
	if a.Blocker == "" {
		a.Blocker = b.Blocker
	}
	// It is undone, or lifted, when it is so everywhere, and cannot be undone whole any
	// more when it cannot be somewhere.
	a.RestoredAt, a.LiftedAt = both(a.RestoredAt, b.RestoredAt), both(a.LiftedAt, b.LiftedAt)
	a.Undoable = a.Undoable && b.Undoable
	return a
}

// both is the later of two times, zero if one is.
func both(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return time.Time{}
	}
	if b.After(a) {
		return b
	}
	return a
}

// WhoCancelled implements [recall.Auditor].
func (s *Sharded) WhoCancelled(ctx context.Context, id recall.MessageID) (here recall.Operation, err error) {
	err = s.seek(ctx, id, recall.ErrNotFound, func(e *Engine) (err error) {
		here, err = e.WhoCancelled(ctx, id)
		return err
	})
	if err != nil {
		return here, err
	}
	op, ok := parseOperationID(here.ID)
	if !ok {
		return here, nil
	}
	parts, err := gather(s, s.shards, func(e *Engine) ([]recall.Operation, error) { return e.findOperation(ctx, op) })
	if err != nil {
		return recall.Operation{}, err
	}
	if all := joinOperations(parts); len(all) > 0 {
		return all[0], nil
	}
	return recall.Operation{}, recall.ErrNotFound
}

// findOperation returns the record of an operation in this shard, if there is one.
func (e *Engine) findOperation(ctx context.Context, op [16]byte) ([]recall.Operation, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	return collectFrom(ctx, e.pool, e, scanOperation, `SELECT `+operationColumns+` FROM @operations o WHERE o.shard = $1 AND o.id = $2`, op)
}

// Restore implements [recall.Restorer], in every shard in which the operation has taken
// something: first each of them is asked whether it still can, and then one after the
// other does. If one fails in between, the call may be made again: it returns the sum of
// all shards then. It is [recall.ErrUndoExpired] if it is too late for one of them.
func (s *Sharded) Restore(ctx context.Context, id recall.OperationID, now time.Time) (res recall.RestoreResult, err error) {
	op, ok := parseOperationID(id)
	if !ok {
		return res, recall.ErrNotFound
	}
	leave, err := s.enter(ctx, s.shards)
	if err != nil {
		return res, err
	}
	defer leave()
	which, err := s.takers(ctx, op, now)
	if err != nil {
		return res, err
	}
	for _, e := range which {
		part, err := e.restore(ctx, op, now)
		if err != nil {
			return recall.RestoreResult{}, s.at(s.homeOf(e), err)
		}
		res.Restored += part.Restored
		res.Lifted += part.Lifted
	}
	return res, nil
}

// takers returns the shards in which an operation has taken something, once its call has
// ended, if all of them can undo it.
func (s *Sharded) takers(ctx context.Context, op [16]byte, now time.Time) (which []*Engine, err error) {
	type undoing struct {
		found, late bool
	}
	var answers []undoing
	for waiting := true; waiting; {
		ask := func(e *Engine) (a undoing, err error) {
			var running bool
			a.found, a.late, running, err = e.undoable(ctx, op, now)
			if err == nil && running {
				waiting = true
			}
			return a, err
		}
		waiting = false
		answers = answers[:0]
		for _, e := range s.shards {
			a, err := ask(e)
			if err != nil {
				return nil, s.at(s.homeOf(e), err)
			}
			answers = append(answers, a)
			if waiting {
				if err := e.waitFor(ctx, e.ended()); err != nil {
					return nil, err
				}
				break
			}
		}
	}
	late := false
	for i, a := range answers {
		if a.found {
			which = append(which, s.shards[i])
		}
		if a.late { // once late, it stays so
			late = true
			if _, err := s.shards[i].restore(ctx, op, now); !errors.Is(err, recall.ErrUndoExpired) {
				return nil, err
			}
		}
	}
	switch {
	case which == nil:
		return nil, recall.ErrNotFound
	case late:
		return nil, recall.ErrUndoExpired
	}
	return which, nil
}

// undoable tells whether this shard has something of an operation, whether that cannot
// be undone any more, and whether its call still runs.
func (e *Engine) undoable(ctx context.Context, op [16]byte, now time.Time) (found, late, running bool, err error) {
	err = e.pool.QueryRow(ctx, e.sql(`SELECT o.kind = '`+string(recall.OperationCancel)+`' AND o.restored_ms IS NULL AND COALESCE(o.undo_ms <= $3, true),
			o.running <> 0 AND EXISTS (SELECT 1 FROM @owners w WHERE w.shard = $1 AND w.epoch = o.running)
		FROM @operations o WHERE o.shard = $1 AND o.id = $2`), e.shard, op, toMS(now)).Scan(&late, &running)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, false, false, nil
	}
	return true, late, running, err
}

// CancelFuture implements [recall.Stander]. It begins in one shard after the other: what
// is published after it has returned meets it. If a shard fails it is lifted where it has
// begun; where that fails, too, the error is [recall.ErrFailed], and it lasts in some
// shards, where StandingCancellations lists it.
func (s *Sharded) CancelFuture(ctx context.Context, f recall.Filter, until time.Time, reason string, now time.Time) (recall.OperationID, error) {
	id := s.numbers.newOperation(now)
	for i, e := range s.shards {
		err := s.at(s.homeOf(e), e.cancelFuture(ctx, id, f, until, reason, now))
		if err == nil {
			continue
		}
		for _, begun := range s.shards[:i] {
			if undo := begun.LiftCancellation(context.WithoutCancel(ctx), operationID(id), now); undo != nil {
				return "", partly(i, len(s.shards), "told of it", errors.Join(err, undo))
			}
		}
		return "", err
	}
	return operationID(id), nil
}

// StandingCancellations implements [recall.Stander], with the sums of all shards.
func (s *Sharded) StandingCancellations(ctx context.Context, now time.Time) ([]recall.StandingCancellation, error) {
	parts, err := gather(s, s.shards, func(e *Engine) ([]recall.StandingCancellation, error) { return e.StandingCancellations(ctx, now) })
	if err != nil {
		return nil, err
	}
	all := slices.Concat(parts...)
	slices.SortStableFunc(all, func(a, b recall.StandingCancellation) int { return strings.Compare(string(a.ID), string(b.ID)) })
	joined := all[:0]
	for _, c := range all {
		if last := len(joined) - 1; last >= 0 && joined[last].ID == c.ID {
			joined[last].Count += c.Count
			joined[last].LiftedAt = both(joined[last].LiftedAt, c.LiftedAt)
			continue
		}
		joined = append(joined, c)
	}
	return joined, nil
}

// LiftCancellation implements [recall.Stander]. If a shard fails the call may be made
// again.
func (s *Sharded) LiftCancellation(ctx context.Context, op recall.OperationID, now time.Time) error {
	found := false
	for _, e := range s.shards {
		err := e.LiftCancellation(ctx, op, now)
		switch {
		case err == nil:
			found = true
		case !errors.Is(err, recall.ErrNotFound):
			return s.at(s.homeOf(e), err)
		}
	}
	if !found {
		return recall.ErrNotFound
	}
	return nil
}
