package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// OldestGo is the oldest Go that Recall supports. A "go get" may raise the go
// line of a module in passing, and shut users out.
const OldestGo = "1.25"

// ownModules are the folders that must be modules of their own, so that linking
// Recall never pulls in what they need.
var ownModules = []string{"cmd/recall", "bench", "metrics", "postgres", "tracing"}

// ModFile is what the rules read of a go.mod file.
type ModFile struct {
	Folder  string `json:"-"` // "." is the root
	Module  struct{ Path string }
	Go      string
	Require []struct{ Path string }
	Replace []struct{ Old, New struct{ Path string } }
}

// CheckModules says what is wrong with the modules found below the root, and
// with the folders that go.work names.
func CheckModules(found []ModFile, work []string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, folder := range ownModules {
		if !slices.ContainsFunc(found, func(m ModFile) bool { return m.Folder == folder }) {
			fault("%s is no module of its own", folder)
		}
	}
	for _, m := range found {
		if !slices.ContainsFunc(work, func(folder string) bool { return path.Clean(folder) == m.Folder }) {
			fault("%s: go.work does not name it, so nothing tests it", m.Folder)
		}
		if want := path.Join(Module, m.Folder); m.Module.Path != want {
			fault("%s: module %s, want %s", m.Folder, m.Module.Path, want)
		}
		if m.Go != OldestGo && !strings.HasPrefix(m.Go, OldestGo+".") {
			fault("%s: go %s, want %s", m.Folder, m.Go, OldestGo)
		}
		for _, r := range m.Require {
			short, ours := shorten(r.Path)
			if !ours {
				continue
			}
			if m.Folder == "." {
				fault("the root module requires %s", r.Path)
				continue
			}
			// Without its replace it would build only inside the workspace.
			if !slices.ContainsFunc(m.Replace, func(rep struct{ Old, New struct{ Path string } }) bool {
				return rep.Old.Path == r.Path && path.Join(m.Folder, rep.New.Path) == path.Clean(short)
			}) {
				fault("%s: requires %s and does not replace it with its folder", m.Folder, r.Path)
			}
		}
	}
	return faults
}
