package recall

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestCountErrors: loggers that are derived count too, one that counts is not wrapped
// again, and what is counted is handed on as ever.
func TestCountErrors(t *testing.T) {
	var out bytes.Buffer
	given := slog.New(slog.NewTextHandler(&out, nil))
	l, count := countErrors(given)
	if again, same := countErrors(l); again != l || same != count {
		t.Error("a logger that counts was wrapped again")
	}
	l.Info("fine")
	l.Error("first", "error", errors.New("disk"))
	l.With("user", "shop").WithGroup("g").Error("second", "path", "/")
	n, last := count.read()
	if n != 2 || last.Text != "second" || last.At.IsZero() {
		t.Errorf("got %d errors, the last %+v", n, last)
	}
	if got := out.String(); strings.Count(got, "\n") != 3 || !strings.Contains(got, "user=shop g.path=/") {
		t.Errorf("the log has\n%s", got)
	}
	if uncountedLogger(l) != given || uncountedLogger(given) != given {
		t.Error("the logger that was given is not found again")
	}
}
