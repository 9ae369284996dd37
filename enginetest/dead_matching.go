package enginetest

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
)

// deadVerb is one of the calls for the dead letters that match a filter.
type deadVerb struct {
	name string
	do   func(*fixture, recall.DeadMatchingRequest) (int, error)
}

var deadVerbs = []deadVerb{
	{"DeleteDeadMatching", func(x *fixture, req recall.DeadMatchingRequest) (int, error) {
		req.Now = x.now
		return x.e.DeleteDeadMatching(x.ctx, req)
	}},
	{"RetryDeadMatching", func(x *fixture, req recall.DeadMatchingRequest) (int, error) {
		req.Now = x.now
		return x.e.RetryDeadMatching(x.ctx, req)
	}},
}

// took checks that a call has taken n dead letters.
func (v deadVerb) took(x *fixture, req recall.DeadMatchingRequest, n int) {
	x.Helper()
	if got, err := v.do(x, req); got != n || err != nil {
		x.Fatalf("%s of %s: got %d, %v, want %d", v.name, req.Filter, got, err, n)
	}
}

// refused checks that the guard of a call has refused it, before anything was done.
func (v deadVerb) refused(x *fixture, req recall.DeadMatchingRequest, found int) {
	x.Helper()
	was := x.snapshot()
	n, err := v.do(x, req)
	x.wantRefused(recall.CancelResult{Cancelled: n}, err, req.Guard, found)
	x.wantUnchanged(was)
}

// bury makes n dead letters at once.
func (x *fixture) bury(n int, set ...func(*recall.Message)) []recall.DeadLetterID {
	x.Helper()
	before := len(x.listDead(recall.Filter{}))
	ids := x.publishMany(n, append(slices.Clip(set), due(x.now))...)
	for i, l := range x.wantClaim(n, ids...) {
		f := x.ending(recall.Dead)
		f.Durable = i == n-1
		x.check(x.e.Finish(x.ctx, l, f), "Finish")
	}
	return deadIDs(x.listDead(recall.Filter{})[before:])
}

func (x *fixture) wantDead(want ...recall.DeadLetterID) {
	x.Helper()
	if got := deadIDs(x.listDead(recall.Filter{})); !slices.Equal(got, want) {
		x.Fatalf("ListDead: got %v, want %v", got, want)
	}
}

var deadMatchingTests = []contractTest{
	{"matches are deleted, oldest first", func(x *fixture) {
		a, b := x.bury(4, label("a")), x.bury(3, label("b"))
		v := deadVerbs[0]
		v.took(x, recall.DeadMatchingRequest{Filter: byLabel("none")}, 0)
		v.took(x, recall.DeadMatchingRequest{Filter: byLabel("a"), Limit: 3}, 3)
		x.wantDead(append(a[3:], b...)...)
		v.took(x, recall.DeadMatchingRequest{Filter: byLabel("a"), Limit: 3}, 1)
		x.wantDead(b...)
		v.took(x, recall.DeadMatchingRequest{}, 3)
		x.wantDead()
	}},
	{"matches are published again, oldest first", func(x *fixture) {
		x.bury(4, label("a"))
		b := x.bury(2, label("b"))
		first := x.listDead(byLabel("a"))[0].Message
		x.advance(time.Hour)
		deadVerbs[1].took(x, recall.DeadMatchingRequest{Filter: byLabel("a"), Limit: 1}, 1)
		leases := x.claim(9)
		if len(leases) != 1 || leases[0].Message.ID == first.ID || string(leases[0].Message.Body) != string(first.Body) ||
			!leases[0].Message.CreatedAt.Equal(x.now) || leases[0].Message.Attempts != 1 {
			x.Fatalf("got %+v, want the oldest again", leases)
		}
		deadVerbs[1].took(x, recall.DeadMatchingRequest{Filter: byLabel("a")}, 3)
		x.wantDead(b...)
		if got := len(x.claim(9)); got != 3 {
			x.Fatalf("Claim: got %d messages, want 3", got)
		}
	}},
	{"messages are named by their ids", func(x *fixture) {
		x.bury(5, label("a"))
		all := x.listDead(recall.Filter{})
		f := byID(all[3].Message.ID, all[1].Message.ID, "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV")
		for _, v := range deadVerbs {
			v.refused(x, recall.DeadMatchingRequest{Filter: f, Guard: exactly(3)}, 2)
			v.refused(x, recall.DeadMatchingRequest{Filter: f, Guard: atMost(1), Limit: 1}, 2)
			v.took(x, recall.DeadMatchingRequest{Filter: recall.Filter{IDs: []recall.MessageID{}}, Guard: exactly(0)}, 0)
		}
		deadVerbs[0].took(x, recall.DeadMatchingRequest{Filter: f, Guard: exactly(2)}, 2)
		x.wantDead(all[0].ID, all[2].ID, all[4].ID)
	}},
	{"there is none with a state, or due", func(x *fixture) {
		x.bury(2, label("a"))
		for _, v := range deadVerbs {
			for _, f := range []recall.Filter{{States: []recall.State{recall.StateReady}}, {DueAfter: base.Add(-time.Hour)}, {DueBefore: far}} {
				v.took(x, recall.DeadMatchingRequest{Filter: f, Guard: exactly(0)}, 0)
				v.refused(x, recall.DeadMatchingRequest{Filter: f, Guard: exactly(2)}, 0)
			}
		}
	}},
	{"a guard refuses another number before anything is touched", func(x *fixture) {
		x.bury(5, label("a"))
		x.bury(2, label("b"))
		x.publishMany(3, label("a")) // pending: no dead letters
		for _, v := range deadVerbs {
			for _, limit := range []int{0, 1, 9} {
				for _, g := range []recall.Guard{atMost(4), exactly(4), exactly(6), exactly(0), atMost(0), exactly(8)} {
					v.refused(x, recall.DeadMatchingRequest{Filter: byLabel("a"), Guard: g, Limit: limit}, 5)
				}
			}
		}
		deadVerbs[0].took(x, recall.DeadMatchingRequest{Filter: byLabel("a"), Guard: exactly(5), Limit: 2}, 2)
		deadVerbs[1].took(x, recall.DeadMatchingRequest{Filter: byLabel("a"), Guard: atMost(3)}, 3)
		deadVerbs[1].took(x, recall.DeadMatchingRequest{Guard: recall.Guard{Set: true, Least: 1, Most: 2}}, 2)
		x.wantDead()
	}},
	{"more than one commit of them", func(x *fixture) {
		n := x.many(2100)
		for _, v := range deadVerbs {
			x.bury(n, label("m"))
			v.refused(x, recall.DeadMatchingRequest{Filter: byLabel("m"), Guard: atMost(n - 1)}, n)
			v.refused(x, recall.DeadMatchingRequest{Filter: byLabel("m"), Guard: atMost(n - 1), Limit: 1}, n)
			v.took(x, recall.DeadMatchingRequest{Filter: byLabel("m"), Guard: exactly(n), Limit: n - 1}, n-1)
			v.took(x, recall.DeadMatchingRequest{Filter: byLabel("m"), Guard: exactly(1)}, 1)
			x.wantDead()
			x.cancelAll(x.count(recall.Filter{}).Pending)
		}
	}},
	{"what dies again meanwhile is not taken twice", func(x *fixture) {
		n := x.many(2100)
		x.bury(n, label("m"))
		var over atomic.Bool
		x.together(2, func(i int) {
			if i == 0 {
				defer over.Store(true)
				if got, err := deadVerbs[1].do(x, recall.DeadMatchingRequest{Filter: byLabel("m"), Guard: exactly(n)}); got != n || err != nil {
					x.Errorf("RetryDeadMatching: got %d, %v, want %d", got, err, n)
				}
				return
			}
			for !over.Load() {
				res, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: x.now, Max: 100})
				for i, l := range res.Leases {
					f := x.ending(recall.Dead)
					f.Durable = i == len(res.Leases)-1
					err = errors.Join(err, x.e.Finish(x.ctx, l, f))
				}
				if err != nil {
					x.Errorf("to die again: %v", err)
				}
			}
		})
		if got := len(x.listDead(recall.Filter{})) + x.count(recall.Filter{}).Pending; got != n {
			x.Errorf("got %d messages in all, want %d", got, n)
		}
	}},
	{"of several calls with the same number one is done", func(x *fixture) {
		n := x.many(300)
		for range size(10) {
			x.bury(n, label("m"))
			var done, taken atomic.Int64
			x.together(4, func(i int) {
				got, err := deadVerbs[i%2].do(x, recall.DeadMatchingRequest{Filter: byLabel("m"), Guard: exactly(n)})
				var refused *recall.UnexpectedCountError
				switch {
				case err == nil:
					done.Add(1)
				case !errors.As(err, &refused) || refused.Found != 0 || got != 0:
					x.Errorf("got %d, %v, want it done or refused with none found", got, err)
				}
				taken.Add(int64(got))
			})
			if done.Load() != 1 || taken.Load() != int64(n) {
				x.Fatalf("%d calls took %d dead letters, want one that takes %d", done.Load(), taken.Load(), n)
			}
			x.wantDead()
			if left := x.count(recall.Filter{}).Pending; left > 0 {
				x.cancelAll(left)
			}
		}
	}},
	{"with a done context they change nothing", func(x *fixture) {
		dead := x.bury(2)
		req := recall.DeadMatchingRequest{Now: x.now}
		if n, err := x.e.DeleteDeadMatching(doneContext(), req); n != 0 || err == nil {
			x.Errorf("DeleteDeadMatching: got %d, %v", n, err)
		}
		if n, err := x.e.RetryDeadMatching(doneContext(), req); n != 0 || err == nil {
			x.Errorf("RetryDeadMatching: got %d, %v", n, err)
		}
		x.wantDead(dead...)
	}},
}

// deadMatching takes dead letters by a filter on both engines.
func (p *pair) deadMatching(t *rapid.T) {
	rf, xf := p.filter(t)
	req := recall.DeadMatchingRequest{Limit: rapid.IntRange(0, 3).Draw(t, "limit")}
	if rapid.Bool().Draw(t, "guarded") {
		least := rapid.IntRange(0, 3).Draw(t, "least")
		req.Guard = recall.Guard{Set: true, Least: least, Most: least + rapid.IntRange(0, 2).Draw(t, "more")}
	}
	v := rapid.SampledFrom(deadVerbs).Draw(t, "verb")
	req.Filter = rf
	rn, rerr := v.do(p.ref, req)
	req.Filter = xf
	xn, xerr := v.do(p.x, req)
	p.same(v.name+" of "+xf.String(), answer(rerr, nil), answer(xerr, nil))
	p.same(v.name+" of "+xf.String(), rn, xn)
	p.refIDs, p.xs = append(p.refIDs, p.ref.unknown(p.refIDs)...), append(p.xs, p.x.unknown(p.xs)...)
	p.same("messages", len(p.refIDs), len(p.xs))
}

// unknown returns the live messages that are not among ids: what was published by
// a call that does not name it.
func (x *fixture) unknown(ids []recall.MessageID) []recall.MessageID {
	x.Helper()
	return slices.DeleteFunc(x.list(recall.Filter{}), func(id recall.MessageID) bool { return slices.Contains(ids, id) })
}
