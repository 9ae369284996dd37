package recall

import (
	"context"
	"sync/atomic"
	"time"
)

// patience lets outcomes that nobody waits for gather before they are committed. Without
// it commits follow each other for as long as there are deliveries, with a few outcomes
// each: two syncs, and the pages of the done sets, for some twenty messages. As soon as
// somebody waits for the commit, or for what it makes room for, reads the log or takes a
// backup, it goes on.
//
// What it costs: a crash of the process has that much more of what was delivered, and not
// noted, delivered again.
type patience struct {
	over  bool // this commit is not to wait, any more
	waits bool // it has begun to
	timer timer

	gathering *atomic.Bool // it does
}

// patienceTime is how long the first outcome of a commit waits for others.
const patienceTime = 3 * time.Millisecond

// begin is called before each commit.
func (p *patience) begin() { p.over, p.waits = false, false }

// note is told of each request of the commit.
func (p *patience) note(r *request) {
	if w, outcome := r.work.(*finishWork); !outcome || !w.patient {
		p.over = true
	}
}

// nextRequest waits for another request, as long as the commit may wait.
func (p *patience) nextRequest(queue <-chan *request) (r *request, ok bool) {
	if !p.waits {
		p.waits = true
		p.timer.start(patienceTime)
	}
	p.gathering.Store(true)
	select {
	case r, ok = <-queue:
	case <-p.timer.rings():
		p.over = true
	}
	p.gathering.Store(false)
	return r, ok
}

// hurry has outcomes committed that wait for others, for who wants to see them. That they
// cannot be is told to whoever changes something.
func (e *embedded) hurry(ctx context.Context) {
	if e.gathering.Load() {
		_ = e.flush(ctx)
	}
}

// end is called behind the last commit.
func (p *patience) end() { p.timer.stop() }
