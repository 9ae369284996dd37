package recall_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

const (
	scheduleFile = "RECALL_SCHEDULE_FILE"
	scheduleSide = "RECALL_SCHEDULE_SIDE" // of the commit: before or after
	scheduleKill = "RECALL_SCHEDULE_KILL" // the number of the commit

	missedMinutes = 5
)

var scheduleBase = time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)

// TestScheduleCrashes kills a process that catches up at each of its commits in
// turn, just before and just after: what it leaves has a message for each minute
// that the schedule says was met, and whoever opens it next publishes the rest.
func TestScheduleCrashes(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	base := filepath.Join(t.TempDir(), "base.db")
	b := openAt(t, base, scheduleBase, true)
	s := everyMinute
	s.CatchUp = recall.CatchUpAll
	setSchedule(t, b, s)
	closeNow(t, b, t.Context())
	for _, side := range []string{"before", "after"} {
		for step, ended := 1, false; !ended; step++ {
			path := filepath.Join(t.TempDir(), "q.db")
			copyFile(t, base, path)
			ended = killedCatchUp(t, path, side, step)
			if ended && step < missedMinutes {
				t.Errorf("there were only %d commits", step-1)
			}
			b := openAt(t, path, scheduleBase, true)
			met := 0
			if last := schedule(t, b, "s").Last; !last.IsZero() {
				met = int(last.Sub(scheduleBase) / time.Minute)
			}
			checkCount(t, b, recall.Count{Pending: met})
			closeNow(t, b, t.Context())
			b = openAt(t, path, scheduleBase.Add(missedMinutes*time.Minute), false)
			untilMet(b, scheduleBase.Add(missedMinutes*time.Minute))
			checkCount(t, b, recall.Count{Pending: missedMinutes})
			closeNow(t, b, t.Context())
			if t.Failed() {
				t.Fatalf("killed %s commit %d", side, step)
			}
		}
	}
}

func openAt(t *testing.T, path string, now time.Time, idle bool) *recall.Broker {
	t.Helper()
	b, err := recall.Open(path, &recall.Options{
		NoDispatch: idle, Clock: &handClock{now: now}, Durability: recall.SyncNever, Logger: quietLogger,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// untilMet waits until the schedule has met a time.
func untilMet(b *recall.Broker, at time.Time) {
	for {
		s, err := b.Schedule(context.Background(), "s")
		if err != nil || !s.Last.Before(at) {
			return
		}
		runtime.Gosched()
	}
}

// killedCatchUp runs the child, and tells whether it came to its end.
func killedCatchUp(t *testing.T, path, side string, step int) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestScheduleCrashChild$")
	child.Env = append(os.Environ(), scheduleFile+"="+path, scheduleSide+"="+side, fmt.Sprintf("%s=%d", scheduleKill, step))
	out, err := child.CombinedOutput()
	ended := strings.Contains(string(out), "caught up\n")
	if ended != (err == nil) || ctx.Err() != nil {
		t.Fatalf("the child: %v: %s", err, out)
	}
	return ended
}

// TestScheduleCrashChild catches up, and kills itself at a commit.
func TestScheduleCrashChild(t *testing.T) {
	path := os.Getenv(scheduleFile)
	if path == "" {
		t.Skip("a part of TestScheduleCrashes")
	}
	at, err := strconv.Atoi(os.Getenv(scheduleKill))
	if err != nil {
		t.Fatal(err)
	}
	commits := 0
	hook := func(side string) func() error {
		return func() error {
			if side == os.Getenv(scheduleSide) {
				if commits++; commits == at {
					killSelf()
				}
			}
			return nil
		}
	}
	now := scheduleBase.Add(missedMinutes * time.Minute)
	opts := &recall.Options{Clock: &handClock{now: now}, Logger: quietLogger}
	engine, err := recall.OpenFaulty(path, opts, hook("before"), hook("after"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := recall.New(engine, opts)
	if err != nil {
		t.Fatal(err)
	}
	untilMet(b, now)
	closeNow(t, b, context.Background())
	report("caught up")
}
