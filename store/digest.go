package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"os"

	bolt "go.etcd.io/bbolt"
)

// digest says what a file holds, however it is laid out: two files of one digest
// hold the same messages with the same states, and the same of everything else.
type digest [sha256.Size]byte

// digestOf reads everything, in a stage of the meter. A row that is damaged ends it
// with a *CorruptError.
func digestOf(s *Store, m *meter) (d digest, err error) {
	s.told = m.add
	g := &digester{h: sha256.New(), s: s, meter: m}
	if err := g.living(); err != nil {
		return d, err
	}
	err = s.View(func(v *View) error { return g.rest(v.tx) })
	return digest(g.h.Sum(nil)), err
}

// digestAt is digestOf for the file at path, which it checks first. Of the meter it
// takes what three readings of a file of so many bytes as share has would take.
func digestAt(path string, m *meter, share int64) (d digest, size int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return d, 0, err
	}
	if err := m.scaled(2*share, 2*info.Size()); err != nil {
		return d, 0, err
	}
	if err := checkFile(path, info.Size(), m.add); err != nil {
		return d, 0, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: defaultLockTimeout, ReadOnly: true})
	if err != nil {
		return d, 0, readError(err)
	}
	defer db.Close()
	s := newStore(path, nil)
	s.db, s.readOnly, s.pageSize = db, true, int64(db.Info().PageSize)
	if err := s.readMeta(); err != nil {
		return d, 0, err
	}
	if err := m.scaled(share, info.Size()); err != nil {
		return d, 0, err
	}
	d, err = digestOf(s, m)
	return d, info.Size(), err
}

// digester is one digest.
type digester struct {
	h     hash.Hash
	s     *Store
	meter *meter
}

// add takes fields, each with its length.
func (g *digester) add(fields ...[]byte) {
	var size [8]byte
	for _, f := range fields {
		binary.LittleEndian.PutUint64(size[:], uint64(len(f)))
		_, _ = g.h.Write(size[:])
		_, _ = g.h.Write(f)
	}
}

// value takes what has exported fields.
func (g *digester) value(v any) error {
	text, err := json.Marshal(v)
	g.add(text)
	return err
}

// living takes what lives, as an open sees it.
func (g *digester) living() error {
	var rows []struct {
		tab Table
		seq uint64
	}
	err := g.s.Load(LoadFuncs{
		Row: func(tab Table, seq uint64, record []byte, st State) error {
			var rec Record
			if err := DecodeRecord(seq, record, &rec); err != nil {
				return err
			}
			rows = append(rows, struct {
				tab Table
				seq uint64
			}{tab, seq})
			g.add(record)
			return g.value(st)
		},
		Object: func(kind byte, name string, value []byte) error {
			g.add([]byte{kind}, []byte(name), value)
			return nil
		},
		Reserved: func(p ReservedPart, r Reservation) {
			g.add(p.key(), r.Key[:], r.ID[:], binary.AppendVarint(nil, r.At))
		},
		Tombstone: func(op Operation, progress Progress) error {
			g.add([]byte{byte(progress)})
			return g.value(op)
		},
		Undoable: func(Operation) bool { return true },
	})
	if err != nil {
		return err
	}
	return g.s.View(func(v *View) error {
		var b Body
		for _, r := range rows {
			body, err := v.Body(r.tab, r.seq)
			if err == nil {
				err = DecodeBody(body, &b)
			}
			if err != nil {
				return CorruptBody(r.tab, r.seq, err)
			}
			g.add(body)
			if err := g.meter.add(int64(len(body))); err != nil {
				return err
			}
		}
		return nil
	})
}

// rest takes the buckets that stay as they are, with their sequences.
func (g *digester) rest(tx *bolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		g.add(name)
		for tab := range tables {
			if n := &tableNames[tab]; string(name) == string(n.record) || string(name) == string(n.body) {
				return nil
			}
		}
		return g.bucket(b)
	})
}

func (g *digester) bucket(b *bolt.Bucket) error {
	g.add(binary.AppendUvarint(nil, b.Sequence()))
	return b.ForEach(func(k, v []byte) error {
		g.add(k, v)
		if v == nil {
			return g.bucket(b.Bucket(k))
		}
		return g.meter.add(int64(len(k) + len(v)))
	})
}
