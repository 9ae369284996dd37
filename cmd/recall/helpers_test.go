package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fileWith makes a file with messages that wait.
func fileWith(t *testing.T, n int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "q.db")
	b, err := recall.Open(file, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		_, err := b.Publish(t.Context(), recall.Message{
			URL: "https://example.com/" + strings.Repeat("long/", 40), Delay: time.Hour, Labels: []string{"x"}, Queue: "mail",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return file
}
