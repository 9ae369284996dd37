package recall_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestCrashAtEveryStep kills a process at every commit of a bulk cancellation
// and of the folding and sweeping that follows, in turn, just before and just
// after. What it finds afterwards is all of the cancellation or nothing. With
// RECALL_SOAK also a million messages are cancelled; then a choice of the steps
// must do.
func TestCrashAtEveryStep(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	sizes := []int{3 * 4096}
	if os.Getenv("RECALL_SOAK") != "" {
		sizes = []int{3 * 4096, 1_000_000}
	}
	for _, n := range sizes {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			base := filepath.Join(t.TempDir(), "base.db")
			stepMessages(t, base, n)
			for _, side := range []string{"before", "after"} {
				crashSteps(t, base, side, n)
			}
		})
	}
}

const (
	stepFile = "RECALL_STEP_FILE"
	stepSide = "RECALL_STEP_SIDE" // of the commit: before or after
	stepKill = "RECALL_STEP_KILL" // the number of the commit

	stepKept = 5 // one message in so many has another label
)

// stepMessages publishes n messages, most of them to be cancelled.
func stepMessages(t *testing.T, path string, n int) {
	t.Helper()
	b, err := recall.Open(path, &recall.Options{NoDispatch: true, Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < n; {
		var batch []recall.Message
		for ; at < n && len(batch) < recall.DefaultMaxBatch; at++ {
			m := recall.Message{URL: "https://a.test/x", Delay: 24 * time.Hour, Labels: []string{"wrong"}}
			if at%stepKept == 0 {
				m.Labels[0] = "right"
			}
			batch = append(batch, m)
		}
		if _, err := b.PublishBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	closeNow(t, b, t.Context())
}

// crashSteps kills at one commit after the other, until a process reaches the
// end.
func crashSteps(t *testing.T, base, side string, n int) {
	const every = 40 // steps that are all taken
	for step := 1; ; step++ {
		if step > every {
			step += rand.IntN(step)
		}
		path := filepath.Join(t.TempDir(), "q.db")
		copyFile(t, base, path)
		acked, ended := crashStep(t, path, side, step)
		checkStep(t, path, n, acked)
		_ = os.Remove(path)
		if t.Failed() {
			t.Fatalf("killed %s commit %d", side, step)
		}
		if ended {
			t.Logf("%s: %d commits", side, step-1)
			return
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// crashStep runs the child, and tells whether its cancellation was acknowledged
// and whether it came to its end.
func crashStep(t *testing.T, path, side string, step int) (acked, ended bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestCrashStepChild$")
	child.Env = append(os.Environ(), stepFile+"="+path, stepSide+"="+side, fmt.Sprintf("%s=%d", stepKill, step))
	out, err := child.CombinedOutput()
	acked = bytes.Contains(out, []byte("acknowledged\n"))
	ended = bytes.Contains(out, []byte("swept\n"))
	var exit *exec.ExitError
	if ended != (err == nil) || err != nil && (!errors.As(err, &exit) || exit.Exited()) {
		t.Fatalf("the child ended by itself: %v: %s", err, out)
	}
	return acked, ended
}

// checkStep opens what is left: it cancels all or nothing, and nothing else.
func checkStep(t *testing.T, path string, n int, acked bool) {
	t.Helper()
	engine, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer engine.Close()
	kept := (n + stepKept - 1) / stepKept
	for label, want := range map[string][]int{"right": {kept}, "wrong": {0, n - kept}} {
		c, err := engine.Count(t.Context(), recall.Filter{Labels: []string{label}}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if c.InFlight != 0 || c.Pending != want[0] && c.Pending != want[len(want)-1] || acked && c.Pending != want[0] {
			t.Errorf("%s: %+v are left of %d, acknowledged %v", label, c, n, acked)
		}
	}
	if err := recall.CheckInvariants(engine, path); err != nil {
		t.Error(err)
	}
}

// TestCrashStepChild cancels and sweeps, and kills itself at a commit.
func TestCrashStepChild(t *testing.T) {
	path := os.Getenv(stepFile)
	if path == "" {
		t.Skip("a part of TestCrashAtEveryStep")
	}
	at, err := strconv.Atoi(os.Getenv(stepKill))
	if err != nil {
		t.Fatal(err)
	}
	commits := 0
	hook := func(side string) func() error {
		return func() error {
			if side != os.Getenv(stepSide) {
				return nil
			}
			if commits++; commits == at {
				killSelf()
			}
			return nil
		}
	}
	engine, err := recall.OpenFaulty(path, &recall.Options{Logger: quietLogger, UndoWindow: -1}, hook("before"), hook("after"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	_, err = engine.CancelMatching(t.Context(), recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"wrong"}}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	report("acknowledged")
	for next := now; !next.After(now) && !next.IsZero(); {
		if next, err = engine.Maintain(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	report("swept")
}

func report(line string) { _, _ = os.Stdout.WriteString(strings.TrimSpace(line) + "\n") }

// killSelf ends the process as kill -9 does.
func killSelf() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}
