package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// LoadFuncs receive the content of a file from Load.
type LoadFuncs struct {
	// Row is called for every row that lives: messages first, then dead
	// letters, each in the order of their numbers. record is valid until Row
	// returns.
	Row func(tab Table, seq uint64, record []byte, st State) error
	// Object, if it is not nil, is called for every object, by kind and name,
	// before all others.
	Object func(kind byte, name string, value []byte) error
	// Reserved, if it is not nil, is called for every reservation after that, by
	// minute and part.
	Reserved func(p ReservedPart, r Reservation)
	// Tombstone is called for every operation, oldest first, before any row.
	Tombstone func(op Operation, progress Progress) error
	// Undoable, if it is not nil, is asked just before for each operation that
	// has a set of which nothing is folded. Rows that are dead only by a set
	// for which it answered true are passed to Row as Cancelled.
	Undoable func(op Operation) bool
}

// Load reads the file in one pass for the memory that is built on it. What is
// dead, by bitmap, journal or tombstone, is passed over; see Undoable. A row that is damaged
// ends it with a *CorruptError. It must be called once, before the first Begin.
func (s *Store) Load(fn LoadFuncs) error {
	return s.View(func(v *View) error {
		l := loading{s: s, tx: v.tx, states: states{}, requested: requests{}, undoable: map[uint64]*[segmentSize]uint32{}}
		return l.run(fn)
	})
}

// tell tells that bytes were read.
func (s *Store) tell(bytes int64) error {
	if s.told == nil {
		return nil
	}
	return s.told(bytes)
}

// loading is one Load.
type loading struct {
	s         *Store
	tx        *bolt.Tx
	dead      [tables]map[uint64]*bitset      // of journal and tombstones
	undoable  map[uint64]*[segmentSize]uint32 // by segment: 1 + index in ops, for each number
	ops       [][16]byte                      // that can be undone
	states    states
	requested requests
	sizes     sizes
	highest   [tables]uint64
	commit    uint64 // highest number of a commit that is named
}

func (l *loading) run(fn LoadFuncs) error {
	if fn.Object == nil {
		fn.Object = func(byte, string, []byte) error { return nil }
	}
	if err := eachObject(l.tx, fn.Object); err != nil {
		return err
	}
	if fn.Reserved == nil {
		fn.Reserved = func(ReservedPart, Reservation) {}
	}
	if err := eachReserved(l.tx, fn.Reserved); err != nil {
		return err
	}
	for tab := range tables {
		l.dead[tab] = map[uint64]*bitset{}
		if err := l.readFinished(tab); err != nil {
			return err
		}
		if err := l.readBitmaps(tab); err != nil {
			return err
		}
	}
	if err := l.readOperations(fn); err != nil {
		return err
	}
	if err := l.readStates(); err != nil {
		return err
	}
	for tab := range tables {
		if err := l.readRows(tab, fn); err != nil {
			return err
		}
	}
	return l.finish()
}

func (l *loading) bury(tab Table, seq uint64) {
	set := l.dead[tab][seq>>segmentBits]
	if set == nil {
		set = &bitset{}
		l.dead[tab][seq>>segmentBits] = set
	}
	set.set(seq)
	l.highest[tab] = max(l.highest[tab], seq)
}

func (l *loading) readFinished(tab Table) error {
	return eachJournal(l.tx, finishedKind(tab), 0, func(_, row []byte) (bool, error) {
		return true, decodeSet(row, func(seq uint64) {
			l.bury(tab, seq)
			l.sizes.foldable++
		})
	})
}

// readBitmaps looks at every bitmap, so that one under the key of another
// segment is noticed.
func (l *loading) readBitmaps(tab Table) error {
	name := tableNames[tab].bitmap
	return l.tx.Bucket(name).ForEach(func(k, row []byte) error {
		if len(k) != 8 {
			return corrupt(string(name), k, errShort)
		}
		_, err := decodeBitset(keySeq(k), row)
		return corrupt(string(name), k, err)
	})
}

func (l *loading) readOperations(fn LoadFuncs) error {
	b := l.tx.Bucket(bucketTombstone)
	return eachOperation(b, [16]byte{}, func(d *decoded) error {
		l.commit = max(l.commit, d.commit)
		l.highest[Live] = max(l.highest[Live], d.Last)
		if d.progress != SetFolded { // then the bitmaps say it
			if err := l.readSet(b, d, fn); err != nil {
				return err
			}
		}
		err := eachSet(b, d.ID, rowRequested, nil, func(_ []byte, seqs []uint64) bool {
			l.requested.add(d.ID, seqs)
			return true
		})
		if err != nil {
			return err
		}
		return fn.Tombstone(d.Operation, d.progress)
	})
}

// readSet notes that the messages of a set are dead, or that they are
// cancelled, if that can be undone.
func (l *loading) readSet(b *bolt.Bucket, d *decoded, fn LoadFuncs) error {
	note := func(seq uint64) { l.bury(Live, seq) }
	if d.progress == SetWhole && fn.Undoable != nil && hasRow(b, d.ID, rowSet) && fn.Undoable(d.Operation) {
		l.ops = append(l.ops, d.ID)
		note = l.keep
	}
	return eachSet(b, d.ID, rowSet, nil, func(_ []byte, seqs []uint64) bool {
		for _, seq := range seqs {
			note(seq)
		}
		return true
	})
}

// keep notes that the newest operation has taken a message.
func (l *loading) keep(seq uint64) {
	owners := l.undoable[seq>>segmentBits]
	if owners == nil {
		owners = new([segmentSize]uint32)
		l.undoable[seq>>segmentBits] = owners
	}
	owners[seq%segmentSize] = uint32(len(l.ops))
}

func (l *loading) readStates() (err error) {
	folded := map[uint64]uint64{}
	if l.sizes.overlay, err = l.states.readOverlay(l.tx, nil, folded); err != nil {
		return err
	}
	l.sizes.journalState, err = l.states.replay(l.tx, folded)
	for _, upTo := range folded {
		l.commit = max(l.commit, upTo)
	}
	for seq := range l.states {
		l.highest[Live] = max(l.highest[Live], seq)
	}
	for seq := range l.requested {
		l.highest[Live] = max(l.highest[Live], seq)
	}
	return err
}

// readRows visits the live rows of one table and counts rows and bits.
func (l *loading) readRows(tab Table, fn LoadFuncs) error {
	name := tableNames[tab].record
	return nestedSegments(l.tx, name, func(n uint64, b *bolt.Bucket) error {
		bits, err := readBitset(l.tx, tab, n)
		if err != nil {
			return err
		}
		seg := &segment{}
		l.s.segments[tab][n] = seg
		pending := l.dead[tab][n]
		size := int64(0)
		c := b.Cursor()
		for k, row := c.First(); k != nil; k, row = c.Next() {
			seq, err := seqOf(n, k)
			if err != nil {
				return corrupt(string(name), k, err)
			}
			seg.stored++
			l.sizes.rows++
			size += int64(len(row))
			l.highest[tab] = max(l.highest[tab], seq)
			if bits.has(seq) {
				seg.dead++
				continue
			}
			if pending != nil && pending.has(seq) {
				continue
			}
			if err := l.row(tab, seq, row, fn); err != nil {
				return corrupt(string(name), seqKey(seq), err)
			}
		}
		return l.s.tell(size)
	})
}

func (l *loading) row(tab Table, seq uint64, row []byte, fn LoadFuncs) error {
	var st State
	if tab == Live {
		if t := l.states[seq]; t != nil {
			st = t.State
		}
		_, st.Requested = l.requested[seq]
		if owners := l.undoable[seq>>segmentBits]; owners != nil && owners[seq%segmentSize] != 0 {
			st.Cancelled, st.Operation = true, l.ops[owners[seq%segmentSize]-1]
		}
	}
	return fn.Row(tab, seq, row, st)
}

// finish makes sure that no number that the file names is given out again, and
// seals what is too large to be gone on with.
func (l *loading) finish() error {
	if err := l.checkKeys(); err != nil {
		return err
	}
	if err := l.s.loadLog(l.tx); err != nil {
		return err
	}
	l.learn()
	l.measure(Live, l.s.head.NextSeq>>segmentBits)
	l.measure(Dead, l.s.head.NextDead>>segmentBits)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.seal(l.s.opts.sealBytes())
	return nil
}

// learn hands over what was counted.
func (l *loading) learn() {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requested, s.sizes = l.requested, l.sizes
	s.head.NextSeq = max(s.head.NextSeq, l.highest[Live]+1)
	s.head.NextDead = max(s.head.NextDead, l.highest[Dead]+1)
	s.held = l.tx.Size() - int64(s.db.Stats().FreePageN)*s.pageSize
}

// measure notes how large a segment is that may still be written to.
func (l *loading) measure(tab Table, n uint64) {
	seg := l.s.segments[tab][n]
	if seg == nil {
		return
	}
	for _, name := range [][]byte{tableNames[tab].record, tableNames[tab].body} {
		if b := l.tx.Bucket(name).Bucket(seqKey(n)); b != nil {
			seg.bytes += int64(b.Stats().LeafInuse) // 0 if it is small enough to have no page
		}
	}
}

// checkKeys looks for rows that no one would read, because their kind is
// unknown, and makes sure that no number of a commit is given out again.
func (l *loading) checkKeys() error {
	journal := l.tx.Bucket(bucketJournal)
	err := journal.ForEach(func(k, _ []byte) error {
		if len(k) != 11 || k[0] < kindFinished || k[0] > lastKind {
			return corrupt("journal", k, errKind)
		}
		l.commit = max(l.commit, commitOf(k))
		return nil
	})
	if err != nil {
		return err
	}
	if last := journal.Sequence(); last < l.commit {
		return corrupt("journal", nil, fmt.Errorf("commit %d is named, and only %d are counted", l.commit, last))
	}
	return l.tx.Bucket(bucketTombstone).ForEach(func(k, _ []byte) error {
		if len(k) < 17 || bytes.IndexByte([]byte{rowHeader, rowRequested, rowSet, rowTaken}, k[16]) < 0 {
			return corrupt("tombstone", k, errKind)
		}
		return nil
	})
}

func keySeq(k []byte) uint64 { return binary.BigEndian.Uint64(k) }
