package enginetest

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

func errorIs(err, target error) bool { return errors.Is(err, target) }

// yield lets other goroutines run.
func yield() { runtime.Gosched() }

// together runs n copies of f at the same time and waits for them, but not for
// ever. f must not end the test, only mark it as failed.
func (x *fixture) together(n int, f func(i int)) {
	x.Helper()
	var wg sync.WaitGroup
	start, ended := make(chan struct{}), make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	go func() {
		wg.Wait()
		close(ended)
	}()
	close(start)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		x.Fatalf("concurrent calls do not return: they wait for each other")
	}
}

// ledger notes what became of each message, and complains when two things did.
type ledger struct {
	x    *fixture
	mu   sync.Mutex
	fate map[recall.MessageID]string
}

func newLedger(x *fixture) *ledger { return &ledger{x: x, fate: map[recall.MessageID]string{}} }

func (l *ledger) note(id recall.MessageID, fate string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.fate[id]; ok {
		l.x.Errorf("message %s: %s, and then %s", id, was, fate)
	}
	l.fate[id] = fate
}

func (l *ledger) count(fate string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.fate {
		if f == fate {
			n++
		}
	}
	return n
}

var concurrentTests = []contractTest{
	{"ids of one publisher ascend, and no two are equal", func(x *fixture) {
		var all [8][]recall.MessageID
		x.together(len(all), func(i int) {
			for range size(25) {
				receipts, err := x.e.Insert(x.ctx, []recall.Message{x.message(), x.message()}, x.now)
				if err != nil {
					x.Errorf("Insert: %v", err)
					return
				}
				all[i] = append(all[i], receipts[0].ID, receipts[1].ID)
			}
		})
		var flat []recall.MessageID
		for _, ids := range all {
			if !slices.IsSorted(ids) {
				x.Errorf("ids of one publisher are not ascending")
			}
			flat = append(flat, ids...)
		}
		slices.Sort(flat)
		if n := len(slices.Compact(slices.Clone(flat))); n != len(flat) {
			x.Errorf("%d ids for %d messages", n, len(flat))
		}
		x.wantList(recall.Filter{}, flat...)
	}},
	{"a batch appears whole", func(x *fixture) {
		const batch = 50
		var done atomic.Bool
		f := recall.Filter{Labels: []string{"a"}}
		x.together(3, func(i int) {
			if i < 2 {
				for !done.Load() {
					if n := x.count(f).Pending; n%batch != 0 {
						x.Errorf("Count: got %d, not a multiple of %d", n, batch)
						return
					}
					msgs, err := x.e.List(x.ctx, f, "", 1<<30, x.now)
					if err != nil || len(msgs)%batch != 0 {
						x.Errorf("List: got %d, %v, not a multiple of %d", len(msgs), err, batch)
						return
					}
					yield()
				}
				return
			}
			for range size(20) {
				msgs := make([]recall.Message, batch)
				for i := range msgs {
					msgs[i] = x.message(label("a"))
				}
				if _, err := x.e.Insert(x.ctx, msgs, x.now); err != nil {
					x.Errorf("Insert: %v", err)
				}
			}
			done.Store(true)
		})
	}},
	{"a message is leased once at a time", func(x *fixture) {
		n := size(200)
		x.publishMany(n)
		x.advance(time.Hour)
		out := newLedger(x)
		x.together(4, func(int) {
			for {
				res, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: x.now, Max: 3})
				if err != nil {
					x.Errorf("Claim: %v", err)
				}
				if len(res.Leases) == 0 {
					return
				}
				for _, l := range res.Leases {
					out.note(l.Message.ID, "leased")
				}
			}
		})
		if got := out.count("leased"); got != n {
			x.Errorf("got %d leases, want %d", got, n)
		}
	}},
	{"one of several owners ends a lease", func(x *fixture) {
		ids := x.publishMany(20)
		x.advance(time.Second)
		for _, l := range x.claim(len(ids)) {
			var won atomic.Int32
			x.together(4, func(int) {
				switch err := x.e.Finish(x.ctx, l, recall.Finish{Outcome: recall.Delivered, Now: x.now, Durable: true}); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, recall.ErrLeaseLost):
					x.Errorf("Finish: %v", err)
				}
			})
			if won.Load() != 1 {
				x.Errorf("%d owners ended one lease", won.Load())
			}
		}
	}},
	{"overlapping cancellations count each message once", func(x *fixture) {
		for round := range size(3) {
			n := 300
			var msgs []recall.Message
			for i := range n {
				msgs = append(msgs, x.message(label("all", numbered("two", i%2), numbered("three", i%3)), due(far)))
			}
			ids := x.insert(msgs...)
			filters := []recall.Filter{
				{Labels: []string{"all"}},
				{Labels: []string{"two0", "three1"}},
				{Labels: []string{"two1"}},
				{IDs: ids[n/3:]},
				{Labels: []string{"three2", "all"}, IDs: ids[:n/2]},
				{From: base},
			}
			var total atomic.Int64
			x.together(len(filters)+2, func(i int) {
				if i >= len(filters) {
					for k := i - len(filters); k < n; k += 7 {
						switch err := x.cancel(ids[k]); {
						case err == nil:
							total.Add(1)
						case !errors.Is(err, recall.ErrNotFound):
							x.Errorf("Cancel: %v", err)
						}
					}
					return
				}
				res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: filters[i], Now: x.now})
				if err != nil {
					x.Errorf("CancelMatching: %v", err)
				}
				total.Add(int64(res.Cancelled))
				// Complete: by now every match of this filter is gone.
				if c := x.count(filters[i]); c != (recall.Count{}) {
					x.Errorf("Count after the cancellation of %s: got %+v", filters[i], c)
				}
			})
			if total.Load() != int64(n) {
				x.Errorf("round %d: %d cancelled in total, want %d", round, total.Load(), n)
			}
			x.wantGone(ids...)
		}
	}},
	{"what was published before a cancellation is gone after it", func(x *fixture) {
		f := recall.Filter{Labels: []string{"a"}}
		var published atomic.Int64
		var mu sync.Mutex
		acknowledged := map[recall.MessageID]bool{}
		total := 0
		x.together(4, func(i int) {
			if i > 0 {
				for range size(30) {
					receipts, err := x.e.Insert(x.ctx, []recall.Message{x.message(label("a"), due(far))}, x.now)
					if err != nil {
						x.Errorf("Insert: %v", err)
						return
					}
					published.Add(1)
					mu.Lock()
					acknowledged[receipts[0].ID] = true
					mu.Unlock()
				}
				return
			}
			for range size(20) {
				mu.Lock()
				before := maps.Clone(acknowledged)
				mu.Unlock()
				res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Now: x.now})
				if err != nil {
					x.Errorf("CancelMatching: %v", err)
					return
				}
				total += res.Cancelled
				for _, id := range x.list(f) { // by itself: shards may acknowledge in another order than that of ids
					if before[id] {
						x.Errorf("%s was published before the call and is still there", id)
					}
				}
				yield()
			}
		})
		left := x.count(f)
		if total+left.Pending != int(published.Load()) {
			x.Errorf("%d cancelled and %d left of %d", total, left.Pending, published.Load())
		}
	}},
	{"Sticky meets the end of the attempt", func(x *fixture) {
		for _, o := range []recall.Outcome{recall.Delivered, recall.Retry, recall.Release, recall.Dead} {
			for range size(40) {
				id := x.publish()
				l := x.claimOne(id)
				before := len(x.listDead(recall.Filter{}))
				var cancelled, finished error
				x.together(2, func(i int) {
					if i == 0 {
						cancelled = x.e.Cancel(x.ctx, recall.CancelRequest{ID: id, Sticky: true, Now: x.now})
						return
					}
					finished = x.e.Finish(x.ctx, l, x.ending(o))
				})
				x.check(finished, "Finish")
				died := len(x.listDead(recall.Filter{})) - before
				switch ended := o == recall.Delivered || o == recall.Dead; {
				case cancelled == nil && died != 0:
					x.Fatalf("outcome %d: the message is cancelled and dead", o)
				case cancelled != nil && (!ended || !errors.Is(cancelled, recall.ErrNotFound)):
					x.Fatalf("outcome %d: Cancel with Sticky: %v", o, cancelled)
				}
				x.wantGone(id)
				if s := x.e.Stats(); s.Pending+s.InFlight != 0 {
					x.Fatalf("outcome %d: got %d pending and %d in flight, want none", o, s.Pending, s.InFlight)
				}
				x.wantClaim(1)
			}
		}
	}},
	{"every message has one fate", stress},
}

// stress runs publishers, workers, cancellers and readers at the same time and
// then accounts for every message.
func stress(x *fixture) {
	x.now = far // everything is due; the clock stands still
	const publishers, workers, cancellers = 3, 3, 2
	perPublisher := size(60)
	fates := newLedger(x)
	var known struct {
		sync.Mutex
		ids []recall.MessageID
	}
	var publishing sync.WaitGroup
	publishing.Add(publishers)
	var stopped atomic.Bool
	var cancelled atomic.Int64
	publish := func(rng *rand.Rand) {
		defer publishing.Done()
		for n := 0; n < perPublisher; {
			batch := make([]recall.Message, 1+rng.IntN(3))
			for i := range batch {
				batch[i] = x.message(label(numbered("l", rng.IntN(4))), queue(numbered("q", rng.IntN(3))))
			}
			receipts, err := x.e.Insert(x.ctx, batch, x.now)
			if err != nil {
				x.Errorf("Insert: %v", err)
				return
			}
			n += len(receipts)
			known.Lock()
			for _, r := range receipts {
				known.ids = append(known.ids, r.ID)
			}
			known.Unlock()
		}
	}
	work := func(rng *rand.Rand) {
		for {
			last := stopped.Load()
			res, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: x.now, Max: 1 + rng.IntN(4)})
			if err != nil {
				x.Errorf("Claim: %v", err)
				return
			}
			for _, l := range res.Leases {
				if rng.IntN(3) == 0 {
					yield()
				}
				end := recall.Finish{Now: x.now, Due: x.now, Outcome: recall.Delivered, Durable: rng.IntN(2) == 0}
				switch {
				case l.Message.Attempts > 3:
					end.Outcome = recall.Dead
				case rng.IntN(2) == 0:
					end.Outcome = recall.Retry
				case rng.IntN(8) == 0:
					end.Outcome = recall.Release
				}
				if err := x.e.Finish(x.ctx, l, end); err != nil {
					x.Errorf("Finish: %v", err)
				}
				if end.Outcome == recall.Delivered {
					fates.note(l.Message.ID, "delivered")
				}
			}
			if last && len(res.Leases) == 0 {
				return
			}
			yield()
		}
	}
	cancel := func(rng *rand.Rand) {
		for !stopped.Load() {
			if rng.IntN(2) == 0 {
				f := recall.Filter{Labels: []string{numbered("l", rng.IntN(4))}, Queues: []string{numbered("q", rng.IntN(3))}}
				res, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{Filter: f, Now: x.now})
				if err != nil && !errors.Is(err, recall.ErrNotCancellable) {
					x.Errorf("CancelMatching: %v", err)
				}
				cancelled.Add(int64(res.Cancelled))
			}
			known.Lock()
			var id recall.MessageID
			if len(known.ids) > 0 {
				id = known.ids[rng.IntN(len(known.ids))]
			}
			known.Unlock()
			if id != "" {
				switch err := x.cancel(id); {
				case err == nil:
					cancelled.Add(1)
					fates.note(id, "cancelled")
				case !errors.Is(err, recall.ErrNotFound) && !errors.Is(err, recall.ErrNotCancellable):
					x.Errorf("Cancel: %v", err)
				}
			}
			yield()
		}
	}
	read := func() {
		for !stopped.Load() {
			x.count(recall.Filter{Labels: []string{"l1"}})
			x.list(recall.Filter{Queues: []string{"q1", "q2"}})
			if _, err := x.e.Maintain(x.ctx, x.now); err != nil {
				x.Errorf("Maintain: %v", err)
			}
			yield()
		}
	}
	go func() {
		publishing.Wait()
		stopped.Store(true)
	}()
	x.together(publishers+workers+cancellers+1, func(i int) {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		switch {
		case i < publishers:
			publish(rng)
		case i < publishers+workers:
			work(rng)
		case i < publishers+workers+cancellers:
			cancel(rng)
		default:
			read()
		}
	})
	x.account(fates, known.ids, int(cancelled.Load()))
	x.settle()
	x.account(fates, known.ids, int(cancelled.Load()))
}

// account checks that published = delivered + cancelled + dead + live, and
// that nothing is two of these.
func (x *fixture) account(fates *ledger, published []recall.MessageID, cancelled int) {
	x.Helper()
	// A durable change puts all earlier ones behind it.
	x.check(x.cancel(x.publish()), "Cancel")
	all := map[recall.MessageID]bool{}
	for _, id := range published {
		all[id] = true
	}
	seen := map[recall.MessageID]string{}
	for id, fate := range fates.fate {
		seen[id] = fate
	}
	is := func(id recall.MessageID, fate string) {
		if was, ok := seen[id]; ok {
			x.Errorf("message %s: %s and %s", id, was, fate)
		}
		if !all[id] {
			x.Errorf("message %s is %s and was never published", id, fate)
		}
		seen[id] = fate
	}
	live, dead := x.list(recall.Filter{}), x.listDead(recall.Filter{})
	for _, id := range live {
		is(id, "live")
	}
	for _, d := range dead {
		is(d.Message.ID, "dead")
	}
	delivered := fates.count("delivered")
	if sum := delivered + cancelled + len(dead) + len(live); sum != len(published) {
		x.Errorf("%d delivered + %d cancelled + %d dead + %d live = %d, but %d were published",
			delivered, cancelled, len(dead), len(live), sum, len(published))
	}
	for _, id := range published {
		if seen[id] == "live" {
			continue
		}
		if _, err := x.e.Get(x.ctx, id, x.now); !errors.Is(err, recall.ErrNotFound) {
			x.Errorf("message %s, %q: Get says %v", id, seen[id], err)
		}
	}
}
