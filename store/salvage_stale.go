package store

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// Where a bitmap of the newest tree cannot be read, older pages tell in part who is
// gone: a bit is set for good, since numbers are never given again and a cancellation
// is undone only before its set is folded, so what a bitmap has once said, and what was
// folded into it, stays true. But the newest bitmap may have had more bits, and a page
// that no commit is known to have may be of one that never was, cut short by a crash:
// so both are told, who might be back and who counts as gone by such pages alone.
// Where the newest bitmap can be read it has all that the older ones have, and nothing
// is added to it.

// unknown tells whether the bitmap of a segment is lost, or may be.
func (s *salvage) unknown(tab Table, n uint64) bool {
	return s.lostIn[string(tableNames[tab].bitmap)] && !s.bitmaps[tab][n]
}

// killStale notes what only an older page says.
func (s *salvage) killStale(tab Table, seq uint64) {
	if s.isDead(tab, seq) {
		return
	}
	s.kill(tab, seq)
	n := seq >> segmentBits
	if s.stale[tab][n] == nil {
		s.stale[tab][n] = &bitset{}
	}
	s.stale[tab][n].set(seq)
}

// readStale looks for who is gone in what the commit before had, and then in leaves
// that no tree has, if bitmaps are lost.
func (s *salvage) readStale() error {
	if !s.lostIn[string(tableNames[Live].bitmap)] && !s.lostIn[string(tableNames[Dead].bitmap)] {
		return nil
	}
	f := &foldedSets{known: s.ops.headers, folded: map[[16]byte]bool{}, undone: map[[16]byte]bool{}, rows: map[string][]byte{}}
	for i := 1; i < len(s.trees); i++ {
		if err := s.readOlder(i, f); err != nil {
			return err
		}
	}
	err := s.eachRawPage(func(bucket string, rows []wreckRow) {
		tab, isBitmap := s.tableOf(bucket, rows)
		for _, row := range rows {
			if isBitmap {
				s.staleBitmap(tab, row)
			}
			s.staleRow(row, f)
		}
	})
	f.each(func(seq uint64) {
		if s.unknown(Live, seq>>segmentBits) {
			s.killStale(Live, seq)
		}
	})
	return err
}

// readOlder reads the buckets of an older tree that say who is gone.
func (s *salvage) readOlder(i int, f *foldedSets) error {
	t := s.tree(s.trees[i].root)
	for tab := range tables {
		_, err := t.nested(s.dirs[i][string(tableNames[tab].bitmap)], func(row wreckRow) error {
			s.staleBitmap(tab, row)
			return s.meter.ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	for _, name := range [][]byte{bucketJournal, bucketTombstone} {
		_, err := t.nested(s.dirs[i][string(name)], func(row wreckRow) error {
			s.staleRow(row, f)
			return s.meter.ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// staleBitmap takes the bits of a row that decodes, unless one of them is of a number
// that was never given.
func (s *salvage) staleBitmap(tab Table, row wreckRow) {
	set, n, ok := bitmapRow(row)
	if !ok || !s.unknown(tab, n) || !s.given(tab, n, set) {
		return
	}
	for at, word := range set {
		for ; word != 0; word &= word - 1 {
			s.killStale(tab, n<<segmentBits+uint64(at*64+bits.TrailingZeros64(word)))
		}
	}
}

func bitmapRow(row wreckRow) (set *bitset, n uint64, ok bool) {
	if len(row.key) != 8 || row.bucket {
		return nil, 0, false
	}
	n = keySeq(row.key)
	set, err := decodeBitset(n, row.value)
	return set, n, err == nil && n < 1<<48>>segmentBits
}

// given tells whether all numbers of a bitmap were given, as far as is known.
func (s *salvage) given(tab Table, n uint64, set *bitset) bool {
	next := [tables]uint64{s.head.NextSeq, s.head.NextDead}[tab]
	if s.behind {
		next += segmentSize
	}
	for at := len(set) - 1; at >= 0; at-- {
		if set[at] != 0 {
			return s.headLost || n<<segmentBits+uint64(at*64+bits.Len64(set[at])-1) < next
		}
	}
	return true
}

// tableOf returns whose bitmaps a leaf has. A bitmap does not say whether it is of
// messages or dead letters: the name of the bucket does, where it is known, or the
// numbers, if only one of both can have been given them.
func (s *salvage) tableOf(bucket string, rows []wreckRow) (tab Table, ok bool) {
	var can [tables]bool
	for tab := range tables {
		can[tab] = bucket == "" || bucket == string(tableNames[tab].bitmap)
	}
	for _, row := range rows {
		if set, n, ok := bitmapRow(row); ok {
			for tab := range tables {
				can[tab] = can[tab] && s.given(tab, n, set)
			}
		}
	}
	if can[Live] {
		return Live, !can[Dead]
	}
	return Dead, can[Dead]
}

// staleRow takes a row of the journal or of an operation. Both say by their keys what
// they are of.
func (s *salvage) staleRow(row wreckRow, f *foldedSets) {
	if !isFinished(row.key) {
		f.see(row)
		return
	}
	_ = s.finished(row.key, row.value, func(tab Table, seq uint64) { // of a page that is not ours anything may be damaged
		if s.unknown(tab, seq>>segmentBits) {
			s.killStale(tab, seq)
		}
	})
}

// foldedSets are those of operations that the newest tree has forgotten. One counts
// if a record of it says that folding had begun, and none that it was undone.
type foldedSets struct {
	known          map[[16]byte]*decoded // of the newest tree, which says what became of them
	folded, undone map[[16]byte]bool
	rows           map[string][]byte
}

func (f *foldedSets) see(row wreckRow) {
	if len(row.key) < 17 || row.bucket {
		return
	}
	id := [16]byte(row.key)
	switch mark := row.key[16]; {
	case f.known[id] != nil:
	case mark == rowHeader && len(row.key) == 17:
		if d, err := decodeOperation(id, row.value); err == nil {
			f.undone[id] = f.undone[id] || d.Restored != 0
			f.folded[id] = f.folded[id] || d.progress != SetWhole
		}
	case mark == rowSet && len(row.key) == setKeySize:
		f.rows[string(row.key)] = row.value
	}
}

func (f *foldedSets) each(visit func(seq uint64)) {
	for _, k := range slices.Sorted(maps.Keys(f.rows)) {
		if id := [16]byte([]byte(k)); !f.folded[id] || f.undone[id] {
			continue
		}
		seqs, err := appendSet(nil, []byte(k), f.rows[k])
		for i := 0; i < len(seqs) && err == nil; i++ {
			visit(seqs[i])
		}
	}
}

// passOver notes a message that is whole, and not copied for what older pages say.
func (s *salvage) passOver(tab Table, seq uint64, record, body []byte) {
	set := s.stale[tab][seq>>segmentBits]
	var rec Record
	if set != nil && set.has(seq) && body != nil && s.decode(tab, seq, record, body, &rec) == nil {
		s.passed[tab] = append(s.passed[tab], seq)
	}
}

// doubtStale tells of those.
func (s *salvage) doubtStale(tab Table, what string) {
	if list := s.passed[tab]; len(list) > 0 {
		slices.Sort(list)
		s.doubt("%d %s count as gone by older pages alone: %s", len(list), what, Ranges(list[:min(len(list), maxNumbers)]))
	}
}

// Ranges writes ascending numbers shortly: 1-3, 7.
func Ranges(list []uint64) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(list[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
