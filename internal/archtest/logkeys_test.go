package archtest

import (
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// logging are the packages whose lines people read.
var logging = []string{"", "store", "qstash", "egress", "recalltest", "cmd/recall", "metrics", "tracing"}

// TestLogKeys holds the keys of all lines that are logged against the table of the
// documentation, in both directions.
func TestLogKeys(t *testing.T) {
	fset, packages := sources(t, 0)
	keys := map[string]bool{}
	for _, pkg := range logging {
		for _, file := range packages[pkg] {
			if !isTestFile(fset, file) {
				for _, fault := range LogKeys(fset, file, keys) {
					t.Error(fault)
				}
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := DocumentedKeys(string(text))
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !documented[key] {
			t.Errorf("the key %q is logged and not documented", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(documented)) {
		if !keys[key] {
			t.Errorf("the key %q is documented and not logged", key)
		}
	}
	if len(keys) == 0 {
		t.Error("nothing is logged")
	}
}

func TestLogKeyRules(t *testing.T) {
	for _, c := range []struct{ code, keys, says string }{
		{`b.log.Error("text", "a", 1, "b", 2)`, "a b", ""},
		{`o.Logger.InfoContext(ctx, "text", "a", 1)`, "a", ""},
		{`log = log.With("user", u)`, "user", ""},
		{`s.log.Warn("text", slog.Int("a", 1), "b", 2)`, "a b", ""},
		{`log.LogAttrs(ctx, level, "text", list...)`, "", ""},
		{`list = append(list, slog.Duration("took", d))`, "took", ""},
		{`t.Log("text", "a", 1)`, "", ""},
		{`err.Error()`, "", ""},
		{`b.log.Error("text", key, 1)`, "", "no literal"},
		{`slog.String(key, "x")`, "", "no literal"},
		{`b.log.Error("text", list...)`, "", "is given a list"},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x\nfunc f() {\n"+c.code+"\n}", 0)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]bool{}
		faults := strings.Join(LogKeys(fset, file, keys), "; ")
		if got := strings.Join(slices.Sorted(maps.Keys(keys)), " "); got != c.keys || (faults == "") != (c.says == "") || !strings.Contains(faults, c.says) {
			t.Errorf("%s: got keys %q, faults %q, want %q, %q", c.code, got, faults, c.keys, c.says)
		}
	}
	if got := DocumentedKeys("| `x` |\n\n## Logs\n\n| key |\n| --- |\n| `a` | text |\n| `b` | number |\n"); !maps.Equal(got, map[string]bool{"a": true, "b": true}) {
		t.Errorf("got the documented keys %v", got)
	}
}
