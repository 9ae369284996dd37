package admin_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/recallmq/recall/admin"
)

// TestDocumented compares docs/admin.md with the calls and codes that there are.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	calls := section(t, string(text), "## Calls", "### Options")
	errs := section(t, string(text), "## Errors", "## Serving")
	var reads, writes, codes []string
	for _, row := range rows(calls) {
		if strings.TrimSpace(row[1]) == "reads" {
			reads = append(reads, named(row[0])...)
		} else {
			writes = append(writes, named(row[0])...)
		}
	}
	for _, row := range rows(errs) {
		codes = append(codes, named(row[0])...)
	}
	equal(t, "calls that read", reads, admin.ReadCalls())
	equal(t, "other calls", writes, admin.WriteCalls())
	equal(t, "codes", codes, append(admin.Codes(), "internal"))
}

func section(t *testing.T, text, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, from)
	part, _, ends := strings.Cut(rest, to)
	if !found || !ends {
		t.Fatalf("no section from %q to %q", from, to)
	}
	return part
}

// rows are those of a table, below its head, as cells.
func rows(text string) (list [][]string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| `") {
			list = append(list, strings.Split(strings.Trim(line, "|\n"), "|"))
		}
	}
	return list
}

var inBackticks = regexp.MustCompile("`([^`]+)`")

func named(cell string) (names []string) {
	for _, m := range inBackticks.FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names
}

func equal(t *testing.T, what string, documented, have []string) {
	t.Helper()
	slices.Sort(documented)
	slices.Sort(have)
	if have = slices.Compact(have); !slices.Equal(documented, have) {
		t.Errorf("%s: the document has\n%q, the code\n%q", what, documented, have)
	}
}
