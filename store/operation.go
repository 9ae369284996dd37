package store

import (
	"encoding/binary"
	"math"

	bolt "go.etcd.io/bbolt"
)

// Operation is the record of a bulk operation, such as a cancellation. Filter,
// Reason and Index together must fit a row.
type Operation struct {
	ID        [16]byte // ULID: operations sort by time
	Kind      uint8    // the caller's meaning
	At        int64    // ms
	AsOf      uint64   // newest message that the operation looked at
	Count     uint64   // messages taken, all parts together
	Requested uint64   // messages in flight whose cancellation was asked for, all parts together
	Blocker   [16]byte // id of the message that ended it; zero: none
	Policy    uint8
	Filter    []byte
	Reason    []byte
	Index     []byte // name of the index walked
	Scanned   uint64
	Took      int64  // µs
	Until     int64  // ms: when a standing operation expires
	Lifted    int64  // ms: when it was lifted; 0: it was not
	Restored  int64  // ms: when it was undone; 0: it was not
	Back      uint64 // messages that the undo brought back
	Lifts     uint64 // requests that the undo lifted

	// First and Last are the bounds of the numbers that its rows have named,
	// kept by the store; 0: none.
	First, Last uint64
}

// Progress says how far an operation's set is on its way into the bitmaps.
type Progress uint8

// From SetFolding on an operation cannot be undone.
const (
	SetWhole   Progress = iota // nothing is folded
	SetFolding                 // some of it may be
	SetFolded                  // all of it is
)

// operationCodec is the version of the rows that are written. Those of version
// 1 have fewer fields, all of them in a row.
const operationCodec = 2

// Tags of the fields of an operation. A tag is never given another meaning.
const (
	tagOpAt = iota + 1
	tagOpAsOf
	tagOpCount
	tagOpRequested
	tagOpBlocker
	tagOpFilter
	tagOpReason
	tagOpIndex
	tagOpScanned
	tagOpTook
	tagOpUntil
	tagOpLifted
	tagOpRestored
	tagOpBack
	tagOpLifts
	tagOpFirst
	tagOpLast
)

// decoded is an operation as it is in the file. It keeps the number of the
// commit: operations are replayed in the order of commits, with the journal.
type decoded struct {
	Operation
	progress Progress
	commit   uint64
	bare     bool // of version 1: First and Last are not in the row
}

func encodeOperation(d *decoded) []byte {
	row := []byte{operationCodec, byte(d.progress), d.Kind, d.Policy}
	row = binary.AppendUvarint(row, d.commit)
	row = appendTagInt(row, tagOpAt, d.At)
	row = appendTagUint(row, tagOpAsOf, d.AsOf)
	row = appendTagUint(row, tagOpCount, d.Count)
	row = appendTagUint(row, tagOpRequested, d.Requested)
	if d.Blocker != [16]byte{} {
		row = appendTagBytes(row, tagOpBlocker, d.Blocker[:])
	}
	row = appendTagBytes(row, tagOpFilter, d.Filter)
	row = appendTagBytes(row, tagOpReason, d.Reason)
	row = appendTagBytes(row, tagOpIndex, d.Index)
	row = appendTagUint(row, tagOpScanned, d.Scanned)
	row = appendTagInt(row, tagOpTook, d.Took)
	row = appendTagInt(row, tagOpUntil, d.Until)
	row = appendTagInt(row, tagOpLifted, d.Lifted)
	row = appendTagInt(row, tagOpRestored, d.Restored)
	row = appendTagUint(row, tagOpBack, d.Back)
	row = appendTagUint(row, tagOpLifts, d.Lifts)
	row = appendTagUint(row, tagOpFirst, d.First)
	row = appendTagUint(row, tagOpLast, d.Last)
	return appendSum(row, 0, keySum(headerKey(d.ID)))
}

func decodeOperation(id [16]byte, row []byte) (*decoded, error) {
	body, err := checkSum(keySum(headerKey(id)), row)
	if err != nil {
		return nil, err
	}
	in := reader{row: body}
	codec := in.byte()
	d := &decoded{progress: Progress(in.byte())}
	d.ID, d.Kind, d.Policy, d.commit = id, in.byte(), in.byte(), in.uint()
	switch {
	case in.err != nil:
	case d.progress > SetFolded:
		in.fail(errKind)
	case codec == 1:
		d.fields1(&in)
	case codec == operationCodec:
		for in.more() {
			d.field(&in)
		}
	default:
		in.fail(errCodec)
	}
	return d, in.err
}

// fields1 reads the fields of version 1. Its blocker was a number, which says
// nothing once the message is gone.
func (d *decoded) fields1(in *reader) {
	d.At, d.AsOf, d.Count = in.int(), in.uint(), in.uint()
	_ = in.uint()
	d.Filter, d.Reason = in.copied(), in.copied()
	d.bare = true
}

func (d *decoded) field(in *reader) {
	switch tag := in.byte(); tag {
	case tagOpAt:
		d.At = in.int()
	case tagOpAsOf:
		d.AsOf = in.uint()
	case tagOpCount:
		d.Count = in.uint()
	case tagOpRequested:
		d.Requested = in.uint()
	case tagOpBlocker:
		if id := in.bytes(); len(id) == len(d.Blocker) {
			d.Blocker = [16]byte(id)
		} else {
			in.fail(errShort)
		}
	case tagOpFilter:
		d.Filter = in.copied()
	case tagOpReason:
		d.Reason = in.copied()
	case tagOpIndex:
		d.Index = in.copied()
	case tagOpScanned:
		d.Scanned = in.uint()
	case tagOpTook:
		d.Took = in.int()
	case tagOpUntil:
		d.Until = in.int()
	case tagOpLifted:
		d.Lifted = in.int()
	case tagOpRestored:
		d.Restored = in.int()
	case tagOpBack:
		d.Back = in.uint()
	case tagOpLifts:
		d.Lifts = in.uint()
	case tagOpFirst:
		d.First = in.uint()
	case tagOpLast:
		d.Last = in.uint()
	default:
		in.fail(errTag(tag))
	}
}

// span widens the bounds to numbers that are ascending.
func (d *decoded) span(seqs []uint64) {
	if len(seqs) == 0 {
		return
	}
	if d.Last == 0 {
		d.First = seqs[0]
	}
	d.First, d.Last = min(d.First, seqs[0]), max(d.Last, seqs[len(seqs)-1])
}

// measure finds the bounds of an operation of version 1 in its rows.
func (d *decoded) measure(b *bolt.Bucket) error {
	for _, mark := range []byte{rowSet, rowRequested} {
		err := eachSet(b, d.ID, mark, nil, func(_ []byte, seqs []uint64) bool {
			d.span(seqs)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inherit takes over what the store keeps of an operation.
func (d *decoded) inherit(before *decoded) {
	d.progress = before.progress
	d.Count, d.Requested = before.Count, before.Requested
	d.First, d.Last = before.First, before.Last
	d.Restored, d.Back, d.Lifts = before.Restored, before.Back, before.Lifts
}

// loadOperation decodes the row under a header key.
func loadOperation(b *bolt.Bucket, id [16]byte, row []byte) (*decoded, error) {
	d, err := decodeOperation(id, row)
	if err != nil {
		return nil, corrupt("tombstone", headerKey(id), err)
	}
	if d.bare {
		err = d.measure(b)
	}
	return d, err
}

// readOperation returns nil if there is no such operation.
func readOperation(b *bolt.Bucket, id [16]byte) (*decoded, error) {
	row := b.Get(headerKey(id))
	if row == nil {
		return nil, nil
	}
	return loadOperation(b, id, row)
}

func writeOperation(b *bolt.Bucket, d *decoded) error {
	return b.Put(headerKey(d.ID), encodeOperation(d))
}

// PutOperation writes the record of an operation, over the one that is there.
// Then Count, Requested and the fields of an undo stay as they are in the file,
// and so do its sets.
func (t *Tx) PutOperation(op Operation) error {
	return t.guard(func() error { return t.putOperation(op) })
}

func (t *Tx) putOperation(op Operation) error {
	b := t.tx.Bucket(bucketTombstone)
	before, err := readOperation(b, op.ID)
	if err != nil {
		return err
	}
	d := &decoded{Operation: op, commit: t.Number()}
	d.First, d.Last = 0, 0
	if before != nil {
		d.inherit(before)
	}
	return writeOperation(b, d)
}

// DropOperation deletes an operation with all of its rows. It reports false,
// and deletes nothing, if there is none, if messages are dead only by its set,
// or if a request of it is open: its message lives, by the bitmaps.
func (t *Tx) DropOperation(op [16]byte) (dropped bool, err error) {
	err = t.guard(func() (err error) {
		dropped, err = t.dropOperation(op)
		return err
	})
	return dropped, err
}

func (t *Tx) dropOperation(op [16]byte) (dropped bool, err error) {
	b := t.tx.Bucket(bucketTombstone)
	d, err := readOperation(b, op)
	if err != nil || d == nil {
		return false, err
	}
	if d.Restored == 0 && d.progress != SetFolded && hasRow(b, op, rowSet) {
		return false, nil
	}
	if open, err := t.requestsOpen(b, op); open || err != nil {
		return false, err
	}
	keys := [][]byte{headerKey(op)}
	for _, mark := range []byte{rowSet, rowTaken, rowRequested} {
		more, err := rowKeys(b, op, mark)
		if err != nil {
			return false, err
		}
		keys = append(keys, more...)
	}
	return true, deleteKeys(b, keys)
}

// requestsOpen tells whether a message that an operation has asked for lives.
// One that was gone before the request was written has left it behind: what ends
// a message closes the requests that are there by then.
func (t *Tx) requestsOpen(b *bolt.Bucket, op [16]byte) (open bool, err error) {
	var left []uint64
	err = eachSet(b, op, rowRequested, nil, func(_ []byte, seqs []uint64) bool {
		left = append(left, seqs...)
		return true
	})
	records := t.tx.Bucket(tableNames[Live].record)
	for _, seq := range left {
		n := seq >> segmentBits
		if err != nil || records.Bucket(seqKey(n)) == nil {
			continue
		}
		var bits *bitset
		if bits, err = readBitset(t.tx, Live, n); err == nil && !bits.has(seq) {
			return true, nil
		}
	}
	if err == nil && len(left) > 0 {
		t.learn(func() { t.s.requested.lift(op, left) })
	}
	return false, err
}

// eachOperation visits the records of operations behind one, oldest first; of
// all behind the zero id.
func eachOperation(b *bolt.Bucket, from [16]byte, visit func(*decoded) error) error {
	c := b.Cursor()
	behind := func(id [16]byte) (k, v []byte) { return c.Seek(append(id[:16:16], math.MaxUint8)) }
	k, v := c.First()
	if from != [16]byte{} {
		k, v = behind(from)
	}
	for k != nil {
		if len(k) < 17 || k[16] != rowHeader { // a set without its header
			return corrupt("tombstone", k, errShort)
		}
		id := [16]byte(k)
		d, err := loadOperation(b, id, v)
		if err != nil {
			return err
		}
		if err := visit(d); err != nil {
			return err
		}
		k, v = behind(id)
	}
	return nil
}

// Operation returns the record of one operation; found is false if there is
// none.
func (s *Store) Operation(id [16]byte) (op Operation, progress Progress, found bool, err error) {
	err = s.View(func(v *View) error {
		d, err := readOperation(v.tx.Bucket(bucketTombstone), id)
		if d != nil {
			op, progress, found = d.Operation, d.progress, true
		}
		return err
	})
	return op, progress, found, err
}

// Operations visits the records of the operations behind one, oldest first; of
// all behind the zero id. An error of fn ends it and is returned. fn runs in a
// read transaction and must not block.
func (s *Store) Operations(from [16]byte, fn func(op Operation, progress Progress) error) error {
	return s.View(func(v *View) error {
		return eachOperation(v.tx.Bucket(bucketTombstone), from, func(d *decoded) error {
			return fn(d.Operation, d.progress)
		})
	})
}
