package postgres_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// TestLockstep tells random stories to the engine on a file and to the one on PostgreSQL,
// which have to say the same.
func TestLockstep(t *testing.T) { enginetest.Lockstep(t, fileHarness, harness) }

// fileHarness is an engine on a file. It is closed in order also where the other one
// crashes: what a crash may do to it the suite of the root asks.
func fileHarness(t *testing.T) enginetest.Harness {
	path := filepath.Join(t.TempDir(), "q.db")
	open := func(now time.Time) (recall.Engine, error) {
		return recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: slog.New(slog.DiscardHandler), Clock: stopped(now)})
	}
	e, err := open(time.UnixMilli(0))
	if err != nil {
		t.Fatal(err)
	}
	return enginetest.Harness{
		Engine: e,
		Reopen: func(_ bool, now time.Time) (_ recall.Engine, err error) {
			if err := e.Close(); err != nil {
				return nil, err
			}
			e, err = open(now)
			return e, err
		},
	}
}

// stopped is a clock that shows one time: an engine looks at it when it is opened.
type stopped time.Time

func (c stopped) Now() time.Time { return time.Time(c) }

func (stopped) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }
