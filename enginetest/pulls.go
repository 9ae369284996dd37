package enginetest

import (
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// pull makes a message one for the consumers of a queue.
func pull(name string) func(*recall.Message) {
	return func(m *recall.Message) { m.URL, m.Queue = "pull:"+name, name }
}

// pulled claims as the consumers of queues do.
func (x *fixture) pulled(max int, queues ...string) recall.ClaimResult {
	x.Helper()
	req := recall.ClaimRequest{Now: x.now, Max: max, Only: true}
	for _, q := range queues {
		req.Handlers = append(req.Handlers, "pull:"+q)
	}
	res, err := x.e.Claim(x.ctx, req)
	x.check(err, "Claim with Only")
	return res
}

func (x *fixture) wantPulled(max int, name string, want ...recall.MessageID) []recall.Lease {
	x.Helper()
	leases := x.pulled(max, name).Leases
	if got := leaseIDs(leases); !slices.Equal(got, want) {
		x.Fatalf("Claim for the consumers of %q: got %v, want %v", name, got, want)
	}
	return leases
}

// wideQueue lets the queue q have many messages out: what is tested is who gets
// them.
func (x *fixture) wideQueue() {
	x.Helper()
	x.setQueue("q", recall.QueueSettings{Parallelism: recall.MaxParallelism})
}

var pullTests = slices.Concat([]contractTest{
	{"messages for consumers wait for them", func(x *fixture) {
		x.wideQueue()
		id := x.publish(pull("q"))
		web := x.publish(queue("q"))
		x.wantClaim(10, web)
		x.wantClaimHandled(nil, "local:q", "pull:Q", "pull:", "q")
		x.wantState(id, recall.StateReady)
		if l := x.wantPulled(10, "q", id)[0]; l.Message.Attempts != 1 || l.Message.URL != "pull:q" || l.Message.Queue != "q" {
			x.Errorf("lease: got %d attempts, URL %q, queue %q", l.Message.Attempts, l.Message.URL, l.Message.Queue)
		}
		x.wantPulled(10, "q")
	}},
	{"Only passes over everything else", func(x *fixture) {
		x.wideQueue()
		local, web := x.publish(url("local:a")), x.publish(queue("q"))
		other, id := x.publish(pull("other")), x.publish(pull("q"))
		x.wantPulled(10, "q", id)
		if got := leaseIDs(x.pulled(10).Leases); len(got) > 0 {
			x.Errorf("Only for nothing: got %v", got)
		}
		res, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: x.now, Max: 10, Only: true, Handlers: []string{"local:a"}})
		x.check(err, "Claim with Only")
		if got := leaseIDs(res.Leases); !slices.Equal(got, []recall.MessageID{local}) {
			x.Errorf("Only for a handler: got %v, want %v", got, local)
		}
		x.wantPending(web, other)
		x.wantClaim(10, web)
	}},
	{"one claim may be for everything", func(x *fixture) {
		x.wideQueue()
		a, b, c := x.publish(pull("q"), due(at(2))), x.publish(due(at(1))), x.publish(pull("r"), due(at(0)))
		x.advance(time.Minute)
		x.wantClaimHandled([]recall.MessageID{c, b, a}, "pull:q", "pull:r")
	}},
	{"consumers get what is due first, then what is oldest, at most Max", func(x *fixture) {
		x.wideQueue()
		c := x.publish(pull("q"), due(at(2)))
		a := x.publish(pull("q"), due(at(1)))
		d := x.publish(pull("q"), due(at(2)))
		x.publish(pull("q"), due(at(3)))
		x.now = at(2)
		x.wantPulled(2, "q", a, c)
		x.wantPulled(2, "q", d)
	}},
	{"with Only, Next is of what was asked for", func(x *fixture) {
		x.wideQueue()
		x.publish(due(at(10)))
		x.publish(pull("other"), due(at(20)))
		id := x.publish(pull("q"), due(at(30)))
		if res := x.pulled(5, "q"); len(res.Leases) > 0 || !res.Next.Equal(at(30)) {
			x.Errorf("got %d leases, Next %v, want %v", len(res.Leases), res.Next, at(30))
		}
		if res := x.pulled(5, "none"); !res.Next.IsZero() {
			x.Errorf("a queue without messages: got Next %v", res.Next)
		}
		x.now = at(30)
		x.wantPulled(5, "q", id)
		if res := x.pulled(5, "q"); !res.Next.IsZero() {
			x.Errorf("nothing left: got Next %v", res.Next)
		}
	}},
	{"a queue may have any name, and is no host", func(x *fixture) {
		x.wideQueue()
		const name = "jobs://api.test:81/a b?c#d"
		id := x.publish(pull(name))
		x.wantCount(recall.Filter{Hosts: []string{"api.test"}}, 0, 0)
		x.wantCount(recall.Filter{Hosts: []string{"api.test:81"}}, 0, 0)
		x.wantCount(recall.Filter{Paths: []string{"/a b"}}, 0, 0)
		x.wantCount(recall.Filter{URLs: []string{"pull:" + name}, Queues: []string{name}}, 1, 0)
		x.wantPulled(5, name, id)
	}},
	{"what consumers have not ended well comes again", func(x *fixture) {
		x.wideQueue()
		a, b := x.publish(pull("q")), x.publish(pull("q"))
		leases := x.wantPulled(5, "q", a, b)
		x.finish(leases[0], recall.Release)
		if got := x.wantPulled(5, "q", a)[0]; got.Message.Attempts != 1 {
			x.Errorf("after Release: got attempt %d", got.Message.Attempts)
		}
		x.finish(leases[1], recall.Retry)
		x.wantPulled(5, "q")
		x.advance(time.Minute)
		l := x.wantPulled(5, "q", b)[0]
		x.wantLeaseLost(leases[1])
		x.finish(l, recall.Dead)
		_, err := x.e.RetryDead(x.ctx, deadIDs(x.listDead(recall.Filter{Queues: []string{"q"}})), x.now)
		x.check(err, "RetryDead")
		x.wantClaim(5)
		x.finish(x.pulled(5, "q").Leases[0], recall.Delivered)
		x.wantCount(recall.Filter{}, 0, 1)
	}},
	{"a cancellation takes what waits for consumers, and stops at what they have", func(x *fixture) {
		x.wideQueue()
		ids := x.insert(x.message(pull("q")), x.message(pull("q")), x.message(pull("q"), due(at(5))))
		x.check(x.cancel(ids[1]), "Cancel")
		x.wantPulled(1, "q", ids[0])
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Queues: []string{"q"}}, Now: x.now})
		x.wantStopped(res, err, ids[0], 0)
		res, err = x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{All: true, Policy: recall.Skip, Now: x.now})
		x.check(err, "CancelMatching with Skip")
		x.wantCancelled(res, 1)
		x.advance(time.Minute)
		x.wantPulled(5, "q")
	}},
},
	restart("consumers find what was published for them", func(x *fixture, reopen func()) {
		x.wideQueue()
		out, waits := x.publish(pull("q")), x.publish(pull("q"), due(at(5)))
		stale := x.wantPulled(5, "q", out)[0]
		reopen()
		x.wantLeaseLost(stale)
		x.wantClaim(5)
		x.wantPulled(5, "other")
		l := x.wantPulled(5, "q", out)[0]
		if l.Message.Queue != "q" || l.Message.URL != "pull:q" {
			x.Errorf("after the restart: got URL %q, queue %q", l.Message.URL, l.Message.Queue)
		}
		x.finish(l, recall.Delivered)
		x.now = at(5)
		x.wantPulled(5, "q", waits)
	}),
)
