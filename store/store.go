package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// FormatVersion is the newest version of the layout that this package knows. A file
// with a newer one is refused. One with an older one is read, and gets version 4
// with the first commit. Only what was imported makes it version 5.
const (
	FormatVersion = 5
	plainVersion  = 4
)

const (
	segmentBits = 12
	segmentSize = 1 << segmentBits // 4,096: dropping one stalls about 4 ms, 16,384 would stall 13
)

// Names of the buckets.
var (
	bucketMeta      = []byte("meta")
	bucketJournal   = []byte("journal")
	bucketTombstone = []byte("tombstone")
	bucketOverlay   = []byte("overlay")
	bucketApp       = []byte("app")    // made when it is first used
	bucketObject    = []byte("object") // the same
	bucketDedup     = []byte("dedup")  // the same
	bucketEvent     = []byte("event")  // the same
)

// Table is one of the two segment stores.
type Table uint8

// The segment stores.
const (
	Live Table = iota // messages
	Dead              // dead letters
	tables
)

// tableNames are the buckets of the tables.
var tableNames = [tables]struct{ record, body, bitmap []byte }{
	Live: {[]byte("record"), []byte("body"), []byte("bitmap")},
	Dead: {[]byte("dead.record"), []byte("dead.body"), []byte("dead.bitmap")},
}

// Keys in the bucket meta, which stays under 1 kB and so inline in the root
// page.
var (
	keyFormat = []byte("format")
	keySecret = []byte("key")
	keyHead   = []byte("head")
	keyClean  = []byte("clean")
)

// Options configure a Store. The zero value of a field means its default.
type Options struct {
	// NoSync leaves writing to the operating system: for tests. A crash of the
	// machine can lose the whole file.
	NoSync bool
	// LockTimeout is how long Open waits for the file. Default 100 ms.
	LockTimeout time.Duration
	// MaxSize is the largest file in bytes. Default none; 2 GB on 32-bit.
	MaxSize int64
	// Reserve is room that only essential writes may use, so that deliveries
	// and cancellations go on when the file is full. Default 8 MiB.
	Reserve int64
	// MinFoldState is how many bytes of retries, claims, due times and holds
	// the journal must have before folding them pays. Default 4 MiB.
	MinFoldState int64
	// SealBytes is how many bytes of rows the newest segment takes before the
	// next commit begins another, though it has numbers left: until then nothing
	// of it can be given back. Default 16 MiB.
	SealBytes int64
	// Random is where a new file has its key from. Default crypto/rand.
	Random io.Reader
	// BeforeCommit and AfterCommit are seams for tests: an error from the
	// first fails a commit before anything is written, one from the second
	// after everything is.
	BeforeCommit, AfterCommit func() error
	// BeforeGrow is one too: an error is that of a disk which has no room for a
	// file of that size.
	BeforeGrow func(size int64) error
	// DuringBackup is called while the transaction of a backup is open.
	DuringBackup func()
}

// Head is where numbering stands. It is part of every commit that publishes.
type Head struct {
	NextSeq     uint64 // of the next message
	NextDead    uint64 // of the next dead letter
	LastCreated int64  // ms: creation time of the newest message
}

// Store is an open file. Begin and its transactions belong to one goroutine;
// everything else is safe for concurrent use.
type Store struct {
	db    *bolt.DB
	file  *os.File // bbolt's own handle, to extend the file
	path  string
	opts  Options
	key   [16]byte
	clean bool // the file was closed cleanly before this open
	// readOnly: of Examine, which has opened the file and closes it.
	readOnly bool
	// told, if it is not nil, is told the bytes that a check before the open and
	// Load read, and may end them.
	told func(bytes int64) error

	pageSize int64

	failed  atomic.Pointer[error]
	closed  atomic.Bool
	stuck   atomic.Bool  // bbolt has panicked and may hold its locks
	readers sync.RWMutex // held shared while bbolt is read; alone to close it
	head    Head         // of the writer
	format  uint64       // version in the file, of the writer

	mu        sync.Mutex // guards what follows, which Stats reads
	segments  [tables]map[uint64]*segment
	requested requests // open cancellation requests by message
	sizes     sizes
	held      int64      // bytes of the file in use when the last transaction began
	full      bool       // the last publish was refused
	log       logState   // of events
	folding   *stateFold // of the writer

	// folded is the last row that is in the bitmaps of each set that is being
	// folded. It belongs to the writer.
	folded map[[16]byte][]byte
}

// segment is what memory knows of a segment, to find candidates for the sweep;
// the sweep itself trusts only the file.
type segment struct {
	stored, dead int
	bytes        int64 // of its rows; after an open only that of the newest
	large        bool  // too much lives in it to be copied
	refused      bool  // there was no room for the copy
}

// sizes are what Stats and the decision to fold need.
type sizes struct {
	rows         int   // stored in both tables, dead or not
	foldable     int   // numbers in finish rows of the journal
	journalState int64 // bytes of retries, claims, due times and holds
	overlay      int64 // bytes of overlay rows
}

// Head returns where numbering stands. It belongs to the writer, and moves by
// itself, see Options.SealBytes: after each commit, and when Begin or Room has
// returned ErrFull.
func (s *Store) Head() Head { return s.head }

// Key returns the random key of the file. It never changes.
func (s *Store) Key() [16]byte { return s.key }

// Clean reports whether the file had been closed cleanly before this open.
func (s *Store) Clean() bool { return s.clean }

// Err returns ErrFailed with its cause after a commit has failed, and nil
// before.
func (s *Store) Err() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fail closes the store for writing: the outcome of a commit is unknown.
func (s *Store) fail(cause error) error {
	if errors.Is(cause, ErrFailed) {
		return cause
	}
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	s.failed.CompareAndSwap(nil, &err)
	return err
}

// Close makes the freelist durable, so that the next open need not look for
// free pages, notes that the end was clean, and lets go of the file. After a
// failure it writes nothing. A second Close returns ErrClosed.
func (s *Store) Close() error { return s.end(s.closeCleanly) }

// Abandon is Close without a last commit: the file stays as it is, also one
// whose end was not clean before. It is for a file that turns out to be damaged
// after Open.
func (s *Store) Abandon() error { return s.end(func() error { return nil }) }

// end closes the store after its last commit.
func (s *Store) end(last func() error) error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	err := s.Err()
	if err == nil {
		err = last()
	}
	if closeErr := s.letGo(); err == nil {
		err = closeErr
	}
	return err
}

// reading keeps the file open until done is called; ErrClosed once Close has
// begun. Whoever holds it must not ask for it again: a Close in between would
// wait for the first, and the second for the Close.
func (s *Store) reading() (done func(), err error) {
	s.readers.RLock()
	if s.closed.Load() {
		s.readers.RUnlock()
		return nil, ErrClosed
	}
	return s.readers.RUnlock, nil
}

// closeCleanly is the one commit that syncs the freelist: in every commit it
// would cost, and without it the next open reads every page header.
func (s *Store) closeCleanly() error {
	s.db.NoFreelistSync = false
	tx, err := s.begin(true)
	if err != nil {
		return err
	}
	defer s.rollback(tx)
	err = guarded(func() error {
		if err := tx.Bucket(bucketMeta).Put(keyClean, []byte{1}); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err != nil {
		return err
	}
	if s.opts.NoSync {
		return s.db.Sync()
	}
	return nil
}

// rollback ends a transaction unless it has been committed.
func rollback(tx *bolt.Tx) { _ = tx.Rollback() }

func seqKey(n uint64) []byte {
	var k [8]byte
	binary.BigEndian.PutUint64(k[:], n)
	return k[:]
}

func offsetKey(seq uint64) [2]byte {
	var k [2]byte
	binary.BigEndian.PutUint16(k[:], uint16(seq&(segmentSize-1)))
	return k
}

func encodeHead(h Head) []byte {
	row := binary.AppendUvarint(nil, h.NextSeq)
	row = binary.AppendUvarint(row, h.NextDead)
	row = binary.AppendVarint(row, h.LastCreated)
	return appendSum(row, 0, 0)
}

func decodeHead(row []byte) (Head, error) {
	body, err := checkSum(0, row)
	if err != nil {
		return Head{}, err
	}
	in := reader{row: body}
	h := Head{in.uint(), in.uint(), in.int()}
	return h, in.err
}
