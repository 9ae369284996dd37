package enginetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/recallmq/recall"
)

// window is that of the default options.
const window = recall.DefaultDeduplicationWindow

func dedup(id string) func(*recall.Message) {
	return func(m *recall.Message) { m.DeduplicationID = id }
}

// receipts publishes msgs as one unit.
func (x *fixture) receipts(msgs ...recall.Message) []recall.Receipt {
	x.Helper()
	receipts, err := x.e.Insert(x.ctx, msgs, x.now)
	x.check(err, "Insert")
	return receipts
}

// first publishes a message that must not be a duplicate.
func (x *fixture) first(set ...func(*recall.Message)) recall.MessageID {
	x.Helper()
	r := x.receipts(x.message(set...))[0]
	if r.Deduplicated {
		x.Fatalf("Insert: got a duplicate of %s, want a message", r.ID)
	}
	return r.ID
}

// duplicate publishes a message that must be a duplicate of another, which was
// published at the given time.
func (x *fixture) duplicate(of recall.MessageID, at time.Time, set ...func(*recall.Message)) {
	x.Helper()
	x.wantDuplicate(x.receipts(x.message(set...))[0], of, at)
}

func (x *fixture) wantDuplicate(r recall.Receipt, of recall.MessageID, at time.Time) {
	x.Helper()
	if want := (recall.Receipt{ID: of, CreatedAt: at, Deduplicated: true}); r.ID != of || !r.CreatedAt.Equal(at) || !r.Deduplicated || r.CancelledBy != "" {
		x.Fatalf("Insert of a duplicate: got %+v, want %+v", r, want)
	}
}

var dedupTests = slices.Concat([]contractTest{
	{"a second message with an id is not stored", func(x *fixture) {
		a := x.first(dedup("a"))
		x.advance(time.Minute)
		x.duplicate(a, base, dedup("a"), label("other"))
		b := x.first(dedup("b"))
		x.duplicate(b, x.now, dedup("b"))
		c, d := x.first(), x.first()
		x.wantList(recall.Filter{}, a, b, c, d)
		x.wantClaim(9, a, b, c, d)
	}},
	{"ids are not kept with messages", func(x *fixture) {
		m := x.get(x.first(dedup("a"), func(m *recall.Message) { m.DeduplicateContent = true }))
		if m.DeduplicationID != "" || m.DeduplicateContent {
			x.Errorf("got %q, %v", m.DeduplicationID, m.DeduplicateContent)
		}
	}},
	{"similar and long ids are told apart", func(x *fixture) {
		long := string(slices.Repeat([]byte("x"), 4000))
		ids := []string{"a", "A", "a ", "\x01a", "\x02a", "ab", long, long + "x", "ä", "a\u0308"}
		var all []recall.MessageID
		for _, id := range ids {
			all = append(all, x.first(dedup(id)))
		}
		for i, id := range ids {
			x.duplicate(all[i], base, dedup(id))
		}
		x.wantList(recall.Filter{}, all...)
	}},
	{"an id is free when the window is over", func(x *fixture) {
		a := x.first(dedup("a"))
		x.advance(window - time.Millisecond)
		x.duplicate(a, base, dedup("a"))
		x.advance(time.Millisecond)
		again := x.first(dedup("a"))
		x.advance(window - time.Millisecond)
		x.duplicate(again, base.Add(window), dedup("a"))
		x.wantList(recall.Filter{}, a, again)
	}},
	{"a duplicate does not make the window longer", func(x *fixture) {
		a := x.first(dedup("a"))
		x.advance(window / 2)
		x.duplicate(a, base, dedup("a"))
		x.advance(window / 2)
		x.first(dedup("a"))
	}},
	{"background work keeps ids until their window is over", func(x *fixture) {
		a := x.first(dedup("a"))
		for range 3 * int(window/time.Minute) {
			x.advance(time.Minute / 2)
			for range 5 {
				_, err := x.e.Maintain(x.ctx, x.now)
				x.check(err, "Maintain")
			}
			if x.now.Sub(base) < window {
				x.duplicate(a, base, dedup("a"))
			}
		}
		x.first(dedup("a"))
	}},
	{"ids are free at once after their room was given back", func(x *fixture) {
		a := x.first(dedup("a"))
		x.advance(2 * window)
		x.settle()
		b := x.first(dedup("a"))
		x.duplicate(b, x.now, dedup("a"))
		x.wantList(recall.Filter{}, a, b)
	}},
	{"an id that is taken again outlives its first reservation", func(x *fixture) {
		x.first(dedup("a"))
		x.advance(window)
		b := x.first(dedup("a"))
		at := x.now
		for range 9 {
			x.advance(time.Minute)
			_, err := x.e.Maintain(x.ctx, x.now)
			x.check(err, "Maintain")
			x.duplicate(b, at, dedup("a"))
		}
	}},
	{"when the clock is set back ids stay for another window at most", func(x *fixture) {
		a := x.first(dedup("a"))
		x.now = base.Add(-window + time.Millisecond)
		x.duplicate(a, base, dedup("a"))
		x.now = base.Add(-window)
		b := x.first(dedup("a"))
		x.duplicate(b, x.now, dedup("a"))
		x.wantList(recall.Filter{}, a, b)
	}},
	{"of a batch the later message is the duplicate", func(x *fixture) {
		old := x.first(dedup("old"))
		x.advance(time.Second)
		r := x.receipts(x.message(dedup("a")), x.message(), x.message(dedup("a")), x.message(dedup("old")), x.message(dedup("b")),
			x.message(dedup("a")))
		for _, i := range []int{2, 5} {
			x.wantDuplicate(r[i], r[0].ID, x.now)
		}
		x.wantDuplicate(r[3], old, base)
		if r[0].Deduplicated || r[1].Deduplicated || r[4].Deduplicated {
			x.Fatalf("got %+v", r)
		}
		x.wantList(recall.Filter{}, old, r[0].ID, r[1].ID, r[4].ID)
		x.wantDuplicate(x.receipts(x.message(dedup("b")), x.message(dedup("b")))[1], r[4].ID, x.now)
		x.wantClaim(9, old, r[0].ID, r[1].ID, r[4].ID)
	}},
	{"a message keeps its id reserved when it is gone", func(x *fixture) {
		delivered := x.first(dedup("delivered"))
		x.finish(x.claimOne(delivered), recall.Delivered)
		dead := x.first(dedup("dead"))
		x.finish(x.claimOne(dead), recall.Dead)
		one, many := x.first(dedup("one")), x.first(dedup("many"))
		x.check(x.cancel(one), "Cancel")
		x.cancelMatching(byID(many), 1)
		for id, first := range map[string]recall.MessageID{"delivered": delivered, "dead": dead, "one": one, "many": many} {
			x.duplicate(first, base, dedup(id))
		}
		x.wantList(recall.Filter{})
	}},
	{"a message that was cancelled on arrival reserves its id", func(x *fixture) {
		s := can[recall.Stander](x)
		op, err := s.CancelFuture(x.ctx, byLabel("bad"), x.now.Add(time.Hour), "", x.now)
		x.check(err, "CancelFuture")
		r := x.receipts(x.message(dedup("a"), label("bad")), x.message(dedup("a"), label("bad")), x.message(dedup("a")))
		if r[0].CancelledBy != op || r[0].Deduplicated {
			x.Fatalf("got %+v, want it to be cancelled by %s", r[0], op)
		}
		x.wantDuplicate(r[1], r[0].ID, x.now)
		x.wantDuplicate(r[2], r[0].ID, x.now)
		x.duplicate(r[0].ID, base, dedup("a"), label("bad"))
		x.wantList(recall.Filter{})
		if got := x.operation(op).Count; got != 1 {
			x.Errorf("the record counts %d, want 1", got)
		}
	}},
	{"attempts, redrives and what follows are no duplicates", func(x *fixture) {
		id := x.first(dedup("a"))
		x.finish(x.claimOne(id), recall.Retry)
		x.advance(time.Minute)
		f := x.ending(recall.Dead)
		f.Follow = []recall.Message{x.message(dedup("a")), x.message(dedup("b")), x.message(dedup("b"))}
		x.check(x.e.Finish(x.ctx, x.claimOne(id), f), "Finish")
		x.wantCount(recall.Filter{}, 3, 0)
		r, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{x.listDead(recall.Filter{})[0].ID}, x.now)
		x.check(err, "RetryDead")
		if len(r) != 1 || r[0].Deduplicated || r[0].ID == id {
			x.Fatalf("RetryDead: got %+v", r)
		}
		x.duplicate(id, base, dedup("a"))
		x.first(dedup("b")) // what follows reserves nothing
		x.wantCount(recall.Filter{}, 5, 0)
	}},
	{"messages beside objects are deduplicated", func(x *fixture) {
		k := can[recall.Keeper](x)
		a := x.first(dedup("a"))
		change := recall.Change{
			Objects:  []recall.Object{object(recall.ObjectTopic, "t", "1")},
			Messages: []recall.Message{x.message(dedup("a")), x.message(dedup("b"))}, Now: x.now,
		}
		r, err := k.Apply(x.ctx, change)
		x.check(err, "Apply")
		x.wantDuplicate(r[0], a, x.now)
		x.wantObjects(recall.ObjectTopic, "t=1")
		x.duplicate(r[1].ID, x.now, dedup("b"))
		x.wantList(recall.Filter{}, a, r[1].ID)
	}},
	{"a transaction sees its own ids, and leaves none when it fails", func(x *fixture) {
		u := can[recall.Transactor](x)
		a := x.first(dedup("a"))
		insert := func(tx recall.EngineTx, id string) recall.Receipt {
			r, err := tx.Insert([]recall.Message{x.message(dedup(id))}, x.now)
			x.check(err, "Insert")
			return r[0]
		}
		no := errors.New("no")
		for _, outcome := range []error{no, nil} {
			var b recall.Receipt
			err := u.Update(x.ctx, func(tx recall.EngineTx) error {
				x.wantDuplicate(insert(tx, "a"), a, x.now)
				if b = insert(tx, "b"); b.Deduplicated {
					x.Fatalf("got %+v, want a message", b)
				}
				x.wantDuplicate(insert(tx, "b"), b.ID, x.now)
				x.check(tx.Cancel(recall.CancelRequest{ID: b.ID, Now: x.now}), "Cancel")
				x.wantDuplicate(insert(tx, "b"), b.ID, x.now)
				return outcome
			})
			x.wantError(err, outcome, "Update")
			if outcome == nil {
				x.duplicate(b.ID, x.now, dedup("b"))
			}
		}
		x.wantList(recall.Filter{}, a)
	}},
	{"what was refused reserves nothing", func(x *fixture) {
		_, err := x.e.Insert(doneContext(), []recall.Message{x.message(dedup("a"))}, x.now)
		x.wantError(err, context.Canceled, "Insert")
		bad := x.message(dedup("b"), label("b"))
		bad.URL = "https://api.test/" + string(slices.Repeat([]byte("x"), 5000))
		if _, err := x.e.Insert(x.ctx, []recall.Message{x.message(dedup("a")), bad}, x.now); err == nil {
			x.Skip("the engine has no limit that such a URL exceeds")
		}
		x.first(dedup("a"))
		x.first(dedup("b"))
	}},
	{"of concurrent messages with an id one is stored", func(x *fixture) {
		var mu sync.Mutex
		firsts, all := map[string][]recall.MessageID{}, map[string]map[recall.MessageID]bool{}
		ids := []string{"a", "b", "c"}
		x.together(8, func(i int) {
			for k := range size(20) {
				id := ids[(i+k)%len(ids)] + numbered("-", k/len(ids))
				r, err := x.e.Insert(x.ctx, []recall.Message{x.message(), x.message(dedup(id))}, x.now)
				if err != nil {
					x.Errorf("Insert: %v", err)
					return
				}
				got, err := x.e.Get(x.ctx, r[1].ID, x.now) // a duplicate's first is durable
				if err != nil {
					x.Errorf("Get of %s: %v, %+v", r[1].ID, err, got)
				}
				mu.Lock()
				if all[id] == nil {
					all[id] = map[recall.MessageID]bool{}
				}
				if all[id][r[1].ID] = true; !r[1].Deduplicated {
					firsts[id] = append(firsts[id], r[1].ID)
				}
				mu.Unlock()
			}
		})
		for id := range all {
			if len(firsts[id]) != 1 || len(all[id]) != 1 {
				x.Errorf("%s: %d were stored, and receipts name %d messages", id, len(firsts[id]), len(all[id]))
			}
		}
	}},
},
	restart("ids are reserved after a restart", func(x *fixture, reopen func()) {
		a := x.first(dedup("a"))
		x.advance(3 * time.Minute)
		many := make([]recall.Message, 300)
		for i := range many {
			many[i] = x.message(dedup(numbered("m", i)))
		}
		r := x.receipts(many...)
		reopen()
		x.duplicate(a, base, dedup("a"))
		for i, again := range x.receipts(many...) {
			x.wantDuplicate(again, r[i].ID, x.now)
		}
		x.now = base.Add(window)
		b := x.first(dedup("a"))
		reopen()
		x.duplicate(b, x.now, dedup("a"))
		x.duplicate(r[0].ID, r[0].CreatedAt, dedup("m0"))
		x.now = base.Add(window + 3*time.Minute)
		x.first(dedup("m0"))
		x.duplicate(b, base.Add(window), dedup("a"))
		x.settle()
		reopen()
		x.now = base.Add(3 * window)
		x.first(dedup("a"))
	}),
	restart("after the clock was set back the newer message counts", func(x *fixture, reopen func()) {
		x.first(dedup("a"))
		x.now = base.Add(-window)
		b := x.first(dedup("a"))
		x.now = base.Add(-window / 2) // both are within a window
		x.duplicate(b, base.Add(-window), dedup("a"))
		reopen()
		x.duplicate(b, base.Add(-window), dedup("a"))
	}),
)
