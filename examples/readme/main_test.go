package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, filepath.Join(t.TempDir(), "queue.db")); err != nil {
		t.Fatal(err)
	}
	const want = "delivered: welcome, Ada\ntook back 1000 messages by the index \"label\"\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// TestReadmeShowsThisProgram keeps the README's code what is compiled here.
func TestReadmeShowsThisProgram(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(readme), "```go\n")
	if !ok {
		t.Fatal("README.md has no Go code")
	}
	block, rest, _ := strings.Cut(block, "```")
	if strings.Contains(rest, "```go") {
		t.Error("README.md has Go code that no test compiles")
	}
	if !strings.Contains(flat(string(source)), flat(block)) {
		t.Errorf("the code of README.md is not that of main.go:\n%s", block)
	}
}

// flat makes indentation and blank lines alike.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
