package sdk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// recorder is a test that notes how it ended, and goes on where a real one
// stops.
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

// TestNeedNode has a script in the place of node.
func TestNeedNode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs scripts")
	}
	const old = "the JavaScript SDK needs Node 20 or newer, and this is v18.20.4"
	for _, c := range []struct{ ci, version, want string }{
		{"", "v20.0.0", ""},
		{"", "v100.1.2", ""},
		{"", "v18.20.4", "skipped: " + old},
		{"true", "v18.20.4", "failed: with CI set no part may be missing: " + old},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "node"), []byte("#!/bin/sh\necho "+c.version+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		t.Setenv("CI", c.ci)
		r := &recorder{TB: t}
		if needNode(r); r.ended != c.want {
			t.Errorf("CI=%q, %s: got %q, want %q", c.ci, c.version, r.ended, c.want)
		}
	}
}
