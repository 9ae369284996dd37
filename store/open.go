package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const defaultLockTimeout = 100 * time.Millisecond

// Open opens the file at path, or creates it. Nil options are the defaults.
//
// bbolt's own open of a damaged file can panic in a goroutine where nobody can
// catch it, so the file is first opened read-only, and the tree of its pages is
// checked, unless it is large and was closed cleanly. It returns ErrInUse, ErrForeign, ErrVersion,
// ErrReadOnly, a *CorruptError, or an error of the file system; then the file
// is as it was.
func Open(path string, o *Options) (*Store, error) {
	s := newStore(path, o)
	fresh, err := s.inspect(path)
	if err != nil {
		return nil, err
	}
	if err := s.open(path); err != nil {
		return nil, err
	}
	if fresh {
		err = s.create(path)
	} else {
		err = s.readMeta()
	}
	if err != nil {
		_ = s.db.Close() // the first error says what is wrong
		return nil, err
	}
	return s, nil
}

func newStore(path string, o *Options) *Store {
	s := &Store{path: path, opts: o.withDefaults(), requested: requests{}, folded: map[[16]byte][]byte{}}
	for tab := range tables {
		s.segments[tab] = map[uint64]*segment{}
	}
	return s
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = defaultLockTimeout
	}
	if c.Reserve == 0 {
		c.Reserve = defaultReserve
	}
	return c
}

// inspect looks at the file without changing it, and reports whether there is
// none yet, or nothing in it.
func (s *Store) inspect(path string) (fresh bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%w: it is no regular file", ErrForeign)
	case info.Mode().Perm()&0o222 == 0:
		return false, fmt.Errorf("%w: its mode is %v", ErrReadOnly, info.Mode().Perm())
	case info.Size() == 0:
		return true, nil
	}
	if err := checkMagic(path, os.O_RDWR); err != nil {
		return false, err
	}
	err = guarded(func() (err error) {
		fresh, err = s.check(path, info.Size())
		return err
	})
	return fresh && err == nil, err
}

// magic is what the first page of a bbolt file holds behind the page header.
const magic, magicAt = 0xED0CDAED, 16

// checkMagic tells a file that was never bbolt's from a damaged one.
func checkMagic(path string, flag int) error {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return openError(err)
	}
	defer f.Close()
	var head [2]uint32
	for i := range head {
		var word [4]byte
		if _, err := f.ReadAt(word[:], int64(i*os.Getpagesize()+magicAt)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		head[i] = binary.NativeEndian.Uint32(word[:])
	}
	if head[0] != magic && head[1] != magic {
		return ErrForeign
	}
	return nil
}

// check opens the file read-only: its lock, structure and version. It reports
// whether nothing has been stored in it yet.
func (s *Store) check(path string, size int64) (fresh bool, err error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: s.opts.LockTimeout, ReadOnly: true})
	if err != nil {
		return false, openError(err)
	}
	defer db.Close()
	if err := checkFile(path, size, s.told); err != nil {
		return false, err
	}
	tx, err := db.Begin(false)
	if err != nil {
		return false, err
	}
	defer rollback(tx)
	if tx.Size() > size {
		return false, &CorruptError{Err: fmt.Errorf("%d bytes are missing at the end", tx.Size()-size)}
	}
	if untouched(tx) {
		return true, nil
	}
	if err := checkFormat(tx); err != nil {
		return false, err
	}
	s.clean = tx.Bucket(bucketMeta).Get(keyClean) != nil
	return false, nil
}

// untouched tells a file to which nothing was ever committed: whoever created
// it was killed before. bbolt starts a file with transactions 0 and 1. A file
// that was cut short within the four pages of this start is refused as
// damaged: to begin anew it would have to be emptied, perhaps under the hands
// of a process that is just creating it.
func untouched(tx *bolt.Tx) bool {
	first, _ := tx.Cursor().First()
	return first == nil && tx.ID() <= 1
}

// largeFile is the size in bytes from which on a file would not stay in
// memory; 0 if that is unknown.
var largeFile = memorySize() / 2

// checkFile reads the file once in order, and checks its pages, while the lock
// is held. A large file is not read ahead, and is checked only after an
// unclean end, when it does not list its free pages: then bbolt searches all
// of it, in a goroutine whose panic nobody could catch. reading, which may be nil,
// is told the bytes of both passes, and may end them.
func checkFile(path string, size int64, reading func(bytes int64) error) error {
	f, err := os.Open(path)
	if err != nil {
		return openError(err)
	}
	defer f.Close()
	l, err := readLayout(f)
	if err != nil {
		return &CorruptError{Err: err}
	}
	if large := largeFile > 0 && size > largeFile; !large {
		err = readAhead(f, reading)
	} else if l.freelist != noFreelist {
		return nil
	}
	if err != nil {
		return err
	}
	return checkStructure(f, size, reading)
}

// readAhead reads the file once in order: bbolt's map is read at random, page
// by page, and a cold open of 0.9 GB took 29 s instead of half a second.
func readAhead(f *os.File, reading func(bytes int64) error) error {
	_, err := io.CopyBuffer(io.Discard, toldReader{f, reading}, make([]byte, 1<<20))
	return err
}

// toldReader tells how much was read.
type toldReader struct {
	r       io.Reader
	reading func(bytes int64) error // may be nil
}

func (r toldReader) Read(p []byte) (n int, err error) {
	n, err = r.r.Read(p)
	if r.reading != nil && err == nil {
		err = r.reading(int64(n))
	}
	return n, err
}

// checkFormat makes sure that the file is Recall's and not newer than us.
func checkFormat(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return ErrForeign
	}
	version, err := readFormat(meta)
	if err != nil {
		return err
	}
	if version > FormatVersion {
		return fmt.Errorf("%w: %d; this Recall reads up to %d", ErrVersion, version, FormatVersion)
	}
	for _, name := range allBuckets() {
		if tx.Bucket(name) == nil {
			return corrupt(string(name), nil, errors.New("bucket is missing"))
		}
	}
	return nil
}

func readFormat(meta *bolt.Bucket) (uint64, error) {
	row, err := checkSum(0, meta.Get(keyFormat))
	if err != nil {
		return 0, corrupt("meta", keyFormat, err)
	}
	in := reader{row: row}
	version := in.uint()
	if in.err != nil || version == 0 {
		return 0, corrupt("meta", keyFormat, errShort)
	}
	return version, nil
}

// writeFormat gives the file a version.
func writeFormat(meta *bolt.Bucket, version uint64) error {
	return meta.Put(keyFormat, appendSum(binary.AppendUvarint(nil, version), 0, 0))
}

func allBuckets() [][]byte {
	list := [][]byte{bucketMeta, bucketJournal, bucketTombstone, bucketOverlay}
	for _, n := range tableNames {
		list = append(list, n.record, n.body, n.bitmap)
	}
	return list
}

// openError gives bbolt's reasons the names of this package.
func openError(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrInUse
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case err == nil, isSystem(err):
		return err
	}
	return &CorruptError{Err: err} // bbolt does not like what is in the file
}

// isSystem tells an error of the operating system from one about the content.
func isSystem(err error) bool {
	var path *fs.PathError
	var number syscall.Errno
	return errors.As(err, &path) || errors.As(err, &number)
}

// open is the real one. What the walk has not noticed, such as a page that two
// others point to, bbolt may meet while it looks for free pages: its panic
// leaves the file open, and with it the lock.
func (s *Store) open(path string) error {
	err := guarded(func() error { return s.openDB(path) })
	if err != nil && s.file != nil {
		unlock(s.file) // in most cases it is closed already
		_ = s.file.Close()
	}
	return err
}

func (s *Store) openDB(path string) error {
	reserve := mapReserve(path)
	err := s.openMapped(path, reserve)
	if reserve > 0 && errors.Is(err, syscall.ENOMEM) { // the process may not have so much address space
		err = s.openMapped(path, 0)
	}
	if err != nil {
		return openError(err)
	}
	if err := s.stillThere(path); err != nil {
		return errors.Join(err, s.db.Close())
	}
	s.db.AllocSize = 0                       // with a long map bbolt would make the file longer by that
	s.pageSize = int64(s.db.Info().PageSize) // later it would race with a commit that moves the map
	return nil
}

// stillThere makes sure that the file is the one of that name: while Open waited
// for its lock, Compact may have put another in its place.
func (s *Store) stillThere(path string) error {
	named, err := os.Stat(path)
	if err != nil {
		return err
	}
	ours, err := s.file.Stat()
	if err == nil && !os.SameFile(named, ours) {
		err = fmt.Errorf("%w: another has taken its place meanwhile", ErrInUse)
	}
	return err
}

// mapHeadroom is how much longer than the file its map is, in address space that
// takes no memory: bbolt has to wait for all readers before it moves the map, and
// a backup is a reader for as long as its copy takes.
const mapHeadroom = 16 << 30

// mapReserve is how long the map of a file is made. Windows makes the file as
// long as its map, and 32 bits have no room.
func mapReserve(path string) int {
	if strconv.IntSize == 32 || runtime.GOOS == "windows" {
		return 0
	}
	size := int64(0)
	if info, err := os.Stat(path); err == nil {
		size = info.Size()
	}
	return int(size + mapHeadroom)
}

// openMapped opens the file with a map of at least so many bytes.
func (s *Store) openMapped(path string, reserve int) (err error) {
	s.db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         s.opts.LockTimeout,
		InitialMmapSize: reserve,
		// bbolt's default list of free pages is an array that is searched from
		// its start: it degrades badly once a large file is fragmented.
		FreelistType: bolt.FreelistMapType,
		// Writing the list in every commit costs more than the commit. A clean
		// close writes it; after a crash it is found again by a scan.
		NoFreelistSync: true,
		NoSync:         s.opts.NoSync,
		// The file is extended before a transaction needs it: see makeRoom.
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			s.file = f
			return f, err
		},
	})
	return err
}

// create writes the first commit: buckets, version and key, and makes the
// name of the file durable.
func (s *Store) create(path string) error {
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	defer rollback(tx)
	for _, name := range allBuckets() {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	random := s.opts.Random
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, s.key[:]); err != nil {
		return err
	}
	s.head, s.clean, s.format = Head{NextSeq: 1, NextDead: 1}, true, plainVersion
	meta := tx.Bucket(bucketMeta)
	if err := writeFormat(meta, plainVersion); err != nil {
		return err
	}
	for _, kv := range [][2][]byte{{keySecret, appendSum(s.key[:], 0, 0)}, {keyHead, encodeHead(s.head)}} {
		if err := meta.Put(kv[0], kv[1]); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return s.syncDir(filepath.Dir(path))
}

func (s *Store) syncDir(dir string) error {
	if s.opts.NoSync {
		return nil
	}
	return syncDir(dir)
}

func (s *Store) readMeta() error {
	return s.View(func(v *View) error {
		meta := v.tx.Bucket(bucketMeta)
		key, err := checkSum(0, meta.Get(keySecret))
		if err != nil || len(key) != len(s.key) {
			return corrupt("meta", keySecret, errors.Join(err, errShort))
		}
		s.key = [16]byte(key)
		if s.format, err = readFormat(meta); err != nil {
			return err
		}
		s.head, err = decodeHead(meta.Get(keyHead))
		return corrupt("meta", keyHead, err)
	})
}
