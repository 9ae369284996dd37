package recall

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// walkSlice is how many entries a walk looks at at a time: about 20 µs of work.
const walkSlice = 256

// A lock hold of a walk goes on for some slices while they are quick. More than the
// lock is waited for: between two holds the walk goes to the end of the line for a
// processor, behind everybody whom a commit has woken, and until then a commit that
// comes back from the disk may find none. With holds of 120 µs publishers wait for two
// times as long as without a walk, with holds of 20 the walk does.
const (
	walkHold     = 12 // slices at most
	walkHoldTime = 60 * time.Microsecond
)

// walkTouch is how many entries are fetched ahead: more would push one another
// out of the processor's first cache.
const walkTouch = 256

// walk follows the narrowest index of a query, oldest first, in slices.
type walk struct {
	ix      *index
	q       *query
	src     source
	pos     uint64 // next number to look at
	buf     []uint64
	merged  *merge // of a union
	sure    bool   // whatever the source lists is a match
	scanned int
}

// touch reads the entries of some numbers for the processor's cache: it fetches many
// at a time here, and in the walk itself one after the other, which takes twice as
// long on scattered entries. Values, which may lie in two lines of the cache, are
// fetched if they are wanted.
func (ix *index) touch(seqs []uint64, values bool) {
	sum := int64(0)
	for _, seq := range seqs {
		if p := ix.pageOf(seq); p != nil {
			e := p.at(seq)
			if values {
				sum += int64(e.values[0] + e.values[plainFields-1])
			}
			sum += int64(e.phase)
		}
	}
	ix.touched = sum
}

// newWalk plans a walk. The lock is held.
func (ix *index) newWalk(q *query) *walk {
	src := ix.sources(q)[0]
	return &walk{ix: ix, q: q, src: src, pos: q.lo, sure: q.only(src)}
}

// verdict is what a visitor wants to happen after an entry.
type verdict uint8

const (
	goOn   verdict = iota
	stop           // the walk ends, and would continue after the entry
	stopAt         // the walk ends, and would continue with the entry
)

// sliceLocked visits the next matches and reports whether the walk is over.
// Every held entry of the range is offered to visit if its attributes match;
// phases are the visitor's business. The caller holds the lock.
func (w *walk) sliceLocked(visit func(*page, entry, uint64) verdict) (done, stopped bool) {
	w.buf = w.nextLocked(w.buf[:0])
	for some := range slices.Chunk(w.buf, walkTouch) {
		if w.visitAll(some, visit) {
			return false, true
		}
	}
	return len(w.buf) == 0, false
}

// holdLocked is sliceLocked, again and again for as long as one lock hold may
// take.
func (w *walk) holdLocked(visit func(*page, entry, uint64) verdict) (done, stopped bool) {
	watch := startStopwatch()
	for range walkHold {
		if done, stopped = w.sliceLocked(visit); done || stopped || watch.ran() > walkHoldTime {
			break
		}
	}
	return done, stopped
}

// visitAll offers the entries of some numbers to visit, and reports whether it
// stopped the walk. visit unlinks none of them.
func (w *walk) visitAll(seqs []uint64, visit func(*page, entry, uint64) verdict) (stopped bool) {
	w.ix.touch(seqs, !w.sure)
	for _, seq := range seqs {
		w.pos = seq + 1
		p := w.ix.pageOf(seq)
		if p == nil {
			continue
		}
		e := p.at(seq)
		if e.phase == phaseNone {
			continue
		}
		w.scanned++
		if !w.sure && !w.ix.matches(w.q, p, e, seq) {
			continue
		}
		switch visit(p, e, seq) {
		case stop:
			return true
		case stopAt:
			w.pos = seq
			return true
		}
	}
	return false
}

// run walks to the end, or until visit stops it, letting others have the lock
// between slices. It reports whether visit stopped it.
func (w *walk) run(mu *sync.Mutex, visit func(*page, entry, uint64) verdict) (stopped bool) {
	for {
		mu.Lock()
		done, stopped := w.holdLocked(visit)
		mu.Unlock()
		if done || stopped {
			return stopped
		}
		runtime.Gosched()
	}
}

// nextLocked appends the next numbers of the source, ascending, at most
// walkSlice and none beyond the range.
func (w *walk) nextLocked(dst []uint64) []uint64 {
	if w.pos > w.q.hi {
		return dst
	}
	switch w.src.kind {
	case sourceIDs:
		ids := w.q.order
		i, _ := slices.BinarySearch(ids, w.pos)
		dst = append(dst, ids[i:min(len(ids), i+walkSlice)]...)
	case sourceTime:
		dst = w.ix.collectTime(dst, w.pos, walkSlice)
	default:
		dst = w.collectValues(dst)
	}
	for len(dst) > 0 && dst[len(dst)-1] > w.q.hi {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// collectValues appends the next numbers of the chosen field's values. A walk
// that went back begins its merge anew.
func (w *walk) collectValues(dst []uint64) []uint64 {
	set, table := w.q.sets[w.src.field], &w.ix.fields[w.src.field]
	switch len(set) {
	case 0:
		return dst
	case 1:
		return table.slab[set[0]].list.Collect(dst, w.pos, walkSlice)
	}
	if w.merged == nil || w.merged.next != w.pos {
		w.merged = newMerge(table, set, w.pos)
	}
	return w.merged.collect(dst, walkSlice)
}

// collectPages is how many pages one lock hold goes through: in most of them
// few messages may be left.
const collectPages = 4

// collectTime appends the next held numbers of at least from, page by page,
// and at least one if there is any.
func (ix *index) collectTime(dst []uint64, from uint64, limit int) []uint64 {
	first := max(from>>pageBits, ix.firstPage)
	pages := 0
	for i := first - ix.firstPage; i < uint64(len(ix.pages)); i++ {
		p := ix.pages[i]
		if p == nil {
			continue
		}
		if pages++; pages > collectPages && len(dst) > 0 {
			return dst
		}
		for j := range p.statuses {
			seq := p.base + uint64(j)
			if seq < from || p.statuses[j].phase == phaseNone {
				continue
			}
			dst = append(dst, seq)
			if len(dst) == limit {
				return dst
			}
		}
	}
	return dst
}
