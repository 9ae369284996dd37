package peer

import (
	"context"
	"errors"
	"sync"
	"time"
)

// idlePoll is how often a worker by hand looks for something to do when there
// was nothing: often enough to be in time, and seldom enough for a program that
// also does something else.
const idlePoll = 100 * time.Millisecond

// startWorkers runs step in so many goroutines until stop is called. A step says
// whether it found something to do; if not there is a pause before the next.
func startWorkers(n int, step func(ctx context.Context, worker int) (busy bool, err error)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	errs := make([]error, n)
	for w := range n {
		group.Go(func() { errs[w] = workUntil(ctx, func() (bool, error) { return step(ctx, w) }) })
	}
	return func() error {
		cancel()
		group.Wait()
		return errors.Join(errs...)
	}
}

func workUntil(ctx context.Context, step func() (busy bool, err error)) error {
	for ctx.Err() == nil {
		busy, err := step()
		if err != nil && ctx.Err() == nil {
			return err
		}
		if busy {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(idlePoll):
		}
	}
	return nil
}
