// Package mutanttest breaks Recall on purpose, so that a test of the tests can see which of
// them notice. A mutant is a replacement in one file; the file itself stays as it is.
package mutanttest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Mutant is one way to break the code.
type Mutant struct {
	Name string // what is wrong with it
	File string // relative to the root of the repository
	Old  string // occurs once in File
	New  string // what stands in its place
	Pkg  string // whose tests notice
	Run  string // which of them
	Full bool   // only at full size
	// Always has a mutant run without RECALL_SOAK, too: where the code can be got wrong
	// easily, and nobody would see it.
	Always bool
}

// mutate returns the file of a mutant as it is broken.
func mutate(t *testing.T, root string, m Mutant) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.Old); n != 1 {
		t.Fatalf("what it replaces in %s occurs %d times", m.File, n)
	}
	return strings.Replace(string(text), m.Old, m.New, 1)
}

// Apply checks that a list is true to the code. root leads to the root of the repository.
func Apply(t *testing.T, root string, all []Mutant) {
	names := map[string]bool{}
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			mutate(t, root, m)
			if names[m.Name] {
				t.Error("another one has the name")
			}
			names[m.Name] = true
		})
	}
}

// Die runs the tests that are to notice each mutant, at full size (RECALL_SOAK); without
// that, only those that say so. One that does not compile proves nothing, and is a failure.
func Die(t *testing.T, root string, all []Mutant) {
	soak := os.Getenv("RECALL_SOAK") != ""
	if !soak && !slices.ContainsFunc(all, func(m Mutant) bool { return m.Always }) {
		t.Skip("it runs other tests on every mutant: only with RECALL_SOAK")
	}
	for _, m := range all {
		if !soak && !m.Always {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			overlay := overlayOf(t, root, m, mutate(t, root, m))
			if out, err := goTool(root, false, "vet", "-overlay", overlay, m.Pkg); err != nil {
				t.Fatalf("it does not build: %s", out)
			}
			// Without the file of a failure: rapid would try it first on the code that is not broken.
			out, err := goTool(root, m.Full, "test", "-overlay", overlay, "-count=1", "-timeout=5m", "-run", m.Run, m.Pkg, "-rapid.nofailfile")
			switch {
			case err == nil:
				t.Errorf("no test of %s notices", m.Pkg)
			case !strings.Contains(out, "FAIL"):
				t.Errorf("go test: %v: %s", err, out)
			}
		})
	}
}

// overlayOf writes the description of a replaced file that the go command takes.
func overlayOf(t *testing.T, root string, m Mutant, text string) string {
	t.Helper()
	dir := t.TempDir()
	original, err := filepath.Abs(filepath.Join(root, m.File))
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, filepath.Base(m.File))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: broken}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{broken: text, filepath.Join(dir, "overlay.json"): string(overlay)} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "overlay.json")
}

// goTool runs the go command in the root of the repository. What it runs is at
// small size unless it has to be at full size.
func goTool(root string, full bool, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "RECALL_SOAK=")
	if full {
		cmd.Env = append(os.Environ(), "RECALL_SOAK=1")
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
