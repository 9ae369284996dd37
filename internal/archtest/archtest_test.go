package archtest

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// walk visits every file of the repository that may be source.
func walk(t *testing.T, visit func(path, folder string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (name == "testdata" || strings.HasPrefix(name, ".") || name == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		visit(path, filepath.ToSlash(folder))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources parses every Go file, whatever it is built for, by folder. The root
// package is "".
func sources(t *testing.T, mode parser.Mode) (fset *token.FileSet, packages map[string][]*ast.File) {
	t.Helper()
	fset, packages = token.NewFileSet(), map[string][]*ast.File{}
	walk(t, func(path, folder string) {
		if filepath.Ext(path) != ".go" {
			return
		}
		file, err := parser.ParseFile(fset, path, nil, mode)
		if err != nil {
			t.Error(err)
			return
		}
		if folder == "." {
			folder = ""
		}
		packages[folder] = append(packages[folder], file)
	})
	for _, folder := range []string{"", "store", "cmd/recall", "bench"} {
		if len(packages[folder]) == 0 {
			t.Fatalf("no source found in %q", folder)
		}
	}
	return fset, packages
}

func isTestFile(fset *token.FileSet, file *ast.File) bool {
	return strings.HasSuffix(fset.File(file.FileStart).Name(), "_test.go")
}

func TestImports(t *testing.T) {
	fset, packages := sources(t, parser.ImportsOnly)
	for pkg, files := range packages {
		for _, file := range files {
			for _, spec := range file.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if fault := CheckImport(pkg, isTestFile(fset, file), path); fault != "" {
					t.Errorf("%s: %s", fset.Position(spec.Pos()), fault)
				}
			}
		}
	}
}

func TestWhatTheRootLinks(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows"} {
		out := goCommand(t, "GOOS="+system, "list", "-deps", ".")
		linked := strings.Fields(out)
		if !slices.Contains(linked, "go.etcd.io/bbolt") {
			t.Errorf("%s: go list names no bbolt: %q", system, out)
		}
		for _, path := range linked {
			if fault := CheckLinked(path); fault != "" {
				t.Errorf("%s: %s", system, fault)
			}
		}
	}
}

func TestModules(t *testing.T) {
	var work struct{ Use []struct{ DiskPath string } }
	decode(t, goCommand(t, "", "work", "edit", "-json", "go.work"), &work)
	var named []string
	for _, use := range work.Use {
		named = append(named, use.DiskPath)
	}
	var found []ModFile
	walk(t, func(path, folder string) {
		if filepath.Base(path) != "go.mod" {
			return
		}
		m := ModFile{Folder: folder}
		decode(t, goCommand(t, "", "mod", "edit", "-json", filepath.Join(filepath.FromSlash(folder), "go.mod")), &m)
		found = append(found, m)
	})
	for _, fault := range CheckModules(found, named) {
		t.Error(fault)
	}
}

func TestNothingBlocksUnderALock(t *testing.T) {
	fset, packages := sources(t, parser.SkipObjectResolution)
	for pkg, files := range packages {
		files = slices.DeleteFunc(files, func(f *ast.File) bool { return isTestFile(fset, f) })
		faults, locks := CheckLocks(fset, files)
		for _, fault := range faults {
			t.Error(fault)
		}
		if pkg == "" && locks == 0 {
			t.Error("the root package takes no lock called mu: nothing was checked")
		}
	}
}

// goCommand runs the go command at the root.
func goCommand(t *testing.T, env string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", env)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
