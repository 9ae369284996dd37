package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// operations checks the records of bulk operations with their sets.
func (e *examiner) operations() error {
	var op operationCheck
	err := e.each(e.tx.Bucket(bucketTombstone), func(k, v []byte) {
		if len(k) < 17 || bytes.IndexByte([]byte{rowHeader, rowRequested, rowSet, rowTaken}, k[16]) < 0 {
			e.damage(corrupt("tombstone", k, errKind))
			return
		}
		if id := [16]byte(k); op.id != id {
			op.end(e)
			op = operationCheck{id: id}
		}
		if err := op.row(e, k, v); err != nil {
			op.damaged = true
			e.damage(corrupt("tombstone", k, err))
		}
	})
	op.end(e)
	return err
}

// operationCheck is one operation while its rows are read: the header comes first.
type operationCheck struct {
	id      [16]byte
	header  *decoded
	damaged bool
	numbers [256]uint64 // in its rows, by mark
	outside bool        // of its bounds
	alive   uint64      // a number of a folded set that is not dead; 0: none
	last    [setKeySize - 4]byte
	above   uint64 // the last number of the part
}

var errOrder = errors.New("its numbers are not ascending")

func (c *operationCheck) row(e *examiner, k, v []byte) (err error) {
	if k[16] == rowHeader {
		if len(k) != 17 {
			return errShort
		}
		if c.header, err = decodeOperation(c.id, v); err == nil && c.header.commit > e.commits {
			e.find(FindingNumber, place("tombstone", fmt.Sprintf("%x", k)), "commit %d is named, and only %d are counted", c.header.commit, e.commits)
		}
		return err
	}
	if len(k) != setKeySize {
		return errShort
	}
	body, err := checkSum(keySum(k), v)
	if err != nil {
		return err
	}
	if part := [setKeySize - 4]byte(k); part != c.last {
		c.last, c.above = part, 0
	}
	ordered := true
	err = decodeSet(body, func(seq uint64) {
		if k[16] != rowTaken {
			ordered = ordered && (seq > c.above || c.above == 0)
			c.above = seq
		}
		c.number(e, k, seq)
	})
	if err == nil && !ordered {
		err = errOrder
	}
	return err
}

// number looks at one that the operation names.
func (c *operationCheck) number(e *examiner, k []byte, seq uint64) {
	c.numbers[k[16]]++
	e.named(Live, place("tombstone", fmt.Sprintf("%x", k)), seq)
	h := c.header
	if h == nil {
		return
	}
	if !h.bare && (seq < h.First || seq > h.Last) {
		c.outside = true
	}
	if k[16] == rowSet && h.progress == SetFolded && e.segments[Live][seq>>segmentBits] {
		if bits := e.bitmaps[Live][seq>>segmentBits]; bits == nil || !bits.has(seq) {
			c.alive = seq
		}
	}
}

// end checks what an operation says against its rows. Sets are deleted by an undo
// alone, and requests as they are met.
func (c *operationCheck) end(e *examiner) {
	if c.id == [16]byte{} {
		return
	}
	e.x.Operations++
	if c.damaged {
		return
	}
	where := place("tombstone", fmt.Sprintf("%x", c.id))
	h := c.header
	if h == nil {
		e.find(FindingLink, where, "a set without its operation")
		return
	}
	if c.outside {
		e.find(FindingNumber, where, "its numbers are not all between %d and %d", h.First, h.Last)
	}
	if c.alive != 0 {
		e.find(FindingNumber, where, "its set is folded, and %d of it lives by the bitmap", c.alive)
	}
	whole := h.Kind == e.fn.Cancel && h.progress == SetWhole && h.Restored == 0 // all of its set has to be there
	if n := c.numbers[rowSet] + c.numbers[rowTaken]; (whole || c.numbers[rowSet] > 0) && !h.bare && n != h.Count {
		e.find(FindingNumber, where, "it has taken %d messages, and its sets have %d", h.Count, n)
	}
	if h.Restored != 0 && c.numbers[rowSet] > 0 {
		e.find(FindingLink, where, "it was undone, and has a set")
	}
}

// objects checks rows and parts; what an object says, the caller knows.
func (e *examiner) objects() error {
	b := e.tx.Bucket(bucketObject)
	if b == nil {
		return nil
	}
	var o object
	visit := func() {
		err := o.visit(func(kind byte, name string, value []byte) error {
			if e.fn.Object == nil {
				return nil
			}
			return e.fn.Object(kind, name, value)
		})
		if err != nil {
			e.damage(err)
		}
	}
	err := e.each(b, func(k, row []byte) {
		kind, name, part, err := splitObjectKey(k)
		if err != nil {
			e.damage(corrupt("object", k, err))
			return
		}
		if o.parts == 0 || kind != o.kind || name != o.name {
			visit()
			o = object{kind: kind, name: name}
		}
		body, err := checkSum(keySum(k), row)
		if err == nil && int(part) != o.parts {
			err = errObjectPart
		}
		if err != nil {
			e.damage(corrupt("object", k, err))
		}
		o.value = append(o.value, body...)
		o.parts = int(part) + 1
	})
	visit()
	return err
}

func (e *examiner) reserved() error {
	parts := e.tx.Bucket(bucketDedup)
	if parts == nil {
		return nil
	}
	return parts.ForEach(func(name, value []byte) error {
		if value != nil || len(name) != partKeySize {
			e.damage(corrupt(string(bucketDedup), name, errReserved))
			return nil
		}
		return e.reservedPart(name, parts.Bucket(name))
	})
}

// reservedPart checks the rows of one part, and that the next one gets a number of
// its own: it would be written over one that is there.
func (e *examiner) reservedPart(name []byte, b *bolt.Bucket) error {
	p, last := partOfKey(name), uint64(0)
	err := e.each(b, func(k, row []byte) {
		if err := decodeReserved(p, k, row, func(Reservation) {}); err != nil {
			e.damage(corrupt(string(bucketDedup), append(bytes.Clone(name), k...), err))
			return
		}
		last = uint64(binary.BigEndian.Uint32(k))
	})
	if last > b.Sequence() {
		e.find(FindingNumber, place(string(bucketDedup), fmt.Sprintf("%x", name)), "its last row is %d, and %d are counted", last, b.Sequence())
	}
	return err
}

// events checks that each event has its number, and that marks do not fall.
func (e *examiner) events() error {
	b := e.tx.Bucket(bucketEvent)
	if b == nil {
		return nil
	}
	var in eventReader
	var last Position // the mark of the last row, and the number behind it
	err := e.each(b, func(k, row []byte) {
		p, err := splitEventKey(k)
		if err == nil {
			err = in.read(k, row)
		}
		if err != nil {
			e.damage(corrupt("event", k, err))
			return
		}
		where := place("event", fmt.Sprintf("%x", k))
		if last.Number != 0 && p.Number != last.Number {
			e.find(FindingNumber, where, "it begins with event %d, and the one before ends with %d", p.Number, last.Number-1)
		}
		if p.Mark < last.Mark || len(row) < eventHeader || int64(binary.BigEndian.Uint64(row[11:])) > p.Mark {
			e.find(FindingNumber, where, "its time is out of order")
		}
		e.x.Events += in.count
		last = Position{p.Mark, p.Number + uint64(in.count)}
	})
	if last.Number != 0 && last.Number != b.Sequence()+1 {
		e.find(FindingNumber, place("event", ""), "the last event is %d, and %d are counted", last.Number-1, b.Sequence())
	}
	return err
}

// app only reads: what is in the caller's buckets bears no checksums.
func (e *examiner) app() error {
	b := e.tx.Bucket(bucketApp)
	if b == nil {
		return nil
	}
	return b.ForEach(func(name, value []byte) error {
		if value != nil {
			e.find(FindingLink, place(string(bucketApp), fmt.Sprintf("%x", name)), "it is no bucket")
			return nil
		}
		return e.nested(b.Bucket(name))
	})
}

func (e *examiner) nested(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return e.nested(b.Bucket(k))
		}
		return e.meter.add(int64(len(k) + len(v)))
	})
}
