package store

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"testing"
)

// Decoding never panics, and what decodes encodes to the same again.

func FuzzDecodeRecord(f *testing.F) {
	row := AppendRecord(nil, &Record{Wall: 1, Due: 2, Method: []byte("GET"), URL: []byte("http://a"), Labels: [][]byte{[]byte("l")}})
	SealRecord(row, 7, [16]byte{9})
	f.Add(row)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, row []byte) {
		// Behind a right checksum everything is possible.
		if len(row) >= recordPrefix+crcSize {
			SealRecord(row, 7, [16]byte(row[1:]))
		}
		var rec, again Record
		if DecodeRecord(7, row, &rec) != nil {
			return
		}
		out := AppendRecord(nil, &rec)
		SealRecord(out, 7, rec.ID)
		if err := DecodeRecord(7, out, &again); err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		third := AppendRecord(nil, &again)
		SealRecord(third, 7, again.ID)
		if !bytes.Equal(out, third) {
			t.Fatalf("%x became %x", out, third)
		}
	})
}

func FuzzDecodeBody(f *testing.F) {
	f.Add(AppendBody(nil, &Body{Header: []Field{{[]byte("A"), []byte("b")}}, Payload: []byte("p")}))
	f.Fuzz(func(t *testing.T, row []byte) {
		row = appendSum(row, 0, bodySeq)
		var b Body
		if DecodeBody(row, &b) == nil {
			var again Body
			if err := DecodeBody(AppendBody(nil, &b), &again); err != nil {
				t.Fatalf("what was encoded does not decode: %v", err)
			}
		}
	})
}

func FuzzDecodeSet(f *testing.F) {
	f.Add(chunkSet(nil, []uint64{1, 2, 500})[0])
	f.Fuzz(func(t *testing.T, row []byte) {
		var last uint64
		_ = decodeSet(row, func(n uint64) {
			if n < last {
				t.Fatalf("%d after %d", n, last)
			}
			last = n
		})
		_ = decodeRetries(row, func(Retry) {})
		_ = decodeClaims(row, func(Claim) {})
		_ = decodeHolds(row, func(uint64, bool) {})
		_ = decodeDues(row, func(uint64, int64) {})
		_ = states{}.overlayRow(3, appendSum(bytes.Clone(row), 0, 3), map[uint64]uint64{})
	})
}

func FuzzDecodeOperation(f *testing.F) {
	row := encodeOperation(&decoded{Operation: Operation{Kind: 1, Blocker: [16]byte{1}, Filter: []byte("f"), Until: 5, Last: 9}, commit: 5})
	f.Add(row[:len(row)-crcSize])
	f.Add([]byte{1, 0, 1, 0, 5, 2, 9, 1, 4, 1, 'f', 0}) // version 1
	f.Fuzz(func(t *testing.T, row []byte) {
		d, err := decodeOperation([16]byte{}, appendSum(bytes.Clone(row), 0, keySum(headerKey([16]byte{}))))
		if err != nil {
			return
		}
		again, err := decodeOperation([16]byte{}, encodeOperation(d))
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		if !bytes.Equal(encodeOperation(again), encodeOperation(d)) {
			t.Fatalf("%+v became %+v", d, again)
		}
	})
}

func FuzzDecodeReserved(f *testing.F) {
	part, key := ReservedPart{Minute: 7, Part: 1}, []byte{0, 0, 0, 1}
	row, err := encodeReserved(part, key, []Reservation{{Key: [16]byte{1}, ID: [16]byte{2}, At: 7*minute + 5}, {At: 8*minute - 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(row[:len(row)-crcSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, row []byte) {
		row = appendSum(bytes.Clone(row), 0, reservedSum(part, key))
		var list, again []Reservation
		if decodeReserved(part, key, row, func(r Reservation) { list = append(list, r) }) != nil {
			return
		}
		out, err := encodeReserved(part, key, list)
		if err == nil {
			err = decodeReserved(part, key, out, func(r Reservation) { again = append(again, r) })
		}
		if err != nil || !slices.Equal(list, again) {
			t.Fatalf("%v became %v, %v", list, again, err)
		}
	})
}

// FuzzTombstoneSet cuts numbers into rows, ascending by the distances given:
// each row fits, says who took its numbers, and comes back as it was.
func FuzzTombstoneSet(f *testing.F) {
	f.Add(uint64(1), []byte{1, 2, 255, 0}, uint8(1))
	f.Add(uint64(1<<63), bytes.Repeat([]byte{200}, 3000), uint8(1))
	f.Add(uint64(7), append(bytes.Repeat([]byte{1}, 7), bytes.Repeat([]byte{10, 10, 10, 10, 10, 10, 10, 10, 10, 3, 0}, 500)...), uint8(0))
	f.Fuzz(func(t *testing.T, first uint64, distances []byte, scale uint8) {
		seqs := []uint64{first}
		for i, d := range distances {
			next := seqs[i] + uint64(d)<<(scale%64)
			if next < seqs[i] {
				break
			}
			seqs = append(seqs, next)
		}
		seqs = slices.Compact(seqs)
		probes := []uint64{first - 1, first, first + 1, seqs[len(seqs)/2], seqs[len(seqs)/2] + 1}
		checkChunks(t, chunkSet(nil, seqs), seqs, probes)
		checkChunks(t, chunkRuns(seqs), seqs, probes)
	})
}

// checkChunks reads the rows of a set back, and looks for some numbers in them.
func checkChunks(t *testing.T, rows [][]byte, seqs, probes []uint64) {
	t.Helper()
	found := map[uint64]bool{}
	var got []uint64
	for _, row := range rows {
		if len(row) > maxRow-crcSize {
			t.Fatalf("a row has %d bytes", len(row))
		}
		before := len(got)
		if err := decodeSet(row, func(n uint64) { got = append(got, n) }); err != nil {
			t.Fatal(err)
		}
		if n := len(got) - before; n > len(row)+maxRun {
			t.Fatalf("a row of %d bytes has %d numbers", len(row), n)
		}
		for _, n := range probes {
			has, err := setHas(row, n)
			if err != nil {
				t.Fatal(err)
			}
			found[n] = found[n] || has
		}
	}
	if !slices.Equal(got, seqs) {
		t.Fatalf("%d numbers came back as %d", len(seqs), len(got))
	}
	for _, n := range probes {
		if _, want := slices.BinarySearch(seqs, n); found[n] != want {
			t.Fatalf("%d is found: %v, want %v", n, found[n], want)
		}
	}
}

// FuzzSetHas searches a row, whatever is in it, and reads all of it.
func FuzzSetHas(f *testing.F) {
	f.Add(chunkSet(nil, []uint64{1, 2, 500})[0], uint64(2))
	f.Add(chunkRuns(sequence(3, 100, 10))[0], uint64(503))
	f.Fuzz(func(t *testing.T, row []byte, seq uint64) {
		want := false
		whole := decodeSet(row, func(n uint64) { want = want || n == seq })
		if got, _ := setHas(row, seq); whole == nil && got != want {
			t.Fatalf("%d: got %v, want %v", seq, got, want)
		}
	})
}

// Holds and due times come back from the journal as they were, and from the
// overlay.
func FuzzDecodeState(f *testing.F) {
	f.Add(chunkSet([]byte{1}, []uint64{1, 9})[0], chunkSet(binary.AppendVarint(nil, -7), []uint64{9, 4000})[0])
	f.Fuzz(func(t *testing.T, holds, dues []byte) {
		all := states{}
		newer := func(seq uint64) bool { return seq < segmentSize }
		_ = all.apply(stateRow{kind: kindDue, row: dues}, newer)
		_ = all.apply(stateRow{kind: kindHold, row: holds}, newer)
		row := []byte{1} // the commit
		for _, seq := range slices.Sorted(maps.Keys(all)) {
			row = appendState(row, seq, all[seq])
		}
		again := states{}
		if err := again.overlayRow(0, appendSum(row, 0, 0), map[uint64]uint64{}); err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		if !maps.EqualFunc(all, again, func(a, b *tracked) bool { return a.State == b.State }) {
			t.Fatalf("%v became %v", all, again)
		}
	})
}

// FuzzCheckStructure changes eight bytes of a file anywhere. What the check
// lets through, bbolt must be able to walk.
func FuzzCheckStructure(f *testing.F) {
	data := golden(f)
	f.Add(uint32(16), uint64(1))
	f.Add(uint32(3*4096+10), uint64(0xFFFF))
	f.Add(uint32(3*4096+24), uint64(1<<40))
	f.Fuzz(func(t *testing.T, at uint32, change uint64) {
		bad := bytes.Clone(data)
		at %= uint32(len(bad) - 8)
		binary.LittleEndian.PutUint64(bad[at:], binary.LittleEndian.Uint64(bad[at:])^change)
		if checkStructure(bytes.NewReader(bad), int64(len(bad)), nil) != nil {
			return
		}
		file := path(t)
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(file, quick)
		if err != nil {
			return
		}
		_, _ = load(s)
		_ = s.db.Close()
	})
}
