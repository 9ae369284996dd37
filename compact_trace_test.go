//go:build linux

package recall_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/internal/parttest"
)

const compactTraced = "RECALL_COMPACT_TRACED"

// TestCompactSyncsAccess looks at the system calls of a process: who may open the
// copy is settled before its last sync, and that before the rename. Otherwise the file
// could have, after a power cut, another mode or owner than before.
func TestCompactSyncsAccess(t *testing.T) {
	strace := parttest.NeedTracer(t)
	dir := t.TempDir()
	path, trace := filepath.Join(dir, "q.db"), filepath.Join(dir, "trace")
	closeNow(t, openQuiet(t, path), t.Context())
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, strace, "-f", "-y", "-o", trace,
		"-e", "trace=write,pwrite64,ftruncate,chmod,fchmod,fchmodat,chown,fchown,fchownat,fsync,fdatasync,rename,renameat,renameat2",
		os.Args[0], "-test.run", "^TestCompactTracedChild$")
	child.Env = append(os.Environ(), compactTraced+"="+path)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	checkAccessTrace(t, string(text), os.Geteuid() == 0)
}

// TestCompactTracedChild is the process that is traced.
func TestCompactTracedChild(t *testing.T) {
	path := os.Getenv(compactTraced)
	if path == "" {
		t.Skip("a part of TestCompactSyncsAccess")
	}
	if _, err := recall.Compact(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
}

// checkAccessTrace goes through the calls about the copy.
func checkAccessTrace(t *testing.T, text string, owner bool) {
	t.Helper()
	seen := map[string]int{} // line of the last call of each kind
	for i, line := range strings.Split(text, "\n") {
		if !strings.Contains(line, ".compacting") {
			continue
		}
		for kind, names := range map[string][]string{
			"mode": {"chmod(", "fchmod(", "fchmodat("}, "owner": {"chown(", "fchown(", "fchownat("},
			"change": {"chmod(", "chown(", "write(", "pwrite64(", "ftruncate(", "fchmodat(", "fchownat("},
			"sync":   {"fsync(", "fdatasync("}, "rename": {"rename(", "renameat(", "renameat2("},
		} {
			for _, name := range names {
				if strings.Contains(line, name) {
					seen[kind] = i + 1
				}
			}
		}
	}
	if seen["mode"] == 0 || seen["rename"] == 0 || owner && seen["owner"] == 0 {
		t.Fatalf("calls are missing: %v in\n%s", seen, text)
	}
	if seen["sync"] < seen["change"] || seen["rename"] < seen["sync"] {
		t.Errorf("the last change is in line %d, the sync in %d, the rename in %d:\n%s", seen["change"], seen["sync"], seen["rename"], text)
	}
}
