// Testreport reads the events of go test -json for several modules, prints
// what failed, how long each package took and a table of the modules, and ends
// in the totals:
//
//	12 passed, 0 failed, 1 skipped
//
// Lines that are not events are printed as they are, except for three:
//
//	@module DIR     the events of a module follow
//	@failed WHAT    something that is not a test failed
//	@skipped WHAT   something that is not a test was left out
//
// The exit status is 1 if anything failed, if a package did not build, or if a
// module ran no test; each counts as one failure.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// event is what Recall reads of a line of go test -json; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

// module is the outcome of one module.
type module struct {
	name                    string
	passed, failed, skipped int
	packages                int // packages that failed with no failed test
	began, ended            time.Time
}

type report struct {
	out     io.Writer
	now     func() time.Time
	modules []*module
	output  map[string][]string // of a test or package that has not ended, by key
	failing map[string]bool     // packages with a failed test
	other   module              // what is not a test
	skips   []string
}

func newReport(out io.Writer, now func() time.Time) *report {
	return &report{out: out, now: now, output: map[string][]string{}, failing: map[string]bool{}}
}

func main() {
	r := newReport(os.Stdout, time.Now)
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
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) line(line string) {
	if name, ok := strings.CutPrefix(line, "@module "); ok {
		r.endModule()
		r.modules = append(r.modules, &module{name: name, began: r.now()})
		return
	}
	if what, ok := strings.CutPrefix(line, "@failed "); ok {
		r.fail(what)
		return
	}
	if what, ok := strings.CutPrefix(line, "@skipped "); ok {
		r.other.skipped++
		r.skips = append(r.skips, what)
		return
	}
	var e event
	if len(r.modules) == 0 || json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprintln(r.out, line) // the go command itself speaks
		return
	}
	r.event(e)
}

// fail notes the failure of a step. go test fails whenever a test does, which
// is then counted already.
func (r *report) fail(what string) {
	if m := r.current(); m != nil && strings.HasSuffix(what, ": go test") && m.failed+m.packages > 0 {
		return
	}
	fmt.Fprintln(r.out, "FAIL ", what)
	r.other.failed++
}

func (r *report) current() *module {
	if len(r.modules) == 0 {
		return nil
	}
	return r.modules[len(r.modules)-1]
}

func (r *report) endModule() {
	if m := r.current(); m != nil {
		m.ended = r.now()
	}
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
			r.endPackage(e)
		} else {
			r.endTest(e, key)
		}
		delete(r.output, key)
	}
}

func (r *report) endTest(e event, key string) {
	m := r.current()
	switch e.Action {
	case "pass":
		m.passed++
	case "fail":
		m.failed++
		r.failing[e.Package] = true
		fmt.Fprintf(r.out, "FAIL  %s %s\n%s", e.Package, e.Test, strings.Join(r.output[key], ""))
	case "skip":
		m.skipped++
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

// endPackage prints how a package ended and, if it failed, what has not been
// printed: a panic, a timeout or a race report belongs to no test that ended.
func (r *report) endPackage(e event) {
	word := e.Action
	if word == "skip" {
		word = "none" // it has no tests
	}
	fmt.Fprintf(r.out, "%-5s %7.1fs  %s\n", word, e.Elapsed, e.Package)
	if e.Action == "fail" {
		if !r.failing[e.Package] {
			r.current().packages++
		}
		for _, key := range r.unfinished(e.Package) {
			fmt.Fprint(r.out, strings.Join(r.output[key], ""))
		}
	}
	for _, key := range r.unfinished(e.Package) {
		delete(r.output, key)
	}
}

// unfinished returns the keys of what a package has printed in tests that did
// not end, and outside of tests, in order.
func (r *report) unfinished(pkg string) (keys []string) {
	for key := range r.output {
		if strings.HasPrefix(key, pkg+"\x00") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// summary prints the totals and tells whether all is well.
func (r *report) summary() bool {
	r.endModule()
	slices.Sort(r.skips)
	for _, what := range r.skips {
		fmt.Fprintln(r.out, "SKIPPED", what)
	}
	if len(r.modules) == 0 {
		r.fail("there is no module to test")
	}
	for _, m := range r.modules {
		if m.passed+m.failed+m.packages == 0 {
			r.fail(m.name + " has run no test")
		}
	}
	fmt.Fprintf(r.out, "\n%-24s %8s %8s %8s %8s\n", "suite", "passed", "failed", "skipped", "time")
	total := r.other
	for _, m := range r.modules {
		failed := m.failed + m.packages
		fmt.Fprintf(r.out, "%-24s %8d %8d %8d %7.1fs\n", m.name, m.passed, failed, m.skipped, m.ended.Sub(m.began).Seconds())
		total.passed += m.passed
		total.failed += failed
		total.skipped += m.skipped
	}
	if r.other.failed+r.other.skipped > 0 {
		fmt.Fprintf(r.out, "%-24s %8s %8d %8d\n", "other checks", "", r.other.failed, r.other.skipped)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	return total.failed == 0
}
