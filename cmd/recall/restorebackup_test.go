//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/recallmq/recall"
)

// inPlace restores a backup without questions.
func inPlace(ctx context.Context, backup, file string) error {
	o := &offline{}
	o.out, o.notes = &bytes.Buffer{}, &bytes.Buffer{}
	return o.restoreBackup(ctx, backup, file, true)
}

// messagesIn are how many wait in a file.
func messagesIn(t *testing.T, file string) int {
	t.Helper()
	report, err := recall.Check(t.Context(), file, nil)
	if err != nil || !report.OK() {
		t.Fatalf("%s: %v, %v", file, report, err)
	}
	return report.Live()
}

// TestReplacesWhatALinkIsTo: the link stays, and the file that it is to, or would be
// to, is the new one.
func TestReplacesWhatALinkIsTo(t *testing.T) {
	backup := fileWith(t, 2)
	dir := t.TempDir()
	for _, there := range []bool{true, false} {
		file, link, hop := filepath.Join(dir, "q.db"), filepath.Join(dir, "link.db"), filepath.Join(dir, "hop.db")
		_ = os.Remove(file) // it is there the second time
		if there {
			if err := os.Rename(fileWith(t, 5), file); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Symlink("hop.db", link), os.Symlink(file, hop)); err != nil {
				t.Fatal(err)
			}
		}
		if err := inPlace(t.Context(), backup, link); err != nil {
			t.Fatal(err)
		}
		for _, l := range []string{link, hop} {
			if info, err := os.Lstat(l); err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("there: %v: %s is no link: %v, %v", there, l, info, err)
			}
		}
		if n := messagesIn(t, file); n != 2 {
			t.Errorf("there: %v: %d messages", there, n)
		}
	}
	loop := filepath.Join(dir, "loop.db")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	if err := inPlace(t.Context(), backup, loop); err == nil {
		t.Error("a link to itself was replaced")
	}
	if list, err := filepath.Glob(filepath.Join(dir, "*.part-*")); err != nil || len(list) > 0 {
		t.Errorf("left behind: %q, %v", list, err)
	}
}

// TestReplacedFileKeepsItsAccess: who could open the file can open the one in its
// place.
func TestReplacedFileKeepsItsAccess(t *testing.T) {
	backup, file := fileWith(t, 2), fileWith(t, 5)
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	owner, group := os.Getuid(), os.Getgid()
	if owner == 0 { // who may give files away
		owner, group = 12345, 12346
		if err := os.Chown(file, owner, group); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string) {
		t.Helper()
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		sys := info.Sys().(*syscall.Stat_t)
		if info.Mode().Perm() != 0o640 || int(sys.Uid) != owner || int(sys.Gid) != group {
			t.Errorf("%s: %v, of %d and %d", what, info.Mode(), sys.Uid, sys.Gid)
		}
	}
	if err := inPlace(t.Context(), backup, file); err != nil {
		t.Fatal(err)
	}
	check("restore-backup")
	q, err := openFile(backup, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, _, _ := asking(q, yes)
	if _, err := s.backUp(t.Context(), file, true); err != nil {
		t.Error(err)
	}
	if err := closeBroker(q); err != nil {
		t.Error(err)
	}
	check("backup")
}

// TestBackupInUse: a file that a process may be writing is no backup. One that nobody
// may write is.
func TestBackupInUse(t *testing.T) {
	backup := fileWith(t, 2)
	file := filepath.Join(t.TempDir(), "q.db")
	q, err := openFile(backup, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = inPlace(t.Context(), backup, file)
	if !errors.Is(err, recall.ErrInUse) || exitStatus(told(err)) != exitInUse {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := closeBroker(q); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(backup, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := inPlace(t.Context(), backup, file); err != nil {
		t.Fatal(err)
	}
	if n := messagesIn(t, file); n != 2 {
		t.Errorf("%d messages", n)
	}
}
