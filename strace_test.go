//go:build linux

package recall_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/internal/parttest"
)

// A killed process leaves what it wrote to the operating system, a power cut
// does not. So this test looks at the system calls of a process: before a call
// is acknowledged its commit must have written its pages, synced them, written
// the meta page that makes them valid, and synced that.
const (
	traceDir    = "RECALL_TRACE_DIR"
	traceNoSync = "RECALL_TRACE_NO_SYNC"
)

// tracedSteps are what the child acknowledges, in this order.
var tracedSteps = []string{
	"publish", "batch", "cancel", "request", "bulk cancel", "restore", "bulk cancel with wait",
	"hold", "reschedule", "release", "cancel the future", "lift", "transaction", "dead letter", "retry", "finish",
}

func TestAcknowledgedAfterSync(t *testing.T) {
	for _, fault := range checkTrace(traceChild(t, false)) {
		t.Error(fault)
	}
}

// TestAcknowledgedWithoutSync makes sure that the check can fail.
func TestAcknowledgedWithoutSync(t *testing.T) {
	faults := checkTrace(traceChild(t, true))
	if len(faults) != len(tracedSteps) {
		t.Errorf("without sync %d of %d acknowledgements were found at fault: %q", len(faults), len(tracedSteps), faults)
	}
}

// traceChild runs the child under strace and returns the trace.
func traceChild(t *testing.T, noSync bool) string {
	t.Helper()
	strace := parttest.NeedTracer(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	child := exec.CommandContext(ctx, strace, "-f", "-y", "-o", trace,
		"-e", "trace=pwrite64,pwritev,write,fdatasync,fsync,msync,sync_file_range", os.Args[0], "-test.run", "^TestTraceChild$")
	child.Env = append(os.Environ(), traceDir+"="+dir)
	if noSync {
		child.Env = append(child.Env, traceNoSync+"=1")
	}
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestTraceChild is the process that is traced. It writes a line to a file
// before each step, and one when the step was acknowledged.
func TestTraceChild(t *testing.T) {
	dir := os.Getenv(traceDir)
	if dir == "" {
		t.Skip("a part of TestAcknowledgedAfterSync")
	}
	marks, err := os.Create(filepath.Join(dir, "marks"))
	if err != nil {
		t.Fatal(err)
	}
	c := &traced{t: t, marks: marks, opts: &recall.Options{
		Logger: quietLogger, WaitFinish: true, Slots: 1, Backoff: func(int) time.Duration { return time.Hour },
	}}
	if os.Getenv(traceNoSync) != "" {
		c.opts.Durability = recall.SyncNever
	}
	c.calls(filepath.Join(dir, "calls.db"))
	c.attempts(filepath.Join(dir, "attempts.db"))
}

type traced struct {
	t     *testing.T
	marks *os.File
	opts  *recall.Options
}

func (c *traced) mark(format string, args ...any) {
	if _, err := fmt.Fprintf(c.marks, format+"\n", args...); err != nil {
		c.t.Error(err)
	}
}

func (c *traced) step(name string, do func() error) {
	c.mark("begin %s", name)
	if err := do(); err != nil {
		c.t.Errorf("%s: %v", name, err)
	}
	c.mark("acked %s", name)
}

// calls makes an engine's calls one after the other. Nobody calls Maintain, so
// every commit is that of a call.
func (c *traced) calls(path string) {
	ctx, now := context.Background(), storyBase
	e, err := recall.OpenEngine(path, c.opts)
	if err != nil {
		c.t.Fatal(err)
	}
	s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
	c.step("publish", func() error { return s.insert("a1") })
	c.step("batch", func() error { return s.insert("a2", "b1", "b2", "c1", "c2") })
	c.step("cancel", func() error {
		return e.Cancel(ctx, recall.CancelRequest{ID: s.ids["a1"], Now: now})
	})
	if err := s.claim(1); err != nil { // a2
		c.t.Fatal(err)
	}
	c.step("request", func() error {
		return e.Cancel(ctx, recall.CancelRequest{ID: s.ids["a2"], Sticky: true, Now: now})
	})
	bulk := func(label string, expired chan struct{}) func() error {
		return func() error {
			res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{label}}, Now: now, Expired: expired})
			s.op = res.Operation
			return err
		}
	}
	c.step("bulk cancel", bulk("b", nil))
	c.step("restore", s.restore)
	c.step("bulk cancel with wait", bulk("c", make(chan struct{})))
	c.step("hold", func() error { return s.change(recall.OperationHold, "b") })
	c.step("reschedule", func() error { return s.change(recall.OperationReschedule, "b") })
	c.step("release", func() error { return s.change(recall.OperationRelease, "b") })
	c.step("cancel the future", func() error { return s.cancelFuture("f") })
	c.step("lift", s.lift)
	c.step("transaction", func() error {
		return e.(recall.Transactor).Update(ctx, func(tx recall.EngineTx) error {
			_, err := tx.Insert([]recall.Message{storyMessage("t1", now)}, now)
			return err
		})
	})
	if err := e.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// attempts lets a broker deliver with one slot and WaitFinish: that a handler
// is called tells that the attempt before it has ended durably. Claims are
// noted with the next commit or a second later, so there is no other commit.
func (c *traced) attempts(path string) {
	b, err := recall.Open(path, c.opts)
	if err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	outcomes := map[int]error{0: recall.Permanent(errCrashAttempt), 1: errCrashAttempt, 2: nil}
	attempt, names := 0, tracedSteps[len(tracedSteps)-3:]
	var msgs []recall.Message
	for range len(outcomes) + 1 {
		msgs = append(msgs, recall.Message{URL: "local:step"})
	}
	if _, err := b.PublishBatch(c.t.Context(), msgs); err != nil {
		c.t.Fatal(err)
	}
	handle(c.t, b, "local:step", func(context.Context, *recall.Delivery) error {
		if attempt > 0 {
			c.mark("acked %s", names[attempt-1])
		}
		if attempt == len(outcomes) {
			close(ended)
			return nil
		}
		c.mark("begin %s", names[attempt])
		attempt++
		return outcomes[attempt-1]
	})
	<-ended
	closeNow(c.t, b, context.Background())
}

// systemCall is one line of the trace, or two: where it began and where it
// ended.
type systemCall struct {
	name, path, rest string
	offset           int64 // of a pwrite64
	began, ended     int
}

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]*)>(.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>`)
	offsetAtEnd = regexp.MustCompile(`, \d+, (\d+)(?:\) += | <unfinished)`)
)

func parseTrace(text string) (calls []*systemCall) {
	open := map[string]*systemCall{} // by thread
	for i, line := range strings.Split(text, "\n") {
		if f := resumedLine.FindStringSubmatch(line); f != nil && open[f[1]] != nil {
			open[f[1]].ended = i
			delete(open, f[1])
			continue
		}
		f := callLine.FindStringSubmatch(line)
		if f == nil {
			continue
		}
		c := &systemCall{name: f[2], path: f[3], rest: f[4], began: i, ended: i}
		if strings.HasSuffix(line, "<unfinished ...>") {
			c.ended = 1 << 30
			open[f[1]] = c
		}
		if m := offsetAtEnd.FindStringSubmatch(c.rest); m != nil {
			c.offset, _ = strconv.ParseInt(m[1], 10, 64)
		}
		calls = append(calls, c)
	}
	return calls
}

var markText = regexp.MustCompile(`"(begin|acked) ([a-z ]+)\\n"`)

// checkTrace returns what is wrong with a trace.
func checkTrace(text string) (faults []string) {
	calls := parseTrace(text)
	var step []*systemCall // since the last "begin"
	acked := 0
	for _, c := range calls {
		switch {
		case strings.HasSuffix(c.path, "/marks"):
			m := markText.FindStringSubmatch(c.rest)
			if m == nil {
				return []string{"a mark that does not read: " + c.rest}
			}
			if m[1] == "acked" {
				if acked < len(tracedSteps) && m[2] != tracedSteps[acked] {
					faults = append(faults, fmt.Sprintf("%q was acknowledged in the place of %q", m[2], tracedSteps[acked]))
				}
				acked++
				if fault := checkCommit(step, c); fault != "" {
					faults = append(faults, m[2]+": "+fault)
				}
			}
			step = nil
		case strings.HasSuffix(c.path, ".db"):
			step = append(step, c)
		}
	}
	if acked != len(tracedSteps) {
		faults = append(faults, fmt.Sprintf("%d acknowledgements, want %d", acked, len(tracedSteps)))
	}
	return faults
}

// checkCommit: pages, sync, meta page, sync, acknowledgement; each begins when
// the one before has ended.
func checkCommit(step []*systemCall, ack *systemCall) string {
	var pages, meta int // line where the last one ended
	var metaBegan int
	for _, c := range step {
		switch {
		case c.name != "pwrite64":
		case c.offset < int64(2*os.Getpagesize()):
			meta, metaBegan = max(meta, c.ended), c.began
		default:
			pages = max(pages, c.ended)
		}
	}
	synced := func(from, to int) bool {
		for _, c := range step {
			if (c.name == "fdatasync" || c.name == "fsync") && c.began > from && c.ended < to {
				return true
			}
		}
		return false
	}
	switch {
	case pages == 0 || meta == 0:
		return "no commit was written"
	case !synced(pages, metaBegan):
		return "the meta page was written before the pages were synced"
	case !synced(meta, ack.began):
		return "it was acknowledged before the meta page was synced"
	}
	return ""
}
