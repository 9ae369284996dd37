package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// shardedBulk is one call that walks through several shards, one after the other. What
// it takes in each has a record there, by the same id.
type shardedBulk struct {
	s     *Sharded
	req   recall.CancelMatchingRequest
	kind  recall.OperationKind
	due   time.Time
	id    [16]byte
	index string
	which []*Engine

	walks []*bulk
	res   recall.CancelResult
}

// CancelMatching implements [recall.Engine]. The walk goes through the shards in their
// order, and through each in that of publication; it stops at the first match in flight,
// and does not touch the shards behind. Limits, and the time to wait, are those of the
// whole call. In each shard chunks are durable one by one, so if the process or a
// database ends in the middle an exact prefix is done, and the error, if there is one, is
// that of the database; the call may be made again for the rest.
//
// A guard has the matches of all shards locked, by one transaction in each database, in
// the order of shards, before it is judged, so what it counts is what is taken. These
// transactions are committed one after the other: if one fails after another the error is
// [recall.ErrFailed], and the result says how many messages are gone. That needs one
// connection of each database at a time, and Options.MaxGuarded bounds the sum.
func (s *Sharded) CancelMatching(ctx context.Context, req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	return s.bulk(ctx, req, recall.OperationCancel, time.Time{})
}

// Change implements [recall.Changer], as CancelMatching does [recall.Engine].
func (s *Sharded) Change(ctx context.Context, req recall.ChangeRequest) (recall.ChangeResult, error) {
	if !slices.Contains(changeKinds, req.Kind) {
		return recall.ChangeResult{}, invalid("Kind", "it is no change")
	}
	due := req.Due
	if req.Kind == recall.OperationRetryNow {
		due = req.Now
	}
	req.Expired, req.Asked = nil, nil
	res, err := s.bulk(ctx, req.CancelMatchingRequest, req.Kind, due)
	return recall.ChangeResult{
		Changed: res.Cancelled, Skipped: res.Skipped, Operation: res.Operation, Index: res.Index, Scanned: res.Scanned,
	}, err
}

func (s *Sharded) bulk(ctx context.Context, req recall.CancelMatchingRequest, kind recall.OperationKind, due time.Time) (res recall.CancelResult, err error) {
	if !req.All && req.Filter.IsZero() {
		return recall.CancelResult{Index: indexTime}, recall.ErrEmptyFilter
	}
	if req.All {
		req.Filter, req.All = recall.Filter{}, false
	}
	b := &shardedBulk{s: s, req: req, kind: kind, due: due, res: recall.CancelResult{Index: indexTime}}
	if b.which, err = s.reach(ctx, &req.Filter); err != nil {
		return b.res, err
	}
	leave, err := s.enter(ctx, b.which)
	if err != nil {
		return b.res, err
	}
	defer leave()
	if b.index, err = s.narrowest(ctx, b.which, req.Filter); err != nil {
		return b.res, err
	}
	b.id, b.res.Index = s.numbers.newOperation(req.Now), b.index
	err = b.run(ctx)
	if err := b.end(ctx); err != nil {
		return b.res, err
	}
	return b.res, err
}

func (b *shardedBulk) run(ctx context.Context) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	from := 0
	if b.req.Guard.Set {
		var err error
		var stopped bool
		if from, stopped, err = b.guarded(ctx); err != nil || stopped {
			return err
		}
	}
	b.started()
	for _, w := range b.walks[from:] {
		if b.full() {
			return nil
		}
		if err := b.walk(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// begin fixes, in all shards before anything is changed, what is looked at.
func (b *shardedBulk) begin(ctx context.Context) (err error) {
	b.walks, err = gather(b.s, b.which, func(e *Engine) (*bulk, error) {
		w := b.newWalk(e)
		return w, w.beginWalk(ctx)
	})
	return err
}

func (b *shardedBulk) newWalk(e *Engine) *bulk {
	req := b.req
	req.Guard, req.Asked, req.Started = recall.Guard{}, nil, nil
	w := e.newBulk(req, b.kind, b.due)
	w.op.id, w.op.Index, w.res.Index = b.id, b.index, b.index
	return w
}

// restart has the walks begin anew, at what they have begun with.
func (b *shardedBulk) restart() {
	for i, old := range b.walks {
		b.walks[i] = b.newWalk(old.e)
		b.walks[i].asOf, b.walks[i].late, b.walks[i].unnumbered = old.asOf, old.late, old.unnumbered
	}
}

// started tells the caller that the call begins.
func (b *shardedBulk) started() {
	if b.req.Started != nil {
		b.req.Started(operationID(b.id))
		b.req.Started = nil
	}
}

func (b *shardedBulk) taken() int {
	n := 0
	for _, w := range b.walks {
		n += w.res.Cancelled + w.res.Requested
	}
	return n
}

func (b *shardedBulk) full() bool { return b.req.Limit > 0 && b.taken() >= b.req.Limit }

// allow has a walk take no more than is left of the limit.
func (b *shardedBulk) allow(w *bulk) {
	if b.req.Limit > 0 {
		w.req.Limit = b.req.Limit - b.taken() + w.res.Cancelled + w.res.Requested
	}
}

// walk goes through what is left of one shard.
func (b *shardedBulk) walk(ctx context.Context, w *bulk) error {
	b.allow(w)
	err := w.run(ctx)
	return b.stopped(w, b.s.at(b.s.homeOf(w.e), err))
}

// stopped says of the blocker that a walk has met how much was cancelled before it by
// the whole call, and notes it in the records.
func (b *shardedBulk) stopped(w *bulk, err error) error {
	var stop *recall.NotCancellableError
	if !errors.As(err, &stop) {
		return err
	}
	whole := *stop
	whole.Cancelled = 0
	for _, other := range b.walks {
		whole.Cancelled += other.res.Cancelled
		other.op.Blocker = w.op.Blocker
	}
	return &whole
}

// end adds up the shards, and finishes the records once all are there.
func (b *shardedBulk) end(ctx context.Context) error {
	var asked []recall.MessageID
	for _, w := range b.walks {
		b.res.Cancelled += w.res.Cancelled
		b.res.Requested += w.res.Requested
		b.res.Scanned += w.res.Scanned
		b.res.Skipped = append(b.res.Skipped, w.res.Skipped...)
		asked = append(asked, w.asked...)
		if w.kept {
			b.res.Operation = operationID(b.id)
		}
	}
	first := true
	var errs []error
	for _, w := range b.walks {
		if !w.kept && !w.doubt {
			continue
		}
		w.silent, first = !first, false
		w.elsewhere.Cancelled, w.elsewhere.Requested = b.res.Cancelled-w.res.Cancelled, b.res.Requested-w.res.Requested
		errs = append(errs, b.s.at(b.s.homeOf(w.e), w.finish(ctx)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(asked) > 0 && b.req.Asked != nil {
		b.req.Asked(asked)
	}
	return nil
}
