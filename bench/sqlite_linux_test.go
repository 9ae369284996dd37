package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/internal/parttest"
)

const sqliteTraceDir = "BENCH_SQLITE_TRACE_DIR"

// tracedCommits are what the child has SQLite commit, in this order.
var tracedCommits = []string{"publish", "claim", "finish", "cancel"}

// TestSQLiteSyncs looks at the system calls of a process: SQLite must sync its
// log in every commit, or its figures would be those of something else.
func TestSQLiteSyncs(t *testing.T) {
	strace := parttest.NeedTracer(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	child := exec.CommandContext(ctx, strace, "-f", "-y", "-o", trace,
		"-e", "trace=write,pwrite64,fdatasync,fsync", os.Args[0], "-test.run", "^TestSQLiteTraceChild$")
	child.Env = append(os.Environ(), sqliteTraceDir+"="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for _, commit := range tracedCommits {
		_, rest, began := strings.Cut(string(text), "begin "+commit)
		within, _, ended := strings.Cut(rest, "acked "+commit)
		if !began || !ended {
			t.Errorf("%s is not in the trace", commit)
			continue
		}
		wrote := lastMatch(`pwrite64\(\d+<[^>]*q\.db-wal>`, within)
		if synced := lastMatch(`f(data)?sync\(\d+<[^>]*q\.db-wal>`, within); wrote < 0 || synced < wrote {
			t.Errorf("%s was acknowledged without a sync of the log:\n%s", commit, within)
		}
	}
}

// lastMatch returns where the last match begins, -1 if there is none.
func lastMatch(pattern, text string) int {
	all := regexp.MustCompile(pattern).FindAllStringIndex(text, -1)
	if len(all) == 0 {
		return -1
	}
	return all[len(all)-1][0]
}

// TestSQLiteTraceChild is the process that is traced. It writes a line to a
// file before each commit and after it.
func TestSQLiteTraceChild(t *testing.T) {
	dir := os.Getenv(sqliteTraceDir)
	if dir == "" {
		t.Skip("a part of TestSQLiteSyncs")
	}
	d := fakeScale(1000)
	d.shape.due = later(time.Now())
	path := filepath.Join(dir, "q.db")
	if err := d.loadSQLite(path); err != nil {
		t.Fatal(err)
	}
	q, err := openSQLiteQueue(path, sqliteDelete)
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	marks, err := os.Create(filepath.Join(dir, "marks"))
	if err != nil {
		t.Fatal(err)
	}
	defer marks.Close()
	one, _ := d.scattered(10)
	steps := []func() error{
		func() error { return q.publish(dueNow(0)) },
		q.turn,
		q.turn,
		func() error { _, err := q.cancel(one.filter); return err },
	}
	for i, step := range steps {
		fmt.Fprintf(marks, "begin %s\n", tracedCommits[i])
		if err := step(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(marks, "acked %s\n", tracedCommits[i])
	}
}
