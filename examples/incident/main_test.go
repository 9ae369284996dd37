package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const want = `2999 wait, 1 in flight
label=deploy-42
> label    3000
  time     4000
3000 entries to scan
cancelled on arrival: true
prices: stopped after 29, by attempt 1 at local:shop
prices: cancelled 2870, asked for 1
receipts: cancelled 100, asked for 0
"queue=receipts label=deploy-42" took it; 100 are back
standing cancellation: label=deploy-42: took 1 (INC-7: until deploy-42 is rolled back), restored: false
cancel: queue=prices label=deploy-42: took 29 (INC-7: wrong prices), restored: false
cancel: queue=prices label=deploy-42: took 2870 (INC-7: wrong prices), restored: false
cancel: queue=receipts label=deploy-42: took 100 (INC-7: wrong prices), restored: true
`

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, filepath.Join(t.TempDir(), "queue.db")); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

// TestPageShowsThisProgram keeps the code and the output of
// docs/cancellation.md what is compiled and printed here.
func TestPageShowsThisProgram(t *testing.T) {
	page, err := os.ReadFile("../../docs/cancellation.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	code, printed := blocks(string(page), "go"), blocks(string(page), "text")
	if len(code) == 0 {
		t.Error("the page has no Go code")
	}
	for _, block := range code {
		if !strings.Contains(flat(string(source)), flat(block)) {
			t.Errorf("this code of the page is not that of main.go:\n%s", block)
		}
	}
	if got := strings.Join(printed, ""); got != want {
		t.Errorf("the page shows:\n%s\nwant:\n%s", got, want)
	}
}

// blocks returns the fenced blocks of a language.
func blocks(page, language string) (list []string) {
	for {
		_, rest, ok := strings.Cut(page, "```"+language+"\n")
		if !ok {
			return list
		}
		var block string
		block, page, _ = strings.Cut(rest, "```")
		list = append(list, block)
	}
}

// flat makes indentation and blank lines alike.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
