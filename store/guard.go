package store

import (
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// A page that is damaged while the file is open makes bbolt panic, or is a fault
// when the file has become too short. Both are errors here: they must not end
// the process that has opened the file.

// guarded turns a panic of bbolt over a damaged page, or a fault on a page
// beyond the end of the file, into an error.
func guarded(fn func() error) error {
	_, err := caught(fn)
	return err
}

// caught is guarded, and tells such an error from one that fn has returned.
func caught(fn func() error) (panicked bool, err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			panicked, err = true, &CorruptError{Err: fmt.Errorf("reading a page failed: %v", p)}
		}
	}()
	return false, fn()
}

// guard runs a part of the transaction. After a panic none of it may be
// committed, since bbolt has stopped anywhere: the store has failed.
func (t *Tx) guard(fn func() error) error {
	panicked, err := caught(fn)
	if panicked {
		return t.s.fail(err)
	}
	return err
}

// begin begins a transaction of bbolt.
func (s *Store) begin(writable bool) (tx *bolt.Tx, err error) {
	if s.stuck.Load() {
		return nil, s.Err()
	}
	panicked, err := caught(func() (err error) {
		tx, err = s.db.Begin(writable)
		return err
	})
	if panicked { // both meta pages are damaged
		err = s.fail(err)
		s.stuck.Store(true)
		return nil, err
	}
	return tx, err
}

// rollback ends a transaction unless it has been committed. One that has
// panicked in its commit may do so again.
func (s *Store) rollback(tx *bolt.Tx) {
	if panicked, err := caught(tx.Rollback); panicked {
		_ = s.fail(err) // whoever comes next is told
		s.stuck.Store(true)
	}
}

// letGo closes the file. If bbolt has panicked holding its locks it would wait
// for them for ever: then its map stays until the process ends.
func (s *Store) letGo() error {
	if s.stuck.Load() {
		unlock(s.file)
		return s.file.Close()
	}
	s.readers.Lock()
	defer s.readers.Unlock()
	return s.db.Close()
}
