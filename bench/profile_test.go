package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/pprof/profile"
)

var kept [][]byte

func allocateFirst()  { kept = append(kept, make([]byte, 8<<20)) }
func allocateSecond() { kept = append(kept, make([]byte, 8<<20)) }

// TestProfiled: each workload has its four profiles, and in them what it did
// and not what was done before.
func TestProfiled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	work := map[string]func(){"first": allocateFirst, "second": allocateSecond}
	for _, name := range []string{"first", "second"} {
		err := profiled(dir, name, func() error {
			work[name]()
			contend()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	kept = nil
	for _, kind := range append([]string{"cpu"}, summed...) {
		p := readProfile(t, filepath.Join(dir, "second."+kind+".pprof"))
		if kind == "cpu" { // too little was done to be in it for sure
			continue
		}
		want, not := "allocateSecond", "allocateFirst"
		if kind != "allocs" {
			want = "contend"
		}
		if !mentions(p, want) || mentions(p, not) {
			t.Errorf("%s: %s %v, %s %v", kind, want, mentions(p, want), not, mentions(p, not))
		}
	}
	if err := profiled("", "none", func() error { return os.ErrClosed }); err != os.ErrClosed { //nolint:errorlint // the very one
		t.Errorf("got %v", err)
	}
}

// contend has several wait for one lock, which each holds for as long as some work
// takes.
func contend() {
	var mu sync.Mutex
	work := make([]byte, 1<<20)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				mu.Lock()
				sha256.Sum256(work)
				mu.Unlock()
			}
		})
	}
	group.Wait()
}

func readProfile(t *testing.T, path string) *profile.Profile {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p, err := profile.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mentions tells whether a function has a sample that is not taken back.
func mentions(p *profile.Profile, function string) bool {
	for _, s := range p.Sample {
		for _, l := range s.Location {
			for _, line := range l.Line {
				if strings.Contains(line.Function.Name, function) && s.Value[0] > 0 {
					return true
				}
			}
		}
	}
	return false
}
