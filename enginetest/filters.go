package enginetest

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// filterCase is a filter over the messages of publishFour, and which of them
// it finds, as letters.
type filterCase struct {
	name   string
	filter func(ids []recall.MessageID) recall.Filter
	want   string
}

func when(f recall.Filter) func([]recall.MessageID) recall.Filter {
	return func([]recall.MessageID) recall.Filter { return f }
}

const unknownID recall.MessageID = "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV"

// at returns a time so many seconds after base, to the millisecond.
func at(seconds float64) time.Time {
	return base.Add(time.Duration(math.Round(seconds*1000)) * time.Millisecond)
}

var filterCases = []filterCase{
	{"nothing set", when(recall.Filter{}), "abcd"},
	{"queue", when(recall.Filter{Queues: []string{"q1"}}), "a"},
	{"queues", when(recall.Filter{Queues: []string{"q2", "none", "q1", "q1"}}), "ab"},
	{"queue that no message has", when(recall.Filter{Queues: []string{"none"}}), ""},
	{"queue with other letter case", when(recall.Filter{Queues: []string{"Q1"}}), ""},
	{"empty queue name", when(recall.Filter{Queues: []string{""}}), ""},
	{"url", when(recall.Filter{URLs: []string{"https://a.test/x"}}), "a"},
	{"urls", when(recall.Filter{URLs: []string{"https://a.test/x", "local:job"}}), "ad"},
	{"url is the whole text", when(recall.Filter{URLs: []string{"https://A.test/x"}}), ""},
	{"host", when(recall.Filter{Hosts: []string{"a.test"}}), "ac"},
	{"host without port matches every port", when(recall.Filter{Hosts: []string{"b.test"}}), "b"},
	{"host with port", when(recall.Filter{Hosts: []string{"b.test:8443"}}), "b"},
	{"host with another port", when(recall.Filter{Hosts: []string{"b.test:443"}}), ""},
	{"hosts with and without port", when(recall.Filter{Hosts: []string{"a.test", "b.test:443"}}), "ac"},
	{"path", when(recall.Filter{Paths: []string{"/x"}}), "abc"},
	{"paths", when(recall.Filter{Paths: []string{"/y", "/"}}), ""},
	{"topic", when(recall.Filter{Topics: []string{"t1"}}), "ab"},
	{"schedule", when(recall.Filter{Schedules: []string{"s1"}}), "b"},
	{"caller ip", when(recall.Filter{CallerIPs: []string{"10.0.0.1"}}), "a"},
	{"caller ips", when(recall.Filter{CallerIPs: []string{"10.0.0.1", "2001:db8::1"}}), "ab"},
	{"range of caller ips", when(recall.Filter{CallerIPs: []string{"10.0.0.0/8"}}), "a"},
	{"range with host bits", when(recall.Filter{CallerIPs: []string{"10.255.255.255/8"}}), "a"},
	{"range of one", when(recall.Filter{CallerIPs: []string{"10.0.0.1/32"}}), "a"},
	{"range of IPv4 in IPv6", when(recall.Filter{CallerIPs: []string{"::ffff:10.9.9.9/104"}}), "a"},
	{"range of IPv6", when(recall.Filter{CallerIPs: []string{"2001:db8:ffff::/32"}}), "b"},
	{"range that no message is in", when(recall.Filter{CallerIPs: []string{"10.0.0.2/31", "2001:db9::/32"}}), ""},
	{"range before all", when(recall.Filter{CallerIPs: []string{"9.0.0.0/8"}}), ""},
	{"everywhere in IPv4", when(recall.Filter{CallerIPs: []string{"0.0.0.0/0"}}), "a"},
	{"range and address", when(recall.Filter{CallerIPs: []string{"2001:db8::1", "10.0.0.0/8", "10.0.0.0/24"}}), "ab"},
	{"range and label", when(recall.Filter{CallerIPs: []string{"::/0", "0.0.0.0/0"}, Labels: []string{"l3"}}), "b"},
	{"label", when(recall.Filter{Labels: []string{"l1"}}), "a"},
	{"label that two messages have", when(recall.Filter{Labels: []string{"l2"}}), "ab"},
	{"labels", when(recall.Filter{Labels: []string{"l1", "l3"}}), "abc"},
	{"labels of one message", when(recall.Filter{Labels: []string{"l1", "l2"}}), "ab"},
	{"flow key", when(recall.Filter{FlowKeys: []string{"f1"}}), "c"},
	{"id", func(ids []recall.MessageID) recall.Filter { return recall.Filter{IDs: ids[1:2]} }, "b"},
	{"ids in any order, twice", func(ids []recall.MessageID) recall.Filter {
		return recall.Filter{IDs: []recall.MessageID{ids[2], unknownID, ids[0], ids[2]}}
	}, "ac"},
	{"unknown id", when(recall.Filter{IDs: []recall.MessageID{unknownID}}), ""},
	{"from", when(recall.Filter{From: at(1)}), "bcd"},
	{"from is compared in milliseconds", when(recall.Filter{From: at(1).Add(999 * time.Microsecond)}), "bcd"},
	{"from a millisecond later", when(recall.Filter{From: at(1.001)}), "cd"},
	{"to", when(recall.Filter{To: at(1)}), "ab"},
	{"to a millisecond earlier", when(recall.Filter{To: at(0.999)}), "a"},
	{"from and to", when(recall.Filter{From: at(1), To: at(2)}), "bc"},
	{"one millisecond", when(recall.Filter{From: at(2), To: at(2)}), "c"},
	{"between messages", when(recall.Filter{From: at(1.1), To: at(1.9)}), ""},
	{"before all", when(recall.Filter{To: at(-1)}), ""},
	{"after all", when(recall.Filter{From: at(10)}), ""},
	{"long before to long after", when(recall.Filter{From: time.UnixMilli(0), To: far.AddDate(1000, 0, 0)}), "abcd"},
	{"fields are ANDed", when(recall.Filter{Topics: []string{"t1"}, Labels: []string{"l3"}}), "b"},
	{"fields without a common message", when(recall.Filter{Queues: []string{"q1"}, Labels: []string{"l3"}}), ""},
	{"field and date", when(recall.Filter{Paths: []string{"/x"}, From: at(1)}), "bc"},
	{"label and host", when(recall.Filter{Labels: []string{"l3"}, Hosts: []string{"a.test"}}), "c"},
	{"field and id", func(ids []recall.MessageID) recall.Filter {
		return recall.Filter{IDs: ids, Labels: []string{"l1"}}
	}, "a"},
	{"id and date", func(ids []recall.MessageID) recall.Filter { return recall.Filter{IDs: ids, To: at(0)} }, "a"},
	{"everything at once", func(ids []recall.MessageID) recall.Filter {
		return recall.Filter{
			IDs: ids, Queues: []string{"q2"}, URLs: []string{"https://b.test:8443/x?k=v"}, Hosts: []string{"b.test"},
			Paths: []string{"/x"}, Topics: []string{"t1"}, Schedules: []string{"s1"}, CallerIPs: []string{"2001:db8::1"},
			Labels: []string{"l2"}, From: at(0), To: at(3),
		}
	}, "b"},
	{"empty list of ids", when(recall.Filter{IDs: []recall.MessageID{}}), ""},
	{"empty list of queues", when(recall.Filter{Queues: []string{}}), ""},
	{"empty list of urls", when(recall.Filter{URLs: []string{}}), ""},
	{"empty list of hosts", when(recall.Filter{Hosts: []string{}}), ""},
	{"empty list of paths", when(recall.Filter{Paths: []string{}}), ""},
	{"empty list of topics", when(recall.Filter{Topics: []string{}}), ""},
	{"empty list of schedules", when(recall.Filter{Schedules: []string{}}), ""},
	{"empty list of caller ips", when(recall.Filter{CallerIPs: []string{}}), ""},
	{"empty list of labels", when(recall.Filter{Labels: []string{}}), ""},
	{"empty list of flow keys", when(recall.Filter{FlowKeys: []string{}}), ""},
	{"empty list beside another field", when(recall.Filter{Labels: []string{"l2"}, Queues: []string{}}), ""},
}

// publishFour publishes the messages that filterCases are about, a second
// apart, due in an hour.
func publishFour(x *fixture) []recall.MessageID {
	x.Helper()
	x.now = base
	msgs := []recall.Message{
		{Queue: "q1", URL: "https://a.test/x", Topic: "t1", CallerIP: "10.0.0.1", Labels: []string{"l1", "l2"}},
		{Queue: "q2", URL: "https://b.test:8443/x?k=v", Topic: "t1", ScheduleID: "s1", CallerIP: "2001:db8::1", Labels: []string{"l2", "l3"}},
		{URL: "http://a.test:80/x#f", FlowKey: "f1", Labels: []string{"l3"}},
		{URL: "local:job"},
	}
	var ids []recall.MessageID
	for i, m := range msgs {
		x.now = at(float64(i))
		m.Method, m.Retries, m.CreatedAt, m.DueAt = "POST", recall.Retries(3), x.now, x.now.Add(time.Hour)
		ids = append(ids, x.insert(m)...)
	}
	return ids
}

func pick(ids []recall.MessageID, letters string) (picked, rest []recall.MessageID) {
	for i, id := range ids {
		if strings.ContainsRune(letters, rune('a'+i)) {
			picked = append(picked, id)
		} else {
			rest = append(rest, id)
		}
	}
	return picked, rest
}

var filterTests = []contractTest{
	{"List, Count and Explain read filters alike", func(x *fixture) {
		ids := publishFour(x)
		for _, c := range filterCases {
			f := c.filter(ids)
			want, _ := pick(ids, c.want)
			if got := x.list(f); !slices.Equal(got, want) {
				x.Errorf("%s: List got %v, want %v", c.name, got, want)
			}
			if got := x.count(f); got != (recall.Count{Pending: len(want)}) {
				x.Errorf("%s: Count got %+v, want %d pending", c.name, got, len(want))
			}
			checkPlan(x, f, len(want))
		}
	}},
	{"CancelMatching takes what List shows", func(x *fixture) {
		for _, c := range filterCases {
			ids := publishFour(x)
			f := c.filter(ids)
			if f.IsZero() {
				x.cancelAll(len(ids))
				continue
			}
			gone, left := pick(ids, c.want)
			res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Now: x.now})
			if err != nil || res.Cancelled != len(gone) || (res.Operation != "") != (len(gone) > 0) {
				x.Errorf("%s: got %+v, %v, want %d cancelled", c.name, res, err, len(gone))
			}
			x.wantGone(gone...)
			x.wantList(recall.Filter{}, left...)
			x.cancelAll(len(left))
		}
	}},
	{"dead letters are found by the same filters", func(x *fixture) {
		ids := publishFour(x)
		x.now = far
		for _, l := range x.claim(10, "local:job") {
			x.finish(l, recall.Dead)
		}
		for _, c := range filterCases {
			f := c.filter(ids)
			var got []recall.MessageID
			for _, d := range x.listDead(f) {
				got = append(got, d.Message.ID)
			}
			if want, _ := pick(ids, c.want); !slices.Equal(got, want) {
				x.Errorf("%s: ListDead got %v, want %v", c.name, got, want)
			}
		}
	}},
	{"pending and in flight are counted apart", func(x *fixture) {
		x.publishMany(5, label("a"))
		x.publishMany(3, label("b"))
		x.advance(time.Second)
		leases := x.claim(4)
		x.wantCount(recall.Filter{}, 4, 4)
		inA := 0
		for _, l := range leases {
			if l.Message.Labels[0] == "a" {
				inA++
			}
		}
		x.wantCount(recall.Filter{Labels: []string{"a"}}, 5-inA, inA)
		x.wantCount(recall.Filter{Labels: []string{"b"}}, 3-(4-inA), 4-inA)
		x.wantCount(recall.Filter{Labels: []string{"a", "b"}}, 4, 4)
		for _, l := range leases {
			x.finish(l, recall.Delivered)
		}
		x.wantCount(recall.Filter{}, 4, 0)
	}},
	{"List shows messages in flight, in the order of publication", func(x *fixture) {
		first := x.publish(due(base.Add(time.Hour)))
		second := x.publish()
		x.claimOne(second)
		x.wantList(recall.Filter{}, first, second)
		x.wantState(second, recall.StateInFlight)
	}},
	{"List goes on after an id, also one that is gone", func(x *fixture) {
		ids := x.publishMany(10, label("a"))
		var got []recall.MessageID
		after := recall.MessageID("")
		for range 5 {
			page, err := x.e.List(x.ctx, recall.Filter{Labels: []string{"a"}}, after, 3, x.now)
			x.check(err, "List")
			if len(page) > 3 {
				x.Fatalf("List: got %d messages, want at most 3", len(page))
			}
			if len(page) == 0 {
				break
			}
			got = append(got, messageIDs(page)...)
			after = got[len(got)-1]
			x.check(x.cancel(after), "Cancel")
		}
		if !slices.Equal(got, ids) {
			x.Fatalf("List in pages: got %v, want %v", got, ids)
		}
	}},
	{"List ends once its bodies are large", func(x *fixture) {
		large := func(m *recall.Message) { m.Body = make([]byte, 3<<20) }
		huge := func(m *recall.Message) { m.Body = make([]byte, recall.PageBytes+1) }
		var want []recall.MessageID
		for _, size := range []func(*recall.Message){large, large, large, large, huge, large} {
			want = append(want, x.publish(size))
		}
		after := recall.MessageID("")
		for _, page := range [][]recall.MessageID{want[:3], want[3:5], want[5:], nil} {
			got, err := x.e.List(x.ctx, recall.Filter{}, after, 10, x.now)
			if err != nil || !slices.Equal(messageIDs(got), page) {
				x.Fatalf("List: got %v, %v, want %v", messageIDs(got), err, page)
			}
			if len(got) > 0 {
				after = got[len(got)-1].ID
			}
		}
		for _, id := range want { // what is checked at the end is one list
			x.check(x.cancel(id), "Cancel")
		}
	}},
	{"Explain counts exactly what is live", func(x *fixture) {
		x.publishMany(20, label("big"))
		few := x.publishMany(3, label("big"), queue("small"))
		f := recall.Filter{Labels: []string{"big"}, Queues: []string{"small"}}
		checkPlan(x, f, 3)
		x.check(x.cancel(few[0]), "Cancel")
		checkPlan(x, f, 2)
		x.advance(time.Second)
		leases := x.claim(5)
		checkPlan(x, f, 2)
		for _, l := range leases {
			x.finish(l, recall.Delivered)
		}
		checkPlan(x, f, x.count(f).Pending)
		x.cancelMatching(recall.Filter{Queues: []string{"small"}}, x.count(recall.Filter{Queues: []string{"small"}}).Pending)
		checkPlan(x, f, 0)
	}},
	{"CancelMatching follows the plan", func(x *fixture) {
		x.publishMany(20, label("big"))
		x.publishMany(3, label("big"), queue("small"))
		f := recall.Filter{Labels: []string{"big"}, Queues: []string{"small"}}
		plan, err := x.e.Explain(x.ctx, f, x.now)
		x.check(err, "Explain")
		res := x.cancelMatching(f, 3)
		if res.Index != plan.Index || res.Scanned > plan.Candidates[0].Count {
			x.Errorf("CancelMatching: got %+v, Explain said %+v", res, plan.Candidates[0])
		}
	}},
	{"Explain changes nothing", func(x *fixture) {
		ids := x.publishMany(3, label("a"))
		for range 3 {
			_, err := x.e.Explain(x.ctx, recall.Filter{Labels: []string{"a"}}, x.now)
			x.check(err, "Explain")
		}
		x.wantList(recall.Filter{}, ids...)
	}},
	{"many values", func(x *fixture) {
		// More values than a walk looks at in one go, interleaved.
		const values, each = 300, 3
		var msgs []recall.Message
		for i := range values * each {
			msgs = append(msgs, x.message(queue(numbered("q", i%values)), due(base.Add(time.Hour))))
		}
		ids := x.insert(msgs...)
		var even []string
		var want, left []recall.MessageID
		for i, id := range ids {
			if i%values%2 == 0 {
				want = append(want, id)
				even = append(even, numbered("q", i%values))
			} else {
				left = append(left, id)
			}
		}
		f := recall.Filter{Queues: even}
		x.wantList(f, want...)
		x.wantCount(f, len(want), 0)
		checkPlan(x, f, len(want))
		x.cancelMatching(f, len(want))
		x.wantList(recall.Filter{}, left...)
	}},
}

// checkPlan checks what a plan promises, given how many live messages match.
func checkPlan(x *fixture, f recall.Filter, matches int) {
	x.Helper()
	plan, err := x.e.Explain(x.ctx, f, x.now)
	x.check(err, "Explain")
	if len(plan.Candidates) == 0 || plan.Index != plan.Candidates[0].Index {
		x.Fatalf("Explain of %s: index %q is not the first candidate of %+v", f, plan.Index, plan.Candidates)
	}
	if !slices.IsSortedFunc(plan.Candidates, func(a, b recall.Candidate) int { return a.Count - b.Count }) {
		x.Errorf("Explain of %s: candidates are not narrowest first: %+v", f, plan.Candidates)
	}
	if plan.Scan != plan.Candidates[0].Count {
		x.Errorf("Explain of %s: %d to scan, of %+v", f, plan.Scan, plan.Candidates[0])
	}
	alone := map[string]recall.Filter{indexName: {}}
	add := func(index string, values []string, field recall.Filter) {
		if values == nil {
			return
		}
		alone[index] = field
		at := slices.IndexFunc(plan.Candidates, func(c recall.Candidate) bool { return c.Index == index })
		if at >= 0 && len(values) <= 1 && f.From.IsZero() && f.To.IsZero() && !plan.Candidates[at].Exact {
			x.Errorf("Explain of %s: the count of %s is not exact", f, index)
		}
	}
	add("queue", f.Queues, recall.Filter{Queues: f.Queues})
	add("url", f.URLs, recall.Filter{URLs: f.URLs})
	add("host", f.Hosts, recall.Filter{Hosts: portless(f.Hosts)})
	add("topic", f.Topics, recall.Filter{Topics: f.Topics})
	add("schedule", f.Schedules, recall.Filter{Schedules: f.Schedules})
	add("ip", f.CallerIPs, recall.Filter{CallerIPs: f.CallerIPs})
	add("label", f.Labels, recall.Filter{Labels: f.Labels})
	add("flow", f.FlowKeys, recall.Filter{FlowKeys: f.FlowKeys})
	for _, c := range plan.Candidates {
		if c.Count < matches {
			x.Errorf("Explain of %s: %s has %d entries, but %d match", f, c.Index, c.Count, matches)
		}
		field, known := alone[c.Index]
		if !known || !c.Exact || !f.From.IsZero() || !f.To.IsZero() {
			continue
		}
		if n := x.count(field); c.Count != n.Pending+n.InFlight {
			x.Errorf("Explain of %s: %s has %d entries, want exactly %d", f, c.Index, c.Count, n.Pending+n.InFlight)
		}
	}
}

// portless returns the hosts as they are indexed.
func portless(hosts []string) []string {
	out := []string{}
	for _, h := range hosts {
		name, _, _ := strings.Cut(h, ":")
		out = append(out, name)
	}
	return out
}
