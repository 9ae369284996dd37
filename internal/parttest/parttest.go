// Package parttest is how a test asks for a program that not every machine has.
package parttest

import (
	"os"
	"os/exec"
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
// not work, such as a tracer that may not trace.
func Missing(t testing.TB, why string) {
	t.Helper()
	if inCI() {
		t.Fatalf("with CI set no part may be missing: %s", why)
	}
	t.Skip(why)
}

// inCI agrees with in_ci in scripts/common.sh.
func inCI() bool {
	switch os.Getenv("CI") {
	case "", "0", "false":
		return false
	}
	return true
}
