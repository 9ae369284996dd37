package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	bolt "go.etcd.io/bbolt"
)

// FindingKind groups what can be wrong with a file.
type FindingKind string

// The kinds of findings.
const (
	FindingPage   FindingKind = "page"   // the tree of pages, or the list of free ones
	FindingRow    FindingKind = "row"    // a row that does not decode, or whose checksum does not match
	FindingLink   FindingKind = "link"   // a row that belongs to nothing, or one that is missing
	FindingNumber FindingKind = "number" // numbering, or a count
)

// Finding is one thing that is wrong with a file.
type Finding struct {
	Kind  FindingKind
	Where string // the bucket and key, or the page; "" is the file as a whole
	Text  string
}

// maxFindings bounds how many findings are kept: of a file of which half is gone
// the first ones say enough.
const maxFindings = 1000

// Examination is what Examine has found.
type Examination struct {
	Format     uint64
	FileBytes  int64 // size of the file
	UsedBytes  int64 // up to the highest page in use
	PageSize   int64
	FreePages  int64 // below that
	Segments   int   // of both tables
	Rows       int   // stored in both tables, dead or not
	Events     int   // in the log
	Operations int   // bulk ones
	Findings   []Finding
	Omitted    int // findings beyond those
}

// ExamineFuncs look at what only the caller understands. Any may be nil.
type ExamineFuncs struct {
	// Row is called for every message and dead letter that decodes, also for those
	// that are gone, and returns what is wrong with it. Both are valid until then.
	Row func(tab Table, seq uint64, rec *Record, body *Body) error
	// Object is called for every object.
	Object func(kind byte, name string, value []byte) error
	// Cancel is the Kind of operations whose sets name what they have taken.
	Cancel uint8
	// Load is called with the file, to be read only, if nothing was found.
	Load func(*Store) error
}

// Examine checks everything in the file at path that can be checked, without
// changing anything; also one that may not be written. What is wrong is in the
// Examination. An error says that there was nothing to examine: ErrInUse,
// ErrForeign, ErrVersion, one of the file system, that of ctx, or what Load has
// returned. progress, which may be nil, is told bytes.
func Examine(ctx context.Context, path string, fn ExamineFuncs, progress func(done, total int64)) (x Examination, err error) {
	size, err := regular(path)
	if err != nil || size == 0 { // nothing in it is not damage: Open makes a file of it
		return x, err
	}
	x.FileBytes = size
	if err := checkMagic(path, os.O_RDONLY); err != nil {
		return x, err
	}
	e := &examiner{x: &x, fn: fn, meter: newMeter(ctx, progress, 3*size)}
	if err := guarded(func() error { return e.run(path, size) }); err != nil {
		if !errors.Is(err, ErrCorrupt) {
			return x, err
		}
		e.damage(err)
	}
	if e.oneMeta { // noted last: all else can be looked at by the other
		e.find(FindingPage, "", "one of the two meta pages is damaged: if it was the newer one, the newest commit is lost; "+
			"a crash while it was written leaves the same, and then nothing is")
	}
	e.meter.finish()
	return x, nil
}

// regular returns the size of a file, and an error if it is none.
func regular(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%w: it is no regular file", ErrForeign)
	}
	return info.Size(), nil
}

// examiner is one Examine.
type examiner struct {
	x     *Examination
	fn    ExamineFuncs
	meter *meter
	tx    *bolt.Tx
	head  Head

	bitmaps  [tables]map[uint64]*bitset
	segments [tables]map[uint64]bool
	rec      Record // that is looked at
	body     Body   // and its
	records  int64  // bytes of them in both tables
	commits  uint64 // that are counted
	oneMeta  bool   // of the two meta pages only one is valid
}

func (e *examiner) find(kind FindingKind, where, format string, args ...any) {
	if len(e.x.Findings) == maxFindings {
		e.x.Omitted++
		return
	}
	e.x.Findings = append(e.x.Findings, Finding{kind, where, fmt.Sprintf(format, args...)})
}

// damage notes an error about a row or a page.
func (e *examiner) damage(err error) {
	var at *CorruptError
	if !errors.As(err, &at) {
		e.find(FindingRow, "", "%v", err)
		return
	}
	kind := FindingRow
	if at.Bucket == "" {
		kind = FindingPage
	}
	e.find(kind, place(at.Bucket, at.Key), "%v", at.Err)
}

func place(bucket, key string) string {
	switch {
	case bucket == "":
		return ""
	case key == "":
		return fmt.Sprintf("bucket %q", bucket)
	}
	return fmt.Sprintf("bucket %q, key %s", bucket, key)
}

// sound tells whether nothing was found yet.
func (e *examiner) sound() bool { return len(e.x.Findings) == 0 }

// run holds the file's lock, shared with other readers, until it returns.
func (e *examiner) run(path string, size int64) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: defaultLockTimeout, ReadOnly: true})
	if err != nil {
		return readError(err)
	}
	defer db.Close()
	if err := e.pages(path, size); err != nil || !e.sound() {
		return err
	}
	if e.tx, err = db.Begin(false); err != nil {
		return err
	}
	defer rollback(e.tx)
	if untouched(e.tx) {
		return nil
	}
	if err := checkFormat(e.tx); err != nil {
		return err
	}
	for err := range e.tx.Check() {
		e.find(FindingPage, "", "%v", err)
	}
	if err := e.meter.stage(size); err != nil {
		return err
	}
	if err := e.rows(); err != nil {
		return err
	}
	// Load reads the records twice: to build, and to compare.
	if err := e.meter.scaled(size, 2*e.records); err != nil || !e.sound() || e.fn.Load == nil {
		return err
	}
	return e.build(path, db)
}

// readError is openError for a file that is only read: that it may not be written
// is no matter.
func readError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return openError(err)
}

// pages checks the tree of pages: what bbolt does with a damaged one, nobody could
// stop.
func (e *examiner) pages(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := e.meter.stage(size); err != nil {
		return err
	}
	s := &structure{file: f, reading: e.meter.add, note: func(err error) { e.find(FindingPage, "", "%v", err) }}
	if err := s.check(size); err != nil {
		return err
	}
	e.x.PageSize, e.x.UsedBytes = s.pageSize, int64(s.high)*s.pageSize
	if !e.sound() {
		return nil
	}
	e.oneMeta = !bothMetas(f, s.pageSize)
	if e.x.FreePages = s.free; s.freelist == noFreelist {
		e.x.FreePages = s.unmarked()
	} else if lost := s.unmarked(); lost > 0 {
		e.find(FindingPage, "", "%d pages are neither used nor free", lost)
	}
	return nil
}

// build lets the caller build what an open would.
func (e *examiner) build(path string, db *bolt.DB) error {
	s := newStore(path, nil)
	s.db, s.pageSize, s.readOnly, s.told = db, e.x.PageSize, true, e.meter.add
	s.clean = e.tx.Bucket(bucketMeta).Get(keyClean) != nil
	err := s.readMeta()
	if err == nil {
		err = e.fn.Load(s)
	}
	return err
}
