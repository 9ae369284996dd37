package store

import (
	"bytes"
	"encoding/binary"
	"errors"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Reservations say which message was the first with an id, by a hash of the id.
// They lie in parts: each is a nested bucket for some of one minute, and goes as
// a whole. Within a part rows are only added, one for each commit unless that has
// many. The bucket around them is made when it is first used.

// Reservation is one id that is taken.
type Reservation struct {
	Key [16]byte // hash of the id
	ID  [16]byte // of the first message with it
	At  int64    // ms: when that was published
}

// ReservedPart names a part.
type ReservedPart struct {
	Minute int64 // since 1970: At, divided and rounded down
	Part   uint16
}

// minute is that of a part in milliseconds.
const minute = 60_000

var (
	errMinute   = errors.New("a time is not in the minute of its part")
	errReserved = errors.New("a part is no bucket with a name of 10 bytes")
)

// PartOf returns the first part for a time.
func PartOf(at int64) ReservedPart {
	n := at / minute
	if at%minute < 0 {
		n--
	}
	return ReservedPart{Minute: n}
}

// Start is when the minute begins, and End when the next one does, in ms.
func (p ReservedPart) Start() int64 { return p.Minute * minute }

// End is when the minute is over, in ms.
func (p ReservedPart) End() int64 { return (p.Minute + 1) * minute }

// key sorts parts by time, also those before 1970.
func (p ReservedPart) key() []byte {
	k := seqKey(uint64(p.Minute) ^ 1<<63)
	return binary.BigEndian.AppendUint16(k, p.Part)
}

func partOfKey(k []byte) ReservedPart {
	return ReservedPart{int64(binary.BigEndian.Uint64(k) ^ 1<<63), binary.BigEndian.Uint16(k[8:])}
}

const partKeySize = 10

// ReservedBytes is the most that one reservation takes of a row, and
// ReservedRowBytes what a row takes besides.
const (
	ReservedBytes    = 16 + 16 + 3
	ReservedRowBytes = 32
)

// Reserve adds reservations to a part.
func (t *Tx) Reserve(p ReservedPart, list []Reservation) error {
	return t.guard(func() error {
		parts, err := t.tx.CreateBucketIfNotExists(bucketDedup)
		if err != nil {
			return err
		}
		b, err := parts.CreateBucketIfNotExists(p.key())
		if err != nil {
			return err
		}
		b.FillPercent = 0.95 // keys only rise
		const most = (maxRow - crcSize) / ReservedBytes
		for len(list) > 0 {
			n := min(most, len(list))
			number, err := b.NextSequence()
			if err != nil {
				return err
			}
			key := binary.BigEndian.AppendUint32(nil, uint32(number))
			row, err := encodeReserved(p, key, list[:n])
			if err != nil {
				return err
			}
			if err := b.Put(key, row); err != nil {
				return err
			}
			list = list[n:]
		}
		return nil
	})
}

// DropReserved deletes a part, if it is there.
func (t *Tx) DropReserved(p ReservedPart) error {
	return t.guard(func() error {
		b := t.tx.Bucket(bucketDedup)
		if b == nil {
			return nil
		}
		if err := b.DeleteBucket(p.key()); !errors.Is(err, berrors.ErrBucketNotFound) {
			return err
		}
		return nil
	})
}

// reservedSum is the number that the checksum of a row covers: it says where the
// row belongs.
func reservedSum(p ReservedPart, key []byte) uint64 { return keySum(append(p.key(), key...)) }

func encodeReserved(p ReservedPart, key []byte, list []Reservation) ([]byte, error) {
	row := make([]byte, 0, len(list)*ReservedBytes+crcSize)
	for _, r := range list {
		if PartOf(r.At).Minute != p.Minute {
			return nil, errMinute
		}
		row = append(append(row, r.Key[:]...), r.ID[:]...)
		row = binary.AppendUvarint(row, uint64(r.At-p.Start()))
	}
	return appendSum(row, 0, reservedSum(p, key)), nil
}

func decodeReserved(p ReservedPart, key, row []byte, visit func(Reservation)) error {
	body, err := checkSum(reservedSum(p, key), row)
	if err != nil {
		return err
	}
	in := reader{row: body}
	for in.more() {
		r := Reservation{Key: in.array16(), ID: in.array16()}
		past := in.uint()
		if past >= minute {
			in.fail(errMinute)
		}
		if in.err == nil {
			r.At = p.Start() + int64(past)
			visit(r)
		}
	}
	return in.err
}

// array16 returns the next 16 bytes.
func (r *reader) array16() (a [16]byte) {
	if len(r.row) < len(a) {
		r.fail(errShort)
		return a
	}
	copy(a[:], r.row)
	r.row = r.row[len(a):]
	return a
}

// eachReserved visits all reservations, part by part, within a part in the order
// in which they were made.
func eachReserved(tx *bolt.Tx, visit func(p ReservedPart, r Reservation)) error {
	parts := tx.Bucket(bucketDedup)
	if parts == nil {
		return nil
	}
	return parts.ForEach(func(name, value []byte) error {
		if value != nil || len(name) != partKeySize {
			return corrupt(string(bucketDedup), name, errReserved)
		}
		p := partOfKey(name)
		return parts.Bucket(name).ForEach(func(key, row []byte) error {
			err := decodeReserved(p, key, row, func(r Reservation) { visit(p, r) })
			return corrupt(string(bucketDedup), append(bytes.Clone(name), key...), err)
		})
	})
}
