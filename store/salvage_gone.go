package store

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// What says that messages are gone is read first: bitmaps, the finished sets of the
// journal, and the sets of cancellations. Numbers are never used again, so that a
// message has ended stays true in whatever old page it is read; but for a set, which
// an undo deletes: it counts as long as its record does not say so.

// readBitmaps reads those of the newest tree. If some are lost, readStale goes on.
func (s *salvage) readBitmaps() error {
	for tab := range tables {
		s.dead[tab], s.stale[tab], s.bitmaps[tab] = map[uint64]*bitset{}, map[uint64]*bitset{}, map[uint64]bool{}
		name := string(tableNames[tab].bitmap)
		err := s.eachIn(name, s.only(s.dirs[0][name]), func(row wreckRow, _ int) error {
			if len(row.key) != 8 || row.bucket {
				s.bad(name, row.key, errShort)
				return nil
			}
			n := keySeq(row.key)
			bits, err := decodeBitset(n, row.value)
			if err != nil {
				s.bad(name, row.key, err)
				return nil
			}
			s.dead[tab][n], s.bitmaps[tab][n] = bits, true
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *salvage) kill(tab Table, seq uint64) {
	n := seq >> segmentBits
	if s.dead[tab][n] == nil {
		s.dead[tab][n] = &bitset{}
	}
	s.dead[tab][n].set(seq)
	if set := s.stale[tab][n]; set != nil {
		set.clear(seq)
	}
	s.name(tab, seq)
}

// name keeps a number from being given again. One that nobody can have given is
// passed over: after it there would be none.
func (s *salvage) name(tab Table, seq uint64) {
	if seq < 1<<48 {
		s.highest[tab] = max(s.highest[tab], seq)
	}
}

// finished takes a row of the journal, from wherever it is.
func (s *salvage) finished(k, v []byte, kill func(Table, uint64)) error {
	row, err := checkSum(keySum(k), v)
	if err != nil {
		return err
	}
	tab := Live
	if k[0] == kindFinishedDead {
		tab = Dead
	}
	s.commits = max(s.commits, commitOf(k))
	return decodeSet(row, func(seq uint64) { kill(tab, seq) })
}

func isFinished(k []byte) bool {
	return len(k) == 11 && (k[0] == kindFinished || k[0] == kindFinishedDead)
}

// readJournal reads who has ended. Other rows are copied later.
func (s *salvage) readJournal() error {
	name := string(bucketJournal)
	for i := range s.trees {
		s.commits = max(s.commits, sequenceOf(s.dirs[i][name]))
	}
	s.state = map[string][]byte{}
	return s.each(name, func(row wreckRow, _ int) (err error) {
		switch {
		case len(row.key) != 11 || row.bucket || row.key[0] < kindFinished || row.key[0] > lastKind:
			err = errKind
		case isFinished(row.key):
			err = s.finished(row.key, row.value, s.kill)
		default:
			err = s.stateRow(row)
		}
		if err != nil {
			s.bad(name, row.key, err)
		}
		return nil
	})
}

func (s *salvage) stateRow(row wreckRow) error {
	body, err := checkSum(keySum(row.key), row.value)
	if err == nil {
		err = journalNames(row.key[0], body, func(seq uint64) { s.name(Live, seq) })
	}
	if err == nil {
		s.state[string(row.key)] = row.value
		s.commits = max(s.commits, commitOf(row.key))
	}
	return err
}

// salvagedOps are the operations with their rows, by key.
type salvagedOps struct {
	headers map[[16]byte]*decoded
	rows    map[string][]byte
	made    map[[16]byte]bool // headers that were lost
}

// readOperations takes the headers, and the rows of sets that decode.
func (s *salvage) readOperations() error {
	s.ops = &salvagedOps{headers: map[[16]byte]*decoded{}, rows: map[string][]byte{}, made: map[[16]byte]bool{}}
	return s.each(string(bucketTombstone), func(row wreckRow, _ int) error {
		if err := s.operationRow(row.key, row.value); err != nil || row.bucket {
			s.bad(string(bucketTombstone), row.key, errors.Join(err))
		}
		return nil
	})
}

func (s *salvage) operationRow(k, v []byte) error {
	if len(k) < 17 {
		return errShort
	}
	if k[16] == rowHeader && len(k) == 17 {
		d, err := decodeOperation([16]byte(k), v)
		if err != nil {
			return err
		}
		if have := s.ops.headers[d.ID]; have == nil || have.commit < d.commit {
			s.ops.headers[d.ID] = d
		}
		s.commits = max(s.commits, d.commit)
		s.name(Live, d.Last)
		return nil
	}
	if len(k) != setKeySize || !slices.Contains([]byte{rowRequested, rowSet, rowTaken}, k[16]) {
		return errKind
	}
	if _, err := appendSet(nil, k, v); err != nil {
		return err
	}
	s.ops.rows[string(k)] = v
	return nil
}

// readRaw looks for such rows in leaves that the tree does not reach, if some were
// lost.
func (s *salvage) readRaw() error {
	lostOps := s.lostIn[string(bucketTombstone)]
	if !lostOps && !s.lostIn[string(bucketJournal)] && !s.behind {
		return nil
	}
	late := &lateOperations{commits: sequenceOf(s.dirs[0][string(bucketJournal)]), ids: map[[16]byte]bool{}, rows: map[string][]byte{}}
	err := s.eachRaw(func(row wreckRow) {
		switch {
		case isFinished(row.key):
			_ = s.finished(row.key, row.value, s.killStale) // of a page that is not ours anything may be damaged
		case len(row.key) < 17 || s.ops.rows[string(row.key)] != nil:
		case lostOps:
			_ = s.operationRow(row.key, row.value)
		case s.behind:
			late.see(row)
		}
	})
	for k, v := range late.rows {
		if late.ids[[16]byte([]byte(k))] {
			_ = s.operationRow([]byte(k), v)
		}
	}
	return err
}

// lateOperations are those that a commit has written which came behind the tree that
// is read. What else is in pages that nothing points to may be of operations that
// were dropped: the messages of one that was undone before live.
type lateOperations struct {
	commits uint64 // that the tree counts
	ids     map[[16]byte]bool
	rows    map[string][]byte
}

func (l *lateOperations) see(row wreckRow) {
	id := [16]byte(row.key)
	if len(row.key) == 17 && row.key[16] == rowHeader {
		d, err := decodeOperation(id, row.value)
		if err != nil || d.commit <= l.commits {
			return
		}
		l.ids[id] = true
	}
	l.rows[string(row.key)] = row.value
}

// eachRaw visits the rows of leaves that the newest tree has not reached so far, and
// of the small buckets in them.
func (s *salvage) eachRaw(visit func(wreckRow)) error {
	return s.eachRawPage(func(_ string, rows []wreckRow) {
		for _, row := range rows {
			visit(row)
		}
	})
}

// eachRawPage visits them together with those of their bucket, whose name is known of
// small buckets.
func (s *salvage) eachRawPage(visit func(bucket string, rows []wreckRow)) error {
	t := s.trees[0]
	for id := uint64(2); id < s.pages; id++ {
		if err := s.meter.ctx.Err(); err != nil {
			return err
		}
		if t.reached(id) && !t.lost[id] {
			continue
		}
		data, flags, count, err := s.page(id)
		if err != nil || flags != flagLeaf {
			continue
		}
		rows, _ := leafRows(data, count)
		for _, row := range rows {
			if row.bucket {
				inline, _ := inlineRows(row.value)
				visit(string(row.key), inline)
			}
		}
		visit("", slices.DeleteFunc(rows, func(row wreckRow) bool { return row.bucket }))
	}
	return nil
}

// bury completes the operations, and notes who is dead by a set that is folded.
func (s *salvage) bury() error {
	counts := map[[16]byte]map[byte]uint64{}
	for _, k := range slices.Sorted(maps.Keys(s.ops.rows)) {
		id, mark := [16]byte([]byte(k)), k[16]
		h := s.ops.headers[id]
		if h == nil {
			h = s.makeOperation(id)
		}
		if h.Restored != 0 && mark != rowTaken {
			delete(s.ops.rows, k) // of before the undo
			continue
		}
		seqs, _ := appendSet(nil, []byte(k), s.ops.rows[k]) // it was decoded before
		if counts[id] == nil {
			counts[id] = map[byte]uint64{}
		}
		counts[id][mark] += uint64(len(seqs))
		h.span([]uint64{slices.Min(seqs), slices.Max(seqs)})
		for _, seq := range seqs {
			s.name(Live, seq)
			if mark == rowSet && h.progress != SetWhole {
				s.kill(Live, seq)
			}
		}
	}
	for id, h := range s.ops.headers {
		s.weigh(id, h, counts[id])
	}
	if s.lostIn[string(bucketTombstone)] {
		s.doubt("operations could not all be read: messages that others had cancelled may be delivered")
	}
	if s.lostIn[string(bucketJournal)] {
		s.doubt("the journal could not all be read: messages that have ended lately may be delivered again")
	}
	return nil
}

// makeOperation stands in for a record that is lost. It cannot be undone: whether
// it was, nobody knows.
func (s *salvage) makeOperation(id [16]byte) *decoded {
	at := int64(binary.BigEndian.Uint64(append([]byte{0, 0}, id[:6]...)))
	h := &decoded{Operation: Operation{ID: id, Kind: s.fn.Cancel, At: at}, progress: SetFolding, commit: s.commits}
	s.ops.headers[id], s.ops.made[id] = h, true
	s.doubt("the record of operation %x is lost: what its set names counts as cancelled, and cannot be restored", id)
	return h
}

// weigh compares what an operation has taken with what is known of it.
func (s *salvage) weigh(id [16]byte, h *decoded, rows map[byte]uint64) {
	n := rows[rowSet] + rows[rowTaken]
	if h.Kind != s.fn.Cancel || h.Restored != 0 || h.bare || n == h.Count {
		return
	}
	if !s.ops.made[id] && h.progress != SetFolded && n < h.Count {
		s.doubt("operation %x has cancelled %d messages, of which %d are known: the others may be delivered", id, h.Count, n)
	}
	if rows[rowSet] > 0 {
		h.Count = n
	}
}
