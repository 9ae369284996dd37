package store

import (
	"encoding/binary"
	"fmt"
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
// place.
func (t *Tx) Finish(tab Table, seqs []uint64) error {
	slices.Sort(seqs)
	n := len(seqs)
	_, err := t.journalRows(finishedKind(tab), chunkSet(seqs))
	t.learn(func() { t.s.sizes.foldable += n })
	return err
}

// Retry notes that messages are pending again.
func (t *Tx) Retry(rs []Retry) error {
	return t.stateRows(kindRetry, len(rs), func(dst []byte, i int) []byte {
		r := rs[i]
		dst = binary.AppendUvarint(dst, r.Seq)
		dst = binary.AppendVarint(dst, r.Due)
		dst = binary.AppendUvarint(dst, uint64(r.Attempts))
		return append(dst, r.Class)
	})
}

// Claims notes that attempts are under way.
func (t *Tx) Claims(cs []Claim) error {
	return t.stateRows(kindClaim, len(cs), func(dst []byte, i int) []byte {
		dst = binary.AppendUvarint(dst, cs[i].Seq)
		return binary.AppendUvarint(dst, uint64(cs[i].Attempt))
	})
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
	size, err := t.journalRows(kind, rows)
	t.learn(func() { t.s.sizes.journalState += size })
	return err
}

// journalRows appends the rows of this commit; their bytes are returned.
func (t *Tx) journalRows(kind byte, rows [][]byte) (size int64, err error) {
	b := t.tx.Bucket(bucketJournal)
	b.FillPercent = 1 // rows are only appended
	for part, row := range rows {
		key := journalKey(kind, t.Number(), uint16(part))
		row = appendSum(row, 0, keySum(key))
		if err := b.Put(key, row); err != nil {
			return size, err
		}
		size += int64(len(key) + len(row))
	}
	return size, nil
}

// eachJournal visits the rows of one kind in order, checked and without their
// checksums.
func eachJournal(tx *bolt.Tx, kind byte, visit func(key, row []byte) (more bool, err error)) error {
	c := tx.Bucket(bucketJournal).Cursor()
	for k, v := c.Seek([]byte{kind}); len(k) > 0 && k[0] == kind; k, v = c.Next() {
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

// chunkSet encodes ascending numbers as rows that fit a page: the first number
// of each row, then the distances, 1 or 2 bytes each.
func chunkSet(seqs []uint64) [][]byte {
	var rows [][]byte
	for len(seqs) > 0 {
		row := binary.AppendUvarint(make([]byte, 0, min(maxRow, 2*len(seqs)+16)), seqs[0])
		last := seqs[0]
		seqs = seqs[1:]
		for len(seqs) > 0 && len(row) < maxRow-binary.MaxVarintLen64-crcSize {
			row = binary.AppendUvarint(row, seqs[0]-last)
			last, seqs = seqs[0], seqs[1:]
		}
		rows = append(rows, row)
	}
	return rows
}

// decodeSet visits the numbers of one row of chunkSet.
func decodeSet(row []byte, each func(uint64)) error {
	in := reader{row: row}
	last := in.uint()
	if in.err == nil {
		each(last)
	}
	for in.more() {
		n := in.uint()
		if in.err != nil {
			break
		}
		if last+n < last {
			return fmt.Errorf("number overflows")
		}
		last += n
		each(last)
	}
	return in.err
}
