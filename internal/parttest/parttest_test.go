package parttest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/recallmq/recall/internal/parttest"
)

// recorder is a test that notes how it ended: by the first call, as it goes on
// where a real one stops.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Skip(args ...any)             { r.end("skipped: " + fmt.Sprint(args...)) }
func (r *recorder) Fatalf(f string, args ...any) { r.end("failed: " + fmt.Sprintf(f, args...)) }

func (r *recorder) end(how string) {
	if r.ended == "" {
		r.ended = how
	}
}

func TestNeed(t *testing.T) {
	for _, c := range []struct{ ci, program, want string }{
		{"", "go", ""},
		{"true", "go", ""},
		{"", "no-such-program", "skipped: "},
		{"0", "no-such-program", "skipped: "},
		{"false", "no-such-program", "skipped: "},
		{"1", "no-such-program", "failed: "},
		{"true", "no-such-program", "failed: "},
	} {
		t.Setenv("CI", c.ci)
		r := &recorder{TB: t}
		path := parttest.Need(r, c.program)
		if (path == "") != (c.want != "") || !strings.HasPrefix(r.ended, c.want) || c.want == "" && r.ended != "" {
			t.Errorf("CI=%q: Need(%q) = %q and the test %q, want it %q", c.ci, c.program, path, r.ended, c.want)
		}
	}
}
