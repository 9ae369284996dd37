package recall

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// TestReservedIDs has random times of a clock that goes forward, and compares
// with a list of everything.
func TestReservedIDs(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const window = 3 * 60_000
	r := reservedIDs{window: window}
	naive := map[dedupKey]reservation{}
	now, number := int64(-5*60_000), uint64(0)
	most := 0
	for range 300 {
		now += rnd.Int64N(40_000)
		var list []store.Reservation
		taken := map[dedupKey]reservation{}
		for range rnd.IntN(2500) {
			number++
			key := dedupKey{byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())}
			want, reserved := naive[key]
			reserved = reserved && now-want.at < window
			got, ok := r.find(key, now)
			if ok != reserved || ok && got != want {
				t.Fatalf("%x at %d: got %v %v, want %v %v", key, now, got, ok, want, reserved)
			}
			if _, twice := taken[key]; !reserved && !twice {
				x := reservation{at: now}
				binary.BigEndian.PutUint64(x.id[8:], number)
				taken[key] = x
				list = append(list, store.Reservation{Key: key, ID: x.id, At: now})
			}
		}
		maps.Copy(naive, taken)
		placed := 0
		for _, p := range r.place(list) {
			if placed += len(p.list); store.PartOf(p.list[0].At).Minute != p.part.Minute {
				t.Fatalf("%d is in minute %d", p.list[0].At, p.part.Minute)
			}
			r.takeIn(p.part, p.list...)
		}
		if placed != len(list) {
			t.Fatalf("%d of %d have a place", placed, len(list))
		}
		for {
			p, ok, next := r.expired(now)
			if !ok {
				if len(r.parts) > 0 && next.UnixMilli() <= now {
					t.Fatalf("nothing goes at %d, and the next at %v", now, next)
				}
				break
			}
			r.discard(p)
		}
		held := 0
		for _, p := range r.parts {
			if held += len(p.keys); len(p.keys) > reservedPartSize || p.End()+window <= now {
				t.Fatalf("part %+v has %d keys at %d", p.ReservedPart, len(p.keys), now)
			}
		}
		if most = max(most, r.count); held != r.count {
			t.Fatalf("%d are held, %d counted", held, r.count)
		}
	}
	if most < 2*reservedPartSize {
		t.Errorf("only %d ids at once", most)
	}
	for ; len(r.parts) > 0; now += 60_000 {
		if p, ok, _ := r.expired(now); ok {
			r.discard(p)
		}
	}
	for i := range r.shards {
		if s := &r.shards[i]; len(s.first) != 0 || s.peak > 64 {
			t.Errorf("shard %d has %d keys left and room for %d", i, len(s.first), s.peak)
		}
	}
}

// TestReservedAhead gives up what a clock that was ahead has reserved.
func TestReservedAhead(t *testing.T) {
	r := reservedIDs{window: 600_000}
	for i, at := range []int64{0, 60_000, 1e12} {
		r.takeIn(store.PartOf(at), store.Reservation{Key: dedupKey{byte(i)}, ID: ulid.ULID{15: byte(i)}, At: at})
	}
	for _, want := range []store.ReservedPart{store.PartOf(1e12)} {
		p, ok, _ := r.expired(70_000)
		if !ok || p != want {
			t.Fatalf("got %+v, %v, want %+v", p, ok, want)
		}
		r.discard(p)
	}
	if _, ok, next := r.expired(70_000); ok || next.UnixMilli() != 660_000 {
		t.Errorf("got %v and %v, want to wait until 660000", ok, next.UnixMilli())
	}
}

// TestReservedOnce has work with ids in a commit that is written twice, because
// other work in it cannot be written.
func TestReservedOnce(t *testing.T) {
	e, now := openInternal(t), time.UnixMilli(1_800_000_000_000)
	release, err := Occupy(e)
	if err != nil {
		t.Fatal(err)
	}
	var works []*insertWork
	var requests []*request
	for i := range 6 {
		var part work = &maintWork{step: func(*store.Tx) error { return errors.New("it cannot be written") }}
		if i != 3 {
			w := new(insertWork)
			m := Message{URL: "https://api.test/", Method: "POST", Retries: Retries(0), CreatedAt: now, DueAt: now}
			m.DeduplicationID = fmt.Sprint("id ", i%2)
			if err := w.encode([]Message{m}, now.UnixMilli()); err != nil {
				t.Fatal(err)
			}
			w.identify(&e.reserved)
			works, part = append(works, w), w
		}
		r, err := e.send(t.Context(), part, true)
		if err != nil {
			t.Fatal(err)
		}
		requests = append(requests, r)
	}
	release()
	for i, r := range requests {
		if err := <-r.ack; (err != nil) != (i == 3) {
			t.Errorf("work %d: got %v", i, err)
		}
	}
	for i, w := range works {
		got := w.receipts(now)[0]
		if first := works[[]int{0, 1, 0, 0, 1}[i]].receipts(now)[0].ID; got.Deduplicated != (i > 1) || got.ID != first {
			t.Errorf("work %d: got %+v, want %s", i, got, first)
		}
	}
	if got := e.Stats(); got.DeduplicationIDs != 2 || got.Pending != 2 {
		t.Errorf("got %d ids and %d messages, want 2 each", got.DeduplicationIDs, got.Pending)
	}
}

// TestWithoutIDsNothingIsAllocated looks at what deduplication costs a message
// that has no id.
func TestWithoutIDsNothingIsAllocated(t *testing.T) {
	e := openInternal(t)
	w := &insertWork{msgs: make([]Message, 100), rows: make([]insertRow, 100)}
	turn := &turn{e: e}
	allocated := testing.AllocsPerRun(100, func() {
		w.identify(&e.reserved)
		if !w.decide(turn) || w.isDuplicate(50) || w.room() != 0 {
			t.Fatal("a message without an id is a duplicate")
		}
		w.reserve(turn, 50)
	})
	if allocated != 0 || len(turn.reserving.list) != 0 {
		t.Errorf("%v allocations, %d reserved", allocated, len(turn.reserving.list))
	}
}

// BenchmarkReservedIDs says what an id takes of the memory.
func BenchmarkReservedIDs(b *testing.B) {
	const n = 1_000_000
	for range b.N {
		var r reservedIDs
		before := heap()
		for i := range n {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
			list := []store.Reservation{{Key: dedupKey(sum[:16]), At: int64(i / 10)}}
			for _, p := range r.place(list) {
				r.takeIn(p.part, p.list...)
			}
		}
		b.ReportMetric(float64(heap()-before)/n, "B/id")
		runtime.KeepAlive(&r)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
