package store

import (
	"maps"
	"slices"
	"testing"
)

func bitmapOf(segment uint64, seqs ...uint64) wreckRow {
	set := &bitset{}
	for _, seq := range seqs {
		set.set(seq)
	}
	return wreckRow{key: seqKey(segment), value: set.encode(segment)}
}

// TestTableOfBitmaps: a bitmap in a page that nothing points to is that of messages or
// of dead letters only if it cannot be of the others.
func TestTableOfBitmaps(t *testing.T) {
	s := &salvage{head: Head{NextSeq: 9000, NextDead: 100}}
	for name, c := range map[string]struct {
		bucket string
		rows   []wreckRow
		tab    Table
		ok     bool
	}{
		"either":                {rows: []wreckRow{bitmapOf(0, 3)}},
		"by the bucket":         {bucket: string(tableNames[Dead].bitmap), rows: []wreckRow{bitmapOf(0, 3)}, tab: Dead, ok: true},
		"another bucket":        {bucket: "app", rows: []wreckRow{bitmapOf(0, 3)}},
		"by the segment":        {rows: []wreckRow{bitmapOf(1, 4099)}, tab: Live, ok: true},
		"by the bit":            {rows: []wreckRow{bitmapOf(0, 3, 100)}, tab: Live, ok: true},
		"the last dead letter":  {rows: []wreckRow{bitmapOf(0, 99)}},
		"by its neighbour":      {rows: []wreckRow{bitmapOf(0, 3), bitmapOf(2, 8999)}, tab: Live, ok: true},
		"of no number given":    {rows: []wreckRow{bitmapOf(2, 9000)}},
		"with a neighbour such": {rows: []wreckRow{bitmapOf(0, 200), bitmapOf(2, 9000)}},
	} {
		tab, ok := s.tableOf(c.bucket, c.rows)
		if ok != c.ok || ok && tab != c.tab {
			t.Errorf("%s: got %v, %v", name, tab, ok)
		}
	}
}

// TestForgottenSets: the set of an operation that the newest tree has forgotten counts
// if it was folded, and was not undone.
func TestForgottenSets(t *testing.T) {
	header := func(id byte, progress Progress, restored int64) wreckRow {
		d := &decoded{Operation: Operation{ID: [16]byte{id}, Restored: restored}, progress: progress}
		return wreckRow{key: headerKey(d.ID), value: encodeOperation(d)}
	}
	set := func(id byte, seq uint64) wreckRow {
		k := setKey([16]byte{id}, rowSet, 0, 0)
		return wreckRow{key: k, value: appendSum(chunkRuns([]uint64{seq, seq + 1})[0], 0, keySum(k))}
	}
	f := &foldedSets{
		known:  map[[16]byte]*decoded{{5}: {}},
		folded: map[[16]byte]bool{}, undone: map[[16]byte]bool{}, rows: map[string][]byte{},
	}
	damaged := set(6, 60)
	damaged.value[0] ^= 1
	for _, row := range []wreckRow{
		set(1, 10), header(1, SetWhole, 0), header(1, SetFolded, 0), // its record before and after
		set(2, 20), header(2, SetWhole, 0),
		set(3, 30), header(3, SetFolding, 0), header(3, SetWhole, 7), // a crash has cut the fold short
		set(4, 40), // without a record
		set(5, 50), header(5, SetFolded, 0),
		damaged, header(6, SetFolded, 0),
	} {
		f.see(row)
	}
	got := map[uint64]bool{}
	f.each(func(seq uint64) { got[seq] = true })
	if list := slices.Sorted(maps.Keys(got)); !slices.Equal(list, []uint64{10, 11}) {
		t.Errorf("got %v, want 10 and 11", list)
	}
}
