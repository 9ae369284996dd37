package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// SalvageFuncs know what the store does not.
type SalvageFuncs struct {
	Row    func(tab Table, seq uint64, rec *Record, body *Body) error // what is wrong with a message
	Object func(kind byte, name string, value []byte) error
	Cancel uint8 // Kind of the record that is made for a set whose own is lost
}

// SalvageCounts are numbers of things.
type SalvageCounts struct {
	Messages, DeadLetters, Objects, Operations, Reservations, Events, AppKeys int
}

// Salvaged is what Salvage has found.
type Salvaged struct {
	Copied  SalvageCounts
	Lost    SalvageCounts // that are known to have been there: there may be more in lost pages
	Pages   int           // that could not be read, or only in part
	Numbers [tables][]uint64
	Faults  []Finding // at most 1,000
	Omitted int
	// Doubts say of which messages it is not known whether they are gone.
	Doubts []string
}

// maxNumbers bounds the numbers of lost messages that are kept.
const maxNumbers = 10_000

// Salvage copies everything that can be read in the file at from, of which anything
// may be damaged, into a new file. The first is not changed. It returns ErrForeign
// if there is nothing of ours in it, ErrVersion, ErrInUse, a *CorruptError if the key
// of the ids is lost, an error of the file system – fs.ErrExist if the second file is
// there – or that of ctx; then there is no new file. progress may be nil.
func Salvage(ctx context.Context, from, to string, fn SalvageFuncs, progress func(done, total int64)) (r Salvaged, err error) {
	size, err := regular(from)
	if err != nil {
		return r, err
	}
	f, err := os.Open(from)
	if err != nil {
		return r, err
	}
	defer f.Close()
	if err := lockShared(f); err != nil {
		return r, err
	}
	s := &salvage{wreck: newWreck(f, size), fn: fn, meter: newMeter(ctx, progress, 2*size), r: &r, lostIn: map[string]bool{}}
	if err := s.begin(); err != nil {
		return r, err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return r, err
	}
	if err = out.Close(); err == nil {
		err = s.writeTo(to)
	}
	if err == nil {
		err = syncDir(filepath.Dir(to))
	}
	if err != nil {
		return r, errors.Join(err, os.Remove(to))
	}
	s.meter.finish()
	return r, nil
}

// salvage is one Salvage.
type salvage struct {
	*wreck
	fn     SalvageFuncs
	meter  *meter
	r      *Salvaged
	trees  []*wreckTree
	dirs   []map[string][]byte // the buckets of each tree: the values of their rows
	lostIn map[string]bool     // buckets of which something could not be read
	behind bool                // of the newest commit, which may be lost

	meta     map[string][]byte
	head     Head
	headLost bool
	commits  uint64
	dead     [tables]map[uint64]*bitset // by bitmaps, journal and folded sets
	stale    [tables]map[uint64]*bitset // of dead, what only older pages say
	passed   [tables][]uint64           // that decode, and are not copied for that
	bitmaps  [tables]map[uint64]bool    // of the newest tree that could be read
	highest  [tables]uint64
	ops      *salvagedOps
	state    map[string][]byte // rows of the journal about messages that live
	copied   [tables]map[uint64]*bitset
	missing  [tables]map[uint64]bool // that could not be copied
}

// begin finds the roots, and makes sure that the file is ours and not newer.
func (s *salvage) begin() error {
	if err := s.meter.stage(s.size); err != nil {
		return err
	}
	roots, behind := s.roots()
	for _, root := range roots {
		t, dir := s.tree(root.page), map[string][]byte{}
		whole, err := t.rows(root.page, func(row wreckRow) error {
			if row.bucket {
				dir[string(row.key)] = row.value
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !whole && len(s.trees) == 0 {
			s.lose("", "the list of buckets is damaged")
		}
		s.trees, s.dirs = append(s.trees, t), append(s.dirs, dir)
	}
	if len(s.trees) == 0 {
		return fmt.Errorf("%w, or nothing of it is left", ErrForeign)
	}
	if s.behind = behind; behind {
		s.fault(FindingPage, "", "", "a meta page, or the root of the newest commit, is damaged")
		s.doubt("the newest commit may be lost: what it says was delivered or cancelled may be delivered")
	}
	for _, name := range allBuckets() {
		if s.dirs[0][string(name)] == nil {
			s.lose(string(name), "the bucket is missing")
		}
	}
	return s.readMeta()
}

// lose notes that something of a bucket could not be read.
func (s *salvage) lose(bucket, format string, args ...any) {
	s.lostIn[bucket] = true
	s.fault(FindingPage, bucket, "", format, args...)
}

func (s *salvage) fault(kind FindingKind, bucket, key, format string, args ...any) {
	if len(s.r.Faults) == maxFindings {
		s.r.Omitted++
		return
	}
	s.r.Faults = append(s.r.Faults, Finding{kind, place(bucket, key), fmt.Sprintf(format, args...)})
}

// bad notes a row that does not decode.
func (s *salvage) bad(bucket string, key []byte, err error) {
	s.lostIn[bucket] = true
	s.fault(FindingRow, bucket, fmt.Sprintf("%x", key), "%v", err)
}

func (s *salvage) doubt(format string, args ...any) {
	if len(s.r.Doubts) < maxFindings {
		s.r.Doubts = append(s.r.Doubts, fmt.Sprintf(format, args...))
	}
}

// each visits the rows of a bucket of the newest tree, and where some of them could
// not be read, also those that only the commit before has.
func (s *salvage) each(bucket string, visit func(row wreckRow, tree int) error) error {
	values := make([][]byte, len(s.trees))
	for i := range s.trees {
		values[i] = s.dirs[i][bucket]
	}
	return s.eachIn(bucket, values, func(row wreckRow, tree int) error { return visit(row, tree) })
}

// eachIn does so with the values of one bucket in each tree.
func (s *salvage) eachIn(bucket string, values [][]byte, visit func(row wreckRow, tree int) error) error {
	seen := map[string]bool{}
	for i, t := range s.trees {
		if values[i] == nil {
			continue
		}
		before := len(t.lost)
		whole, err := t.nested(values[i], func(row wreckRow) error {
			if err := s.meter.add(int64(len(row.key) + len(row.value))); err != nil {
				return err
			}
			if i > 0 && seen[string(row.key)] {
				return nil
			}
			if len(s.trees) > 1 && i == 0 {
				seen[string(row.key)] = true
			}
			return visit(row, i)
		})
		if err != nil {
			return err
		}
		if i == 0 && whole {
			return nil
		}
		if i == 0 {
			s.lose(bucket, "%d pages could not be read", max(1, len(t.lost)-before))
		}
	}
	return nil
}

// readMeta takes what every file has.
func (s *salvage) readMeta() error {
	s.meta = map[string][]byte{}
	err := s.each(string(bucketMeta), func(row wreckRow, _ int) error {
		if s.meta[string(row.key)] == nil {
			s.meta[string(row.key)] = row.value
		}
		return nil
	})
	if err != nil {
		return err
	}
	if key, err := checkSum(0, s.meta[string(keySecret)]); err != nil || len(key) != 16 {
		return corrupt(string(bucketMeta), keySecret, errors.New("the key of the ids is lost"))
	}
	if row, err := checkSum(0, s.meta[string(keyFormat)]); err == nil {
		if version, n := binary.Uvarint(row); n > 0 && version > FormatVersion {
			return fmt.Errorf("%w: %d; this Recall reads up to %d", ErrVersion, version, FormatVersion)
		}
	} else {
		s.bad(string(bucketMeta), keyFormat, err)
		s.meta[string(keyFormat)] = appendSum(binary.AppendUvarint(nil, FormatVersion), 0, 0)
	}
	if s.head, err = decodeHead(s.meta[string(keyHead)]); err != nil {
		s.headLost = true
		s.bad(string(bucketMeta), keyHead, err)
	}
	return nil
}

// writeTo reads what says what is gone, then copies the rest. The row of the format
// is written last: without it the new file is no file of ours.
func (s *salvage) writeTo(to string) error {
	db, err := bolt.Open(to, 0o600, &bolt.Options{Timeout: defaultLockTimeout, FreelistType: bolt.FreelistMapType, NoSync: true})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	out := &salvageWriter{bulkWriter{db: db, meter: s.meter}}
	defer out.rollback()
	for _, name := range allBuckets()[1:] {
		if _, err := out.in([][]byte{name}); err != nil {
			return err
		}
	}
	for _, step := range []func() error{
		s.readBitmaps, s.readJournal, s.readOperations, s.readRaw, s.bury, s.readStale,
		func() error { return s.copyTable(out, Live) }, func() error { return s.copyTable(out, Dead) },
		func() error { return s.copyRaw(out) }, func() error { return s.copyBitmaps(out) },
		func() error { return s.copyJournal(out) }, func() error { return s.copyOverlay(out) }, func() error { return s.copyOperations(out) },
		func() error { return s.copyObjects(out) }, func() error { return s.copyReserved(out) },
		func() error { return s.copyEvents(out) }, func() error { return s.copyApp(out) }, func() error { return s.copyMeta(out) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := out.commit(); err != nil {
		return err
	}
	s.r.Pages = len(s.trees[0].lost)
	return finishFile(db, to, nil)
}

// copyMeta goes on with numbers that were never given.
func (s *salvage) copyMeta(out *salvageWriter) error {
	next := [tables]uint64{s.head.NextSeq, s.head.NextDead}
	for tab := range tables {
		next[tab] = max(next[tab], s.highest[tab]+1, 1)
		if s.headLost { // what was behind may be lost, too
			next[tab] = (next[tab]>>segmentBits + 2) << segmentBits
		}
	}
	head := encodeHead(Head{NextSeq: next[Live], NextDead: next[Dead], LastCreated: s.head.LastCreated})
	for _, row := range [][2][]byte{{keyHead, head}, {keySecret, s.meta[string(keySecret)]}, {keyFormat, s.meta[string(keyFormat)]}} {
		if err := out.put([][]byte{bucketMeta}, row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}

// salvageWriter puts row by row.
type salvageWriter struct{ bulkWriter }

func (w *salvageWriter) put(path [][]byte, k, v []byte) error {
	if w.pending > bulkBytes {
		if err := w.commit(); err != nil {
			return err
		}
	}
	b, err := w.in(path)
	if err != nil {
		return err
	}
	w.pending += int64(len(k) + len(v))
	return b.Put(k, v)
}
