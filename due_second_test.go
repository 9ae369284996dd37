package recall_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestMillionDueInOneSecond lets a great many messages be due in one second. All are
// delivered, once each and none early, and the memory that is in use does not
// grow meanwhile by more than dueSecondBound.
func TestMillionDueInOneSecond(t *testing.T) {
	n := 20_000
	if os.Getenv("RECALL_SOAK") != "" {
		n = 1_000_000
	}
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		s := newDueSecond(n)
		s.publish(t, f.Broker)
		before := heapInUse()
		var most atomic.Uint64
		handle(t, f.Broker, "local:due", func(_ context.Context, d *recall.Delivery) error {
			if s.take(t, d)%(n/8) == 0 {
				most.Store(max(most.Load(), heapInUse())) // no other attempt ends in a step
			}
			return nil
		})
		sleep(time.Until(s.second) - time.Millisecond)
		if early := s.taken.Load(); early != 0 {
			t.Errorf("%d were delivered before the second", early)
		}
		sleep(2 * time.Second)
		s.checkAll(t)
		checkCount(t, f.Broker, recall.Count{})
		most.Store(max(most.Load(), heapInUse()))
		t.Logf("%d messages; %d MiB in use before, at most %d MiB during and after", n, before>>20, most.Load()>>20)
		if most.Load() > before+dueSecondBound {
			t.Errorf("%d bytes were in use before, and %d later: the bound is %d more", before, most.Load(), dueSecondBound)
		}
	})
}

// dueSecondBound is what the drain may hold beside the messages: what is finished
// and waits to be folded, and one commit after the other.
const dueSecondBound = 8 << 20

// TestDueInOneSecondInOrder: with one slot, what is due goes by priority, then due
// time, then age.
func TestDueInOneSecondInOrder(t *testing.T) {
	n := 2_000
	if os.Getenv("RECALL_SOAK") != "" {
		n = 50_000
	}
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{Slots: 1})
		s := newDueSecond(n)
		s.publish(t, f.Broker)
		sleep(time.Until(s.second) + time.Second) // all are due, and wait for their handler
		var got []int
		handle(t, f.Broker, "local:due", func(_ context.Context, d *recall.Delivery) error {
			s.take(t, d)
			got = append(got, dueNumber(d))
			return nil
		})
		synctest.Wait()
		s.checkAll(t)
		want := s.order()
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("delivery %d is of message %d, %+v; want %d, %+v", i, got[i], &s.all[got[i]], want[i], &s.all[want[i]])
			}
		}
	})
}

// dueSecond is a number of messages that are due in the same second.
type dueSecond struct {
	second time.Time
	all    []dueMessage
	taken  atomic.Int64
}

type dueMessage struct {
	after    time.Duration // the second has begun
	priority int8
	taken    atomic.Int32
}

func newDueSecond(n int) *dueSecond {
	s := &dueSecond{second: time.Now().Add(time.Hour).Truncate(time.Second), all: make([]dueMessage, n)}
	for i := range s.all {
		s.all[i].after = time.Duration(rand.IntN(1000)) * time.Millisecond
		s.all[i].priority = int8(rand.IntN(7) - 3)
	}
	return s
}

func (s *dueSecond) publish(t *testing.T, b *recall.Broker) {
	t.Helper()
	var batch []recall.Message
	for i := range s.all {
		batch = append(batch, recall.Message{
			URL: "local:due", NotBefore: s.second.Add(s.all[i].after), Priority: int(s.all[i].priority),
			Body: binary.BigEndian.AppendUint32(nil, uint32(i)),
		})
		if len(batch) == recall.DefaultMaxBatch || i == len(s.all)-1 {
			if _, err := b.PublishBatch(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
}

func dueNumber(d *recall.Delivery) int { return int(binary.BigEndian.Uint32(d.Body)) }

// take notes a delivery, and returns how many there were.
func (s *dueSecond) take(t *testing.T, d *recall.Delivery) int {
	m := &s.all[dueNumber(d)]
	if now := time.Now(); now.Before(s.second.Add(m.after)) {
		t.Errorf("%s was delivered at %v, %v early", d.ID, now, s.second.Add(m.after).Sub(now))
	}
	m.taken.Add(1)
	return int(s.taken.Add(1))
}

func (s *dueSecond) checkAll(t *testing.T) {
	t.Helper()
	for i := range s.all {
		if n := s.all[i].taken.Load(); n != 1 {
			t.Fatalf("message %d was delivered %d times", i, n)
		}
	}
}

// order returns the numbers of the messages as they are to be delivered.
func (s *dueSecond) order() []int {
	numbers := make([]int, len(s.all))
	for i := range numbers {
		numbers[i] = i
	}
	slices.SortFunc(numbers, func(i, j int) int {
		a, b := &s.all[i], &s.all[j]
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.after, b.after), cmp.Compare(i, j))
	})
	return numbers
}

// heapInUse is what is reachable.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
