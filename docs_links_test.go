package recall_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	anyFence   = regexp.MustCompile("(?ms)^```.*?^```$")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	linked     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headed     = regexp.MustCompile(`(?m)^#{1,6} (.*)$`)
	linkedText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// TestDocsLinks: what a page of this repository links to is there, file and
// heading. What is elsewhere is not asked for.
func TestDocsLinks(t *testing.T) {
	pages := markdown(t)
	links := 0
	for _, page := range pages {
		text := codeSpan.ReplaceAllString(anyFence.ReplaceAllString(readFile(t, page), ""), "")
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), filepath.FromSlash(file))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: there is no such file", page, m[1])
				continue
			}
			if anchor != "" && !anchors(readFile(t, target))[anchor] {
				t.Errorf("%s: %s: there is no such heading", page, m[1])
			}
		}
	}
	if links < 100 {
		t.Errorf("found only %d links in %d pages", links, len(pages))
	}
}

// TestDocsMap: the map of the documentation leads to every page.
func TestDocsMap(t *testing.T) {
	text := readFile(t, "docs/README.md")
	for _, page := range markdown(t) {
		name, inDocs := strings.CutPrefix(filepath.ToSlash(page), "docs/")
		if inDocs && name != "README.md" && !strings.Contains(text, "]("+name) {
			t.Errorf("docs/README.md does not link to %s", name)
		}
	}
}

// markdown lists the pages of the repository.
func markdown(t *testing.T) (pages []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "node_modules" || name == "testdata" || len(name) > 1 && name[0] == '.'):
			return filepath.SkipDir
		case filepath.Ext(name) == ".md":
			pages = append(pages, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// anchors are those that GitHub gives the headings of a page.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range headed.FindAllStringSubmatch(anyFence.ReplaceAllString(text, ""), -1) {
		all[slug(linkedText.ReplaceAllString(m[1], "$1"))] = true
	}
	return all
}

// slug is a heading in small letters, without punctuation, with dashes for spaces.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}
