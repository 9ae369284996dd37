package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestOutcomeLog: a limit that wrote less than an outcome for each message would be none.
func TestOutcomeLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wal")
	w, err := openLog(path, lingering, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := w.append(bodyPool[:outcomeBytes]); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != 10*(8+outcomeBytes) {
		t.Errorf("the log has %d bytes, %v", info.Size(), err)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

// TestMemoryLimits: each does its work: the messages asked for are looked at.
func TestMemoryLimits(t *testing.T) {
	const n, some = 10_000, 1000
	l := (&bench{}).newLimits()
	for _, limit := range []struct {
		name string
		run  func()
		work uint64 // what it adds up to at least
	}{
		{"lookup", l.lookup, 1},
		{"column", func() { l.column(n, some+1) }, 10 * some / 3},
		{"marks", func() { l.marks(n, some) }, 2 * some},
		{"earliest", func() { l.earliest(n) }, 1},
	} {
		before := worked
		limit.run()
		if did := worked - before; did < limit.work {
			t.Errorf("%s: it adds up to %d, not %d", limit.name, did, limit.work)
		}
	}
	if len(l.values) != 4 {
		t.Errorf("got %v", l.values)
	}
}

// TestShare: pair by pair where there are pairs, and no ratio to nothing.
func TestShare(t *testing.T) {
	b := &bench{report: newReport(machine{}, tiny), out: io.Discard}
	b.report.begin("x", "y")
	limit := &limits{b: b, values: series{10, 20}}
	limit.share("pairs", "per s", bareLog, series{5, 5})
	limit.share("one", "per s", bareLog, series{30})
	limit.share("none", "per s", bareLog, series{0})
	limit.share("none", "per s", bareLog, nil)
	b.limitOf(0).share("none", "per s", bareLog, series{1})
	rows := b.report.current().Rows
	if len(rows) != 2 || len(rows[0].Ratio) != 2 || rows[0].Ratio[0] != 0.5 || rows[0].Ratio[1] != 0.25 || rows[1].Ratio[0] != 2 {
		t.Errorf("got %d rows, the first with %v", len(rows), rows[0].Ratio)
	}
}
