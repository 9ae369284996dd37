package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// segmentsOf returns the nested buckets of a bucket of segments: their values in
// each tree.
func (s *salvage) segmentsOf(name string) (map[uint64][][]byte, error) {
	all := map[uint64][][]byte{}
	for i, t := range s.trees {
		if s.dirs[i][name] == nil {
			continue
		}
		before := len(t.lost)
		whole, err := t.nested(s.dirs[i][name], func(row wreckRow) error {
			if n := uint64(0); len(row.key) == 8 && row.bucket {
				if n = keySeq(row.key); n < 1<<48>>segmentBits {
					if all[n] == nil {
						all[n] = make([][]byte, len(s.trees))
					}
					all[n][i] = row.value
					return nil
				}
			}
			if i == 0 {
				s.bad(name, row.key, errShort)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if i == 0 && !whole {
			s.lose(name, "%d pages with segments could not be read", max(1, len(t.lost)-before))
		}
		if i == 0 && whole { // what only the commit before has, is gone
			break
		}
	}
	return all, s.olderValues(name, all)
}

// olderValues adds those of the tree before for segments that the newest one has.
func (s *salvage) olderValues(name string, all map[uint64][][]byte) error {
	if len(s.trees) < 2 || s.dirs[1][name] == nil {
		return nil
	}
	_, err := s.tree(s.trees[1].root).nested(s.dirs[1][name], func(row wreckRow) error {
		if len(row.key) == 8 && row.bucket && all[keySeq(row.key)] != nil {
			all[keySeq(row.key)][1] = row.value
		}
		return nil
	})
	return err
}

// copyTable copies the messages that live and whose rows both decode.
func (s *salvage) copyTable(out *salvageWriter, tab Table) error {
	s.copied[tab], s.missing[tab] = map[uint64]*bitset{}, map[uint64]bool{}
	names := &tableNames[tab]
	records, err := s.segmentsOf(string(names.record))
	if err != nil {
		return err
	}
	bodies, err := s.segmentsOf(string(names.body))
	if err != nil {
		return err
	}
	if err := s.meter.stage(s.size / 2); err != nil {
		return err
	}
	numbers := slices.AppendSeq(slices.Collect(maps.Keys(records)), maps.Keys(bodies))
	slices.Sort(numbers)
	for _, n := range slices.Compact(numbers) {
		if err := s.copySegment(out, tab, n, records[n], bodies[n]); err != nil {
			return err
		}
	}
	return nil
}

func (s *salvage) copySegment(out *salvageWriter, tab Table, n uint64, recordValues, bodyValues [][]byte) error {
	names := &tableNames[tab]
	records := map[uint64][]byte{}
	if recordValues != nil {
		err := s.eachIn(string(names.record), recordValues, func(row wreckRow, _ int) error {
			seq, err := seqOf(n, row.key)
			var rec Record
			if err == nil && len(row.key) == 2 {
				s.name(tab, seq)
				err = DecodeRecord(seq, row.value, &rec)
			}
			if err != nil {
				s.badMessage(tab, seq, string(names.record), append(seqKey(n), row.key...), err)
				return nil
			}
			records[seq] = row.value
			return nil
		})
		if err != nil {
			return err
		}
	}
	bodies, err := s.readBodies(tab, n, bodyValues)
	if err != nil {
		return err
	}
	for _, seq := range slices.Sorted(maps.Keys(records)) {
		if err := s.copyMessage(out, tab, seq, records[seq], bodies[seq]); err != nil {
			return err
		}
		delete(bodies, seq)
	}
	for seq := range bodies { // without a record
		if !s.isDead(tab, seq) {
			s.missing[tab][seq] = true
		} else if s.isStale(tab, seq) {
			s.noteUnsure(tab, seq)
		}
	}
	return nil
}

// badMessage notes a row of a message, unless nobody needs it any more.
func (s *salvage) badMessage(tab Table, seq uint64, bucket string, key []byte, err error) {
	s.lostIn[bucket] = true
	if seq != 0 && s.isDead(tab, seq) {
		if s.isStale(tab, seq) {
			s.bad(bucket, key, err)
			s.noteUnsure(tab, seq)
		}
		return
	}
	s.bad(bucket, key, err)
	if seq != 0 {
		s.missing[tab][seq] = true
	}
}

func (s *salvage) isDead(tab Table, seq uint64) bool {
	bits := s.dead[tab][seq>>segmentBits]
	return bits != nil && bits.has(seq)
}

// keyOrder finds damaged keys that no checksum covers: they are out of order, or
// there twice.
type keyOrder struct {
	last []byte
	tree int
}

var errKeyOrder = errors.New("its key, or the one before, is damaged: they are out of order")

// next tells whether a key comes behind the one before it in its tree, and returns
// the latter.
func (o *keyOrder) next(key []byte, tree int) (before []byte, ok bool) {
	before, ok = o.last, o.last == nil || tree != o.tree || bytes.Compare(key, o.last) > 0
	o.last, o.tree = key, tree
	return before, ok
}

// readBodies returns the bodies of a segment that are whole. A body does not say
// whose it is: where keys are out of order, it is of neither message.
func (s *salvage) readBodies(tab Table, n uint64, values [][]byte) (bodies map[uint64][]byte, err error) {
	bodies = map[uint64][]byte{}
	if values == nil {
		return bodies, nil
	}
	name := string(tableNames[tab].body)
	parts := map[uint64]map[int][]byte{}
	var order keyOrder
	doubtful := map[uint64]bool{}
	err = s.eachIn(name, values, func(row wreckRow, tree int) error {
		seq, err := seqOf(n, row.key)
		if before, ok := order.next(row.key, tree); !ok {
			s.bad(name, append(seqKey(n), row.key...), errKeyOrder)
			last, _ := seqOf(n, before) // 0: it is of no message
			doubtful[seq], doubtful[last] = true, true
		}
		if err != nil || len(row.key) != 4 {
			s.bad(name, append(seqKey(n), row.key...), cmp.Or(err, errShort))
			return nil
		}
		if parts[seq] == nil {
			parts[seq] = map[int][]byte{}
		}
		parts[seq][int(binary.BigEndian.Uint16(row.key[2:]))] = row.value
		return nil
	})
	for seq, rows := range parts {
		if doubtful[seq] {
			continue
		}
		s.name(tab, seq)
		var whole []byte
		for i := 0; i < len(rows) && rows[i] != nil; i++ {
			whole = append(whole, rows[i]...)
		}
		bodies[seq] = whole
	}
	return bodies, err
}

// copyMessage copies one that lives and decodes.
func (s *salvage) copyMessage(out *salvageWriter, tab Table, seq uint64, record, body []byte) error {
	if s.isDead(tab, seq) {
		s.passOver(tab, seq, record, body)
		return nil
	}
	names := &tableNames[tab]
	if body == nil {
		s.missing[tab][seq] = true
		s.fault(FindingLink, string(names.record), fmt.Sprintf("%x", seqKey(seq)), "its body is lost")
		return nil
	}
	var rec Record
	if fault := s.decode(tab, seq, record, body, &rec); fault != nil {
		s.badMessage(tab, seq, string(names.body), seqKey(seq), fault)
		return nil
	}
	delete(s.missing[tab], seq)
	if tab == Live {
		created := int64(binary.BigEndian.Uint64(append([]byte{0, 0}, rec.ID[:6]...)))
		if rec.Foreign {
			created = rec.Created
		}
		s.head.LastCreated = max(s.head.LastCreated, created)
	}
	n := seq >> segmentBits
	if s.copied[tab][n] == nil {
		s.copied[tab][n] = &bitset{}
	}
	s.copied[tab][n].set(seq)
	*s.countOf(&s.r.Copied, tab)++
	offset := offsetKey(seq)
	if err := out.put([][]byte{names.record, seqKey(n)}, offset[:], record); err != nil {
		return err
	}
	for part := uint16(0); ; part++ {
		size := min(len(body), maxRow)
		key := binary.BigEndian.AppendUint16(offset[:2:2], part)
		if err := out.put([][]byte{names.body, seqKey(n)}, key, body[:size:size]); err != nil {
			return err
		}
		if body = body[size:]; len(body) == 0 {
			return nil
		}
	}
}

// decode takes a message apart, and returns what is wrong with it.
func (s *salvage) decode(tab Table, seq uint64, record, body []byte, rec *Record) error {
	var b Body
	if err := DecodeBody(body, &b); err != nil {
		return err
	}
	if err := DecodeRecord(seq, record, rec); err != nil || s.fn.Row == nil {
		return err
	}
	return s.fn.Row(tab, seq, rec, &b)
}

func (s *salvage) countOf(c *SalvageCounts, tab Table) *int {
	if tab == Dead {
		return &c.DeadLetters
	}
	return &c.Messages
}

// copyRaw looks for lost records in leaves that the tree does not reach. A record
// says by itself which it is, by its id and checksum. That it is not of a segment
// that is gone by now, its body says, which has to be in the tree.
func (s *salvage) copyRaw(out *salvageWriter) error {
	found := map[uint64]map[uint64][]byte{} // by segment
	if s.lostIn[string(tableNames[Live].record)] {
		err := s.eachRaw(func(row wreckRow) {
			if seq, ok := selfNamed(row.key, row.value); ok && s.missing[Live][seq] {
				n := seq >> segmentBits
				if found[n] == nil {
					found[n] = map[uint64][]byte{}
				}
				found[n][seq] = row.value
			}
		})
		if err != nil {
			return err
		}
	}
	if len(found) > 0 {
		for i, t := range s.trees {
			s.trees[i] = s.again(t)
		}
		bodies, err := s.segmentsOf(string(tableNames[Live].body))
		if err != nil {
			return err
		}
		for _, n := range slices.Sorted(maps.Keys(found)) {
			have, err := s.readBodies(Live, n, bodies[n])
			if err != nil {
				return err
			}
			for _, seq := range slices.Sorted(maps.Keys(found[n])) {
				if err := s.copyMessage(out, Live, seq, found[n][seq], have[seq]); err != nil {
					return err
				}
			}
		}
	}
	s.sumUp()
	return nil
}

// again is a tree whose pages can be read once more.
func (s *salvage) again(t *wreckTree) *wreckTree {
	next := s.tree(t.root)
	next.lost = t.lost
	return next
}

// selfNamed returns the number of a record by its id: that of a message ends in it.
func selfNamed(k, v []byte) (seq uint64, ok bool) {
	if len(k) != 2 || len(v) < recordPrefix {
		return 0, false
	}
	id := v[1:recordPrefix]
	seq = binary.BigEndian.Uint64(append([]byte{0, 0}, id[6:12]...))
	var rec Record
	return seq, offsetKey(seq) == [2]byte(k) && DecodeRecord(seq, v, &rec) == nil && rec.Died == 0
}

// sumUp counts what is lost, and says of which segments nobody knows who is gone.
func (s *salvage) sumUp() {
	for tab := range tables {
		lost := slices.Sorted(maps.Keys(s.missing[tab]))
		*s.countOf(&s.r.Lost, tab) = len(lost)
		s.r.Numbers[tab] = lost[:min(len(lost), maxNumbers)]
		what := [tables]string{"messages", "dead letters"}[tab]
		s.doubtStale(tab, what)
		if !s.lostIn[string(tableNames[tab].bitmap)] {
			continue
		}
		for _, n := range slices.Sorted(maps.Keys(s.copied[tab])) {
			if !s.bitmaps[tab][n] {
				s.doubt("who of %s %d to %d is gone could not be read: some that are may be back", what, n<<segmentBits, (n+1)<<segmentBits-1)
			}
		}
	}
}
