package suite

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/recallmq/recall/internal/parttest"
	"github.com/recallmq/recall/recalltest"
)

// TestSuite runs the suite as the child of a Go test. The server is the one that
// "recall dev --test-api" starts.
func TestSuite(t *testing.T) {
	node := parttest.Need(t, "node")
	s := recalltest.New(t)
	cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", "reminders.test.mjs")
	cmd.Env = append(os.Environ(), s.Env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "# pass 2\n") {
		t.Errorf("its tests did not run:\n%s", out)
	}
}
