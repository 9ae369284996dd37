package store

import (
	"maps"
	"slices"
)

// deaths are numbers on their way into the bitmaps, by segment.
type deaths map[uint64][]uint64

func (d deaths) add(seq uint64) {
	d[seq>>segmentBits] = append(d[seq>>segmentBits], seq)
}

// FoldPays tells whether folding finished messages is worth a commit: there are
// many of them, or they may hold much of the file, or the file is full.
func (s *Store) FoldPays() bool {
	const (
		many    = 4096
		much    = 16 << 20
		largest = 1 << 20 // that a message is taken for: the file may hold other things, such as the caller's
	)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int64(s.sizes.foldable)
	each := int64(0)
	if rows := int64(s.sizes.rows); rows > 0 {
		each = min(largest, s.held/rows)
	}
	return n >= many || n*each >= much || n > 0 && s.full
}

// FoldFinished turns up to about limit finished messages of the journal into
// bits and deletes their rows. It returns how many it folded and whether there
// are more.
func (t *Tx) FoldFinished(limit int) (folded int, more bool, err error) {
	err = t.guard(func() (err error) {
		folded, more, err = t.foldFinished(limit)
		return err
	})
	return folded, more, err
}

func (t *Tx) foldFinished(limit int) (folded int, more bool, err error) {
	for tab := range tables {
		n, rest, err := t.foldKind(tab, limit-folded)
		if err != nil {
			return folded, false, err
		}
		folded += n
		more = more || rest
	}
	t.learn(func() {
		if t.s.sizes.foldable = max(0, t.s.sizes.foldable-folded); !more {
			t.s.sizes.foldable = 0
		}
	})
	return folded, more, nil
}

func (t *Tx) foldKind(tab Table, limit int) (folded int, more bool, err error) {
	dead := deaths{}
	var keys [][]byte
	err = eachJournal(t.tx, finishedKind(tab), 0, func(key, row []byte) (bool, error) {
		if folded >= limit {
			more = true
			return false, nil
		}
		keys = append(keys, slices.Clone(key))
		return true, decodeSet(row, func(seq uint64) {
			dead.add(seq)
			folded++
		})
	})
	if err != nil {
		return 0, false, err
	}
	if err := t.bury(tab, dead); err != nil {
		return 0, false, err
	}
	if err := deleteKeys(t.tx.Bucket(bucketJournal), keys); err != nil {
		return 0, false, err
	}
	if tab == Live {
		err = t.closeRequests(dead)
	}
	return folded, more, err
}

// bury sets bits. Segments that are gone are skipped: nothing in them lives.
func (t *Tx) bury(tab Table, dead deaths) error {
	bitmaps := t.tx.Bucket(tableNames[tab].bitmap)
	records := t.tx.Bucket(tableNames[tab].record)
	for _, n := range slices.Sorted(maps.Keys(dead)) {
		rows := records.Bucket(seqKey(n))
		if rows == nil {
			continue
		}
		set, err := readBitset(t.tx, tab, n)
		if err != nil {
			return err
		}
		fresh := 0
		for _, seq := range dead[n] {
			if !set.has(seq) {
				set.set(seq)
				fresh++
			}
		}
		if fresh == 0 {
			continue
		}
		if err := bitmaps.Put(seqKey(n), set.encode(n)); err != nil {
			return err
		}
		t.learn(func() {
			seg := t.s.segment(tab, n)
			seg.dead += fresh
			seg.large, seg.refused = false, false // worth another look
		})
	}
	return nil
}

// closeRequests deletes the cancellation requests of messages that are gone.
func (t *Tx) closeRequests(dead deaths) error {
	t.s.mu.Lock()
	open := maps.Clone(t.s.requested)
	t.s.mu.Unlock()
	if len(open) == 0 {
		return nil
	}
	for _, seqs := range dead {
		for _, seq := range seqs {
			for _, op := range open[seq] {
				if err := t.closeRequest(op, seq); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// closeRequest takes one number out of the requested set of an operation.
func (t *Tx) closeRequest(op [16]byte, seq uint64) error {
	var key []byte
	var rest []uint64
	b := t.tx.Bucket(bucketTombstone)
	err := eachSet(b, op, rowRequested, nil, func(k []byte, seqs []uint64) bool {
		i, found := slices.BinarySearch(seqs, seq)
		if found {
			key = slices.Clone(k)
			rest = append(append(rest, seqs[:i]...), seqs[i+1:]...)
		}
		return !found
	})
	if err != nil || key == nil {
		return err
	}
	t.learn(func() { delete(t.s.requested, seq) })
	if len(rest) == 0 {
		return b.Delete(key)
	}
	return b.Put(key, appendSum(chunkSet(nil, rest)[0], 0, keySum(key)))
}

// FoldTombstone turns up to about limit messages of a cancellation into bits
// and returns them. The first call marks the operation as folding, after which
// it cannot be undone. Its set stays until the operation is dropped: where a
// fold has come to is only in memory, and one that was cut short by the end of
// the process starts over. It does nothing if the operation is folded, was
// undone, or does not exist.
func (t *Tx) FoldTombstone(op [16]byte, limit int) (seqs []uint64, more bool, err error) {
	err = t.guard(func() (err error) {
		seqs, more, err = t.foldTombstone(op, limit)
		return err
	})
	return seqs, more, err
}

func (t *Tx) foldTombstone(op [16]byte, limit int) (seqs []uint64, more bool, err error) {
	b := t.tx.Bucket(bucketTombstone)
	d, err := readOperation(b, op)
	if err != nil || d == nil || d.progress == SetFolded || d.Restored != 0 {
		return nil, false, err
	}
	dead := deaths{}
	last := t.s.folded[op]
	err = eachSet(b, op, rowSet, last, func(key []byte, row []uint64) bool {
		if len(seqs) >= limit {
			more = true
			return false
		}
		last = slices.Clone(key)
		for _, seq := range row {
			dead.add(seq)
		}
		seqs = append(seqs, row...)
		return true
	})
	if err != nil {
		return nil, false, err
	}
	if err := t.bury(Live, dead); err != nil {
		return nil, false, err
	}
	if err := t.closeRequests(dead); err != nil {
		return nil, false, err
	}
	d.progress = SetFolding
	if !more {
		d.progress = SetFolded
	}
	t.learn(func() { t.s.foldedTo(op, last, more) })
	return seqs, more, writeOperation(b, d)
}

// foldedTo notes the last row of a set that is folded.
func (s *Store) foldedTo(op [16]byte, last []byte, more bool) {
	if more {
		s.folded[op] = last
	} else {
		delete(s.folded, op)
	}
}
