package recall

import (
	"context"
	"errors"
	"fmt"
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

// fileAt compares memory with what an open of the file would find, in a copy.
func (c *check) fileAt(path string) {
	copied, err := copyOf(path)
	if err != nil {
		c.fault("copy: %w", err)
		return
	}
	defer os.RemoveAll(filepath.Dir(copied))
	report, err := Check(context.Background(), copied, nil)
	if err != nil {
		c.fault("Check: %w", err)
	}
	for _, f := range report.Findings {
		if f.Kind != FindingRow || !strings.HasPrefix(f.Where, `bucket "body"`) { // tests damage bodies
			c.fault("Check: %s", f)
		}
	}
	s, err := store.Open(copied, &store.Options{NoSync: true})
	if err != nil {
		c.fault("open: %w", err)
		return
	}
	defer s.Close()
	c.file(s)
}

func copyOf(path string) (string, error) {
	image, err := os.ReadFile(path)
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
