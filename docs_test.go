package recall_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsShowTheExamples keeps the Go code of the documentation what is
// compiled as an example. That of the README is in examples/readme.
func TestDocsShowTheExamples(t *testing.T) {
	for doc, source := range map[string]string{
		"doc.go":            "example_test.go",
		"enginetest/doc.go": "engine_test.go",
		"qstash/doc.go":     "qstash/example_test.go",
		"egress/doc.go":     "egress/example_test.go",
		"dashboard/doc.go":  "dashboard/example_test.go",
		"docs/dashboard.md": "dashboard/example_test.go",
		"admin/doc.go":      "admin/example_test.go",
		"docs/admin.md":     "admin/example_test.go",
		"docs/http.md":      "qstash/example_test.go",
		"docs/signing.md":   "qstash/example*_test.go",
		"docs/server.md":    "egress/example_test.go",
		"docs/delivery.md":  "example*_test.go",
		"docs/testing.md":   "recalltest/example_test.go",
		"recalltest/doc.go": "recalltest/example_test.go",

		"docs/quickstart-service.md": "examples/signups/*.go",
		"docs/quickstart-binary.md":  "examples/later/*.go",
		"docs/quickstart-tests.md":   "examples/*/*_test.go",
	} {
		compiled := flat(readFiles(t, source))
		blocks := goBlocks(doc, readFile(t, doc))
		if len(blocks) == 0 {
			t.Errorf("%s has no code", doc)
		}
		for _, block := range blocks {
			if !strings.Contains(compiled, flat(block)) {
				t.Errorf("%s: no code of %s:\n%s", doc, source, block)
			}
		}
	}
}

// TestDocsShowTheSuite is the same for JavaScript.
func TestDocsShowTheSuite(t *testing.T) {
	source := flat(readFile(t, "examples/suite/reminders.test.mjs"))
	blocks := regexp.MustCompile("(?s)```js\n(.*?)```").FindAllStringSubmatch(readFile(t, "docs/quickstart-tests.md"), -1)
	if len(blocks) == 0 {
		t.Error("the page has no JavaScript")
	}
	for _, m := range blocks {
		if !strings.Contains(source, flat(m[1])) {
			t.Errorf("no code of the suite:\n%s", m[1])
		}
	}
}

var fenced = regexp.MustCompile("(?s)```go\n(.*?)```")

// goBlocks returns the code of a page, or of a package's comment.
func goBlocks(name, text string) (blocks []string) {
	if strings.HasSuffix(name, ".md") {
		for _, m := range fenced.FindAllStringSubmatch(text, -1) {
			blocks = append(blocks, m[1])
		}
		return blocks
	}
	block := ""
	for line := range strings.Lines(text) {
		code, ok := strings.CutPrefix(line, "//\t")
		switch {
		case ok:
			block += code
		case strings.TrimSpace(line) == "//": // a blank line, of the code perhaps
		case block != "":
			blocks, block = append(blocks, block), ""
		}
	}
	return blocks
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// readFiles reads all files that a pattern names.
func readFiles(t *testing.T, pattern string) (all string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s names no file: %v", pattern, err)
	}
	for _, name := range names {
		all += readFile(t, name)
	}
	return all
}

// flat makes indentation and blank lines alike.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
