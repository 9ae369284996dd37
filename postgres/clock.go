package postgres

import (
	"context"
	"math/rand/v2"
	"time"
)

// This file is where the package looks at a clock of its own, and only to wait, and to
// count what has passed since the database said what time it is. What is due is decided
// by the time that a call is given, and how long a lease holds by the clock of the
// database.

// firstPause is how long a transaction waits at most before it is made a second time.
const firstPause = time.Millisecond

// pause waits a little, longer with every try.
func pause(ctx context.Context, try int) error {
	most := firstPause << min(try, 8)
	return sleep(ctx, rand.N(most)+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// every calls f again and again until ctx is done.
func every(ctx context.Context, d time.Duration, f func(context.Context)) {
	for sleep(ctx, d) == nil {
		f(ctx)
	}
}

// after sends on a channel when d has passed.
func after(d time.Duration) (c <-chan time.Time, stop func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

// stopwatch returns how long ago it was made.
func stopwatch() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// localTime is what [serverClock] counts by. It has a monotonic reading.
func localTime() time.Time { return time.Now() }

func afterFunc(d time.Duration, f func()) (stop func() bool) { return time.AfterFunc(d, f).Stop }

// wait returns when there is a hint, or d has passed. It reports whether ctx lets it go
// on.
func wait(ctx context.Context, d time.Duration, hinted <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-hinted:
	}
	return true
}
