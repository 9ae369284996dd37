// Package parttest is how a test asks for a program that not every machine has.
package parttest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Need returns the path of a program that scripts/setup.sh brings. Where it is
// not to be had the test is skipped, and shows up as such in the totals of make
// test; with CI set it fails, so that continuous integration leaves nothing
// out.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Missing(t, err.Error())
	}
	return path
}

// Missing skips or fails the test like [Need], for parts that are there and do
// not work.
func Missing(t testing.TB, why string) {
	t.Helper()
	if inCI() {
		t.Fatalf("with CI set no part may be missing: %s", why)
	}
	t.Skip(why)
}

// NeedTracer returns the path of a strace that may trace here. A container may
// forbid that: it is no part that could be brought, and the test is skipped also
// with CI set. Any other fault of strace is one of [Missing].
func NeedTracer(t testing.TB) string {
	t.Helper()
	strace := Need(t, "strace")
	out, err := exec.Command(strace, "-f", "-o", os.DevNull, os.Args[0], "-test.run", "^$").CombinedOutput()
	switch {
	case err == nil:
	case refused(string(out)):
		t.Skip("this machine forbids tracing: " + string(out))
	default:
		Missing(t, "strace does not work: "+err.Error()+": "+string(out))
	}
	return strace
}

// refused tells whether strace says that it was not allowed to trace, such as
// "strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted".
func refused(said string) bool {
	return strings.Contains(said, "PTRACE_") &&
		(strings.Contains(said, "Operation not permitted") || strings.Contains(said, "Permission denied"))
}

// inCI agrees with in_ci in scripts/common.sh.
func inCI() bool {
	switch os.Getenv("CI") {
	case "", "0", "false":
		return false
	}
	return true
}
