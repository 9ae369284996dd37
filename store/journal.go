package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Retry says that a message is pending again after a failed attempt.
type Retry struct {
	Seq      uint64
	Due      int64  // ms
	Attempts uint32 // started so far
	Class    uint8  // of the failure
}

// Claim says that an attempt is under way.
type Claim struct {
	Seq     uint64
	Attempt uint32 // 1 for the first
}

// A key of the journal is a kind, the number of the commit, and a part, so the
// rows of one kind are in the order of commits.
const (
	kindFinished     byte = iota + 1 // numbers of messages that are gone
	kindFinishedDead                 // numbers of dead letters that are gone
	kindRetry
	kindClaim
	kindHold // a byte that says whether they are held, then their numbers
	kindDue  // a due time, then the numbers of messages that have it now

	lastKind = kindDue
)

func journalKey(kind byte, commit uint64, part uint16) []byte {
	k := make([]byte, 11)
	k[0] = kind
	binary.BigEndian.PutUint64(k[1:], commit)
	binary.BigEndian.PutUint16(k[9:], part)
	return k
}

func commitOf(journalKey []byte) uint64 { return binary.BigEndian.Uint64(journalKey[1:]) }

func finishedKind(tab Table) byte {
	if tab == Dead {
		return kindFinishedDead
	}
	return kindFinished
}

// Finish notes that messages, or dead letters, are gone. seqs is sorted in
// place, and a number that is there twice counts once.
func (t *Tx) Finish(tab Table, seqs []uint64) error {
	return t.guard(func() error { return t.finish(tab, seqs) })
}

func (t *Tx) finish(tab Table, seqs []uint64) error {
	slices.Sort(seqs)
	seqs = slices.Compact(seqs) // as the row has them
	n := len(seqs)
	_, err := t.journalRows(finishedKind(tab), chunkSet(nil, seqs))
	t.learn(func() { t.s.sizes.foldable += n })
	return err
}

// Retry notes that messages are pending again.
func (t *Tx) Retry(rs []Retry) error {
	return t.stateRows(kindRetry, len(rs), func(dst []byte, i int) []byte {
		return appendRetry(dst, rs[i])
	})
}

func appendRetry(dst []byte, r Retry) []byte {
	dst = binary.AppendUvarint(dst, r.Seq)
	dst = binary.AppendVarint(dst, r.Due)
	dst = binary.AppendUvarint(dst, uint64(r.Attempts))
	return append(dst, r.Class)
}

// Claims notes that attempts are under way.
func (t *Tx) Claims(cs []Claim) error {
	return t.stateRows(kindClaim, len(cs), func(dst []byte, i int) []byte {
		return appendClaim(dst, cs[i])
	})
}

func appendClaim(dst []byte, c Claim) []byte {
	dst = binary.AppendUvarint(dst, c.Seq)
	return binary.AppendUvarint(dst, uint64(c.Attempt))
}

// stateRows cuts entries into rows that fit a page.
func (t *Tx) stateRows(kind byte, n int, add func([]byte, int) []byte) error {
	const longest = 32 // bytes of one entry
	var rows [][]byte
	for i := 0; i < n; {
		var row []byte
		for ; i < n && len(row) < maxRow-longest-crcSize; i++ {
			row = add(row, i)
		}
		rows = append(rows, row)
	}
	return t.journalState(kind, rows)
}

// Hold notes that messages are held, or no longer. seqs is sorted in place. Of
// several calls in one commit the later one counts.
func (t *Tx) Hold(seqs []uint64, on bool) error {
	slices.Sort(seqs)
	return t.journalState(kindHold, chunkSet([]byte{holdByte(on)}, seqs))
}

func holdByte(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// Reschedule notes that messages have another due time, in ms. seqs is sorted
// in place. Of several calls in one commit the later one counts.
func (t *Tx) Reschedule(seqs []uint64, due int64) error {
	slices.Sort(seqs)
	return t.journalState(kindDue, chunkSet(binary.AppendVarint(nil, due), seqs))
}

func (t *Tx) journalState(kind byte, rows [][]byte) error {
	var size int64
	err := t.guard(func() (err error) {
		size, err = t.journalRows(kind, rows)
		return err
	})
	t.learn(func() { t.s.sizes.journalState += size })
	return err
}

// journalRows appends rows to those of this commit; their bytes are returned.
func (t *Tx) journalRows(kind byte, rows [][]byte) (size int64, err error) {
	b := t.tx.Bucket(bucketJournal)
	b.FillPercent = 1 // rows are only appended
	if t.parts[kind]+len(rows) > math.MaxUint16 {
		return 0, fmt.Errorf("a commit cannot have %d rows of one kind", t.parts[kind]+len(rows))
	}
	for _, row := range rows {
		key := journalKey(kind, t.Number(), uint16(t.parts[kind]))
		t.parts[kind]++
		row = appendSum(row, 0, keySum(key))
		if err := b.Put(key, row); err != nil {
			return size, err
		}
		size += int64(len(key) + len(row))
	}
	return size, nil
}

// eachJournal visits the rows of one kind behind a commit in order, checked and
// without their checksums.
func eachJournal(tx *bolt.Tx, kind byte, after uint64, visit func(key, row []byte) (more bool, err error)) error {
	from := []byte{kind} // all of them, so that a row whose key is damaged is noticed
	if after > 0 {
		from = journalKey(kind, after+1, 0)
	}
	c := tx.Bucket(bucketJournal).Cursor()
	for k, v := c.Seek(from); len(k) > 0 && k[0] == kind; k, v = c.Next() {
		if len(k) != 11 {
			return corrupt("journal", k, errShort)
		}
		row, err := checkSum(keySum(k), v)
		if err != nil {
			return corrupt("journal", k, err)
		}
		more, err := visit(k, row)
		if err != nil {
			return corrupt("journal", k, err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

func decodeRetries(row []byte, each func(Retry)) error {
	in := reader{row: row}
	for in.more() {
		r := Retry{Seq: in.uint(), Due: in.int(), Attempts: uint32(in.uint()), Class: in.byte()}
		if in.err == nil {
			each(r)
		}
	}
	return in.err
}

func decodeClaims(row []byte, each func(Claim)) error {
	in := reader{row: row}
	for in.more() {
		c := Claim{Seq: in.uint(), Attempt: uint32(in.uint())}
		if in.err == nil {
			each(c)
		}
	}
	return in.err
}

func decodeHolds(row []byte, each func(seq uint64, on bool)) error {
	in := reader{row: row}
	on := in.byte()
	if on > 1 {
		in.fail(errKind)
	}
	if in.err != nil {
		return in.err
	}
	return decodeSet(in.row, func(seq uint64) { each(seq, on == 1) })
}

func decodeDues(row []byte, each func(seq uint64, due int64)) error {
	in := reader{row: row}
	due := in.int()
	if in.err != nil {
		return in.err
	}
	return decodeSet(in.row, func(seq uint64) { each(seq, due) })
}
