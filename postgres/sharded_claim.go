package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// claimPatience is how long a claim waits for one shard. What that claims later goes
// back. A connection on which nothing comes back any more may take minutes to end.
const claimPatience = 10 * time.Second

// Claim implements [recall.Engine]. It asks the shards in turn, each call from another
// one on, until it has enough: what is due earliest comes first within a shard. Shards
// whose database does not answer are passed over; if none answers that is the error.
func (s *Sharded) Claim(ctx context.Context, req recall.ClaimRequest) (res recall.ClaimResult, err error) {
	var errs []error
	asked := false
	first := s.next()
	for i := range s.shards {
		e := s.shards[(first+i)%len(s.shards)]
		part := req
		part.Max = max(0, req.Max-len(res.Leases))
		if part.Max == 0 && req.Max > 0 {
			res.Next = earlier(res.Next, req.Now) // who has not been asked may have something
			break
		}
		if s.homeOf(e).resting() {
			res.Next = earlier(res.Next, req.Now.Add(rest))
			continue
		}
		got, err := s.claimAt(ctx, e, part)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		asked = true
		res.Leases = append(res.Leases, got.Leases...)
		res.Next = earlier(res.Next, got.Next)
	}
	if !asked && len(res.Leases) == 0 && errs != nil {
		return recall.ClaimResult{}, errors.Join(errs...)
	}
	slices.SortStableFunc(res.Leases, inOrder)
	return res, nil
}

// inOrder is the order in which claims are answered.
func inOrder(a, b recall.Lease) int {
	return cmp.Or(b.Message.Priority-a.Message.Priority, a.Message.DueAt.Compare(b.Message.DueAt), cmp.Compare(a.Message.ID, b.Message.ID))
}

// claimAt claims in one shard. A claim that takes too long is left alone.
func (s *Sharded) claimAt(ctx context.Context, e *Engine, req recall.ClaimRequest) (recall.ClaimResult, error) {
	type answer struct {
		recall.ClaimResult
		err error
	}
	done := make(chan answer, 1)
	go func() {
		res, err := e.Claim(ctx, req)
		done <- answer{res, err}
	}()
	t := s.homeOf(e)
	late, stop := after(s.patience)
	defer stop()
	select {
	case a := <-done:
		t.saw(a.err)
		return a.ClaimResult, s.at(t, a.err)
	case <-late:
	}
	t.leave(1)
	s.loops.Go(func() {
		a := <-done
		t.leave(-1)
		t.saw(a.err)
		for _, l := range a.Leases { // of a shard that is closed meanwhile they end anyway
			_ = e.Finish(context.Background(), l, recall.Finish{Outcome: recall.Release, Now: req.Now})
		}
	})
	return recall.ClaimResult{}, s.at(t, errLate)
}
