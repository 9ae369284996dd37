package store

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Room is made between transactions: bbolt grows a file inside a commit, where
// a full disk is an error that leaves the outcome unknown and costs a scan of
// the whole file.

const (
	defaultReserve = 8 << 20
	// overhead is what a commit writes beside its rows: the path from the root
	// to each bucket it touches.
	overhead  = 256 << 10
	firstStep = 1 << 20
	maxStep   = 64 << 20
)

// maxSize32 keeps the file within what a 32-bit process can map.
const maxSize32 = math.MaxInt32 &^ (1<<20 - 1)

func (s *Store) limit() int64 {
	limit := s.opts.MaxSize
	if strconv.IntSize == 32 && (limit == 0 || limit > maxSize32) {
		limit = maxSize32
	}
	return limit
}

// Room makes room for what the transaction has written, if that is more than
// was said at its beginning. bbolt needs it at the commit. ErrFull means that it
// must not be committed.
func (t *Tx) Room(bound Bound) error {
	if err := t.s.Err(); err != nil {
		return err
	}
	bound.Bytes -= t.large.bytes
	return t.s.refuse(bound, t.s.extendFor(bound, t.large.sum()))
}

// makeRoom extends the file so that the transaction finds every page it can
// need either free or already there.
func (s *Store) makeRoom(bound Bound) error {
	err := s.extendFor(bound, 0)
	if errors.Is(err, ErrFull) && s.db.Stats().PendingPageN > 0 {
		// Pages that the last commit gave up are free from the next one on.
		if err = s.emptyCommit(); err == nil {
			err = s.extendFor(bound, 0)
		}
	}
	return s.refuse(bound, err)
}

// refuse notes whether there was room for more than the essential. If not, the
// newest segments are sealed, unless they are small: what fills the file may be
// in them.
func (s *Store) refuse(bound Bound, err error) error {
	if bound.Essential || err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full = err != nil; s.full {
		s.seal(s.opts.sealBytes() / 16)
	}
	return err
}

// extendFor makes the file as long as it has to be for bound, and for so many
// bytes in pages that lie together.
func (s *Store) extendFor(bound Bound, together int64) error {
	need, err := s.need(bound, together)
	if err != nil {
		return err
	}
	if limit := s.limit(); limit > 0 && need > limit {
		return fmt.Errorf("%w: it would exceed %d bytes", ErrFull, limit)
	}
	size, err := s.size()
	if err != nil || size >= need {
		return err
	}
	return s.extend(size, need)
}

// need returns the size of the file that makes room. Free pages may lie far
// apart: what has to lie together is taken to come behind all others.
func (s *Store) need(bound Bound, together int64) (int64, error) {
	used, free, err := s.space()
	s.mu.Lock()
	s.held = used - free
	s.mu.Unlock()
	need := bound.Bytes*2 + int64(bound.Rows)*64 + overhead
	if !bound.Essential {
		need += s.opts.Reserve
	}
	return used + together + max(0, need-free), err
}

func (s *Store) emptyCommit() error {
	tx, err := s.begin(true)
	if err != nil {
		return err
	}
	defer s.rollback(tx)
	if err := guarded(tx.Commit); err != nil {
		return s.fail(err)
	}
	return nil
}

// space returns the high-water mark of the file and the free bytes below it.
func (s *Store) space() (used, free int64, err error) {
	tx, err := s.begin(false)
	if err != nil {
		return 0, 0, err
	}
	used = tx.Size()
	s.rollback(tx)
	return used, int64(s.db.Stats().FreePageN) * s.pageSize, nil
}

func (s *Store) size() (int64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// extend makes the file longer in steps that grow with it, and durable before
// any page beyond the old end is used.
func (s *Store) extend(size, need int64) error {
	step := min(max(firstStep, size), maxStep)
	target := (need + step - 1) / step * step
	if limit := s.limit(); limit > 0 {
		target = max(need, min(target, limit))
	}
	err := s.grow(size, target)
	if err != nil && target > need {
		err = s.grow(size, need)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	if s.opts.NoSync {
		return nil
	}
	return s.file.Sync()
}

func (s *Store) grow(size, target int64) error {
	if s.opts.BeforeGrow != nil {
		if err := s.opts.BeforeGrow(target); err != nil {
			return err
		}
	}
	return extendFile(s.file, size, target)
}
