package recall

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/store"
)

// planIndex returns an index of n messages, created a millisecond apart from 0
// on, to which set gives attributes.
func planIndex(n int, set func(i int, rec *store.Record)) *index {
	ix := newIndex(true)
	for i := range n {
		rec := store.Record{URL: []byte("https://a.test/x")}
		set(i, &rec)
		ix.insert(uint64(i+1), &rec, times{created: int64(i), wall: int64(i)})
	}
	ix.visible = ix.last
	return ix
}

func (ix *index) planOf(f Filter) string {
	q := translate(f, time.UnixMilli(0))
	ix.compile(q)
	var plan []string
	for _, s := range ix.sources(q) {
		plan = append(plan, fmt.Sprintf("%s %d %v", s.name, s.count, s.exact))
	}
	return strings.Join(plan, ", ")
}

func TestPlanCounts(t *testing.T) {
	ix := planIndex(5000, func(i int, rec *store.Record) {
		rec.Queue = fmt.Appendf(nil, "q%d", i%5)
		rec.Labels = [][]byte{[]byte("all"), fmt.Appendf(nil, "l%d", i%10)}
		rec.CallerIP = fmt.Appendf(nil, "10.0.%d.%d", i%10, i/10%100)
	})
	for seq := range uint64(100) { // gone, but listed
		p, e := ix.lookup(seq + 1)
		ix.move(p, e, phaseMarked)
	}
	ms := func(from, to int64) Filter { return Filter{From: time.UnixMilli(from), To: time.UnixMilli(to)} }
	dated := func(f Filter, from, to int64) Filter {
		f.From, f.To = time.UnixMilli(from), time.UnixMilli(to)
		return f
	}
	for _, test := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "time 4900 true"},
		{Filter{Queues: []string{"q1"}}, "queue 980 true, time 4900 true"},
		{Filter{Queues: []string{"q1", "q2", "q1", "none"}}, "queue 1960 true, time 4900 true"},
		{Filter{Labels: []string{"l1"}}, "label 490 true, time 4900 true"},
		{Filter{Labels: []string{"l1", "l2"}}, "label 980 false, time 4900 true"},
		{Filter{Labels: []string{"l1", "all"}}, "label 4900 false, time 4900 true"},
		{Filter{Labels: []string{}}, "label 0 true, time 4900 true"},
		{Filter{CallerIPs: []string{"10.0.3.7"}}, "ip 4 true, time 4900 true"},
		{Filter{CallerIPs: []string{"10.0.3.0/24"}}, "ip 490 true, time 4900 true"},
		{Filter{CallerIPs: []string{"10.0.3.0/24", "10.0.3.7", "10.0.4.0/24"}}, "ip 980 true, time 4900 true"},
		{Filter{CallerIPs: []string{"10.0.0.0/16"}}, "time 4900 true"},
		{Filter{CallerIPs: []string{"11.0.0.0/8"}}, "ip 0 true, time 4900 true"},
		{Filter{States: []State{StateReady}, MinAttempts: 3}, "time 4900 true"},
		{ms(0, 0), "time 0 true"},
		{ms(90, 109), "time 10 true"},
		{ms(1000, 1999), "time 1000 true"},
		{ms(0, 9999), "time 4900 true"},
		{ms(4000, 9999), "time 1000 true"},
		{ms(6000, 9999), "time 0 true"},
		{ms(-9, -5), "time 0 true"},
		{dated(Filter{Queues: []string{"q1"}}, 2000, 2999), "queue 200 false, time 1000 true"},
		{dated(Filter{Queues: []string{"q1"}}, 0, 109), "queue 10 false, time 10 true"}, // of 22 that are listed
		{Filter{Queues: []string{"q0"}, Labels: []string{"l1"}}, "label 490 true, queue 980 true, time 4900 true"},
	} {
		if got := ix.planOf(test.f); got != test.want {
			t.Errorf("%s: got %s, want %s", test.f, got, test.want)
		}
	}
	ix.visible-- // a commit is half applied
	if got, want := ix.planOf(Filter{Queues: []string{"q1"}}), "queue 980 false, time 4900 false"; got != want {
		t.Errorf("while a publish comes in: got %s, want %s", got, want)
	}
}

// TestPlanIDs counts the ids within the dates, once each.
func TestPlanIDs(t *testing.T) {
	ix := planIndex(3000, func(int, *store.Record) {})
	q := translate(Filter{From: time.UnixMilli(1000), To: time.UnixMilli(1009)}, time.Time{})
	var ids []resolvedID
	for _, seq := range rand.Perm(3000) {
		ids = append(ids, resolvedID{uint64(seq + 1), int64(seq)}, resolvedID{uint64(seq + 1), int64(seq)})
	}
	q.setIDs(ids)
	ix.compile(q)
	w := ix.newWalk(q)
	if len(q.order) != 3000 || !slices.IsSorted(q.order) || w.src.name != "id" || w.src.count != 10 {
		t.Errorf("got %d ids, walk %+v", len(q.order), w.src)
	}
}

// TestPlanIsBounded has lists with more runs within the dates than a plan goes
// through: then the count is no more than all live entries of the range.
func TestPlanIsBounded(t *testing.T) {
	n := 2 * planRuns * 256
	ix := planIndex(n, func(i int, rec *store.Record) { rec.Queue = fmt.Appendf(nil, "q%d", i%2) })
	short := Filter{Queues: []string{"q0"}, From: time.UnixMilli(10), To: time.UnixMilli(100_009)}
	if got, want := ix.planOf(short), "queue 50000 false, time 100000 true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	long := Filter{Queues: []string{"q0", "q1"}, From: time.UnixMilli(10)}
	if got, want := ix.planOf(long), fmt.Sprintf("queue %d false, time %d true", n-10, n-10); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPlanOfNothing has a range that ends before it begins: no index has
// anything in it, and not less than nothing.
func TestPlanOfNothing(t *testing.T) {
	ix := planIndex(3000, func(_ int, rec *store.Record) { rec.Queue = []byte("q") })
	f := Filter{Queues: []string{"q"}, From: time.UnixMilli(100), To: time.UnixMilli(50)}
	if got, want := ix.planOf(f), "queue 0 false, time 0 true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPlanAfterDrop counts when the oldest pages have been given back.
func TestPlanAfterDrop(t *testing.T) {
	ix := planIndex(5000, func(int, *store.Record) {})
	for seq := uint64(1); seq <= 3000; seq++ {
		p, e := ix.lookup(seq)
		ix.move(p, e, phaseMarked)
		ix.unlink(p, e, seq)
	}
	for from, want := range map[int64]string{0: "time 2000 true", 2990: "time 2000 true", 3010: "time 1990 true"} {
		if got := ix.planOf(Filter{From: time.UnixMilli(from)}); got != want {
			t.Errorf("from %d: got %s, want %s", from, got, want)
		}
	}
}

// TestCollectIsBounded has a message left in each of many pages.
func TestCollectIsBounded(t *testing.T) {
	ix := planIndex(20*pageSize, func(int, *store.Record) {})
	for seq := uint64(1); seq <= ix.last; seq++ {
		if p, e := ix.lookup(seq); seq%pageSize != 7 {
			ix.move(p, e, phaseMarked)
			ix.unlink(p, e, seq)
		}
	}
	var got []uint64
	steps := 0
	for from := uint64(1); ; steps++ {
		some := ix.collectTime(nil, from, walkSlice)
		if len(some) == 0 {
			break
		}
		got, from = append(got, some...), some[len(some)-1]+1
	}
	if len(got) != 20 || !slices.IsSorted(got) || steps < 20/collectPages {
		t.Errorf("got %v in %d steps", got, steps)
	}
}

// TestAddresses compares the ordered addresses with a plain search, while
// messages with them come and go.
func TestAddresses(t *testing.T) {
	ix := newIndex(true)
	random := rand.New(rand.NewPCG(1, 2))
	held := map[uint64]netip.Addr{}
	for seq := uint64(1); seq < 2000; seq++ {
		a := netip.AddrFrom4([4]byte{10, byte(random.IntN(4)), 0, byte(random.IntN(9))})
		if random.IntN(4) == 0 {
			a = netip.AddrFrom16([16]byte{0x20, 1, byte(random.IntN(4)), 15: byte(random.IntN(9))})
		}
		ix.insert(seq, &store.Record{CallerIP: []byte(a.String())}, times{})
		held[seq] = a
		for old := range held {
			if random.IntN(30) == 0 {
				p, e := ix.lookup(old)
				ix.move(p, e, phaseMarked)
				ix.unlink(p, e, old)
				delete(held, old)
			}
		}
		_, ranges := splitSources([]string{"10.1.0.0/16", "10.1.0.0/29", "2001:200::/24", "10.3.0.4/30", "10.1.0.0/16"})
		if len(ranges) != 3 {
			t.Fatalf("got ranges %v", ranges)
		}
		want := map[string]bool{}
		for _, a := range held {
			in := slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
			if covers(ranges, a) != in {
				t.Fatalf("covers(%v) of %v is %v", ranges, a, !in)
			}
			if in {
				want[a.String()] = true
			}
		}
		set, ok := ix.fields[fieldIP].addrs.within(ranges, maxUnion)
		for _, n := range set {
			if name := ix.fields[fieldIP].slab[n].name; !want[name] {
				t.Fatalf("%q is no held address of %v", name, ranges)
			}
		}
		if !ok || len(set) != len(want) {
			t.Fatalf("got %d addresses, %v, want %d", len(set), ok, len(want))
		}
	}
}

func pendingEntry(flags uint8, due int64) entry {
	e := entry{&status{phase: phasePending, flags: flags}, &attributes{}}
	e.setDue(due)
	return e
}

// TestHeldState: nothing but a held message's release changes that it is held.
func TestHeldState(t *testing.T) {
	now := time.UnixMilli(1000)
	e := &embedded{live: newIndex(true)}
	for _, due := range []int64{0, 5000} {
		for _, flags := range []uint8{flagHeld, flagHeld | flagRetried} {
			if got := e.stateLocked(pendingEntry(flags, due), 1, now); got != StateHeld {
				t.Errorf("due at %d, flags %b: got %q", due, flags, got)
			}
		}
	}
	q := e.newQuery(e.live, Filter{States: []State{StateHeld}}, now)
	if !q.matchesNow(pendingEntry(flagHeld, 0), 1) || q.matchesNow(pendingEntry(0, 0), 1) {
		t.Error("a filter does not tell held messages from others")
	}
	if !q.matchesNow(entry{&status{phase: phaseFinishing}, &attributes{}}, 1) {
		t.Error("a message whose end is decided is passed without waiting for the commit")
	}
}

func TestPlanString(t *testing.T) {
	p := Plan{
		Filter: Filter{Labels: []string{"b", "a"}}, Index: "label", Scan: 4212,
		Candidates: []Candidate{{Index: "label", Count: 4212}, {Index: "schedule", Count: 9000, Exact: true}, {Index: "time", Count: 101000, Exact: true}},
	}
	want := "label=a|b\n" +
		"> label     ≤   4212\n" +
		"  schedule      9000\n" +
		"  time        101000\n" +
		"4212 entries to scan\n"
	if got := p.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestCountOfManyNames asks an engine, whose lists are looked up in parts.
func TestCountOfManyNames(t *testing.T) {
	engine, err := OpenEngine(filepath.Join(t.TempDir(), "r.db"), &Options{Durability: SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	names := make([]string, 3*walkSlice)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	plan, err := engine.Explain(context.Background(), Filter{Queues: names}, time.UnixMilli(0))
	if err != nil || len(plan.Candidates) != 2 || plan.Candidates[0] != (Candidate{Index: "queue"}) {
		t.Errorf("got %+v, %v", plan, err)
	}
}
