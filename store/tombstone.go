package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// The rows of an operation: its id, then a mark. Sets are cut into rows, and
// kept until the operation is dropped: they say who took a message.
const (
	rowHeader    byte = 'h'
	rowRequested byte = 'r'
	rowSet       byte = 's'
	rowTaken     byte = 't'
)

func headerKey(id [16]byte) []byte { return append(id[:16:16], rowHeader) }

const setKeySize = 16 + 1 + 2 + 4

func setKey(id [16]byte, mark byte, part uint16, chunk uint32) []byte {
	k := append(id[:16:16], mark)
	k = binary.BigEndian.AppendUint16(k, part)
	return binary.BigEndian.AppendUint32(k, chunk)
}

// partOf returns the start of a set's key that its whole part has in common.
func partOf(setKey []byte) []byte { return setKey[:setKeySize-4] }

// requests are the operations with an open request for a message.
type requests map[uint64][][16]byte

func (r requests) add(op [16]byte, seqs []uint64) {
	for _, seq := range seqs {
		r[seq] = append(r[seq], op)
	}
}

func (r requests) lift(op [16]byte, seqs []uint64) {
	for _, seq := range seqs {
		rest := slices.DeleteFunc(slices.Clone(r[seq]), func(o [16]byte) bool { return o == op })
		if r[seq] = rest; len(rest) == 0 {
			delete(r, seq)
		}
	}
}

// Requests returns the operations that have asked for the cancellation of a
// message in flight, by a commit.
func (s *Store) Requests(seq uint64) [][16]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requested[seq]
}

// Tombstone records a cancellation: the messages that it took, and those in
// flight whose cancellation was asked for: their attempts may finish, and they
// are never tried again. Both are ascending. It is the cancellation: one
// record, whatever the size of the sets. A call that commits in parts gives
// the parts ascending numbers under one id; Count and Requested are counted
// here, all parts together. It returns ErrRestored if the operation has been
// undone.
func (t *Tx) Tombstone(op Operation, part int, set, requested []uint64) error {
	return t.guard(func() error { return t.tombstone(op, part, set, requested) })
}

func (t *Tx) tombstone(op Operation, part int, set, requested []uint64) error {
	if part < 0 || part > math.MaxUint16 {
		return fmt.Errorf("a cancellation has no part %d", part)
	}
	b := t.tx.Bucket(bucketTombstone)
	before, err := readOperation(b, op.ID)
	switch {
	case err != nil:
		return err
	case before == nil:
		before = &decoded{}
	case before.Restored != 0:
		return ErrRestored
	}
	d := &decoded{Operation: op, commit: t.Number()}
	d.inherit(before)
	d.Count += uint64(len(set))
	d.Requested += uint64(len(requested))
	d.span(set)
	d.span(requested)
	if d.progress == SetFolded && len(set) > 0 {
		d.progress = SetFolding
	}
	if err := writeOperation(b, d); err != nil {
		return err
	}
	t.learn(func() { t.s.requested.add(op.ID, requested) })
	if err := putSet(b, op.ID, rowSet, uint16(part), 0, set); err != nil {
		return err
	}
	return putSet(b, op.ID, rowRequested, uint16(part), 0, requested)
}

// putSet writes ascending numbers as rows from a chunk on.
func putSet(b *bolt.Bucket, id [16]byte, mark byte, part uint16, chunk uint32, seqs []uint64) error {
	rows := chunkRuns(seqs)
	if mark != rowSet { // the others change number by number
		rows = chunkSet(nil, seqs)
	}
	for i, row := range rows {
		key := setKey(id, mark, part, chunk+uint32(i))
		if err := b.Put(key, appendSum(row, 0, keySum(key))); err != nil {
			return err
		}
	}
	return nil
}

// Restore undoes a cancellation: the messages of its set live again, unless
// they ended otherwise, and its requests are gone; the caller knows how many of
// them mattered, and lifts keeps that. It returns the size of the set and lifts,
// those of the first time if it was undone before. at, in ms, is not 0. It
// returns ErrNoOperation, or ErrFolded when it is too late.
func (t *Tx) Restore(op [16]byte, at int64, lifts int) (back, lifted int, err error) {
	err = t.guard(func() (err error) {
		back, lifted, err = t.restore(op, at, lifts)
		return err
	})
	return back, lifted, err
}

func (t *Tx) restore(op [16]byte, at int64, lifts int) (back, lifted int, err error) {
	b := t.tx.Bucket(bucketTombstone)
	d, err := readOperation(b, op)
	switch {
	case err != nil:
		return 0, 0, err
	case d == nil:
		return 0, 0, ErrNoOperation
	case d.Restored != 0:
		return int(d.Back), int(d.Lifts), nil
	case d.progress != SetWhole:
		return 0, 0, ErrFolded
	}
	var open []uint64
	err = takeSet(b, op, rowSet, func(seqs []uint64) { back += len(seqs) })
	if err == nil {
		err = takeSet(b, op, rowRequested, func(seqs []uint64) { open = append(open, seqs...) })
	}
	if err != nil {
		return 0, 0, err
	}
	t.learn(func() { t.s.requested.lift(op, open) })
	d.Restored, d.Back, d.Lifts = at, uint64(back), uint64(lifts)
	return back, lifts, writeOperation(b, d)
}

// takeSet deletes the rows of one kind, and visits their numbers.
func takeSet(b *bolt.Bucket, id [16]byte, mark byte, visit func(seqs []uint64)) error {
	var keys [][]byte
	err := eachSet(b, id, mark, nil, func(key []byte, seqs []uint64) bool {
		keys = append(keys, slices.Clone(key))
		visit(seqs)
		return true
	})
	if err != nil {
		return err
	}
	return deleteKeys(b, keys)
}

// Taken adds numbers to an operation that cancels messages as they arrive:
// they were never stored, or ended in another way. It returns ErrNoOperation.
func (t *Tx) Taken(op [16]byte, seqs []uint64) error {
	return t.guard(func() error { return t.taken(op, seqs) })
}

func (t *Tx) taken(op [16]byte, seqs []uint64) error {
	b := t.tx.Bucket(bucketTombstone)
	d, err := readOperation(b, op)
	switch {
	case err != nil:
		return err
	case d == nil:
		return ErrNoOperation
	case len(seqs) == 0:
		return nil
	}
	chunk, row, err := lastTaken(b, op)
	if err != nil {
		return err
	}
	d.Count += uint64(len(seqs))
	all := append(row, seqs...)
	slices.Sort(all)
	d.span(all)
	if err := writeOperation(b, d); err != nil {
		return err
	}
	return putSet(b, op, rowTaken, 0, chunk, all)
}

// lastTaken returns the numbers of the last row of taken ones: it has room
// more often than not, and what is too much for it goes to rows behind it.
func lastTaken(b *bolt.Bucket, id [16]byte) (chunk uint32, seqs []uint64, err error) {
	c := b.Cursor()
	back := c.Prev
	if k, _ := c.Seek(append(id[:16:16], rowTaken+1)); k == nil {
		back = c.Last
	}
	k, v := back()
	if !bytes.HasPrefix(k, append(id[:16:16], rowTaken)) {
		return 0, nil, nil
	}
	if len(k) != setKeySize {
		return 0, nil, corrupt("tombstone", k, errShort)
	}
	seqs, err = appendSet(nil, k, v)
	return binary.BigEndian.Uint32(k[setKeySize-4:]), seqs, err
}

// appendSet appends the numbers of one row to dst.
func appendSet(dst []uint64, key, row []byte) ([]uint64, error) {
	body, err := checkSum(keySum(key), row)
	if err == nil {
		err = decodeSet(body, func(seq uint64) { dst = append(dst, seq) })
	}
	return dst, corrupt("tombstone", key, err)
}

// eachRow visits an operation's rows of one kind behind a key, or all of them.
func eachRow(b *bolt.Bucket, id [16]byte, mark byte, after []byte, visit func(key, row []byte) (more bool, err error)) error {
	c := b.Cursor()
	prefix := append(id[:16:16], mark)
	k, v := c.Seek(prefix)
	if after != nil {
		k, v = c.Seek(after)
	}
	for ; bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if bytes.Equal(k, after) {
			continue
		}
		if more, err := visit(k, v); err != nil || !more {
			return err
		}
	}
	return nil
}

// eachSet does the same with the numbers in the rows. The slice is used again.
func eachSet(b *bolt.Bucket, id [16]byte, mark byte, after []byte, visit func(key []byte, seqs []uint64) (more bool)) error {
	var seqs []uint64
	return eachRow(b, id, mark, after, func(k, v []byte) (_ bool, err error) {
		if seqs, err = appendSet(seqs[:0], k, v); err != nil {
			return false, err
		}
		return visit(k, seqs), nil
	})
}

func hasRow(b *bolt.Bucket, id [16]byte, mark byte) bool {
	prefix := append(id[:16:16], mark)
	k, _ := b.Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}

func rowKeys(b *bolt.Bucket, id [16]byte, mark byte) (keys [][]byte, err error) {
	err = eachRow(b, id, mark, nil, func(k, _ []byte) (bool, error) {
		keys = append(keys, slices.Clone(k))
		return true, nil
	})
	return keys, err
}

// deleteKeys comes after a walk: deleting while a cursor walks confuses it.
func deleteKeys(b *bolt.Bucket, keys [][]byte) error {
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// WhoTook returns the newest operation, of those that were not undone, whose
// set or taken numbers have a number in them, and without one the newest with
// an open request for it.
func (s *Store) WhoTook(seq uint64) (op Operation, found bool, err error) {
	err = s.View(func(v *View) error {
		b := v.tx.Bucket(bucketTombstone)
		return eachNewest(b, func(d *decoded) (more bool, err error) {
			if d.Restored != 0 || seq < d.First || seq > d.Last {
				return true, nil
			}
			for _, mark := range []byte{rowSet, rowTaken, rowRequested} {
				if mark == rowRequested && found {
					break
				}
				has, err := names(b, d.ID, mark, seq)
				if err != nil {
					return false, err
				}
				if has {
					op, found = d.Operation, true
					return mark == rowRequested, nil
				}
			}
			return true, nil
		})
	})
	return op, found && err == nil, err
}

// eachNewest visits the records of operations, newest first.
func eachNewest(b *bolt.Bucket, visit func(*decoded) (more bool, err error)) error {
	c := b.Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		if len(k) < 17 {
			return corrupt("tombstone", k, errShort)
		}
		id := [16]byte(k)
		k, v := c.Seek(headerKey(id))
		if !bytes.Equal(k, headerKey(id)) {
			return corrupt("tombstone", k, errShort)
		}
		d, err := loadOperation(b, id, v)
		if err != nil {
			return err
		}
		if more, err := visit(d); err != nil || !more {
			return err
		}
	}
	return nil
}

// names tells whether an operation's rows of one kind have a number in them.
// The rows of a part are in order, so of those that begin at the number or
// before it only the last one can have it. Taken numbers are in order within a
// row only.
func names(b *bolt.Bucket, id [16]byte, mark byte, seq uint64) (found bool, err error) {
	var key, row []byte
	look := func() error {
		if key == nil || found {
			return nil
		}
		body, err := checkSum(keySum(key), row)
		if err == nil {
			found, err = setHas(body, seq)
		}
		return corrupt("tombstone", key, err)
	}
	err = eachRow(b, id, mark, nil, func(k, v []byte) (bool, error) {
		first, n := binary.Uvarint(v)
		if n <= 0 || len(k) != setKeySize {
			return false, corrupt("tombstone", k, errShort)
		}
		if first > seq {
			return true, nil
		}
		if mark == rowTaken || key != nil && !bytes.Equal(partOf(k), partOf(key)) {
			if err := look(); err != nil {
				return false, err
			}
		}
		key, row = k, v
		return !found, nil
	})
	if err != nil {
		return false, err
	}
	return found, look()
}
