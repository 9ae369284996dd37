package store

import (
	"errors"
	"maps"
	"slices"
)

// copyBitmaps keeps those of segments that have rows: what a fold buries later may
// be gone already.
func (s *salvage) copyBitmaps(out *salvageWriter) error {
	for tab := range tables {
		for _, n := range slices.Sorted(maps.Keys(s.copied[tab])) {
			bits := s.dead[tab][n]
			if bits == nil {
				continue
			}
			if err := out.put([][]byte{tableNames[tab].bitmap}, seqKey(n), bits.encode(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyJournal copies what is said of messages that live. Who has ended is in the
// bitmaps of the copy.
func (s *salvage) copyJournal(out *salvageWriter) error {
	for _, k := range slices.Sorted(maps.Keys(s.state)) {
		if err := out.put([][]byte{bucketJournal}, []byte(k), s.state[k]); err != nil {
			return err
		}
	}
	return out.sequence([][]byte{bucketJournal}, s.commits)
}

func (s *salvage) copyOverlay(out *salvageWriter) error {
	name := string(bucketOverlay)
	err := s.each(name, func(row wreckRow, _ int) error {
		k := row.key
		if len(k) != 10 || row.bucket {
			s.bad(name, k, errShort)
			return nil
		}
		folded := map[uint64]uint64{}
		if err := (states{}).overlayRow(keySeq(k), row.value, folded); err != nil {
			s.bad(name, k, err)
			return nil
		}
		s.commits = max(s.commits, folded[keySeq(k)])
		if s.copied[Live][keySeq(k)] == nil {
			return nil
		}
		return out.put([][]byte{bucketOverlay}, k, row.value)
	})
	if s.lostIn[name] {
		s.doubt("states of messages could not all be read: some may have fewer attempts than they had, another due time, or not be held")
	}
	return errors.Join(err, out.sequence([][]byte{bucketJournal}, s.commits))
}

func (s *salvage) copyOperations(out *salvageWriter) error {
	for _, h := range s.ops.headers {
		if err := out.put([][]byte{bucketTombstone}, headerKey(h.ID), encodeOperation(h)); err != nil {
			return err
		}
		s.r.Copied.Operations++
	}
	for _, k := range slices.Sorted(maps.Keys(s.ops.rows)) {
		if err := out.put([][]byte{bucketTombstone}, []byte(k), s.ops.rows[k]); err != nil {
			return err
		}
	}
	s.r.Lost.Operations = len(s.ops.made)
	return nil
}
