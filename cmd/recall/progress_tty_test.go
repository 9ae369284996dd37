//go:build linux || darwin

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestFilesShowProgress: at a terminal the commands about a file show how far they
// are of all their passes over it, those of the final check too, and how fast.
func TestFilesShowProgress(t *testing.T) {
	for _, c := range []struct {
		name   string
		passes int64
		args   func(file string) []string
	}{
		{"checking", 3, func(file string) []string { return []string{"check", file} }},
		{"salvaging", 2 + 3, func(file string) []string { return []string{"salvage", file, file + ".new"} }},
		{"compacting", 2 + 1 + 1 + 3, func(file string) []string { return []string{"compact", file} }},
	} {
		file := fileWith(t, 3)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		p := startAtTerminal(t, c.args(file)...)
		p.end(exitOK)
		for _, want := range []string{c.name, fmt.Sprintf("/%.0f MB, ", float64(c.passes*info.Size())/1e6), " it/", "[0s:"} {
			if !strings.Contains(p.screen(), want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, p.screen())
			}
		}
	}
}
