package main

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// operation does its n-th unit of work; numbers are unique over all workers.
type operation func(n int) error

// parallel runs op from many goroutines for a while and returns operations per
// second. What is under way when time is up is waited for and counted, with
// its time. A quarter of the window goes before as warm-up and is not counted.
func parallel(workers int, window time.Duration, lat *latencies, op operation) (float64, error) {
	var next atomic.Int64
	if _, _, err := stretch(workers, window/4, nil, &next, op); err != nil {
		return 0, err
	}
	count, took, err := stretch(workers, window, lat, &next, op)
	return float64(count) / took.Seconds(), err
}

func stretch(workers int, window time.Duration, lat *latencies, next *atomic.Int64, op operation) (int64, time.Duration, error) {
	var (
		group sync.WaitGroup
		total atomic.Int64
		errs  = make([]error, workers)
		start = time.Now()
	)
	for w := range workers {
		group.Go(func() {
			var n int64
			n, errs[w] = work(start.Add(window), lat, next, op)
			total.Add(n)
		})
	}
	group.Wait()
	return total.Load(), time.Since(start), errors.Join(errs...)
}

// work repeats op until the deadline, at least once.
func work(deadline time.Time, lat *latencies, next *atomic.Int64, op operation) (n int64, err error) {
	var s *sampler
	if lat != nil {
		s = &sampler{to: lat}
		defer s.flush()
	}
	for before := time.Now(); ; {
		if err := op(int(next.Add(1) - 1)); err != nil {
			return n, err
		}
		n++
		now := time.Now()
		if s != nil {
			s.add(now.Sub(before))
		}
		if !now.Before(deadline) {
			return n, nil
		}
		before = now
	}
}

// timed returns how long fn took.
func timed(fn func() error) (time.Duration, error) {
	start := time.Now()
	err := fn()
	return time.Since(start), err
}

// repeat times fn over and over.
func repeat(times int, fn func(i int) error) ([]time.Duration, error) {
	took := make([]time.Duration, times)
	for i := range took {
		var err error
		if took[i], err = timed(func() error { return fn(i) }); err != nil {
			return nil, err
		}
	}
	return took, nil
}
