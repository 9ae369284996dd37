package store

import (
	"encoding/binary"
	"math"

	bolt "go.etcd.io/bbolt"
)

// Operation is the record of a bulk operation, such as a cancellation. Filter
// and Reason together must fit a row.
type Operation struct {
	ID      [16]byte // ULID: operations sort by time
	Kind    uint8
	At      int64  // ms
	AsOf    uint64 // newest message that the operation looked at
	Count   uint64 // messages taken, all parts together
	Blocker uint64 // message that ended it; 0: none
	Policy  uint8
	Filter  []byte
	Reason  []byte
}

// The rows of an operation: its id, then a mark. Sets are cut into rows.
const (
	rowHeader    byte = 'h'
	rowSet       byte = 's'
	rowRequested byte = 'r'
)

// Progress of an operation's set on its way into the bitmaps. Once it is
// folding the set is incomplete and cannot be undone.
const (
	setWhole uint8 = iota
	setFolding
	setFolded
)

const operationCodec = 1

func headerKey(id [16]byte) []byte { return append(id[:16:16], rowHeader) }

func setKey(id [16]byte, mark byte, part uint16, chunk uint32) []byte {
	k := append(id[:16:16], mark)
	k = binary.BigEndian.AppendUint16(k, part)
	return binary.BigEndian.AppendUint32(k, chunk)
}

// Tombstone records a cancellation and the messages that it took, ascending.
// It is the cancellation: one record, whatever the size of the set. A call
// that commits in parts gives the parts ascending numbers under one id.
func (t *Tx) Tombstone(op Operation, part int, seqs []uint64) error {
	return t.operation(op, rowSet, part, seqs)
}

// Requested records that the cancellation of messages in flight was asked for:
// their attempts may finish, and they are never tried again.
func (t *Tx) Requested(op Operation, part int, seqs []uint64) error {
	t.learn(func() {
		for _, seq := range seqs {
			t.s.requested[seq] = append(t.s.requested[seq], op.ID)
		}
	})
	return t.operation(op, rowRequested, part, seqs)
}

// requests are the operations with an open request for a message.
type requests map[uint64][][16]byte

func (t *Tx) operation(op Operation, mark byte, part int, seqs []uint64) error {
	b := t.tx.Bucket(bucketTombstone)
	if before, _, err := readOperation(b, op.ID); err != nil {
		return err
	} else if before != nil {
		op.Count += before.Count
	}
	if err := b.Put(headerKey(op.ID), encodeOperation(&op, setWhole, t.Number())); err != nil {
		return err
	}
	for i, row := range chunkSet(seqs) {
		key := setKey(op.ID, mark, uint16(part), uint32(i))
		if err := b.Put(key, appendSum(row, 0, keySum(key))); err != nil {
			return err
		}
	}
	return nil
}

// encodeOperation keeps the number of the commit: operations are replayed in
// the order of commits, with the journal.
func encodeOperation(op *Operation, progress uint8, commit uint64) []byte {
	row := []byte{operationCodec, progress, op.Kind, op.Policy}
	row = binary.AppendUvarint(row, commit)
	row = binary.AppendVarint(row, op.At)
	row = binary.AppendUvarint(row, op.AsOf)
	row = binary.AppendUvarint(row, op.Count)
	row = binary.AppendUvarint(row, op.Blocker)
	row = appendBytes(row, op.Filter)
	row = appendBytes(row, op.Reason)
	return appendSum(row, 0, keySum(headerKey(op.ID)))
}

// decoded is an operation as it is in the file.
type decoded struct {
	Operation
	progress uint8
	commit   uint64
}

func decodeOperation(id [16]byte, row []byte) (*decoded, error) {
	body, err := checkSum(keySum(headerKey(id)), row)
	if err != nil {
		return nil, err
	}
	in := reader{row: body}
	if in.byte() != operationCodec {
		return nil, errCodec
	}
	d := &decoded{progress: in.byte()}
	d.ID, d.Kind, d.Policy = id, in.byte(), in.byte()
	d.commit = in.uint()
	d.At, d.AsOf, d.Count, d.Blocker = in.int(), in.uint(), in.uint(), in.uint()
	d.Filter, d.Reason = append([]byte(nil), in.bytes()...), append([]byte(nil), in.bytes()...)
	return d, in.err
}

func readOperation(b *bolt.Bucket, id [16]byte) (*decoded, uint64, error) {
	row := b.Get(headerKey(id))
	if row == nil {
		return nil, 0, nil
	}
	d, err := decodeOperation(id, row)
	if err != nil {
		return nil, 0, corrupt("tombstone", headerKey(id), err)
	}
	return d, d.commit, nil
}

// eachSet visits the numbers of an operation's rows of one kind, in order,
// row by row.
func eachSet(tx *bolt.Tx, id [16]byte, mark byte, visit func(key []byte, seqs []uint64) (more bool)) error {
	c := tx.Bucket(bucketTombstone).Cursor()
	prefix := append(id[:16:16], mark)
	var seqs []uint64
	for k, v := c.Seek(prefix); len(k) > 16 && [16]byte(k) == id && k[16] == mark; k, v = c.Next() {
		row, err := checkSum(keySum(k), v)
		if err == nil {
			seqs = seqs[:0]
			err = decodeSet(row, func(n uint64) { seqs = append(seqs, n) })
		}
		if err != nil {
			return corrupt("tombstone", k, err)
		}
		if !visit(k, seqs) {
			return nil
		}
	}
	return nil
}

// eachOperation visits the records of operations, oldest first.
func eachOperation(tx *bolt.Tx, visit func(*decoded) error) error {
	c := tx.Bucket(bucketTombstone).Cursor()
	for k, v := c.First(); k != nil; {
		if len(k) < 17 {
			return corrupt("tombstone", k, errShort)
		}
		id := [16]byte(k)
		if k[16] != rowHeader {
			return corrupt("tombstone", k, errShort) // a set without its header
		}
		d, err := decodeOperation(id, v)
		if err != nil {
			return corrupt("tombstone", k, err)
		}
		if err := visit(d); err != nil {
			return err
		}
		k, v = c.Seek(append(id[:16:16], math.MaxUint8))
	}
	return nil
}

// Operations visits the records of all operations, oldest first. folded tells
// whether the messages of one can no longer be named.
func (s *Store) Operations(fn func(op Operation, folded bool) error) error {
	return s.View(func(v *View) error {
		return eachOperation(v.tx, func(d *decoded) error { return fn(d.Operation, d.progress == setFolded) })
	})
}
