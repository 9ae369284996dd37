package store

import (
	"bytes"
	"encoding/binary"
	"math"

	bolt "go.etcd.io/bbolt"
)

// EventRange says which part of the log to read.
type EventRange struct {
	After  Position  // begin behind it, in the direction of reading; zero: at the end
	Oldest bool      // read oldest first
	Since  int64     // ms: pass over rows that hold nothing as late
	Until  int64     // ms: pass over rows that hold nothing as early; 0: none
	ID     *[16]byte // pass over rows that do not name this message
	Rows   int       // look at this many at most
}

// Events visits events of the log, newest first unless r says otherwise, until
// visit returns false. Where it ended is what After of the next call is to be;
// done tells that there is nothing behind it. Subject and event are valid until
// visit returns. It must not block.
func (s *Store) Events(r EventRange, visit func(p Position, s *Subject, ev *Event) bool) (at Position, done bool, err error) {
	at = r.After
	err = s.View(func(v *View) (err error) {
		b := v.tx.Bucket(bucketEvent)
		if b == nil {
			done = true
			return nil
		}
		at, done, err = eachEvent(b.Cursor(), r, visit)
		return err
	})
	return at, done, err
}

// eachEvent reads row by row.
func eachEvent(c *bolt.Cursor, r EventRange, visit func(Position, *Subject, *Event) bool) (at Position, done bool, err error) {
	var in eventReader
	at = r.After
	step := c.Prev
	if r.Oldest {
		step = c.Next
	}
	k, row := seekEvents(c, r)
	for n := 0; k != nil; k, row = step() {
		p, err := splitEventKey(k)
		if err != nil {
			return at, false, corrupt("event", k, err)
		}
		if !r.Oldest && p.Mark < r.Since {
			break
		}
		if n++; n > r.Rows {
			return at, false, nil
		}
		if r.passes(row) {
			at = in.passed(p, row, r.Oldest)
			continue
		}
		if err := in.read(k, row); err != nil {
			return at, false, corrupt("event", k, err)
		}
		more := true
		if at, more = in.visit(p, r, at, visit); !more {
			return at, false, nil
		}
	}
	return at, true, nil
}

// passes tells whether a row need not be decoded.
func (r *EventRange) passes(row []byte) bool {
	if len(row) < eventHeader {
		return false // it is damaged
	}
	return r.Until != 0 && int64(binary.BigEndian.Uint64(row[11:])) > r.Until || r.ID != nil && !bytes.Contains(row, r.ID[:])
}

// seekEvents finds the first row to read.
func seekEvents(c *bolt.Cursor, r EventRange) (k, row []byte) {
	if !r.Oldest {
		if r.After == (Position{}) {
			return c.Last()
		}
		return lastRow(c, r.After)
	}
	since := Position{Mark: max(r.Since, 0)}
	if r.After == (Position{}) || r.After.Mark < since.Mark {
		return c.Seek(eventKey(since))
	}
	k, row = lastRow(c, r.After)
	if k == nil {
		return c.First()
	}
	return k, row
}

// lastRow is the one that a position is in, or would be.
func lastRow(c *bolt.Cursor, p Position) (k, row []byte) {
	k, row = c.Seek(eventKey(p))
	switch {
	case k == nil:
		return c.Last()
	case bytes.Equal(k, eventKey(p)):
		return k, row
	}
	return c.Prev()
}

// eventReader takes a row apart.
type eventReader struct {
	in       reader
	base     int64
	count    int
	strings  []string
	subjects []Subject
	events   []Event
	of       []int // for each event, the index of its subject
}

// open checks a row and reads its header.
func (e *eventReader) open(k, row []byte) error {
	body, err := checkSum(keySum(k), row)
	if err != nil {
		return err
	}
	if len(body) < eventHeader {
		return errShort
	}
	if body[0] != eventCodec {
		return errCodec
	}
	e.count = int(binary.BigEndian.Uint16(body[1:]))
	e.base = int64(binary.BigEndian.Uint64(body[3:]))
	e.in = reader{row: body[eventHeader:]}
	return nil
}

// passed is the position of the last event of a row that is not read.
func (e *eventReader) passed(p Position, row []byte, oldest bool) Position {
	if oldest && len(row) >= eventHeader {
		p.Number += uint64(max(1, binary.BigEndian.Uint16(row[1:]))) - 1
	}
	return p
}

// read decodes a whole row.
func (e *eventReader) read(k, row []byte) error {
	if err := e.open(k, row); err != nil {
		return err
	}
	e.strings, e.subjects, e.events, e.of = e.strings[:0], e.subjects[:0], e.events[:0], e.of[:0]
	for e.in.more() {
		e.group()
	}
	if e.in.err == nil && len(e.events) != e.count {
		return errShort
	}
	return e.in.err
}

func (e *eventReader) group() {
	in := &e.in
	if len(in.row) < 16 {
		in.fail(errShort)
		return
	}
	s := Subject{ID: [16]byte(in.row)}
	in.row = in.row[16:]
	n, has := int(in.byte()), in.byte()
	for i, name := range s.names() {
		if has&(1<<i) != 0 {
			*name = e.string()
		}
	}
	if has&hasLabels != 0 {
		for left := in.uint(); left > 0 && in.err == nil; left-- {
			s.Labels = append(s.Labels, e.string())
		}
	}
	e.subjects = append(e.subjects, s)
	for range n {
		if in.err != nil {
			return
		}
		e.event()
	}
}

// string reads the number of a string, or a new one.
func (e *eventReader) string() string {
	n := e.in.uint()
	if n == 0 {
		e.strings = append(e.strings, string(e.in.bytes()))
		n = uint64(len(e.strings))
	}
	if n > uint64(len(e.strings)) {
		e.in.fail(errShort)
		return ""
	}
	return e.strings[n-1]
}

func (e *eventReader) event() {
	in := &e.in
	ev := Event{Kind: in.byte()}
	has := in.byte()
	ev.At = e.base + in.int()
	number := func(bit byte, most uint64) uint64 {
		if has&bit == 0 {
			return 0
		}
		return min(in.uint(), most)
	}
	ev.Attempt = uint32(number(hasAttempt, math.MaxUint32))
	ev.Status = uint16(number(hasStatus, math.MaxUint16))
	if has&hasDue != 0 {
		ev.Due = in.int()
	}
	if has&hasReason != 0 {
		ev.Reason = string(in.bytes())
	}
	if has&hasOperation != 0 {
		if len(in.row) < len(ev.Operation) {
			in.fail(errShort)
			return
		}
		ev.Operation = [16]byte(in.row)
		in.row = in.row[16:]
	}
	ev.Count, ev.Requested = number(hasCount, math.MaxUint64), number(hasRequested, math.MaxUint64)
	e.events = append(e.events, ev)
	e.of = append(e.of, len(e.subjects)-1)
}

// visit hands out the events of a row behind a position.
func (e *eventReader) visit(p Position, r EventRange, at Position, visit func(Position, *Subject, *Event) bool) (Position, bool) {
	for i := range e.events {
		if !r.Oldest {
			i = len(e.events) - 1 - i
		}
		here := Position{p.Mark, p.Number + uint64(i)}
		if r.After != (Position{}) && (r.Oldest && here.Number <= r.After.Number || !r.Oldest && here.Number >= r.After.Number) {
			continue
		}
		at = here
		if !visit(here, &e.subjects[e.of[i]], &e.events[i]) {
			return at, false
		}
	}
	return at, true
}
