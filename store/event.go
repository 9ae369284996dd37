package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// The log of events is one bucket that only grows at its end and shrinks at its
// beginning. A row holds the events of a commit, as many as fit, in groups: what
// a group is about, then its events. Every row can be read by itself: what its
// messages have in common, such as a URL, is in it once. The sequence of the
// bucket is the number of the newest event.
//
// A key is a mark and the number of the first event in the row. Marks never fall,
// and none of the events in a row, nor any message that was created by then, is
// later than its mark: who looks for what is not older than a time can begin
// there.

// Subject is the message that events are about, as far as it can be searched
// for. That of an event about an operation is zero.
type Subject struct {
	ID                                             [16]byte // ULID
	URL, Queue, Topic, Schedule, CallerIP, FlowKey string
	Labels                                         []string
}

// Event is something that has happened. Fields that are zero take no space.
type Event struct {
	Kind      uint8  // the caller's meaning
	At        int64  // ms
	Attempt   uint32 // number of the attempt
	Status    uint16 // that the endpoint has answered with
	Due       int64  // ms: when the next attempt is
	Reason    string // of a failure; cut if it does not fit
	Operation [16]byte
	Count     uint64 // of messages that an operation has taken
	Requested uint64 // and has asked for
}

// Position is the place of an event in the log: the mark of its row, and its
// number.
type Position struct {
	Mark   int64
	Number uint64
}

const (
	eventCodec = 1
	// eventHeader is in front of each row: the codec, how many events it has, the
	// time that the times in it count from, and that of the oldest.
	eventHeader = 1 + 2 + 8 + 8
	// eventRow is where a row is full. bbolt never splits a node of four rows or
	// less: four of these fit a page.
	eventRow = 960
	// maxEventRow is the longest row, of one group whose names are long. A group
	// takes at most a few bytes more than the record of its message.
	maxEventRow = 3960
	eventKeyLen = 16
	// EventOverhead is the most that a group of up to three events takes beside
	// the text in it.
	EventOverhead = 224
)

var errEventSize = errors.New("events do not fit a row")

func eventKey(p Position) []byte {
	k := make([]byte, eventKeyLen)
	binary.BigEndian.PutUint64(k, uint64(p.Mark))
	binary.BigEndian.PutUint64(k[8:], p.Number)
	return k
}

func splitEventKey(k []byte) (p Position, err error) {
	if len(k) != eventKeyLen {
		return p, errShort
	}
	return Position{int64(binary.BigEndian.Uint64(k)), binary.BigEndian.Uint64(k[8:])}, nil
}

// eventWriter makes rows of the events of one commit.
type eventWriter struct {
	b       *bolt.Bucket
	mark    int64 // of the last row
	next    uint64
	first   uint64 // of the row that is being made
	base    int64
	oldest  int64
	latest  int64
	row     []byte
	strings []string
	numbers map[string]uint64 // in strings, from 1 on
	opened  bool
}

// LogEvents appends events to the log, at most 255 of one subject. Events are
// numbered in the order of the calls. They are durable with the commit.
func (t *Tx) LogEvents(s *Subject, events ...Event) error {
	return t.guard(func() error {
		if err := t.openLog(); err != nil {
			return err
		}
		return t.log.add(s, events, t.head.LastCreated)
	})
}

// openLog finds the end of the log.
func (t *Tx) openLog() error {
	w := &t.log
	if w.opened {
		return nil
	}
	b, err := t.tx.CreateBucketIfNotExists(bucketEvent)
	if err != nil {
		return err
	}
	b.FillPercent = 1 // nothing is ever put in between
	*w = eventWriter{b: b, next: b.Sequence() + 1, numbers: map[string]uint64{}, opened: true}
	if k, _ := b.Cursor().Last(); k != nil {
		last, err := splitEventKey(k)
		if err != nil {
			return corrupt("event", k, err)
		}
		w.mark = last.Mark
	}
	return nil
}

// add puts a group into the row, or into the next one if it does not fit.
func (w *eventWriter) add(s *Subject, events []Event, created int64) error {
	if len(w.row) > 0 {
		size, known := len(w.row), len(w.strings)
		w.group(s, events, math.MaxInt)
		if len(w.row)+crcSize <= eventRow && w.next-w.first+uint64(len(events)) <= math.MaxUint16 {
			w.count(events)
			return nil
		}
		w.row = w.row[:size]
		w.forget(known)
		if err := w.close(created); err != nil {
			return err
		}
	}
	w.begin(events)
	start := len(w.row)
	w.group(s, events, math.MaxInt)
	if over := len(w.row) + crcSize - maxEventRow; over > 0 {
		w.row = w.row[:start]
		w.forget(0)
		w.group(s, events, max(0, longestReason(events)-over))
	}
	if len(w.row)+crcSize > maxEventRow {
		return errEventSize
	}
	w.count(events)
	return nil
}

func longestReason(events []Event) (n int) {
	for i := range events {
		n = max(n, len(events[i].Reason))
	}
	return n
}

// begin starts a row. bbolt keeps it until the commit: it is never used again.
func (w *eventWriter) begin(events []Event) {
	w.row = append(make([]byte, 0, eventRow), make([]byte, eventHeader)...)
	w.first, w.base, w.oldest, w.latest = w.next, 0, math.MaxInt64, math.MinInt64
	if len(events) > 0 {
		w.base = events[0].At
	}
}

// count takes the events of a group into the row.
func (w *eventWriter) count(events []Event) {
	w.next += uint64(len(events))
	for i := range events {
		w.oldest, w.latest = min(w.oldest, events[i].At), max(w.latest, events[i].At)
	}
}

// close puts the row, if there is one.
func (w *eventWriter) close(created int64) error {
	if len(w.row) == 0 {
		return nil
	}
	w.mark = max(w.mark, w.latest, created, 0)
	key := eventKey(Position{w.mark, w.first})
	w.row[0] = eventCodec
	binary.BigEndian.PutUint16(w.row[1:], uint16(w.next-w.first))
	binary.BigEndian.PutUint64(w.row[3:], uint64(w.base))
	binary.BigEndian.PutUint64(w.row[11:], uint64(w.oldest))
	row := appendSum(w.row, 0, keySum(key))
	w.row = nil
	w.forget(0)
	return w.b.Put(key, row)
}

// forget drops the strings of the row behind the first n.
func (w *eventWriter) forget(n int) {
	if n == 0 {
		clear(w.numbers)
	}
	for _, s := range w.strings[n:] {
		delete(w.numbers, s)
	}
	w.strings = w.strings[:n]
}

// hasLabels is the bit of a group behind those of the six names.
const hasLabels = 1 << 6

// Bits of what an event has.
const (
	hasAttempt = 1 << iota
	hasStatus
	hasDue
	hasReason
	hasOperation
	hasCount
	hasRequested
)

func (s *Subject) names() [6]*string {
	return [6]*string{&s.URL, &s.Queue, &s.Topic, &s.Schedule, &s.CallerIP, &s.FlowKey}
}

// group appends a subject and its events. Reasons are cut to so many bytes.
func (w *eventWriter) group(s *Subject, events []Event, reason int) {
	names := s.names()
	var has byte
	for i, name := range names {
		if *name != "" {
			has |= 1 << i
		}
	}
	if len(s.Labels) > 0 {
		has |= hasLabels
	}
	w.row = append(append(w.row, s.ID[:]...), byte(len(events)), has)
	for _, name := range names {
		if *name != "" {
			w.string(*name)
		}
	}
	if len(s.Labels) > 0 {
		w.row = binary.AppendUvarint(w.row, uint64(len(s.Labels)))
		for _, l := range s.Labels {
			w.string(l)
		}
	}
	for i := range events {
		w.event(&events[i], reason)
	}
}

// string appends the number of a string of the row, or 0 and a new one.
func (w *eventWriter) string(s string) {
	if n := w.numbers[s]; n != 0 {
		w.row = binary.AppendUvarint(w.row, n)
		return
	}
	w.strings = append(w.strings, s)
	w.numbers[s] = uint64(len(w.strings))
	w.row = binary.AppendUvarint(append(w.row, 0), uint64(len(s)))
	w.row = append(w.row, s...)
}

func (w *eventWriter) event(ev *Event, reason int) {
	var has byte
	note := func(set bool, bit byte) {
		if set {
			has |= bit
		}
	}
	cut := ev.Reason
	if len(cut) > reason {
		cut = strings.ToValidUTF8(cut[:reason], "")
	}
	note(ev.Attempt != 0, hasAttempt)
	note(ev.Status != 0, hasStatus)
	note(ev.Due != 0, hasDue)
	note(cut != "", hasReason)
	note(ev.Operation != [16]byte{}, hasOperation)
	note(ev.Count != 0, hasCount)
	note(ev.Requested != 0, hasRequested)
	row := append(w.row, ev.Kind, has)
	row = binary.AppendVarint(row, ev.At-w.base)
	number := func(n uint64) {
		if n != 0 {
			row = binary.AppendUvarint(row, n)
		}
	}
	number(uint64(ev.Attempt))
	number(uint64(ev.Status))
	if ev.Due != 0 {
		row = binary.AppendVarint(row, ev.Due)
	}
	if cut != "" {
		row = append(binary.AppendUvarint(row, uint64(len(cut))), cut...)
	}
	if has&hasOperation != 0 {
		row = append(row, ev.Operation[:]...)
	}
	number(ev.Count)
	number(ev.Requested)
	w.row = row
}

// flushLog puts what is left, and keeps the number of the newest event.
func (t *Tx) flushLog() error {
	w := &t.log
	if !w.opened || w.next == w.b.Sequence()+1 {
		return nil
	}
	if err := w.close(t.head.LastCreated); err != nil {
		return err
	}
	if err := w.b.SetSequence(w.next - 1); err != nil {
		return err
	}
	return t.learnLog(w.b)
}

// learnLog lets memory know where the log begins and ends.
func (t *Tx) learnLog(b *bolt.Bucket) error {
	log, err := readLog(b)
	if err == nil {
		t.learn(func() { t.s.log = log })
	}
	return err
}

// logState is what memory knows of the log.
type logState struct {
	first  uint64 // number of the oldest event
	newest uint64 // of the newest; below first if there is none
	oldest int64  // mark of the oldest row
}

// readLog reads the ends of the log, which may not be there.
func readLog(b *bolt.Bucket) (l logState, err error) {
	if b == nil {
		return logState{first: 1}, nil
	}
	l.newest = b.Sequence()
	l.first = l.newest + 1
	k, _ := b.Cursor().First()
	if k == nil {
		return l, nil
	}
	p, err := splitEventKey(k)
	if err == nil && (p.Number == 0 || p.Number > l.newest) {
		err = errEventNumber
	}
	l.first, l.oldest = p.Number, p.Mark
	return l, corrupt("event", k, err)
}

var errEventNumber = errors.New("an event has a number that was never given")

// loadLog checks the ends of the log when the file is opened. What is between
// them is read when somebody asks.
func (s *Store) loadLog(tx *bolt.Tx) error {
	b := tx.Bucket(bucketEvent)
	log, err := readLog(b)
	if err == nil && b != nil {
		err = checkLastEvents(b, log.newest)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = log
	return nil
}

// checkLastEvents makes sure that no number is given twice.
func checkLastEvents(b *bolt.Bucket, newest uint64) error {
	k, row := b.Cursor().Last()
	if k == nil {
		return nil
	}
	p, err := splitEventKey(k)
	if err != nil {
		return corrupt("event", k, err)
	}
	var r eventReader
	if err := r.open(k, row); err != nil {
		return corrupt("event", k, err)
	}
	if p.Number+uint64(r.count)-1 != newest {
		return corrupt("event", k, errEventNumber)
	}
	return nil
}

// Log returns how many events there are, and a time before which none of them
// was logged, in ms; 0 if there is none.
func (s *Store) Log() (events int, oldest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.log.newest + 1 - s.log.first), s.log.oldest
}

// TrimEvents drops whole rows from the beginning of the log, at most as many as
// given: those that were written before a time in ms, and those without which
// keep events are left. It reports whether there are more.
func (t *Tx) TrimEvents(keep int, before int64, rows int) (more bool, err error) {
	err = t.guard(func() (err error) {
		b := t.tx.Bucket(bucketEvent)
		if b == nil {
			return nil
		}
		var keys [][]byte
		c := b.Cursor()
		for k, _ := c.First(); k != nil; {
			p, err := splitEventKey(k)
			if err != nil {
				return corrupt("event", k, err)
			}
			next, _ := c.Next()
			if p.Mark >= before && eventsFrom(b, next) < uint64(max(keep, 0)) {
				break
			}
			if len(keys) == rows {
				more = true
				break
			}
			keys = append(keys, bytes.Clone(k))
			k = next
		}
		if len(keys) == 0 {
			return nil
		}
		if err := deleteKeys(b, keys); err != nil {
			return err
		}
		return t.learnLog(b)
	})
	return more, err
}

// eventsFrom counts the events from a row on.
func eventsFrom(b *bolt.Bucket, k []byte) uint64 {
	p, err := splitEventKey(k)
	if err != nil {
		return 0
	}
	return b.Sequence() + 1 - p.Number
}
