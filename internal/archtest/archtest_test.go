package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// sources parses every non-test file of the root module.
func sources(t *testing.T, visit func(pkg string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	fset, seen := token.NewFileSet(), 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if name := d.Name(); rel == "bench" || rel == "cmd" || name == "testdata" || strings.HasPrefix(name, ".") && rel != "." {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(rel))
		if pkg == "." {
			pkg = ""
		}
		seen++
		visit(pkg, fset, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Fatal("no source found")
	}
}

func TestImports(t *testing.T) {
	sources(t, func(pkg string, fset *token.FileSet, file *ast.File) {
		for _, spec := range file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if fault := CheckImport(pkg, path); fault != "" {
				t.Errorf("%s: %s", fset.Position(spec.Pos()), fault)
			}
		}
	})
}

func TestWhatTheRootLinks(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		if fault := CheckLinked(path); fault != "" {
			t.Error(fault)
		}
	}
}

func TestNothingBlocksUnderALock(t *testing.T) {
	sources(t, func(_ string, fset *token.FileSet, file *ast.File) {
		for _, fault := range CheckLocks(fset, file) {
			t.Error(fault)
		}
	})
}

// The rules themselves: each must be able to fail.
func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		ok            bool
	}{
		{"", "fmt", true},
		{"", Module + "/store", true},
		{"", Module + "/internal/posting", true},
		{"", "go.etcd.io/bbolt", false},
		{"", "github.com/jackc/pgx/v5", false},
		{"", Module + "/qstash", false},
		{"", Module + "/enginetest", false},
		{"", "testing", false},
		{"store", "go.etcd.io/bbolt", true},
		{"store", Module, false},
		{"store", "github.com/google/btree", false},
		{"internal/posting", Module, false},
		{"internal/posting", Module + "/internal/other", true},
		{"qstash", Module, true},
		{"qstash", Module + "/store", false},
		{"enginetest", "testing", true},
		{"enginetest", Module, true},
		{"recalltest", Module + "/qstash", true},
		{"qstash", Module + "/bench", false},
		{"unheard", Module, false},
	} {
		if fault := CheckImport(c.pkg, c.imported); (fault == "") != c.ok {
			t.Errorf("CheckImport(%q, %q) = %q, want ok %v", c.pkg, c.imported, fault, c.ok)
		}
	}
	for path, ok := range map[string]bool{"fmt": true, "go.etcd.io/bbolt/internal/common": true, "github.com/spf13/cobra": false} {
		if fault := CheckLinked(path); (fault == "") != ok {
			t.Errorf("CheckLinked(%q) = %q, want ok %v", path, fault, ok)
		}
	}
}

func TestLockRules(t *testing.T) {
	for _, c := range []struct {
		name, body string
		faults     int
	}{
		{"send", `func f() { e.mu.Lock(); c <- 1; e.mu.Unlock() }`, 1},
		{"send after", `func f() { e.mu.Lock(); e.mu.Unlock(); c <- 1 }`, 0},
		{"deferred", `func f() { e.mu.Lock(); defer e.mu.Unlock(); c <- 1 }`, 1},
		{"receive", `func f() { e.mu.Lock(); x := <-c; e.mu.Unlock() }`, 1},
		{"select that waits", `func f() { e.mu.Lock(); select { case c <- 1: }; e.mu.Unlock() }`, 1},
		{"select with default", `func f() { e.mu.Lock(); select { case c <- 1: default: }; e.mu.Unlock() }`, 0},
		{"view", `func f() { e.mu.Lock(); e.store.View(nil); e.mu.Unlock() }`, 1},
		{"locked by name", `func fLocked() { e.submit(ctx, w) }`, 1},
		{"in a loop", `func f() { for { e.mu.Lock(); c <- 1; e.mu.Unlock() } }`, 1},
		{"early unlock", `func f() { e.mu.Lock(); if x { e.mu.Unlock(); return }; c <- 1; e.mu.Unlock() }`, 1},
		{"another lock", `func f() { e.life.Lock(); c <- 1; e.life.Unlock() }`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, "x.go", "package x\n"+c.body, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := CheckLocks(fset, file); len(got) != c.faults {
				t.Errorf("got %q, want %d faults", got, c.faults)
			}
		})
	}
}
