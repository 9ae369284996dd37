package store

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// objectRows are the parts of one object.
type objectRows struct {
	kind  byte
	name  string
	parts map[int][]byte // with their checksums
	bad   bool
}

// copyObjects copies those of which every part is there.
func (s *salvage) copyObjects(out *salvageWriter) error {
	bucket := string(bucketObject)
	all := map[string]*objectRows{}
	err := s.each(bucket, func(row wreckRow, _ int) error {
		kind, name, part, err := splitObjectKey(row.key)
		if err != nil {
			s.bad(bucket, row.key, err)
			return nil
		}
		id := string(row.key[:len(row.key)-2])
		if all[id] == nil {
			all[id] = &objectRows{kind: kind, name: name, parts: map[int][]byte{}}
		}
		if _, err := checkSum(keySum(row.key), row.value); err != nil {
			s.bad(bucket, row.key, err)
			all[id].bad = true
			return nil
		}
		all[id].parts[int(part)] = row.value
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if err := s.copyObject(out, all[id]); err != nil {
			return err
		}
	}
	return nil
}

func (s *salvage) copyObject(out *salvageWriter, o *objectRows) error {
	var value []byte
	for i := range len(o.parts) {
		row := o.parts[i]
		if row == nil {
			o.bad = true
			break
		}
		value = append(value, row[:len(row)-crcSize]...)
	}
	first := objectKey(o.kind, o.name, 0)
	if !o.bad && s.fn.Object != nil {
		if err := s.fn.Object(o.kind, o.name, value); err != nil {
			s.bad(string(bucketObject), first, err)
			o.bad = true
		}
	}
	if o.bad || len(o.parts) == 0 {
		s.r.Lost.Objects++
		return nil
	}
	s.r.Copied.Objects++
	for i := range len(o.parts) {
		if err := out.put([][]byte{bucketObject}, objectKey(o.kind, o.name, uint16(i)), o.parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// copyReserved copies the rows of reservations that decode.
func (s *salvage) copyReserved(out *salvageWriter) error {
	bucket := string(bucketDedup)
	parts := map[string][]byte{}
	err := s.each(bucket, func(row wreckRow, _ int) error {
		if len(row.key) != partKeySize || !row.bucket {
			s.bad(bucket, row.key, errReserved)
			return nil
		}
		parts[string(row.key)] = row.value
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if err := s.copyPart(out, []byte(name), parts[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *salvage) copyPart(out *salvageWriter, name, value []byte) error {
	path, p := [][]byte{bucketDedup, name}, partOfKey(name)
	last := sequenceOf(value)
	copied := 0
	err := s.eachIn(string(bucketDedup), s.only(value), func(row wreckRow, _ int) error {
		n := 0
		if err := decodeReserved(p, row.key, row.value, func(Reservation) { n++ }); err != nil || len(row.key) != 4 || row.bucket {
			s.bad(string(bucketDedup), append(bytes.Clone(name), row.key...), err)
			return nil
		}
		last = max(last, uint64(binary.BigEndian.Uint32(row.key)))
		copied += n
		return out.put(path, row.key, row.value)
	})
	if err != nil || copied == 0 {
		return err
	}
	s.r.Copied.Reservations += copied
	return out.sequence(path, last)
}

// only is a value of the newest tree alone.
func (s *salvage) only(value []byte) [][]byte {
	values := make([][]byte, len(s.trees))
	values[0] = value
	return values
}

// copyEvents copies the rows of the log that decode. Behind a gap they are numbered
// anew, since numbers follow each other.
func (s *salvage) copyEvents(out *salvageWriter) error {
	bucket := string(bucketEvent)
	rows := map[string][]byte{}
	newest := uint64(0)
	for i := range s.trees {
		newest = max(newest, sequenceOf(s.dirs[i][bucket]))
	}
	err := s.each(bucket, func(row wreckRow, _ int) error {
		var in eventReader
		p, err := splitEventKey(row.key)
		if err == nil {
			err = in.read(row.key, row.value)
		}
		if err != nil || in.count == 0 || p.Number == 0 || p.Number > newest {
			s.bad(bucket, row.key, err)
			return nil
		}
		rows[string(row.key)] = row.value
		return nil
	})
	if err != nil || newest == 0 {
		return err
	}
	next, mark := uint64(0), int64(0)
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		p, _ := splitEventKey([]byte(k)) // it was split before
		row, count := rows[k], uint64(binary.BigEndian.Uint16(rows[k][1:]))
		if next == 0 {
			next = p.Number
		}
		if p.Mark < mark {
			continue
		}
		mark = p.Mark
		key := eventKey(Position{p.Mark, next})
		body := bytes.Clone(row[:len(row)-crcSize])
		if err := out.put([][]byte{bucketEvent}, key, appendSum(body, 0, keySum(key))); err != nil {
			return err
		}
		next += count
		s.r.Copied.Events += int(count)
	}
	if next == 0 {
		next = newest + 1
	}
	return out.sequence([][]byte{bucketEvent}, next-1)
}

// copyApp copies the caller's own buckets. They bear no checksums: what is damaged
// in a page that looks sound, nobody can tell, but for keys out of order.
func (s *salvage) copyApp(out *salvageWriter) error {
	for i, t := range s.trees {
		if value := s.dirs[i][string(bucketApp)]; value != nil {
			return s.copyNested(out, t, [][]byte{bucketApp}, value)
		}
	}
	return nil
}

// maxNesting bounds the depth of buckets in buckets: the caller's are of one level.
const maxNesting = 4

func (s *salvage) copyNested(out *salvageWriter, t *wreckTree, path [][]byte, value []byte) error {
	if _, err := out.in(path); err != nil {
		return err
	}
	var nested []wreckRow
	before := len(t.lost)
	var order keyOrder
	whole, err := t.nested(value, func(row wreckRow) error {
		if err := s.meter.add(int64(len(row.key) + len(row.value))); err != nil {
			return err
		}
		if _, ok := order.next(row.key, 0); !ok {
			s.bad(string(bucketApp), row.key, errKeyOrder)
		}
		switch {
		case row.bucket && len(path) < maxNesting:
			nested = append(nested, row)
			return nil
		case row.bucket || len(path) == 1 || len(row.key) > MaxKey:
			s.bad(string(bucketApp), row.key, errKind)
			return nil
		}
		s.r.Copied.AppKeys++
		return out.put(path, row.key, row.value)
	})
	if !whole && err == nil {
		s.lose(string(bucketApp), "%d pages of %q could not be read", max(1, len(t.lost)-before), path[len(path)-1])
	}
	for _, row := range nested {
		if err == nil {
			err = s.copyNested(out, t, append(path[:len(path):len(path)], row.key), row.value)
		}
	}
	if err == nil {
		err = out.sequence(path, sequenceOf(value))
	}
	return err
}
