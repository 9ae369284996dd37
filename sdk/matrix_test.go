package sdk_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

const page = "../docs/qstash.md"

// mark is how a row of the table did with one version.
type mark string

const (
	works  mark = "✓"
	fails  mark = "✗"
	absent mark = "–" // the version has no such call
)

// and is the mark with one more outcome.
func (m mark) and(outcome string) mark {
	switch {
	case outcome == "absent" && m == "":
		return absent
	case outcome == "absent":
		return m
	case outcome == "pass" && m != fails:
		return works
	}
	return fails
}

// row is a line of the table: a call of an SDK, and the request that it makes.
type row struct{ call, request string }

// findings are the marks of an SDK's versions, by the calls.
type findings struct {
	versions []string
	marks    []map[string]mark // nil where the version was not tried
}

func newFindings(versions ...string) *findings {
	return &findings{versions, make([]map[string]mark, len(versions))}
}

// set notes the marks of one version. Several may do so at once.
func (f *findings) set(version string, marks map[string]mark) {
	for i, v := range f.versions {
		if v == version {
			f.marks[i] = marks
		}
	}
}

// checkTable compares the table of an SDK in the page with what was found, or
// rewrites it with -update. Every row needs a finding and every finding a row.
func checkTable(t *testing.T, sdk string, rows []row, found *findings) {
	t.Helper()
	for i, marks := range found.marks {
		if marks == nil {
			t.Logf("the table of %s is not looked at: version %s was left out", sdk, found.versions[i])
			return
		}
	}
	want := found.table(t, rows)
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := fmt.Appendf(nil, "<!-- table %s -->\n", sdk), fmt.Appendf(nil, "<!-- end %s -->\n", sdk)
	before, rest, ok1 := bytes.Cut(text, begin)
	have, after, ok2 := bytes.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no table between %s and %s", page, begin, end)
	}
	if string(have) == want {
		return
	}
	if !*update {
		t.Errorf("the table of %s in %s is not what was found; go test -update rewrites it. Other lines were found:\n%s", sdk, page, others(want, string(have)))
		return
	}
	if err := os.WriteFile(page, bytes.Join([][]byte{before, begin, []byte(want), end, after}, nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

// others returns the lines of one text that another has not.
func others(of, in string) (lines string) {
	has := map[string]bool{}
	for line := range strings.Lines(in) {
		has[line] = true
	}
	for line := range strings.Lines(of) {
		if !has[line] {
			lines += line
		}
	}
	return lines
}

// noRow is the case that looks at all others.
const noRow = "every public method was called"

func (f *findings) table(t *testing.T, rows []row) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "| call | request | %s |\n|---|---|%s\n", strings.Join(f.versions, " | "), strings.Repeat("---|", len(f.versions)))
	known := map[string]bool{noRow: true}
	for _, r := range rows {
		known[r.call] = true
		fmt.Fprintf(&b, "| `%s` | %s |", r.call, r.request)
		for i, marks := range f.marks {
			if marks[r.call] == "" {
				t.Errorf("no test is about %s in version %s", r.call, f.versions[i])
			}
			fmt.Fprintf(&b, " %s |", marks[r.call])
		}
		b.WriteByte('\n')
	}
	for _, marks := range f.marks {
		for call := range marks {
			if !known[call] {
				t.Errorf("no row is about %s", call)
			}
		}
	}
	return b.String()
}

func TestMark(t *testing.T) {
	for _, c := range []struct {
		outcomes string
		want     mark
	}{
		{"pass", works},
		{"fail", fails},
		{"absent", absent},
		{"absent absent", absent},
		{"absent pass", works},
		{"pass absent", works},
		{"pass fail", fails},
		{"fail pass", fails},
		{"fail absent", fails},
		{"pass nonsense", fails},
	} {
		var got mark
		for _, o := range strings.Fields(c.outcomes) {
			got = got.and(o)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.outcomes, got, c.want)
		}
	}
}
