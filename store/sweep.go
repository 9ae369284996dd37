package store

import (
	"slices"

	bolt "go.etcd.io/bbolt"
)

// SweepResult says what one step of the sweep did.
type SweepResult struct {
	Dropped, Rewritten int  // segments
	More               bool // there are more candidates
}

// sparse is the share of live rows, one in sparse, below which a segment is
// rewritten: at a quarter a rewrite costs about 2 µs per row that is kept.
const sparse = 4

// maxRewrite bounds the bytes that one rewrite copies: a segment whose few live
// messages are larger waits until it can be dropped.
const maxRewrite = 16 << 20

// SweepStep is a segment that looks worth sweeping.
type SweepStep struct {
	Bound Bound // what sweeping it needs
	tab   Table
	n     uint64
	live  int  // rows, as far as memory knows
	more  bool // there are others
	again bool // it was refused before, and so were all others
}

// NextSweep returns the next step of the sweep; ok is false if there is nothing
// to sweep.
func (s *Store) NextSweep() (step SweepStep, ok bool) {
	if step, ok = s.candidate(); !ok {
		return step, false
	}
	step.Bound = Bound{Rows: 16, Bytes: 64 << 10, Essential: true}
	_ = s.View(func(v *View) error { // a page that does not read is met by Sweep itself
		live, _, err := survivors(v.tx, step.tab, step.n)
		if err == nil {
			step.Bound.Rows += 2 * len(live)
			step.Bound.Bytes += sizeOf(v.tx, step.tab, live)
		}
		return err
	})
	return step, true
}

// SweepRefused notes that there was no room for a step, so that others come
// first, and tells whether there are any that were not refused.
func (s *Store) SweepRefused(step SweepStep) (more bool) {
	s.mu.Lock()
	if seg := s.segments[step.tab][step.n]; seg != nil {
		seg.refused = true
	}
	s.mu.Unlock()
	next, ok := s.candidate()
	return ok && !next.again
}

// sizeOf returns the bytes of the rows of some messages of one segment.
func sizeOf(tx *bolt.Tx, tab Table, seqs []uint64) (size int64) {
	v := View{tx: tx}
	for _, seq := range seqs {
		record, _ := v.Record(tab, seq)
		body, _ := v.Body(tab, seq)
		size += int64(len(record)+len(body)) + 64
	}
	return size
}

// Sweep gives back the pages of one sealed segment: it drops one in which
// nothing lives, or rewrites one below a quarter live. Which one, NextSweep has
// found in memory; what is dead, the file tells: no more can live by now than
// NextSweep has made room for. One segment takes about 4 ms to drop and 10 ms to
// rewrite.
func (t *Tx) Sweep(step SweepStep) (r SweepResult, err error) {
	err = t.guard(func() (err error) {
		r, err = t.sweep(step)
		return err
	})
	return r, err
}

func (t *Tx) sweep(step SweepStep) (r SweepResult, err error) {
	tab, n := step.tab, step.n
	live, stored, err := survivors(t.tx, tab, n)
	if err != nil {
		return SweepResult{}, err
	}
	// Its numbers must not be used again: it may be sealed in memory only.
	if err := t.SetHead(t.head); err != nil {
		return SweepResult{}, err
	}
	r = SweepResult{More: step.more}
	skip := false
	switch {
	case len(live) == 0:
		r.Dropped = 1
		err = t.dropSegment(tab, n)
	case len(live)*sparse >= stored:
	case sizeOf(t.tx, tab, live) > maxRewrite:
		skip = true
	default:
		r.Rewritten = 1
		err = t.rewriteSegment(tab, n, live)
	}
	t.learn(func() { t.s.recount(tab, n, len(live), r, stored, skip) })
	return r, err
}

// recount notes what the sweep has found or left.
func (s *Store) recount(tab Table, n uint64, live int, r SweepResult, stored int, skip bool) {
	now := segment{stored: stored, dead: stored - live, large: skip}
	if r.Dropped+r.Rewritten > 0 {
		now = segment{stored: live}
	}
	seg := s.segment(tab, n)
	s.sizes.rows += now.stored - seg.stored
	if *seg = now; r.Dropped > 0 {
		delete(s.segments[tab], n)
	}
}

// before tells whether a segment is swept before another: those that were not
// refused first, and then those in which less lives. To drop one needs no room,
// and to rewrite it as little as can be.
func (a SweepStep) before(b SweepStep) bool {
	switch {
	case a.again != b.again:
		return b.again
	case a.live != b.live:
		return a.live < b.live
	case a.tab != b.tab:
		return a.tab < b.tab
	}
	return a.n < b.n
}

// candidate returns the sealed segment that is swept next.
func (s *Store) candidate() (best SweepStep, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := 0
	for tab := range tables {
		sealed := s.sealedBefore(tab)
		for n, seg := range s.segments[tab] {
			step := SweepStep{tab: tab, n: n, live: seg.stored - seg.dead, again: seg.refused}
			if n >= sealed || step.live > 0 && (seg.large || step.live*sparse >= seg.stored) {
				continue
			}
			if found++; found == 1 || step.before(best) {
				best = step
			}
		}
	}
	best.more = found > 1
	return best, found > 0
}

const sealBytes = 16 << 20

func (o *Options) sealBytes() int64 {
	if o.SealBytes > 0 {
		return o.SealBytes
	}
	return sealBytes
}

// seal lets the numbering go on in the next segment, if the newest one has so
// many bytes: 4,096 large messages would be too many to be given back together.
// The file is not told: a sweep of the segment and the next message do that,
// and until then an open finds its size. The lock is held.
func (s *Store) seal(bytes int64) {
	for tab, next := range [tables]*uint64{&s.head.NextSeq, &s.head.NextDead} {
		n := *next >> segmentBits
		if seg := s.segments[tab][n]; seg != nil && seg.bytes >= bytes {
			*next = (n + 1) << segmentBits
		}
	}
}

// sealedBefore returns the first segment that may still be written to.
func (s *Store) sealedBefore(tab Table) uint64 {
	if tab == Dead {
		return s.head.NextDead >> segmentBits
	}
	return s.head.NextSeq >> segmentBits
}

// survivors returns the numbers of a segment that live, from the file.
func survivors(tx *bolt.Tx, tab Table, n uint64) (live []uint64, stored int, err error) {
	dead, err := readBitset(tx, tab, n)
	if err != nil {
		return nil, 0, err
	}
	rows := tx.Bucket(tableNames[tab].record).Bucket(seqKey(n))
	if rows == nil {
		return nil, 0, nil
	}
	err = rows.ForEach(func(k, _ []byte) error {
		seq, err := seqOf(n, k)
		if err != nil {
			return corrupt(string(tableNames[tab].record), k, err)
		}
		stored++
		if !dead.has(seq) {
			live = append(live, seq)
		}
		return nil
	})
	return live, stored, err
}

// dropSegment deletes everything that is kept of a segment.
func (t *Tx) dropSegment(tab Table, n uint64) error {
	names := &tableNames[tab]
	for _, name := range [][]byte{names.record, names.body} {
		parent := t.tx.Bucket(name)
		delete(t.nested, nestedKey{string(name), n})
		if parent.Bucket(seqKey(n)) == nil {
			continue
		}
		if err := parent.DeleteBucket(seqKey(n)); err != nil {
			return err
		}
	}
	if tab == Live {
		if err := t.dropOverlay(n); err != nil {
			return err
		}
	}
	return t.tx.Bucket(names.bitmap).Delete(seqKey(n))
}

// rewriteSegment keeps only the live rows. The bitmap stays: a fold that comes
// later must see that the others are gone already.
func (t *Tx) rewriteSegment(tab Table, n uint64, live []uint64) error {
	for _, name := range [][]byte{tableNames[tab].record, tableNames[tab].body} {
		if err := t.rewriteBucket(name, n, live); err != nil {
			return err
		}
	}
	return nil
}

// rewriteBucket copies the rows first: bbolt leaks pages when a bucket is
// deleted after it was changed in the same transaction.
func (t *Tx) rewriteBucket(name []byte, n uint64, live []uint64) error {
	parent := t.tx.Bucket(name)
	old := parent.Bucket(seqKey(n))
	if old == nil {
		return nil
	}
	var keys, values [][]byte
	err := old.ForEach(func(k, v []byte) error {
		seq, err := seqOf(n, k)
		if err != nil {
			return corrupt(string(name), k, err)
		}
		if _, keep := slices.BinarySearch(live, seq); keep {
			keys, values = append(keys, slices.Clone(k)), append(values, slices.Clone(v))
		}
		return nil
	})
	if err != nil {
		return err
	}
	delete(t.nested, nestedKey{string(name), n})
	if err := parent.DeleteBucket(seqKey(n)); err != nil {
		return err
	}
	fresh, err := parent.CreateBucket(seqKey(n))
	if err != nil {
		return err
	}
	fresh.FillPercent = 0.95
	for i := range keys {
		if err := fresh.Put(keys[i], values[i]); err != nil {
			return err
		}
	}
	return nil
}

// seqOf returns the number that a key of a segment's bucket belongs to.
func seqOf(segment uint64, key []byte) (uint64, error) {
	if len(key) < 2 {
		return 0, errShort
	}
	offset := uint64(key[0])<<8 | uint64(key[1])
	if offset >= segmentSize {
		return 0, errShort
	}
	return segment<<segmentBits | offset, nil
}

// nestedSegments visits the segments of a bucket in order.
func nestedSegments(tx *bolt.Tx, name []byte, visit func(n uint64, b *bolt.Bucket) error) error {
	parent := tx.Bucket(name)
	return parent.ForEach(func(k, v []byte) error {
		if len(k) != 8 || v != nil { // a bucket has no value
			return corrupt(string(name), k, errShort)
		}
		n := keySeq(k)
		if n<<segmentBits>>segmentBits != n { // its numbers would look like another's
			return corrupt(string(name), k, errShort)
		}
		return visit(n, parent.Bucket(k))
	})
}
