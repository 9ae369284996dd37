package recall

import "sync"

// workers are goroutines that run one job after the other. A new goroutine begins with
// a small stack, which has to be copied to a larger one, and that again, before a
// handler is reached: a third of what a short attempt takes. A worker keeps its stack.
//
// There are as many workers as there were ever jobs at a time, or a few more. One whose
// job ends its goroutine is replaced when there is need.
type workers struct {
	jobs    chan func()
	running *sync.WaitGroup
}

func newWorkers() workers { return workers{make(chan func()), &sync.WaitGroup{}} }

// run has a job done by a worker that waits for one, or else by a new one. It does not
// wait. One goroutine calls it, and stop when all jobs have ended.
func (w workers) run(job func()) {
	select {
	case w.jobs <- job:
	default:
		w.running.Go(func() { w.work(job) })
	}
}

func (w workers) work(job func()) {
	for more := true; more; job, more = <-w.jobs {
		job()
	}
}

// stop returns when all workers have ended.
func (w workers) stop() {
	close(w.jobs)
	w.running.Wait()
}
