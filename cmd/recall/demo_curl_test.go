package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestPrintedCurlLines runs exactly what the demo prints, and looks whether it
// does what is said about it.
func TestPrintedCurlLines(t *testing.T) {
	dir := t.TempDir() // also for the demo's file: the program is killed in the end
	p, err := startProgram(dir, append(os.Environ(), "TMPDIR="+dir, "TMP="+dir), "demo", "--delayed", "500", "--immediate", "20", "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if _, err := p.await(regexp.MustCompile(`Stop with Ctrl-C`)); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^  (curl .*)$`).FindAllString(p.output(), -1)
	if len(lines) != 3 {
		t.Fatalf("got %d lines, want 3:\n%s", len(lines), p.output())
	}
	publish, count, cancel := lines[0], lines[1], lines[2]

	id := runCurl(t, publish, `200 {"messageId":"(msg_[0-9A-Z]{26})"(?:,"url":"[^"]*")?}`)
	if _, err := p.await(regexp.MustCompile(`The receiver got ` + id + ` at /hello: "hello"`)); err != nil {
		t.Fatal(err)
	}
	const counted, cancelled = `200 {"inFlight":0,"pending":(\d+)}`, `202 {"cancelled":(\d+)}`
	before := number(t, runCurl(t, count, counted))
	taken := number(t, runCurl(t, cancel, cancelled))
	after := number(t, runCurl(t, count, counted))
	if taken == 0 || taken > before || after != before-taken {
		t.Errorf("of %d messages %d were cancelled and %d are left", before, taken, after)
	}
	if again := number(t, runCurl(t, cancel, cancelled)); again != 0 {
		t.Errorf("cancelled %d messages that were cancelled before", again)
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// runCurl sends the request of a printed line, with curl if there is one, and
// returns the group of the answer, which must match as a whole.
func runCurl(t *testing.T, line, want string) string {
	t.Helper()
	got := withoutCurl
	if _, err := exec.LookPath("curl"); err == nil {
		got = withCurl
	}
	text, err := got(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	m := regexp.MustCompile("^" + want + "$").FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("%s:\ngot  %s\nwant %s", line, text, want)
	}
	return m[1]
}

func withCurl(line string) (string, error) {
	const separator = "\n--status "
	out, err := exec.Command("sh", "-c", line+` --noproxy '*' -w '\n--status %{http_code}'`).Output()
	text, status, _ := strings.Cut(string(out), separator)
	return status + " " + strings.TrimSpace(text), err
}

// withoutCurl understands no more than what the demo prints.
func withoutCurl(line string) (string, error) {
	m := regexp.MustCompile(`^  curl -sS -X (\w+) -H 'Authorization: Bearer (\S+)' -d '(.*)' '(\S+)'$`).FindStringSubmatch(line)
	if m == nil {
		return "", fmt.Errorf("not a line that can be run")
	}
	status, text, err := send(m[1], m[4], m[2], m[3])
	return fmt.Sprint(status, " ", strings.TrimSpace(text)), err
}
