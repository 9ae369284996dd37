package enginetest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// momentCase is a filter on what changes in the life of a message, and which of
// the messages of publishStates it finds, as letters.
type momentCase struct {
	name   string
	filter recall.Filter
	want   string
}

func states(s ...recall.State) recall.Filter { return recall.Filter{States: s} }

var momentCases = []momentCase{
	{"delayed", states(recall.StateDelayed), "a"},
	{"ready", states(recall.StateReady), "b"},
	{"retrying", states(recall.StateRetrying), "c"},
	{"held", states(recall.StateHeld), ""},
	{"in flight", states(recall.StateInFlight), "d"},
	{"states", states(recall.StateReady, recall.StateDelayed, recall.StateReady), "ab"},
	{"empty list of states", recall.Filter{States: []recall.State{}}, ""},
	{"one attempt", recall.Filter{MinAttempts: 1}, "cd"},
	{"two attempts", recall.Filter{MinAttempts: 2}, "c"},
	{"three attempts", recall.Filter{MinAttempts: 3}, ""},
	{"due after", recall.Filter{DueAfter: at(60)}, "ac"},
	{"due after is compared in milliseconds", recall.Filter{DueAfter: at(60).Add(999 * time.Microsecond)}, "ac"},
	{"due a millisecond after", recall.Filter{DueAfter: at(60.001)}, "a"},
	{"due before", recall.Filter{DueBefore: at(60)}, "bcd"},
	{"due a millisecond before", recall.Filter{DueBefore: at(59.999)}, "bd"},
	{"due between", recall.Filter{DueAfter: at(1), DueBefore: at(60)}, "c"},
	{"due long before to long after", recall.Filter{DueAfter: time.UnixMilli(0), DueBefore: far.AddDate(1000, 0, 0)}, "abcd"},
	{"state and label", recall.Filter{States: []recall.State{recall.StateDelayed, recall.StateReady}, Labels: []string{"b"}}, "b"},
	{"state and attempts", recall.Filter{States: []recall.State{recall.StateInFlight}, MinAttempts: 2}, ""},
	{"attempts and due time", recall.Filter{MinAttempts: 1, DueAfter: at(1)}, "c"},
}

// publishStates publishes four messages at base: a is due in an hour, b is
// ready, c has had two attempts and is due again in a minute, d is in flight.
func publishStates(x *fixture) (ids []recall.MessageID, inFlight recall.Lease) {
	x.Helper()
	x.now = base
	ids = x.insert(
		x.message(label("a"), due(at(3600))),
		x.message(label("b"), due(at(0))),
		x.message(label("c"), due(at(-2))),
		x.message(label("d"), due(at(-1))),
	)
	for _, again := range []float64{-2, 60} {
		f := x.ending(recall.Retry)
		f.Due = at(again)
		x.check(x.e.Finish(x.ctx, x.claimOne(ids[2]), f), "Finish")
	}
	return ids, x.claimOne(ids[3])
}

var momentTests = []contractTest{
	{"due time, state and attempts are found", func(x *fixture) {
		ids, _ := publishStates(x)
		for _, c := range momentCases {
			want, _ := pick(ids, c.want)
			if got := x.list(c.filter); !slices.Equal(got, want) {
				x.Errorf("%s: List got %v, want %v", c.name, got, want)
			}
			inFlight := strings.Count(c.want, "d")
			if got := x.count(c.filter); got != (recall.Count{Pending: len(want) - inFlight, InFlight: inFlight}) {
				x.Errorf("%s: Count got %+v, want %d, %d of them in flight", c.name, got, len(want), inFlight)
			}
			checkPlan(x, c.filter, len(want))
		}
	}},
	{"due time, state and attempts are cancelled by", func(x *fixture) {
		for _, c := range momentCases {
			ids, l := publishStates(x)
			gone, left := pick(ids, strings.Trim(c.want, "d"))
			res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: c.filter, Now: x.now})
			if strings.Contains(c.want, "d") {
				x.wantStopped(res, err, ids[3], len(gone))
			} else {
				x.check(err, c.name)
				x.wantCancelled(res, len(gone))
			}
			x.wantList(recall.Filter{}, left...)
			x.finish(l, recall.Delivered)
			x.cancelAll(len(left) - 1)
		}
	}},
	{"they are judged at the time of the call", func(x *fixture) {
		ids := x.publishMany(3, label("a"), due(base.Add(time.Minute)))
		x.wantCount(states(recall.StateReady), 0, 0)
		x.wantList(states(recall.StateDelayed), ids...)
		x.advance(time.Minute)
		x.wantList(states(recall.StateReady), ids...)
		l := x.claimOne(ids[0])
		x.wantList(states(recall.StateReady), ids[1:]...)
		x.finish(l, recall.Retry)
		x.wantList(states(recall.StateRetrying), ids[0])
		x.wantList(recall.Filter{DueAfter: x.now.Add(time.Minute)}, ids[0])
		x.advance(time.Minute)
		x.wantList(states(recall.StateReady), ids...)
	}},
	{"an attempt that was waited for is judged again", func(x *fixture) {
		for _, o := range []recall.Outcome{recall.Delivered, recall.Retry, recall.Release} {
			tried := x.publish(label("a"))
			x.finish(x.claimOne(tried), recall.Retry)
			f, before, blocker, after, l := waitScene(x)
			f.MinAttempts = 1
			c := x.waitingCancel(f, "", tried)
			x.finish(l, o)
			switch o {
			case recall.Release:
				c.wantCancelled(1)
				x.wantPending(blocker)
			case recall.Retry:
				c.wantCancelled(2)
				x.wantGone(blocker)
			default:
				c.wantCancelled(1)
			}
			x.wantPending(before, after)
			x.cancelAll(x.count(recall.Filter{}).Pending)
		}
	}},
	{"a dead letter has attempts, but neither state nor due time", func(x *fixture) {
		once := x.kill()
		id := x.publish()
		x.finish(x.claimOne(id), recall.Retry)
		x.advance(time.Minute)
		x.finish(x.claimOne(id), recall.Dead)
		check := func() {
			x.Helper()
			for _, c := range []struct {
				f    recall.Filter
				want []recall.MessageID
			}{
				{recall.Filter{MinAttempts: 1}, []recall.MessageID{once.Message.ID, id}},
				{recall.Filter{MinAttempts: 2}, []recall.MessageID{id}},
				{recall.Filter{MinAttempts: 3}, nil},
				{recall.Filter{MinAttempts: 2, IDs: []recall.MessageID{once.Message.ID}}, nil},
				{states(recall.StateReady, recall.StateDelayed, recall.StateRetrying, recall.StateHeld, recall.StateInFlight), nil},
				{recall.Filter{DueBefore: far}, nil},
				{recall.Filter{DueAfter: time.UnixMilli(0)}, nil},
			} {
				var got []recall.MessageID
				for _, d := range x.listDead(c.f) {
					got = append(got, d.Message.ID)
				}
				if !slices.Equal(got, c.want) {
					x.Errorf("ListDead of %s: got %v, want %v", c.f, got, c.want)
				}
			}
		}
		check()
		if x.h.Reopen != nil {
			x.reopen(true)
			check()
		}
	}},
	{"ids are walked in the order of creation", func(x *fixture) {
		ids := x.publishMany(x.many(2000), due(far))
		blocker := x.publish(due(base.Add(-time.Second)))
		x.claimOne(blocker)
		after := x.publishMany(5, due(far))
		asked := slices.Concat(ids, []recall.MessageID{blocker, unknownID}, after, ids[:100])
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(asked), func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
		f := recall.Filter{IDs: asked}
		x.wantList(f, slices.Concat(ids, []recall.MessageID{blocker}, after)...)
		x.wantCount(f, len(ids)+len(after), 1)
		res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Limit: 3, Now: x.now})
		x.check(err, "CancelMatching")
		x.wantCancelled(res, 3)
		x.wantGone(ids[:3]...)
		res, err = x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Now: x.now})
		x.wantStopped(res, err, blocker, len(ids)-3)
		x.wantList(recall.Filter{}, append([]recall.MessageID{blocker}, after...)...)
	}},
	{"ranges of addresses", func(x *fixture) {
		// Ten addresses in each of forty networks, interleaved, and one message
		// without an address.
		var msgs []recall.Message
		for i := range 400 {
			m := x.message(due(far))
			m.CallerIP = "10." + numbered("", i%40) + ".0." + numbered("", i/40)
			msgs = append(msgs, m)
		}
		ids := x.insert(append(msgs, x.message(due(far)))...)
		from := func(networks ...int) (want []recall.MessageID) {
			for i, id := range ids[:400] {
				if slices.Contains(networks, i%40) {
					want = append(want, id)
				}
			}
			return want
		}
		for _, c := range []struct {
			sources []string
			want    []recall.MessageID
		}{
			{[]string{"10.3.0.0/16"}, from(3)},
			{[]string{"10.3.7.7/16", "10.3.0.0/24"}, from(3)},
			{[]string{"10.2.0.0/15", "10.39.0.0/16"}, from(2, 3, 39)},
			{[]string{"10.0.0.0/12", "10.20.0.5"}, append(from(firstNumbers(16)...), ids[5*40+20])},
			{[]string{"10.0.0.0/8"}, ids[:400]},
			{[]string{"0.0.0.0/0", "::/0"}, ids[:400]},
			{[]string{"10.0.0.0/9", "10.39.0.9"}, ids[:400]},
			{[]string{"10.0.0.0/11", "10.39.0.9"}, append(from(firstNumbers(32)...), ids[9*40+39])},
			{[]string{"10.40.0.0/16", "11.0.0.0/8"}, nil},
		} {
			slices.Sort(c.want)
			f := recall.Filter{CallerIPs: c.sources}
			x.wantList(f, c.want...)
			x.wantCount(f, len(c.want), 0)
			checkPlan(x, f, len(c.want))
		}
		x.cancelMatching(recall.Filter{CallerIPs: []string{"10.3.0.0/16"}}, 10)
		x.settle()
		x.wantCount(recall.Filter{CallerIPs: []string{"10.2.0.0/15"}}, 10, 0)
		x.cancelMatching(recall.Filter{CallerIPs: []string{"10.0.0.0/8"}}, 390)
		x.wantList(recall.Filter{}, ids[400])
	}},
	{"lists of thousands", func(x *fixture) {
		ids := x.publishMany(30, label("a", "b"), queue("q"), due(far))
		others := x.publishMany(3, label("c"), due(far))
		var names []string
		for i := range 5000 {
			names = append(names, numbered("none ", i))
		}
		names = append(names, "b", "q", "a")
		for _, f := range []recall.Filter{
			{Labels: names},
			{Queues: names},
			{Queues: names, Labels: []string{"a", "b"}},
			{Queues: names, From: base, To: base},
		} {
			x.wantList(f, ids...)
			x.wantCount(f, len(ids), 0)
			checkPlan(x, f, len(ids))
		}
		x.wantCount(recall.Filter{Labels: names, Queues: names[:5000]}, 0, 0)
		x.cancelMatching(recall.Filter{Labels: names}, len(ids))
		x.wantList(recall.Filter{}, others...)
	}},
}

// firstNumbers returns the numbers below n.
func firstNumbers(n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}
