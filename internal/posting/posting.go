// Package posting keeps posting lists: the messages of one index value, as
// ascending sequence numbers.
//
// A list is a B-tree of runs. A run is a sorted block of at most 256 numbers,
// kept as 32-bit offsets; numbers arrive in ascending order, so an append
// touches only the newest run and the tree is entered once per 256 of them.
// The first number is kept inline and the first run without a tree, because
// most values of a field with many values have few messages.
//
// Lists are not safe for concurrent use.
package posting

import (
	"math"
	"slices"
	"sort"

	"github.com/google/btree"
)

const (
	runLen = 256
	degree = 32
)

// run holds base+offs[i], ascending.
type run struct {
	base uint64
	offs []uint32
}

func (r *run) first() uint64       { return r.base + uint64(r.offs[0]) }
func (r *run) last() uint64        { return r.base + uint64(r.offs[len(r.offs)-1]) }
func (r *run) takes(n uint64) bool { return len(r.offs) < runLen && n-r.base <= math.MaxUint32 }

func lessRun(a, b *run) bool { return a.base < b.base }

// nodes are shared by all lists: most trees are small and short-lived.
var nodes = btree.NewFreeListG[*run](1024)

// List is a posting list. The zero List is empty.
type List struct {
	only   uint64 // the single number, while tail is nil and n is 1
	tail   *run   // the newest run
	sealed *btree.BTreeG[*run]
	n      int
}

// Len returns how many numbers the list holds.
func (l *List) Len() int { return l.n }

// Append adds a number, which must be greater than every other.
func (l *List) Append(seq uint64) {
	switch {
	case l.n == 0:
		l.only = seq
	case l.tail == nil:
		l.tail = &run{base: l.only, offs: make([]uint32, 1, 4)}
		l.appendRun(seq)
	default:
		l.appendRun(seq)
	}
	l.n++
}

func (l *List) appendRun(seq uint64) {
	if !l.tail.takes(seq) {
		l.sealRun(l.tail)
		l.tail = &run{base: seq, offs: make([]uint32, 0, 16)}
	}
	l.tail.offs = append(l.tail.offs, uint32(seq-l.tail.base))
}

func (l *List) sealRun(r *run) {
	if l.sealed == nil {
		l.sealed = btree.NewWithFreeListG(degree, lessRun, nodes)
	}
	r.offs = slices.Clip(r.offs)
	l.sealed.ReplaceOrInsert(r)
}

// Ascend calls yield for the numbers of at least from, in order, until it
// returns false.
func (l *List) Ascend(from uint64, yield func(uint64) bool) {
	l.runs(from, func(r *run) bool {
		for _, off := range r.offs[r.search(from):] {
			if !yield(r.base + uint64(off)) {
				return false
			}
		}
		return true
	})
}

// Collect appends up to limit numbers of at least from to dst.
func (l *List) Collect(dst []uint64, from uint64, limit int) []uint64 {
	l.runs(from, func(r *run) bool {
		offs := r.offs[r.search(from):]
		offs = offs[:min(len(offs), limit)]
		limit -= len(offs)
		at := len(dst)
		dst = slices.Grow(dst, len(offs))[:at+len(offs)]
		for i, some := 0, dst[at:]; i < len(some) && i < len(offs); i++ { // which needs no further checks of bounds
			some[i] = r.base + uint64(offs[i])
		}
		return limit > 0
	})
	return dst
}

// CountRange returns how many numbers are in [from, to]. It takes the runs that
// it goes through from *budget; ok is false if that was not enough.
func (l *List) CountRange(from, to uint64, budget *int) (count int, ok bool) {
	l.runs(from, func(r *run) bool {
		if r.first() > to {
			return false
		}
		if *budget--; *budget < 0 {
			return false
		}
		i, j := r.search(from), len(r.offs)
		if r.last() > to {
			j = r.search(to + 1)
		}
		count += j - i
		return true
	})
	return count, *budget >= 0
}

// Shed goes through up to limit runs that hold numbers of at least from, keeps
// the numbers for which keep returns true, and gives back the memory of the
// others. It returns where to go on; done is true at the end of the list.
func (l *List) Shed(from uint64, limit int, keep func(uint64) bool) (next uint64, done bool) {
	if l.tail == nil {
		if l.n == 1 && !keep(l.only) {
			*l = List{}
		}
		return 0, true
	}
	var old []*run
	l.runs(from, func(r *run) bool {
		old = append(old, r)
		return len(old) < limit
	})
	if len(old) == 0 {
		return 0, true
	}
	last := old[len(old)-1]
	end, atEnd := last.last(), last == l.tail
	l.replace(old, pack(old, keep))
	return end + 1, atEnd
}

// pack returns full runs of the numbers that are kept.
func pack(old []*run, keep func(uint64) bool) (packed []*run) {
	var r *run
	for _, o := range old {
		for _, off := range o.offs {
			seq := o.base + uint64(off)
			if !keep(seq) {
				continue
			}
			if r == nil || !r.takes(seq) {
				r = &run{base: seq}
				packed = append(packed, r)
			}
			r.offs = append(r.offs, uint32(seq-r.base))
		}
	}
	return packed
}

// replace puts packed in the place of old. The newest run stays outside the
// tree.
func (l *List) replace(old, packed []*run) {
	for _, r := range old {
		l.n -= len(r.offs)
		if r == l.tail {
			l.tail = nil
		} else {
			l.sealed.Delete(r)
		}
	}
	if l.tail == nil && len(packed) == 0 && l.sealed != nil {
		l.tail, _ = l.sealed.DeleteMax()
	}
	for i, r := range packed {
		l.n += len(r.offs)
		if l.tail == nil && i == len(packed)-1 {
			l.tail = r
			continue
		}
		l.sealRun(r)
	}
	if l.tail == nil {
		*l = List{}
	}
}

// runs visits the runs that may hold numbers of at least from, in order.
func (l *List) runs(from uint64, visit func(*run) bool) {
	if l.tail == nil {
		if l.n == 1 {
			visit(&run{base: l.only, offs: []uint32{0}})
		}
		return
	}
	more := true
	if l.sealed != nil {
		pivot := &run{base: from}
		// The run before the pivot may reach beyond it.
		l.sealed.DescendLessOrEqual(pivot, func(r *run) bool {
			pivot = r
			return false
		})
		l.sealed.AscendGreaterOrEqual(pivot, func(r *run) bool {
			if r.last() >= from {
				more = visit(r)
			}
			return more
		})
	}
	if more && l.tail.last() >= from {
		visit(l.tail)
	}
}

// search returns the index of the first offset whose number is at least from.
func (r *run) search(from uint64) int {
	if from <= r.base {
		return 0
	}
	if from-r.base > math.MaxUint32 {
		return len(r.offs)
	}
	want := uint32(from - r.base)
	return sort.Search(len(r.offs), func(i int) bool { return r.offs[i] >= want })
}
