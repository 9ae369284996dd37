package parttest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/recallmq/recall/internal/parttest"
)

// recorder is a test that notes how it ended: by the first call, as it goes on
// where a real one stops.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Skip(args ...any)             { r.end("skipped: " + fmt.Sprint(args...)) }
func (r *recorder) Fatalf(f string, args ...any) { r.end("failed: " + fmt.Sprintf(f, args...)) }

func (r *recorder) end(how string) {
	if r.ended == "" {
		r.ended = how
	}
}

// TestNeedTracer has programs in the place of strace.
func TestNeedTracer(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs scripts")
	}
	for _, c := range []struct{ ci, script, want string }{
		{"true", "exit 0", ""},
		{"true", "echo 'strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted' >&2; exit 1", "skipped: this machine forbids"},
		{"true", "echo 'strace: test_ptrace_get_syscall_info: PTRACE_TRACEME: Operation not permitted' >&2; exit 1", "skipped: this machine forbids"},
		{"", "echo 'strace: cannot open q.db: Operation not permitted' >&2; exit 1", "skipped: strace does not work"},
		{"true", "echo 'strace: cannot open q.db: Operation not permitted' >&2; exit 1", "failed: "},
		{"true", "exit 127", "failed: "},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "strace"), []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		t.Setenv("CI", c.ci)
		r := &recorder{TB: t}
		path := parttest.NeedTracer(r)
		if path != filepath.Join(dir, "strace") || !strings.HasPrefix(r.ended, c.want) || c.want == "" && r.ended != "" {
			t.Errorf("CI=%q, %s: got %q and the test %q, want it %q", c.ci, c.script, path, r.ended, c.want)
		}
	}
}

func TestNeed(t *testing.T) {
	for _, c := range []struct{ ci, program, want string }{
		{"", "go", ""},
		{"true", "go", ""},
		{"", "no-such-program", "skipped: "},
		{"0", "no-such-program", "skipped: "},
		{"false", "no-such-program", "skipped: "},
		{"1", "no-such-program", "failed: "},
		{"true", "no-such-program", "failed: "},
	} {
		t.Setenv("CI", c.ci)
		r := &recorder{TB: t}
		path := parttest.Need(r, c.program)
		if (path == "") != (c.want != "") || !strings.HasPrefix(r.ended, c.want) || c.want == "" && r.ended != "" {
			t.Errorf("CI=%q: Need(%q) = %q and the test %q, want it %q", c.ci, c.program, path, r.ended, c.want)
		}
	}
}
