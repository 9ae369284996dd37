package store

import (
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// bitset is the dead bitmap of one segment.
type bitset [segmentSize / 64]uint64

func (b *bitset) set(seq uint64)      { b[seq%segmentSize/64] |= 1 << (seq % 64) }
func (b *bitset) clear(seq uint64)    { b[seq%segmentSize/64] &^= 1 << (seq % 64) }
func (b *bitset) has(seq uint64) bool { return b[seq%segmentSize/64]&(1<<(seq%64)) != 0 }

func (b *bitset) encode(segment uint64) []byte {
	row := make([]byte, 0, len(b)*8+crcSize)
	for _, w := range b {
		row = binary.LittleEndian.AppendUint64(row, w)
	}
	return appendSum(row, 0, segment)
}

func decodeBitset(segment uint64, row []byte) (*bitset, error) {
	body, err := checkSum(segment, row)
	if err != nil {
		return nil, err
	}
	var b bitset
	if len(body) != len(b)*8 {
		return nil, errShort
	}
	for i := range b {
		b[i] = binary.LittleEndian.Uint64(body[i*8:])
	}
	return &b, nil
}

// readBitset returns the bitmap of a segment, empty if there is no row.
func readBitset(tx *bolt.Tx, tab Table, segment uint64) (*bitset, error) {
	name := tableNames[tab].bitmap
	row := tx.Bucket(name).Get(seqKey(segment))
	if row == nil {
		return &bitset{}, nil
	}
	b, err := decodeBitset(segment, row)
	return b, corrupt(string(name), seqKey(segment), err)
}
