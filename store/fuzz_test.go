package store

import (
	"bytes"
	"encoding/binary"
	"os"
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
		_ = states{}.overlayRow(3, appendSum(bytes.Clone(row), 0, 3), map[uint64]uint64{})
	})
}

func FuzzDecodeOperation(f *testing.F) {
	row := encodeOperation(&decoded{Operation: Operation{Kind: 1, Filter: []byte("f")}, commit: 5})
	f.Add(row[:len(row)-crcSize])
	f.Fuzz(func(t *testing.T, row []byte) {
		d, err := decodeOperation([16]byte{}, appendSum(bytes.Clone(row), 0, keySum(headerKey([16]byte{}))))
		if err != nil {
			return
		}
		if _, err := decodeOperation([16]byte{}, encodeOperation(d)); err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
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
		if checkStructure(bytes.NewReader(bad), int64(len(bad))) != nil {
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
