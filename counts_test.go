package recall

import (
	"testing"
	"time"

	"github.com/recallmq/recall/store"
)

// countIndex returns an index of three messages with a label, and a walk over
// them that has marked all, before any is counted.
func countIndex() (ix *index, u *uncounted) {
	ix = newIndex(true)
	for seq := uint64(1); seq <= 3; seq++ {
		rec := &store.Record{URL: []byte("http://host/x"), Queue: []byte("q"), Labels: [][]byte{[]byte("l")}}
		ix.insert(seq, rec, times{created: 1, wall: 1, due: 1})
	}
	ix.visible = ix.last
	u = &uncounted{}
	ix.late = append(ix.late, u)
	for seq := uint64(1); seq <= 3; seq++ {
		p, e := ix.lookup(seq)
		ix.mark(p, e, 1)
		u.seqs = append(u.seqs, seq)
	}
	return ix, u
}

// counted returns what the index counts for the label, and whether the other
// fields agree.
func counted(t *testing.T, ix *index) int {
	t.Helper()
	have := map[int]bool{}
	for _, f := range []Filter{{Labels: []string{"l"}}, {Queues: []string{"q"}}, {Hosts: []string{"host"}}, {URLs: []string{"http://host/x"}}} {
		q := translate(f, time.UnixMilli(1))
		ix.compile(q)
		n, ok := ix.exact(q)
		if !ok {
			t.Fatalf("%v is not counted by an index", f)
		}
		have[n] = true
	}
	if len(have) != 1 {
		t.Fatalf("the fields count %v", have)
	}
	for n := range have {
		return n
	}
	return 0
}

func TestMarkedEntriesAreCountedOnce(t *testing.T) {
	ix, u := countIndex()
	if n := counted(t, ix); ix.live != 0 || n != 3 {
		t.Fatalf("before: %d live, %d by value", ix.live, n)
	}
	if !ix.countSomeLocked(2) || counted(t, ix) != 1 {
		t.Fatalf("after two: %d by value", counted(t, ix))
	}
	if ix.countSomeLocked(2) || counted(t, ix) != 0 || len(ix.late) != 1 {
		t.Fatalf("after all: %d by value, %d passes", counted(t, ix), len(ix.late))
	}
	u.over = true
	if ix.countSomeLocked(2) || len(ix.late) != 0 {
		t.Fatalf("after the pass: %d by value, %d passes", counted(t, ix), len(ix.late))
	}
	for seq := uint64(1); seq <= 3; seq++ {
		p, e := ix.lookup(seq)
		ix.move(p, e, phasePending)
	}
	if n := counted(t, ix); ix.live != 3 || n != 3 {
		t.Fatalf("when undone: %d live, %d by value", ix.live, n)
	}
}

// Whatever an entry does before it is counted leaves the counts as they have to
// be.
func TestMarkedEntriesGoOnBeforeTheyAreCounted(t *testing.T) {
	ix, _ := countIndex()
	p, e := ix.lookup(1)
	ix.move(p, e, phasePending) // its cancellation was refused
	p, e = ix.lookup(2)
	ix.unlink(p, e, 2)
	if n := counted(t, ix); ix.live != 1 || n != 2 {
		t.Fatalf("%d live, %d by value", ix.live, n)
	}
	if ix.countSomeLocked(10) || counted(t, ix) != 1 {
		t.Fatalf("when counted: %d by value", counted(t, ix))
	}
}
