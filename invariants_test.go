package recall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/recallmq/recall/store"
)

func init() {
	onMove = func(from, to phase) {
		if !slices.Contains(moves[from], to) {
			panic(fmt.Sprintf("recall: a message moved from phase %d to %d", from, to))
		}
	}
}

// CheckInvariants holds what an embedded engine has in memory against itself
// and against its file at path. No call to the engine may be under way but
// that of a broker's background. In a closed engine there is nothing to check.
func CheckInvariants(engine Engine, path string) error {
	e := engine.(*embedded)
	// Everything queued is applied first; then the check runs in the committer's
	// place, so the file stands still.
	err := e.submit(context.Background(), flushWork{})
	if err == nil {
		w := &checkWork{path: path}
		if err = e.submit(context.Background(), w); err == nil {
			return w.found
		}
	}
	switch {
	case errors.Is(err, ErrClosed):
		return nil
	case !errors.Is(err, ErrFailed):
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &check{e: e}
	c.memory() // what is in the file is not known
	return errors.Join(c.faults...)
}

// checkWork is a check in the place of a commit.
type checkWork struct {
	path  string
	found error
}

func (*checkWork) bound() store.Bound { return store.Bound{Essential: true} }
func (*checkWork) write(*turn) error  { return nil }

func (w *checkWork) apply(e *embedded) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &check{e: e}
	c.memory()
	c.fileAt(w.path)
	w.found = errors.Join(c.faults...)
}

// fileAt compares memory with what an open of the file would find, in a copy. That is
// done while Check has it open; where it has found a damaged body, as some tests want
// it to, it loads nothing, and the copy is opened.
func (c *check) fileAt(path string) {
	copied, err := copyOf(path)
	if err != nil {
		c.fault("copy: %w", err)
		return
	}
	defer os.RemoveAll(filepath.Dir(copied))
	loaded := false
	checking := &fileCheck{also: func(s *store.Store) {
		loaded = true
		c.file(s)
	}}
	report, err := checking.run(context.Background(), copied, nil)
	if err != nil {
		c.fault("Check: %w", err)
	}
	for _, f := range report.Findings {
		if f.Kind != FindingRow || !strings.HasPrefix(f.Where, `bucket "body"`) { // tests damage bodies
			c.fault("Check: %s", f)
		}
	}
	if !loaded {
		c.opened(copied)
	}
}

func (c *check) opened(path string) {
	s, err := store.Open(path, &store.Options{NoSync: true})
	if err != nil {
		c.fault("open: %w", err)
		return
	}
	defer s.Close()
	c.file(s)
}

// usedPart reads what is in use of a file: behind it there may be many MiB that were
// only made ready. bbolt's meta pages say where that begins.
func usedPart(path string) ([]byte, error) {
	const header, pageSizeAt, highAt = 16, 8, 40
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	page, used := int64(os.Getpagesize()), int64(0)
	for _, at := range []int64{0, page} {
		meta := make([]byte, 64)
		if _, err := f.ReadAt(meta, at+header); err != nil {
			return nil, err
		}
		high, size := binary.NativeEndian.Uint64(meta[highAt:]), binary.NativeEndian.Uint32(meta[pageSizeAt:])
		used = max(used, int64(min(high, 1<<40))*int64(size))
	}
	image := make([]byte, min(used, info.Size()))
	_, err = io.ReadFull(f, image)
	return image, err
}

func copyOf(path string) (string, error) {
	image, err := usedPart(path)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "check")
	if err != nil {
		return "", err
	}
	copied := filepath.Join(dir, "q.db")
	return copied, os.WriteFile(copied, image, 0o600)
}
