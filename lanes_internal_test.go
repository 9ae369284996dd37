package recall

import (
	"testing"
	"time"
)

// TestRecentLanes asks for lanes under numbers that meet, of names that change
// their number, and after a lane was dropped and made again.
func TestRecentLanes(t *testing.T) {
	l := newLanes()
	ask := func(number uint32, key laneKey) *lane {
		t.Helper()
		ln := l.recently(number, key)
		if ln != l.at(key) || ln.key != key {
			t.Fatalf("number %d: %+v instead of %+v", number, ln.key, key)
		}
		return ln
	}
	a, b := laneKey{url: "local:a"}, laneKey{url: "local:b"}
	ask(1, a)
	ask(1+recentLanes, b)
	ask(1, a)
	ask(1, b) // a is gone, and b has its number now
	ask(1, laneKey{url: "local:b", priority: 3})
	ask(1, laneKey{url: "local:b", flow: "f"})
	old := ask(2, a)
	l.dropEmpty("local:a")
	if ask(2, a) == old {
		t.Error("a lane that was dropped is still used")
	}
}

// TestLaneOfHandlerIsShed cancels what waits for a handler: a pass counts later what its
// lane has to step over, and the lane sheds it all the same.
func TestLaneOfHandlerIsShed(t *testing.T) {
	e, now := openInternal(t), time.Now().Truncate(time.Millisecond)
	const n = 6000
	list := make([]Message, n)
	for i := range list {
		list[i] = Message{URL: "local:job", Method: "POST", Labels: []string{"l"}, Retries: Retries(0), CreatedAt: now, DueAt: now.Add(time.Hour)}
	}
	if _, err := e.Insert(t.Context(), list, now); err != nil {
		t.Fatal(err)
	}
	if r, err := e.CancelMatching(t.Context(), CancelMatchingRequest{Filter: Filter{Labels: []string{"l"}}, Now: now}); err != nil || r.Cancelled != n {
		t.Fatalf("%d cancelled: %v", r.Cancelled, err)
	}
	for next := now; !next.IsZero() && !next.After(now); {
		var err error
		if next, err = e.Maintain(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	if left := e.lanes.at(laneKey{url: "local:job"}).items.Len(); left > 0 {
		t.Errorf("%d of %d items are left", left, n)
	}
}

// TestUnmarkedBeforeCounted undoes a mark before its lane has counted it, as after a
// refused commit: what else is dead there stays counted.
func TestUnmarkedBeforeCounted(t *testing.T) {
	e, now := openInternal(t), time.Now().Truncate(time.Millisecond)
	m := Message{URL: "local:job", Method: "POST", Retries: Retries(0), CreatedAt: now, DueAt: now.Add(time.Hour)}
	if _, err := e.Insert(t.Context(), []Message{m, m}, now); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p, first := e.live.lookup(1)
	e.lanesDeadLocked(first)
	e.live.move(p, first, phaseMarked)
	p, second := e.live.lookup(2)
	e.live.mark(p, second, 1)
	e.unmarkLocked(p, second, 2)
	if dead := e.laneOf(first).dead; dead != 1 {
		t.Errorf("%d items are dead, want the other", dead)
	}
}
