package recall_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

func TestReference(t *testing.T) { enginetest.Run(t, referenceHarness) }

// TestEmbedded runs the suite with and without syncs, at the same time: one waits
// for the disk while the other computes.
func TestEmbedded(t *testing.T) {
	for name, d := range map[string]recall.Durability{"SyncNever": recall.SyncNever, "SyncAlways": recall.SyncAlways} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enginetest.Run(t, func(t *testing.T) enginetest.Harness { return fileHarness(t, d) })
		})
	}
}

func referenceHarness(*testing.T) enginetest.Harness {
	r := enginetest.NewReference()
	return enginetest.Harness{
		Engine: r,
		Reopen: func(bool, time.Time) (recall.Engine, error) {
			r = r.Reopen()
			return r, nil
		},
		Another: func() (recall.Engine, error) { return sharedEngine{r}, nil },
		Check:   func() error { return r.Check() },
	}
}

// fileHarness opens the embedded engine on a file of its own. A crash is
// what a copy of the file shows that was taken while the engine was idle.
func fileHarness(t *testing.T, d recall.Durability) enginetest.Harness {
	dir, generation := t.TempDir(), 0
	var stall sync.RWMutex // held while nothing may become durable
	stalled := false
	commit := func() error {
		stall.RLock()
		defer stall.RUnlock()
		return nil
	}
	path := func() string { return filepath.Join(dir, fmt.Sprintf("%d.db", generation)) }
	open := func(now time.Time) (recall.Engine, error) {
		o := &recall.Options{Durability: d, Logger: slog.New(slog.DiscardHandler), Clock: stopped(now)}
		return recall.OpenFaulty(path(), o, commit, nil)
	}
	e, err := open(time.UnixMilli(0))
	if err != nil {
		t.Fatal(err)
	}
	reopen := func(image []byte, now time.Time) (_ recall.Engine, err error) {
		if err := e.Close(); err != nil {
			return nil, err
		}
		if image != nil {
			old := path()
			generation++
			if err := os.WriteFile(path(), image, 0o600); err != nil {
				return nil, err
			}
			if err := os.Remove(old); err != nil {
				return nil, err
			}
		}
		e, err = open(now)
		return e, err
	}
	return enginetest.Harness{
		Engine: e,
		Reopen: func(crash bool, now time.Time) (recall.Engine, error) {
			if !crash {
				return reopen(nil, now)
			}
			if err := recall.Settle(e); err != nil && !errors.Is(err, recall.ErrClosed) {
				return nil, err
			}
			return reopen(quietImage(t, path()), now)
		},
		Stall: func() {
			stall.Lock()
			stalled = true
		},
		Crash: func(now time.Time) (recall.Engine, error) {
			image := quietImage(t, path())
			if stalled {
				stalled = false
				stall.Unlock()
			}
			return reopen(image, now)
		},
		Fold:  func() error { return recall.FoldAll(e) },
		Check: func() error { return recall.CheckInvariants(e, path()) },
	}
}

// stopped is a clock that shows one time: an engine looks at it when it is
// opened.
type stopped time.Time

func (c stopped) Now() time.Time { return time.Time(c) }

func (stopped) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }

// quietImage reads a file while nobody is writing to it: what it reads twice.
func quietImage(t *testing.T, path string) []byte {
	t.Helper()
	var last []byte
	for {
		image, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(image, last) {
			return image
		}
		last = image
	}
}
