package store

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"testing"

	bolt "go.etcd.io/bbolt"
)

type reservedPart struct {
	part ReservedPart
	list []Reservation
}

func loadReserved(s *Store) (all []reservedPart, err error) {
	err = s.Load(LoadFuncs{
		Row:       func(Table, uint64, []byte, State) error { return nil },
		Tombstone: func(Operation, Progress) error { return nil },
		Reserved: func(p ReservedPart, r Reservation) {
			if n := len(all); n == 0 || all[n-1].part != p {
				all = append(all, reservedPart{part: p})
			}
			last := &all[len(all)-1]
			last.list = append(last.list, r)
		},
	})
	return all, err
}

// reservedOf returns all reservations of a file, part by part.
func reservedOf(t *testing.T, s *Store) []reservedPart {
	t.Helper()
	all, err := loadReserved(s)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// manyReserved are n reservations of one minute.
func manyReserved(p ReservedPart, n int) (list []Reservation) {
	for i := range n {
		r := Reservation{At: p.Start() + int64(i%minute)}
		binary.BigEndian.PutUint64(r.Key[:], uint64(i)*0x9E3779B97F4A7C15)
		binary.BigEndian.PutUint64(r.ID[8:], uint64(i))
		list = append(list, r)
	}
	return list
}

func TestReserved(t *testing.T) {
	s := open(t, path(t), quick)
	if got := reservedOf(t, s); got != nil {
		t.Fatalf("a new file has %+v", got)
	}
	early, late, lateToo := ReservedPart{Minute: -5}, ReservedPart{Minute: 10}, ReservedPart{Minute: 10, Part: 1}
	list := manyReserved(late, 1000)
	mustCommit(t, s, func(tx *Tx) error { return errors.Join(tx.DropReserved(late), tx.Reserve(late, list[:1])) })
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(tx.Reserve(lateToo, list[:300]), tx.Reserve(late, list[1:]), tx.Reserve(early, manyReserved(early, 2)))
	})
	want := []reservedPart{{early, manyReserved(early, 2)}, {late, list}, {lateToo, list[:300]}}
	if got := reservedOf(t, restarted(t, s)); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v", got)
	}
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(tx.DropReserved(late), tx.DropReserved(ReservedPart{Minute: 99}))
	})
	if got, want := reservedOf(t, restarted(t, s)), []reservedPart{want[0], want[2]}; !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v", got)
	}
	mustCommit(t, s, func(tx *Tx) error { return errors.Join(tx.DropReserved(late), tx.Reserve(late, list[:2])) })
	if got := reservedOf(t, restarted(t, s)); len(got) != 3 || len(got[1].list) != 2 {
		t.Fatalf("got %+v", got)
	}
	tx, err := s.Begin(Bound{Bytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := tx.Reserve(late, manyReserved(early, 1)); !errors.Is(err, errMinute) {
		t.Errorf("a reservation in the part of another minute: got %v", err)
	}
}

func TestPartOf(t *testing.T) {
	for at, want := range map[int64]int64{
		0: 0, 59_999: 0, 60_000: 1, -1: -1, -60_000: -1, -60_001: -2, math.MaxInt64: math.MaxInt64 / 60_000,
	} {
		p := PartOf(at)
		if p.Minute != want || p.Part != 0 {
			t.Errorf("PartOf(%d): got %+v, want %d", at, p, want)
		}
		if at != math.MaxInt64 && (p.Start() > at || p.End() <= at) {
			t.Errorf("PartOf(%d): from %d to %d", at, p.Start(), p.End())
		}
		if got := partOfKey(p.key()); got != p {
			t.Errorf("the key of %+v is that of %+v", p, got)
		}
	}
}

// TestReservedRoom has reservations in many commits, none of which may need more
// room than was said.
func TestReservedRoom(t *testing.T) {
	s := open(t, path(t), quick)
	p := ReservedPart{Minute: 10}
	list := manyReserved(p, 4096)
	for n := 0; n < len(list); {
		k := min(1+n%97, len(list)-n)
		bound := Bound{Rows: 1, Bytes: int64(k)*ReservedBytes + ReservedRowBytes}
		if err := commitBound(s, bound, func(tx *Tx) error { return tx.Reserve(p, list[n:n+k]) }); err != nil {
			t.Fatal(err)
		}
		n += k
	}
	if err := commitBound(s, Bound{Rows: 1, Bytes: 64 << 10}, func(tx *Tx) error { return tx.DropReserved(p) }); err != nil {
		t.Fatal(err)
	}
	if got := reservedOf(t, restarted(t, s)); got != nil {
		t.Errorf("%d parts are left", len(got))
	}
}

func TestDamagedReservationsAreRefused(t *testing.T) {
	p := ReservedPart{Minute: 10}
	bucket := func(tx *Tx) *bolt.Bucket { return tx.tx.Bucket(bucketDedup) }
	row := func(tx *Tx) []byte { return bucket(tx).Bucket(p.key()).Get([]byte{0, 0, 0, 1}) }
	sealed := func(body []byte) []byte { return appendSum(body, 0, reservedSum(p, []byte{0, 0, 0, 1})) }
	put := func(tx *Tx, row []byte) error { return bucket(tx).Bucket(p.key()).Put([]byte{0, 0, 0, 1}, row) }
	for name, harm := range map[string]func(tx *Tx) error{
		"a byte has changed": func(tx *Tx) error {
			bad := append([]byte{}, row(tx)...)
			bad[3] ^= 1
			return put(tx, bad)
		},
		"a row is empty": func(tx *Tx) error { return put(tx, nil) },
		"a row was moved": func(tx *Tx) error {
			return bucket(tx).Bucket(p.key()).Put([]byte{0, 0, 0, 2}, row(tx))
		},
		"a part was moved": func(tx *Tx) error {
			b, err := bucket(tx).CreateBucket(ReservedPart{Minute: 11}.key())
			return errors.Join(err, b.Put([]byte{0, 0, 0, 1}, row(tx)))
		},
		"a row is cut short":   func(tx *Tx) error { return put(tx, sealed(make([]byte, 31))) },
		"a time is missing":    func(tx *Tx) error { return put(tx, sealed(make([]byte, 32))) },
		"a time is another's":  func(tx *Tx) error { return put(tx, sealed(binary.AppendUvarint(make([]byte, 32), minute))) },
		"a time has no end":    func(tx *Tx) error { return put(tx, sealed(append(make([]byte, 32), 0x80))) },
		"a part is no bucket":  func(tx *Tx) error { return bucket(tx).Put(ReservedPart{Minute: 12}.key(), []byte("row")) },
		"a bucket is no part":  func(tx *Tx) error { _, err := bucket(tx).CreateBucket([]byte("other")); return err },
		"a bucket in a bucket": func(tx *Tx) error { _, err := bucket(tx).Bucket(p.key()).CreateBucket([]byte("b")); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, path(t), quick)
			mustCommit(t, s, func(tx *Tx) error { return tx.Reserve(p, manyReserved(p, 3)) })
			mustCommit(t, s, harm)
			_, err := loadReserved(restarted(t, s))
			var damage *CorruptError
			if !errors.As(err, &damage) || damage.Bucket != "dedup" || damage.Key == "" {
				t.Errorf("got %v, want a *CorruptError that names bucket and key", err)
			}
		})
	}
}

// TestReserveInOldFiles begins the bucket in files that have none.
func TestReserveInOldFiles(t *testing.T) {
	for _, name := range []string{goldenFile1, goldenFile2, goldenFile3} {
		s := openGolden(t, name)
		before := mustLoad(t, s)
		p := ReservedPart{Minute: 10}
		mustCommit(t, s, func(tx *Tx) error { return errors.Join(tx.DropReserved(p), tx.Reserve(p, manyReserved(p, 3))) })
		again := restarted(t, s)
		if got := reservedOf(t, again); !reflect.DeepEqual(got, []reservedPart{{p, manyReserved(p, 3)}}) || again.format != plainVersion {
			t.Errorf("%s: got %+v in a file of version %d", name, got, again.format)
		}
		if got := mustLoad(t, restarted(t, s)); !reflect.DeepEqual(got, before) {
			t.Errorf("%s: got %+v, want %+v", name, got, before)
		}
	}
}
