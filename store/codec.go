package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Every row ends in a CRC-32C over its key, or the number in it, and its bytes,
// so a row that was moved or changed is noticed. Integers are varints.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const crcSize = 4

// Faults of a row; a CorruptError around them names the place.
var (
	errShort    = errors.New("row is cut short")
	errChecksum = errors.New("checksum does not match")
	errCodec    = errors.New("row has another codec version")
	errKind     = errors.New("row is of an unknown kind")
)

func errTag(tag byte) error { return fmt.Errorf("unknown field %d", tag) }

// checksum covers the number a row belongs to and the row itself. The number
// is taken byte by byte: a slice of it would be allocated for every row.
func checksum(seq uint64, row []byte) uint32 {
	sum := ^uint32(0)
	for shift := 56; shift >= 0; shift -= 8 {
		sum = castagnoli[byte(sum)^byte(seq>>shift)] ^ sum>>8
	}
	return crc32.Update(^sum, castagnoli, row)
}

// keySum stands for the number of a row whose key says more than a number.
func keySum(key []byte) uint64 { return uint64(crc32.Checksum(key, castagnoli)) }

// appendSum ends a row that began at start.
func appendSum(dst []byte, start int, seq uint64) []byte {
	return binary.LittleEndian.AppendUint32(dst, checksum(seq, dst[start:]))
}

// checkSum returns the row without its checksum.
func checkSum(seq uint64, row []byte) ([]byte, error) {
	n := len(row) - crcSize
	if n < 0 {
		return nil, errShort
	}
	if binary.LittleEndian.Uint32(row[n:]) != checksum(seq, row[:n]) {
		return nil, errChecksum
	}
	return row[:n:n], nil
}

// reader takes a row apart. After a fault every method returns zero values.
type reader struct {
	row []byte
	err error
}

func (r *reader) more() bool { return r.err == nil && len(r.row) > 0 }

func (r *reader) byte() byte {
	if len(r.row) == 0 {
		r.fail(errShort)
		return 0
	}
	b := r.row[0]
	r.row = r.row[1:]
	return b
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.row)
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.row = r.row[size:]
	return n
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.row)
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.row = r.row[size:]
	return n
}

// bytes returns a view into the row.
func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.row)) {
		r.fail(errShort)
		return nil
	}
	b := r.row[:n:n]
	r.row = r.row[n:]
	return b
}

// copied returns bytes that outlive the row.
func (r *reader) copied() []byte { return append([]byte(nil), r.bytes()...) }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.row = nil
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// Tagged fields: a field that is absent takes no space.

func appendTagBytes(dst []byte, tag byte, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	return appendBytes(append(dst, tag), b)
}

func appendTagUint(dst []byte, tag byte, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, tag), n)
}

func appendTagInt(dst []byte, tag byte, n int64) []byte {
	if n == 0 {
		return dst
	}
	return binary.AppendVarint(append(dst, tag), n)
}
