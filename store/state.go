package store

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// State is what the journal and the overlay say about a live message beyond
// its record.
type State struct {
	Due       int64 // ms, if HasRetry or HasDue
	Attempts  uint32
	Claimed   uint32 // over Attempts: the process ended during that attempt
	Class     uint8
	HasRetry  bool
	HasDue    bool // Due comes from a reschedule, later than the last retry
	Held      bool
	Requested bool // its cancellation was requested while it was in flight
	// Cancelled: it is in the set of Operation, which can be undone.
	Cancelled bool
	Operation [16]byte
}

// states collects State by message, in the order of commits.
type states map[uint64]*tracked

type tracked struct {
	State
	claimedIn uint64 // commit of the claim
}

func (s states) at(seq uint64) *tracked {
	t := s[seq]
	if t == nil {
		t = &tracked{}
		s[seq] = t
	}
	return t
}

// claim and retry are applied claims first within one commit: an attempt that
// began after a retry of the same commit has a higher number than it.
func (s states) claim(c Claim, commit uint64) {
	t := s.at(c.Seq)
	t.Claimed, t.claimedIn = c.Attempt, commit
}

func (s states) retry(r Retry, commit uint64) {
	t := s.at(r.Seq)
	t.HasRetry, t.HasDue, t.Due, t.Attempts, t.Class = true, false, r.Due, r.Attempts, r.Class
	if t.Claimed <= r.Attempts || t.claimedIn < commit {
		t.Claimed = r.Attempts
	}
}

// replay adds all state rows of the journal, in order. Numbers of segments whose
// overlay is newer than a row are skipped.
func (s states) replay(tx *bolt.Tx, folded map[uint64]uint64) (bytes int64, err error) {
	rows, _, err := stateRows(tx, 0, math.MaxUint64, math.MaxInt)
	for _, r := range rows {
		bytes += r.size()
		if err := s.apply(r, r.newer(folded)); err != nil {
			return bytes, corrupt("journal", r.key, err)
		}
	}
	return bytes, err
}

func (s states) apply(r stateRow, newer func(seq uint64) bool) error {
	switch r.kind {
	case kindClaim:
		return decodeClaims(r.row, func(c Claim) {
			if newer(c.Seq) {
				s.claim(c, r.commit)
			}
		})
	case kindRetry:
		return decodeRetries(r.row, func(x Retry) {
			if newer(x.Seq) {
				s.retry(x, r.commit)
			}
		})
	case kindDue:
		return decodeDues(r.row, func(seq uint64, due int64) {
			if newer(seq) {
				t := s.at(seq)
				t.HasDue, t.Due = true, due
			}
		})
	}
	return decodeHolds(r.row, func(seq uint64, on bool) {
		if newer(seq) {
			s.at(seq).Held = on
		}
	})
}

type stateRow struct {
	kind     byte
	commit   uint64
	key, row []byte
}

// size is that in the journal.
func (r stateRow) size() int64 { return int64(len(r.key) + len(r.row) + crcSize) }

// newer tells of numbers whether the row is newer than the overlay of their
// segments.
func (r stateRow) newer(folded map[uint64]uint64) func(seq uint64) bool {
	return func(seq uint64) bool { return r.commit > folded[seq>>segmentBits] }
}

// stateKinds are the kinds of state rows, in the order in which those of one
// commit are applied.
var stateKinds = []byte{kindClaim, kindRetry, kindDue, kindHold}

// stateRows returns the state rows behind a commit, by commit, up to another one
// or to last: of each kind it reads about limit bytes, and it returns no commit
// in part.
func stateRows(tx *bolt.Tx, after, upTo uint64, limit int) (rows []stateRow, last uint64, err error) {
	last = upTo
	for _, kind := range stateKinds {
		left, commit := int64(limit), after
		err := eachJournal(tx, kind, after, func(key, row []byte) (bool, error) {
			if left <= 0 && commitOf(key) > commit {
				last = min(last, commit)
			}
			if commit = commitOf(key); commit > last {
				return false, nil
			}
			r := stateRow{kind, commit, key, row}
			rows, left = append(rows, r), left-r.size()
			return true, nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	rows = slices.DeleteFunc(rows, func(r stateRow) bool { return r.commit > last })
	slices.SortStableFunc(rows, func(a, b stateRow) int {
		switch {
		case a.commit < b.commit:
			return -1
		case a.commit > b.commit:
			return 1
		}
		return 0 // the order of kinds stays
	})
	return rows, last, nil
}

// An overlay row holds the states of some messages of one segment as of a
// commit. Its key is the segment and a part.

func overlayKey(segment uint64, part uint16) []byte {
	return binary.BigEndian.AppendUint16(seqKey(segment), part)
}

// readOverlay adds the rows of one segment, or of all if one is nil, and notes
// the commits that they are folded up to.
func (s states) readOverlay(tx *bolt.Tx, one *uint64, folded map[uint64]uint64) (bytes int64, err error) {
	c := tx.Bucket(bucketOverlay).Cursor()
	k, v := c.First()
	if one != nil {
		k, v = c.Seek(seqKey(*one))
	}
	for ; k != nil; k, v = c.Next() {
		if len(k) != 10 {
			return bytes, corrupt("overlay", k, errShort)
		}
		segment := binary.BigEndian.Uint64(k)
		if one != nil && segment != *one {
			break
		}
		if err := s.overlayRow(segment, v, folded); err != nil {
			return bytes, corrupt("overlay", k, err)
		}
		bytes += int64(len(k) + len(v))
	}
	return bytes, nil
}

func (s states) overlayRow(segment uint64, v []byte, folded map[uint64]uint64) error {
	row, err := checkSum(segment, v)
	if err != nil {
		return err
	}
	in := reader{row: row}
	folded[segment] = in.uint()
	for in.more() {
		seq := segment<<segmentBits + in.uint()%segmentSize
		t := tracked{State: State{Due: in.int(), Attempts: uint32(in.uint()), Claimed: uint32(in.uint()), Class: in.byte()}}
		t.setFlags(in.byte(), &in)
		if in.err == nil {
			s[seq] = &t
		}
	}
	return in.err
}

// Flags of a message in an overlay row.
const (
	flagRetry byte = 1 << iota
	flagDue
	flagHeld
)

func (t *tracked) setFlags(flags byte, in *reader) {
	if flags > flagRetry|flagDue|flagHeld {
		in.fail(errKind)
	}
	t.HasRetry, t.HasDue, t.Held = flags&flagRetry != 0, flags&flagDue != 0, flags&flagHeld != 0
}

func (t *tracked) flags() (flags byte) {
	if t.HasRetry {
		flags |= flagRetry
	}
	if t.HasDue {
		flags |= flagDue
	}
	if t.Held {
		flags |= flagHeld
	}
	return flags
}

func appendState(dst []byte, seq uint64, t *tracked) []byte {
	dst = binary.AppendUvarint(dst, seq%segmentSize)
	dst = binary.AppendVarint(dst, t.Due)
	dst = binary.AppendUvarint(dst, uint64(t.Attempts))
	dst = binary.AppendUvarint(dst, uint64(t.Claimed))
	return append(dst, t.Class, t.flags())
}

// minFoldState is the least of journal bytes that makes folding state pay.
const minFoldState = 4 << 20

// FoldStatePays tells whether the retries, claims, due times and holds in the
// journal take more room than the overlay they would be folded into. It belongs to the writer.
func (s *Store) FoldStatePays() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.folding != nil || s.sizes.journalState > max(s.opts.minFold(), s.sizes.overlay)
}

func (o *Options) minFold() int64 {
	if o.MinFoldState > 0 {
		return o.MinFoldState
	}
	return minFoldState
}

// stateFold is a fold under way. It is only in memory: overlay rows name the
// commit that they are folded up to, so a fold that was cut short is harmless.
type stateFold struct {
	upTo uint64 // commit
	read uint64 // commit up to which the journal is taken apart
	// parts is what the journal says, by segment, until that is written: with it
	// no step has to read the journal for more than its own.
	parts map[uint64][]byte
}

// FoldState moves retries, claims, due times and holds from the journal to the
// overlay, in steps that read and write about limit bytes each, and one commit
// or segment more at most: first the journal is taken apart by segment, in
// memory, then the segments are written, then the rows of the journal deleted.
func (t *Tx) FoldState(limit int) (more bool, err error) {
	err = t.guard(func() (err error) {
		more, err = t.foldState(limit)
		return err
	})
	return more, err
}

func (t *Tx) foldState(limit int) (more bool, err error) {
	f := t.s.folding
	if f == nil { // this commit may still add rows
		f = &stateFold{upTo: t.Number() - 1, parts: map[uint64][]byte{}}
	}
	left, err := f.take(t.tx, limit)
	if err != nil {
		return false, err
	}
	written, left, err := t.writeParts(f, left)
	if err != nil {
		return false, err
	}
	if more = left <= 0; !more {
		if more, err = t.dropState(f.upTo, left); err != nil {
			return false, err
		}
	}
	t.learn(func() {
		for _, n := range written {
			delete(f.parts, n)
		}
		if t.s.folding = f; !more {
			t.s.folding = nil
		}
	})
	return more, nil
}

// take takes about limit bytes of the journal apart. What it has read does not
// change before the fold is through, whatever becomes of the transaction. left
// is what remains of limit, 0 if there is more to read.
func (f *stateFold) take(tx *bolt.Tx, limit int) (left int, err error) {
	if f.read == f.upTo {
		return limit, nil
	}
	rows, last, err := stateRows(tx, f.read, f.upTo, limit)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		if err := f.add(r); err != nil {
			return 0, corrupt("journal", r.key, err)
		}
		limit -= int(r.size())
	}
	if f.read = last; f.read < f.upTo {
		return 0, nil
	}
	return max(0, limit), nil
}

// add cuts a row into rows of one number each.
func (f *stateFold) add(r stateRow) error {
	one := func(seq uint64, row []byte) {
		part := append(f.parts[seq>>segmentBits], r.kind)
		part = binary.AppendUvarint(part, r.commit)
		f.parts[seq>>segmentBits] = appendBytes(part, row)
	}
	var buf [32]byte
	switch r.kind {
	case kindClaim:
		return decodeClaims(r.row, func(c Claim) { one(c.Seq, appendClaim(buf[:0], c)) })
	case kindRetry:
		return decodeRetries(r.row, func(x Retry) { one(x.Seq, appendRetry(buf[:0], x)) })
	case kindDue:
		return decodeDues(r.row, func(seq uint64, due int64) {
			one(seq, binary.AppendUvarint(binary.AppendVarint(buf[:0], due), seq))
		})
	}
	return decodeHolds(r.row, func(seq uint64, on bool) {
		one(seq, binary.AppendUvarint(append(buf[:0], holdByte(on)), seq))
	})
}

// writeParts writes the next segments, about limit bytes, and returns what is
// left of it: 0 if there are more.
func (t *Tx) writeParts(f *stateFold, limit int) (written []uint64, left int, err error) {
	for _, n := range slices.Sorted(maps.Keys(f.parts)) {
		if limit <= 0 {
			return written, 0, nil
		}
		size, err := t.writePart(f, n)
		if err != nil {
			return nil, 0, err
		}
		written, limit = append(written, n), limit-size
	}
	return written, max(0, limit), nil
}

// writePart folds what the journal says of one segment into its overlay. It
// returns how many bytes it has read and written.
func (t *Tx) writePart(f *stateFold, n uint64) (size int, err error) {
	all, folded := states{}, map[uint64]uint64{}
	read, err := all.readOverlay(t.tx, &n, folded)
	if err != nil {
		return 0, err
	}
	in := reader{row: f.parts[n]}
	for in.more() {
		r := stateRow{kind: in.byte(), commit: in.uint(), row: in.bytes()}
		if in.err == nil {
			in.err = all.apply(r, r.newer(folded))
		}
	}
	if in.err != nil {
		return 0, in.err
	}
	wrote, err := t.writeOverlay(n, all, f.upTo)
	return int(read) + len(f.parts[n]) + wrote, err
}

// writeOverlay replaces the overlay rows of one segment, leaving out what no
// longer lives.
func (t *Tx) writeOverlay(segment uint64, all states, upTo uint64) (written int, err error) {
	if err := t.dropOverlay(segment); err != nil {
		return 0, err
	}
	if t.tx.Bucket(tableNames[Live].record).Bucket(seqKey(segment)) == nil {
		return 0, nil
	}
	dead, err := readBitset(t.tx, Live, segment)
	if err != nil {
		return 0, err
	}
	b := t.tx.Bucket(bucketOverlay)
	row := binary.AppendUvarint(nil, upTo)
	part := uint16(0)
	flush := func() error {
		sum := appendSum(row, 0, segment)
		written += len(sum) + 10
		err := b.Put(overlayKey(segment, part), sum)
		part, row = part+1, binary.AppendUvarint(nil, upTo)
		return err
	}
	for seq := segment << segmentBits; seq>>segmentBits == segment; seq++ {
		st := all[seq]
		if st == nil || st.State == (State{}) || dead.has(seq) {
			continue
		}
		if len(row) > maxRow-64 {
			if err := flush(); err != nil {
				return written, err
			}
		}
		row = appendState(row, seq, st)
	}
	err = flush()
	t.learn(func() { t.s.sizes.overlay += int64(written) })
	return written, err
}

// dropOverlay deletes the overlay rows of a segment.
func (t *Tx) dropOverlay(segment uint64) error {
	bytes := 0
	b := t.tx.Bucket(bucketOverlay)
	var keys [][]byte
	c := b.Cursor()
	for k, v := c.Seek(seqKey(segment)); len(k) == 10 && binary.BigEndian.Uint64(k) == segment; k, v = c.Next() {
		keys = append(keys, slices.Clone(k))
		bytes += len(k) + len(v)
	}
	if err := deleteKeys(b, keys); err != nil {
		return err
	}
	t.learn(func() { t.s.sizes.overlay -= int64(bytes) })
	return nil
}

// dropState deletes about limit bytes of the journal's state rows up to a
// commit: the overlay has all that they say.
func (t *Tx) dropState(upTo uint64, limit int) (more bool, err error) {
	rows, last, err := stateRows(t.tx, 0, upTo, limit)
	if err != nil {
		return false, err
	}
	bytes := int64(0)
	keys := make([][]byte, len(rows))
	for i, r := range rows {
		keys[i] = slices.Clone(r.key)
		bytes += r.size()
	}
	if err := deleteKeys(t.tx.Bucket(bucketJournal), keys); err != nil {
		return false, err
	}
	t.learn(func() { t.s.sizes.journalState = max(0, t.s.sizes.journalState-bytes) })
	return last < upTo, nil
}
