package store

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// Backup writes a copy of the file to w as it is after the last commit, and
// returns how many bytes w has taken. Open opens the copy.
//
// The copy is first made in a temporary file beside the file, within one read
// transaction, and goes to w after that: as long as a read transaction runs, no
// page that commits give up is used again, so a slow w would make the file grow.
func (s *Store) Backup(ctx context.Context, w io.Writer) (n int64, err error) {
	spool, err := newSpool(filepath.Dir(s.path))
	if err != nil {
		return 0, fmt.Errorf("a temporary file for the copy: %w", err)
	}
	defer spool.remove()
	size := int64(0)
	err = s.snapshot(func(tx *bolt.Tx) (err error) {
		size, err = tx.WriteTo(&stoppable{ctx: ctx, to: spool.file})
		return err
	})
	if err != nil {
		return 0, err
	}
	return io.CopyBuffer(&stoppable{ctx: ctx, to: w}, io.NewSectionReader(spool.file, 0, size), make([]byte, 256<<10))
}

// snapshot runs fn in a read transaction.
func (s *Store) snapshot(fn func(*bolt.Tx) error) error {
	return s.View(func(v *View) error {
		if s.opts.DuringBackup != nil {
			s.opts.DuringBackup()
		}
		return fn(v.tx)
	})
}

// stoppable is a writer that ends with a context, before the next write.
type stoppable struct {
	ctx context.Context
	to  io.Writer
}

func (w *stoppable) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.to.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return max(0, min(n, len(p))), err
}

// spool is a temporary file. Where the system allows it, it has no name, and
// goes with the process.
type spool struct{ file *os.File }

func newSpool(dir string) (spool, error) {
	f, err := os.CreateTemp(dir, ".recall-backup-*")
	if err != nil {
		return spool{}, err
	}
	if renameOpen {
		_ = os.Remove(f.Name()) // if that fails, remove does it
	}
	return spool{f}, nil
}

func (s spool) remove() {
	_ = s.file.Close()
	_ = os.Remove(s.file.Name()) // there is nothing left where it had no name
}
