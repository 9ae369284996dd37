package postgres

import (
	"context"
	"math/rand/v2"
	"time"
)

// This file is where the package looks at a clock of its own, and only to wait. What
// is due is decided by the time that a call is given, and how long a lease holds by
// the clock of the database.

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

// wallTime is for the records of what happens without a call that says the time.
func wallTime() time.Time { return time.Now() }
