package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Every bucket is gone through row by row, also where an open would not look: a
// row that is damaged is noted, and the next one is read.

// rows checks the content of all buckets.
func (e *examiner) rows() (err error) {
	meta := e.tx.Bucket(bucketMeta)
	e.x.Format, _ = readFormat(meta) // checkFormat has read it
	if e.head, err = decodeHead(meta.Get(keyHead)); err != nil {
		e.damage(corrupt("meta", keyHead, err))
	}
	if key, err := checkSum(0, meta.Get(keySecret)); err != nil || len(key) != 16 {
		e.damage(corrupt("meta", keySecret, errors.Join(err, errShort)))
	}
	e.commits = e.tx.Bucket(bucketJournal).Sequence()
	for _, part := range []func() error{
		e.names, func() error { return e.table(Live) }, func() error { return e.table(Dead) },
		e.journal, e.overlay, e.operations, e.objects, e.reserved, e.events, e.app,
	} {
		if err := guarded(part); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				return err
			}
			e.damage(err)
		}
	}
	return nil
}

// names looks for buckets that nobody knows: their names may be damaged.
func (e *examiner) names() error {
	known := append(allBuckets(), bucketApp, bucketObject, bucketDedup, bucketEvent)
	return e.tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
		if !slices.ContainsFunc(known, func(k []byte) bool { return bytes.Equal(k, name) }) {
			e.find(FindingLink, fmt.Sprintf("bucket %q", name), "nobody knows it")
		}
		return nil
	})
}

// each visits the rows of a bucket. Those that are buckets have no value.
func (e *examiner) each(b *bolt.Bucket, visit func(k, v []byte)) error {
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error {
		visit(k, v)
		return e.meter.add(int64(len(k) + len(v)))
	})
}

// table checks the segments of one table.
func (e *examiner) table(tab Table) error {
	names := &tableNames[tab]
	e.bitmaps[tab], e.segments[tab] = map[uint64]*bitset{}, map[uint64]bool{}
	records, bodies := e.tx.Bucket(names.record), e.tx.Bucket(names.body)
	err := e.segmentKeys(names.record, func(k []byte, n uint64) error {
		e.segments[tab][n] = true
		e.x.Segments++
		return e.messagesOf(tab, n, records.Bucket(k), bodies.Bucket(k))
	})
	if err != nil {
		return err
	}
	err = e.segmentKeys(names.body, func(k []byte, n uint64) error {
		if !e.segments[tab][n] {
			e.find(FindingLink, place(string(names.body), fmt.Sprintf("%x", k)), "bodies of a segment that has no records")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.each(e.tx.Bucket(names.bitmap), func(k, row []byte) {
		e.bitmap(tab, k, row)
	})
}

// segmentKeys visits the keys of a bucket of segments.
func (e *examiner) segmentKeys(name []byte, visit func(k []byte, n uint64) error) error {
	var keys [][]byte // bbolt must not be asked for nested buckets more often than needed
	err := e.each(e.tx.Bucket(name), func(k, v []byte) {
		if len(k) != 8 || v != nil || keySeq(k)<<segmentBits>>segmentBits != keySeq(k) {
			e.damage(corrupt(string(name), k, errShort))
			return
		}
		keys = append(keys, bytes.Clone(k))
	})
	for _, k := range keys {
		if err == nil {
			err = visit(k, keySeq(k))
		}
	}
	return err
}

func (e *examiner) bitmap(tab Table, k, row []byte) {
	name := string(tableNames[tab].bitmap)
	if len(k) != 8 {
		e.damage(corrupt(name, k, errShort))
		return
	}
	bits, err := decodeBitset(keySeq(k), row)
	if err != nil {
		e.damage(corrupt(name, k, err))
		return
	}
	e.bitmaps[tab][keySeq(k)] = bits
	if !e.segments[tab][keySeq(k)] {
		e.find(FindingLink, place(name, fmt.Sprintf("%x", k)), "a bitmap of a segment that is not there")
	}
}

// messagesOf checks records and bodies of one segment, each of which has the other.
func (e *examiner) messagesOf(tab Table, n uint64, records, bodies *bolt.Bucket) error {
	parts := bodyParts{rows: map[uint64][][]byte{}}
	name := string(tableNames[tab].body)
	err := e.each(bodies, func(k, v []byte) {
		if err := parts.add(n, k, v); err != nil {
			e.damage(corrupt(name, append(seqKey(n), k...), err))
		}
	})
	if err != nil {
		return err
	}
	err = e.each(records, func(k, row []byte) {
		seq, err := seqOf(n, k)
		if err == nil && len(k) != 2 {
			err = errShort
		}
		if err != nil {
			e.damage(corrupt(string(tableNames[tab].record), append(seqKey(n), k...), err))
			return
		}
		e.x.Rows++
		e.records += int64(len(row))
		e.message(tab, seq, row, parts.take(seq))
	})
	for seq := range parts.rows {
		e.find(FindingLink, place(name, fmt.Sprintf("%x", seqKey(seq))), "a body without its record")
	}
	return err
}

func (e *examiner) message(tab Table, seq uint64, row, bodyRow []byte) {
	rec, body := &e.rec, &e.body // one for all: they are many
	if err := DecodeRecord(seq, row, rec); err != nil {
		e.damage(CorruptRecord(tab, seq, err))
		return
	}
	if next := [tables]uint64{e.head.NextSeq, e.head.NextDead}[tab]; seq >= next {
		e.find(FindingNumber, place(string(tableNames[tab].record), fmt.Sprintf("%x", seqKey(seq))), "the next number is only %d", next)
	}
	if bodyRow == nil {
		e.find(FindingLink, place(string(tableNames[tab].record), fmt.Sprintf("%x", seqKey(seq))), "a record without its body")
		return
	}
	if err := DecodeBody(bodyRow, body); err != nil {
		e.damage(CorruptBody(tab, seq, err))
		return
	}
	if e.fn.Row != nil {
		if err := e.fn.Row(tab, seq, rec, body); err != nil {
			e.damage(CorruptRecord(tab, seq, err))
		}
	}
}

// bodyParts joins the bodies of a segment.
type bodyParts struct{ rows map[uint64][][]byte }

var errBodyPart = errors.New("a part of a body is missing or of a wrong size")

func (p *bodyParts) add(segment uint64, k, v []byte) error {
	seq, err := seqOf(segment, k)
	if err != nil || len(k) != 4 {
		return errShort
	}
	have := p.rows[seq]
	p.rows[seq] = append(have, v)
	if part := int(k[2])<<8 | int(k[3]); part != len(have) || part > 0 && len(have[part-1]) != maxRow {
		return errBodyPart
	}
	return nil
}

// take returns a body, nil if there is none.
func (p *bodyParts) take(seq uint64) []byte {
	rows := p.rows[seq]
	delete(p.rows, seq)
	switch len(rows) {
	case 0:
		return nil
	case 1:
		return rows[0]
	}
	return bytes.Join(rows, nil)
}

// named notes a number that was never given.
func (e *examiner) named(tab Table, where string, seq uint64) {
	if next := [tables]uint64{e.head.NextSeq, e.head.NextDead}[tab]; seq == 0 || seq >= next {
		e.find(FindingNumber, where, "it names %d, and the next number is %d", seq, next)
	}
}

// journal checks every row by its kind.
func (e *examiner) journal() error {
	return e.each(e.tx.Bucket(bucketJournal), func(k, v []byte) {
		where := place("journal", fmt.Sprintf("%x", k))
		if len(k) != 11 || k[0] < kindFinished || k[0] > lastKind {
			e.damage(corrupt("journal", k, errKind))
			return
		}
		row, err := checkSum(keySum(k), v)
		tab := Live
		if k[0] == kindFinishedDead {
			tab = Dead
		}
		if err == nil {
			err = journalNames(k[0], row, func(seq uint64) { e.named(tab, where, seq) })
		}
		if err != nil {
			e.damage(corrupt("journal", k, err))
		} else if commitOf(k) > e.commits {
			e.find(FindingNumber, where, "commit %d is named, and only %d are counted", commitOf(k), e.commits)
		}
	})
}

// journalNames visits the numbers that a row of the journal names.
func journalNames(kind byte, row []byte, each func(seq uint64)) error {
	switch kind {
	case kindFinished, kindFinishedDead:
		return decodeSet(row, each)
	case kindRetry:
		return decodeRetries(row, func(r Retry) { each(r.Seq) })
	case kindClaim:
		return decodeClaims(row, func(c Claim) { each(c.Seq) })
	case kindHold:
		return decodeHolds(row, func(seq uint64, _ bool) { each(seq) })
	}
	return decodeDues(row, func(seq uint64, _ int64) { each(seq) })
}

func (e *examiner) overlay() error {
	return e.each(e.tx.Bucket(bucketOverlay), func(k, v []byte) {
		where := place("overlay", fmt.Sprintf("%x", k))
		if len(k) != 10 {
			e.damage(corrupt("overlay", k, errShort))
			return
		}
		n, folded := keySeq(k), map[uint64]uint64{}
		if err := (states{}).overlayRow(n, v, folded); err != nil {
			e.damage(corrupt("overlay", k, err))
			return
		}
		if folded[n] > e.commits {
			e.find(FindingNumber, where, "commit %d is named, and only %d are counted", folded[n], e.commits)
		}
		if !e.segments[Live][n] {
			e.find(FindingLink, where, "states of a segment that is not there")
		}
	})
}
