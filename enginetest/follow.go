package enginetest

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// notice is a message that follows a dead letter: its body is a text with the id
// in the place of "|".
func (x *fixture) notice(text string, set ...func(*recall.Message)) recall.DeadFollow {
	m := x.message(set...)
	before, after, _ := strings.Cut(text, "|")
	m.Body = []byte(before + after)
	return recall.DeadFollow{Message: m, IDAt: len(before)}
}

// wantBodies compares the bodies of the matches of a filter, in order.
func (x *fixture) wantBodies(f recall.Filter, want ...string) {
	x.Helper()
	var got []string
	for _, id := range x.list(f) {
		got = append(got, string(x.get(id).Body))
	}
	if !slices.Equal(got, want) {
		x.Fatalf("bodies of %s: got %q, want %q", f, got, want)
	}
}

// endWith ends an attempt at a message with one message that follows in any case,
// and one that follows a dead letter.
func (x *fixture) endWith(l recall.Lease, o recall.Outcome) {
	x.Helper()
	f := x.ending(o)
	m := x.message(label("f"))
	m.Body = []byte("any")
	f.Follow = []recall.Message{m}
	f.FollowDead = []recall.DeadFollow{x.notice("<|>", label("f"))}
	x.check(x.e.Finish(x.ctx, l, f), "Finish")
}

var followTests = slices.Concat(
	[]contractTest{
		{"what follows a dead letter names it", func(x *fixture) {
			x.kill(label("before"))
			x.advance(time.Second)
			l := x.claimOne(x.publish(label("a")))
			f := x.ending(recall.Dead)
			f.FollowDead = []recall.DeadFollow{
				x.notice("id: |.", label("f")), x.notice("|unnamed", label("f")), x.notice("at the end |", label("f")),
			}
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			id := string(x.listDead(byLabel("a"))[0].ID)
			x.wantBodies(byLabel("f"), "id: "+id+".", "unnamed", "at the end "+id)
		}},
		{"what follows a dead letter follows nothing else", func(x *fixture) {
			id := x.publish()
			x.endWith(x.claimOne(id), recall.Retry)
			x.wantBodies(byLabel("f"), "any")
			x.advance(time.Hour)
			x.endWith(x.claim(2)[1], recall.Delivered)
			x.wantBodies(byLabel("f"), "any", "any")
		}},
		{"a message whose cancellation was requested leaves no dead letter to follow", func(x *fixture) {
			id := x.publish()
			l := x.claimOne(id)
			x.cancelSticky(id)
			x.endWith(l, recall.Dead)
			x.wantBodies(byLabel("f"), "any")
			if n := len(x.listDead(recall.Filter{})); n != 0 {
				x.Errorf("got %d dead letters", n)
			}
		}},
		{"a standing cancellation takes what follows", func(x *fixture) {
			l := x.claimOne(x.publish())
			_, err := can[recall.Stander](x).CancelFuture(x.ctx, byLabel("f"), far, "", x.now)
			x.check(err, "CancelFuture")
			x.endWith(l, recall.Dead)
			x.wantList(recall.Filter{})
		}},
		{"an id has its place in the body", func(x *fixture) {
			l := x.claimOne(x.publish())
			for _, at := range []int{-1, 3} {
				f := x.ending(recall.Dead)
				n := x.notice("ab", label("f"))
				n.IDAt = at
				f.FollowDead = []recall.DeadFollow{n}
				x.wantError(x.e.Finish(x.ctx, l, f), recall.ErrInvalid, "Finish")
			}
			x.wantCount(recall.Filter{}, 0, 1)
			x.finish(l, recall.Delivered)
		}},
		{"a dead letter is work for the background", func(x *fixture) {
			l := x.claimOne(x.publish())
			x.settle()
			for hinted(x.e.Hints().Maintain) { // of before
			}
			x.finish(l, recall.Dead)
			if !hinted(x.e.Hints().Maintain) {
				x.Error("there is no hint")
			}
		}},
		{"a retried entry blocks no queue", func(x *fixture) {
			d := x.kill(func(m *recall.Message) { m.Source, m.Blocks = "msg_source", "q" })
			if d.Message.Blocks != "q" || d.Message.Source != "msg_source" {
				x.Errorf("dead letter: got source %q, blocks %q", d.Message.Source, d.Message.Blocks)
			}
			receipts, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{d.ID}, x.now)
			x.check(err, "RetryDead")
			if m := x.get(receipts[0].ID); m.Blocks != "" || m.Source != "msg_source" {
				x.Errorf("published again: got source %q, blocks %q", m.Source, m.Blocks)
			}
		}},
		{"a list of dead letters goes on behind what is dropped meanwhile", func(x *fixture) {
			n := size(200)
			for range n {
				x.kill()
			}
			ids := deadIDs(x.listDead(recall.Filter{}))
			var done atomic.Bool
			x.together(3, func(i int) {
				if i == 0 {
					for _, id := range ids[:n-1] {
						if _, err := x.e.DeleteDead(x.ctx, []recall.DeadLetterID{id}); err != nil {
							x.Errorf("DeleteDead: %v", err)
						}
					}
					done.Store(true)
				}
				for !done.Load() {
					page, err := x.e.ListDead(x.ctx, recall.Filter{}, "", 1)
					some, err2 := x.e.DeadIDs(x.ctx, recall.Filter{}, "", 1)
					if len(page) != 1 || len(some) != 1 {
						x.Errorf("got %d dead letters, %v, and %d ids, %v: the last was never deleted", len(page), err, len(some), err2)
						return
					}
				}
			})
		}},
	},
	restart("what follows a dead letter is there after a restart", func(x *fixture, reopen func()) {
		l := x.claimOne(x.publish(label("a")))
		x.endWith(l, recall.Dead)
		for range 2 {
			reopen()
			d := x.listDead(byLabel("a"))
			if len(d) != 1 {
				x.Fatalf("got %d dead letters", len(d))
			}
			x.wantBodies(byLabel("f"), "any", "<"+string(d[0].ID)+">")
		}
	}),
)
