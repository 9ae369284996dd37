package enginetest

import (
	"context"

	"github.com/recallmq/recall"
)

// DeleteDeadMatching implements [recall.Engine], in one unit.
func (r *Reference) DeleteDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	if err := r.begin(ctx); err != nil {
		return 0, err
	}
	defer r.mu.Unlock()
	ids, err := r.deadMatching(req)
	return len(r.unbury(ids)), err
}

// RetryDeadMatching implements [recall.Engine], in one unit.
func (r *Reference) RetryDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	if err := r.begin(ctx); err != nil {
		return 0, err
	}
	defer r.mu.Unlock()
	ids, err := r.deadMatching(req)
	if err != nil {
		return 0, err
	}
	receipts, err := r.retryDead(ids, req.Now, nil)
	return len(receipts), err
}

// deadMatching returns what a call is about, oldest first; none if its guard
// refuses it.
func (r *Reference) deadMatching(req recall.DeadMatchingRequest) (ids []recall.DeadLetterID, err error) {
	f, g := req.Filter, req.Guard
	if f.States == nil && f.DueAfter.IsZero() && f.DueBefore.IsZero() {
		for i := range r.dead {
			if f.Matches(&r.dead[i].Message) {
				ids = append(ids, r.dead[i].ID)
			}
		}
	}
	if g.Set && (len(ids) < g.Least || len(ids) > g.Most) {
		return nil, &recall.UnexpectedCountError{Found: len(ids), Least: g.Least, Most: g.Most}
	}
	if req.Limit > 0 && len(ids) > req.Limit {
		ids = ids[:req.Limit]
	}
	return ids, nil
}
