package store

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Bound is the most that a transaction will write, for Begin to make room.
type Bound struct {
	Rows  int
	Bytes int64
	// Essential writes may use the reserve: finishes, cancellations, upkeep.
	Essential bool
}

// Tx is the one write transaction. Rows that are put must stay untouched until
// Commit or Rollback.
type Tx struct {
	s      *Store
	tx     *bolt.Tx
	number uint64
	head   Head
	nested map[nestedKey]*bolt.Bucket
	stored [tables]map[uint64]stored // by segment
	parts  map[byte]int              // rows of the journal, by kind
	large  large                     // values of the caller's own buckets
	log    eventWriter
	key    [4]byte  // of the row that is being put, of which bbolt makes a copy
	after  []func() // what memory learns once the commit is durable
	wrote  time.Duration

	foreign bool // rows that version 4 does not know
}

// stored is what was put into a segment.
type stored struct {
	rows  int
	bytes int64
}

type nestedKey struct {
	parent  string
	segment uint64
}

// Begin makes room in the file for bound and starts the write transaction. It
// returns ErrFull, before bbolt is reached, when there is none; ErrFailed
// after a failure; ErrClosed.
func (s *Store) Begin(bound Bound) (*Tx, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if s.readOnly {
		return nil, ErrReadOnly
	}
	if err := s.makeRoom(bound); err != nil {
		return nil, err
	}
	tx, err := s.begin(true)
	if err != nil {
		return nil, err
	}
	return &Tx{
		s: s, tx: tx, head: s.head, nested: map[nestedKey]*bolt.Bucket{}, parts: map[byte]int{}, large: large{page: s.pageSize},
	}, nil
}

// Commit makes the transaction durable. Any error means that the outcome is
// unknown: the store has failed. After a page that could not be read it commits
// nothing.
func (t *Tx) Commit() error {
	s := t.s
	if err := s.Err(); err != nil {
		return err
	}
	if err := t.guard(t.writeMeta); err != nil {
		return err
	}
	if s.opts.BeforeCommit != nil {
		if err := s.opts.BeforeCommit(); err != nil {
			t.Rollback()
			return s.fail(err)
		}
	}
	err := t.guard(t.tx.Commit)
	if err == nil && s.opts.AfterCommit != nil {
		err = s.opts.AfterCommit()
	}
	if err != nil {
		return s.fail(err)
	}
	stats := t.tx.Stats()
	t.wrote = stats.GetWriteTime()
	t.learnt()
	return nil
}

// WriteTime returns how long the commit has written to the disk, syncs included.
func (t *Tx) WriteTime() time.Duration { return t.wrote }

// learnt brings memory up to the commit.
func (t *Tx) learnt() {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = t.head
	for tab := range t.stored {
		for n, sum := range t.stored[tab] {
			seg := s.segment(Table(tab), n)
			seg.stored += sum.rows
			seg.bytes += sum.bytes
			s.sizes.rows += sum.rows
		}
	}
	for _, learn := range t.after {
		learn()
	}
	s.seal(s.opts.sealBytes())
}

// writeMeta writes what every commit may have to say of the file.
func (t *Tx) writeMeta() error {
	if err := t.flushLog(); err != nil {
		return err
	}
	if err := t.dropClean(); err != nil {
		return err
	}
	return t.raiseFormat()
}

// dropClean deletes the mark of a clean end in the first commit after it.
func (t *Tx) dropClean() error {
	meta := t.tx.Bucket(bucketMeta)
	if meta.Get(keyClean) == nil {
		return nil
	}
	return meta.Delete(keyClean)
}

// raiseFormat keeps older code away from what this commit may hold.
func (t *Tx) raiseFormat() error {
	version := uint64(plainVersion)
	if t.foreign {
		version = FormatVersion
	}
	if t.s.format >= version {
		return nil
	}
	t.learn(func() { t.s.format = version })
	return writeFormat(t.tx.Bucket(bucketMeta), version)
}

// Rollback ends the transaction without a trace. After Commit it does nothing.
func (t *Tx) Rollback() { t.s.rollback(t.tx) }

// Number returns the number of this commit. Rows of the journal and records of
// operations carry it and are replayed in its order.
func (t *Tx) Number() uint64 {
	if t.number == 0 {
		t.number, _ = t.tx.Bucket(bucketJournal).NextSequence() // fails only in read transactions
	}
	return t.number
}

// SetHead moves the numbering on with this commit.
func (t *Tx) SetHead(h Head) error {
	t.head = h
	return t.guard(func() error { return t.tx.Bucket(bucketMeta).Put(keyHead, encodeHead(h)) })
}

// Put stores a message: its sealed record and its body. It is durable after
// Commit.
func (t *Tx) Put(tab Table, seq uint64, record, body []byte) error {
	if len(record) > MaxRecord {
		return fmt.Errorf("record of %d bytes is over the limit of %d", len(record), MaxRecord)
	}
	return t.guard(func() error { return t.put(tab, seq, record, body) })
}

// PutForeign is Put for a row that SealForeign has sealed, which code that knows
// version 4 only cannot read: the file becomes one of version 5.
func (t *Tx) PutForeign(tab Table, seq uint64, record, body []byte) error {
	t.foreign = true
	return t.Put(tab, seq, record, body)
}

func (t *Tx) put(tab Table, seq uint64, record, body []byte) error {
	names := &tableNames[tab]
	rows, err := t.segmentBucket(names.record, seq)
	if err != nil {
		return err
	}
	offset := offsetKey(seq)
	copy(t.key[:], offset[:])
	if err := rows.Put(t.key[:len(offset)], record); err != nil {
		return err
	}
	bodies, err := t.segmentBucket(names.body, seq)
	if err != nil {
		return err
	}
	if t.stored[tab] == nil {
		t.stored[tab] = map[uint64]stored{}
	}
	sum := t.stored[tab][seq>>segmentBits]
	t.stored[tab][seq>>segmentBits] = stored{sum.rows + 1, sum.bytes + int64(len(record)+len(body))}
	return t.putBody(bodies, body)
}

// putBody cuts a body into rows that fit a page. Their keys begin like that of
// the record.
func (t *Tx) putBody(b *bolt.Bucket, body []byte) error {
	for part := uint16(0); ; part++ {
		binary.BigEndian.PutUint16(t.key[2:], part)
		n := min(len(body), maxRow)
		if err := b.Put(t.key[:], body[:n:n]); err != nil {
			return err
		}
		if body = body[n:]; len(body) == 0 {
			return nil
		}
	}
}

// segmentBucket returns the nested bucket of a segment, making it if need be.
func (t *Tx) segmentBucket(parent []byte, seq uint64) (*bolt.Bucket, error) {
	// Spelled out, the key of a map makes no string.
	if b := t.nested[nestedKey{string(parent), seq >> segmentBits}]; b != nil {
		return b, nil
	}
	b, err := t.tx.Bucket(parent).CreateBucketIfNotExists(seqKey(seq >> segmentBits))
	if err != nil {
		return nil, err
	}
	// Numbers only rise, so pages can be filled: the default of 0.5 doubles
	// the file. bbolt forgets it after each transaction.
	b.FillPercent = 0.95
	t.nested[nestedKey{string(parent), seq >> segmentBits}] = b
	return b, nil
}

// learn runs fn under the store's lock once the commit is durable.
func (t *Tx) learn(fn func()) { t.after = append(t.after, fn) }

// segment returns what memory knows of a segment. The lock is held.
func (s *Store) segment(tab Table, n uint64) *segment {
	seg := s.segments[tab][n]
	if seg == nil {
		seg = &segment{}
		s.segments[tab][n] = seg
	}
	return seg
}

// View runs fn in a read transaction, which sees the last commit. fn must not
// block: a writer that has to grow its map waits for it. A page that cannot be
// read, because the file was damaged since it was opened, is a *CorruptError.
func (s *Store) View(fn func(*View) error) error {
	done, err := s.reading()
	if err != nil {
		return err
	}
	defer done()
	tx, err := s.begin(false)
	if err != nil {
		return err
	}
	defer s.rollback(tx)
	return guarded(func() error { return fn(&View{tx: tx}) })
}

// View is a read transaction.
type View struct {
	tx   *bolt.Tx
	last [2 * tables]struct {
		segment uint64
		bucket  *bolt.Bucket
	}
}

// Record returns the record row of a message, nil if there is none. It is
// valid until the View ends.
func (v *View) Record(tab Table, seq uint64) ([]byte, error) {
	b := v.bucket(int(tab)*2, tableNames[tab].record, seq)
	if b == nil {
		return nil, nil
	}
	key := offsetKey(seq)
	return b.Get(key[:]), nil
}

// Body returns the body row of a message, nil if there is none. It is valid
// until the View ends.
func (v *View) Body(tab Table, seq uint64) ([]byte, error) {
	b := v.bucket(int(tab)*2+1, tableNames[tab].body, seq)
	if b == nil {
		return nil, nil
	}
	return readBody(b, seq), nil
}

// bucket keeps the last segment of each kind: claims are mostly neighbours.
func (v *View) bucket(slot int, parent []byte, seq uint64) *bolt.Bucket {
	have := &v.last[slot]
	if have.bucket == nil || have.segment != seq>>segmentBits {
		have.segment = seq >> segmentBits
		have.bucket = v.tx.Bucket(parent).Bucket(seqKey(have.segment))
	}
	return have.bucket
}

// readBody joins the parts of a body; one part is returned as it is.
func readBody(b *bolt.Bucket, seq uint64) []byte {
	var from [4]byte
	offset := offsetKey(seq)
	copy(from[:], offset[:])
	c := b.Cursor()
	k, first := c.Seek(from[:])
	if len(k) != 4 || [2]byte(k) != offset {
		return nil
	}
	if len(first) < maxRow {
		return first
	}
	joined := append([]byte(nil), first...)
	for k, part := c.Next(); len(k) == 4 && [2]byte(k) == offset; k, part = c.Next() {
		joined = append(joined, part...)
	}
	return joined
}

// Get returns the rows of a message within the write transaction.
func (t *Tx) Get(tab Table, seq uint64) (record, body []byte, err error) {
	err = t.guard(func() (err error) {
		v := View{tx: t.tx}
		if record, err = v.Record(tab, seq); err == nil && record != nil {
			body, err = v.Body(tab, seq)
		}
		return err
	})
	return record, body, err
}
