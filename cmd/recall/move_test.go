package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// largeQueue makes a file whose import takes a while, and exports it.
func largeQueue(t *testing.T, dir string, n int) (dumped string) {
	t.Helper()
	file := filepath.Join(dir, "from.db")
	b, err := recall.Open(file, &recall.Options{NoDispatch: true, Durability: recall.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; i += 1000 {
		var msgs []recall.Message
		for k := range 1000 {
			m := recall.Message{URL: fmt.Sprint("https://example.com/", i+k), Delay: time.Hour, Body: make([]byte, 500)}
			if k%3 == 0 {
				m.Queue = fmt.Sprint("q", k%10)
			}
			msgs = append(msgs, m)
		}
		if _, err := b.PublishBatch(t.Context(), msgs); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	dumped = filepath.Join(dir, "from.jsonl")
	p, err := startProgram(dir, os.Environ(), "export", "--db", file, dumped)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := p.end(); status != 0 || err != nil {
		t.Fatal(status, err, p.output())
	}
	return dumped
}

// messagesOf are the lines about messages in the export of a queue.
func messagesOf(t *testing.T, dir string, args ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"export", "-"}, args...)...)
	cmd.Env, cmd.Dir = append(os.Environ(), asProgram+"=1"), dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`(?m)^\{"message".*$`).FindAllString(string(out), -1), "\n")
}

// TestKilledImport kills imports at any time and starts them again: in the end all is
// there, once and in order.
func TestKilledImport(t *testing.T) {
	dir := t.TempDir()
	const n = 10_000
	dumped := largeQueue(t, dir, n)
	several := databases(t)
	for name, target := range map[string][]string{
		"databases":  {"--engine", several[0], "--engine", several[1], "--engine-shards", "4", "--engine-unsafe"},
		"a file":     {"--db", filepath.Join(dir, "to.db")},
		"PostgreSQL": {"--engine", engineAddress(t), "--engine-unsafe"},
	} {
		t.Run(name, func(t *testing.T) {
			kills := 0
			for wait := 100 * time.Millisecond; ; wait += 50 * time.Millisecond {
				p, err := startProgram(dir, os.Environ(), append([]string{"import", dumped}, target...)...)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.kill)
				select {
				case <-p.done:
				case <-time.After(wait): // a moment that nobody has chosen
				}
				if kills < 8 {
					p.kill()
				}
				if status, err := p.end(); err != nil {
					t.Fatal(err)
				} else if status == 0 {
					break
				}
				kills++
			}
			t.Logf("killed %d times", kills)
			got, want := messagesOf(t, dir, target...), messagesOf(t, dir, "--db", filepath.Join(dir, "from.db"))
			if strings.Count(want, "\n")+1 != n || got != want {
				t.Errorf("got %d messages, want %d, in this order", strings.Count(got, "\n")+1, n)
			}
		})
	}
}
