package recall

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// TestWorkers: a worker that has done its job does the next, one that was ended is
// replaced, and all are gone after stop. What a worker did is not kept.
func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkers()
		release := make(chan struct{})
		var did sync.WaitGroup
		for range 3 {
			did.Add(1)
			w.run(func() { defer did.Done(); <-release })
		}
		synctest.Wait()
		if n := countWorkers(); n != 3 {
			t.Fatalf("%d workers for three jobs at a time", n)
		}
		close(release)
		did.Wait()
		for range 10 {
			synctest.Wait() // all wait for jobs
			did.Add(1)
			w.run(did.Done)
			did.Wait()
		}
		synctest.Wait()
		if n := countWorkers(); n != 3 {
			t.Fatalf("%d workers after ten jobs, one after the other", n)
		}
		w.run(runtime.Goexit)
		synctest.Wait()
		if n := countWorkers(); n != 2 {
			t.Fatalf("%d workers after the end of one", n)
		}
		w.stop()
		synctest.Wait()
		if n := countWorkers(); n != 0 {
			t.Errorf("%d workers after stop", n)
		}
	})
}

// countWorkers counts the goroutines that are workers.
func countWorkers() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "recall.workers.work(")
}

// TestWorkersKeepNothing: a worker that waits does not hold on to its last job, whose
// message may be large.
func TestWorkersKeepNothing(t *testing.T) {
	w := newWorkers()
	defer w.stop()
	gone, did := make(chan struct{}), make(chan struct{})
	func() {
		body := make([]byte, 1<<20)
		runtime.AddCleanup(&body[0], func(struct{}) { close(gone) }, struct{}{})
		w.run(func() { body[0]++; close(did) })
	}()
	<-did
	for {
		runtime.GC()
		select {
		case <-gone:
			return
		default:
			runtime.Gosched()
		}
	}
}
