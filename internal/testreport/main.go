// Testreport reads the events of go test -json for several modules, prints
// what failed and how long each package took, and ends in the totals:
//
//	12 passed, 0 failed, 1 skipped
//
// A line "@module DIR" starts the events of a module. The exit status is 1 if
// anything failed, if a package did not build, or if a module ran no test.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// report collects the outcome of all modules.
type report struct {
	out      io.Writer
	module   string
	modules  []string
	ran      map[string]int      // tests by module
	output   map[string][]string // of a test or package that has not ended
	passed   int
	failed   int
	skipped  int
	broken   int // packages that failed without a failed test
	skips    []string
	hasFails map[string]bool // packages with failed tests
}

func main() {
	r := &report{out: os.Stdout, ran: map[string]int{}, output: map[string][]string{}, hasFails: map[string]bool{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	if !r.summary() {
		os.Exit(1)
	}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\n"); line != "" {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) line(line string) {
	if name, ok := strings.CutPrefix(line, "@module "); ok {
		r.module = name
		r.modules = append(r.modules, name)
		return
	}
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprintln(r.out, line) // not an event: the go command itself speaks
		return
	}
	r.event(e)
}

func (r *report) event(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e, key)
		} else {
			r.endTest(e, key)
		}
		delete(r.output, key)
	}
}

func (r *report) endTest(e event, key string) {
	r.ran[r.module]++
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		r.hasFails[e.Package] = true
		fmt.Fprintf(r.out, "FAIL %s %s\n%s", e.Package, e.Test, strings.Join(r.output[key], ""))
	case "skip":
		r.skipped++
		r.skips = append(r.skips, e.Package+" "+e.Test+reason(r.output[key]))
	}
}

// reason is what a skipped test said.
func reason(output []string) string {
	for _, line := range output {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			return ": " + line
		}
	}
	return ""
}

func (r *report) endPackage(e event, key string) {
	fmt.Fprintf(r.out, "%-5s %7.1fs  %s\n", e.Action, e.Elapsed, e.Package)
	if e.Action != "fail" || r.hasFails[e.Package] {
		return
	}
	// A panic, a timeout, a race, a build that failed.
	r.broken++
	fmt.Fprint(r.out, strings.Join(r.output[key], ""))
	for k, lines := range r.output {
		if k != key && strings.HasPrefix(k, e.Package+"\x00") {
			fmt.Fprint(r.out, strings.Join(lines, ""))
		}
	}
}

// summary prints the totals and tells whether all is well.
func (r *report) summary() bool {
	ok := r.failed == 0 && r.broken == 0 && len(r.modules) > 0
	sort.Strings(r.skips)
	for _, s := range r.skips {
		fmt.Fprintln(r.out, "SKIPPED", s)
	}
	for _, m := range r.modules {
		fmt.Fprintf(r.out, "module %-12s %5d tests\n", m, r.ran[m])
		if r.ran[m] == 0 {
			fmt.Fprintf(r.out, "module %s has run no test\n", m)
			ok = false
		}
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed+r.broken, r.skipped)
	return ok
}
