package postgres

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/recallmq/recall"
)

// joint lets calls of one kind share a transaction. While one is under way, the calls
// that come wait; the next takes all of them, up to a bound. There is no timer: a call
// that finds nobody begins at once.
type joint[R any] struct {
	e *Engine
	// run does the calls in one transaction. What concerns one of them alone it leaves
	// in its err, and what it returns is the end of all.
	run func(u *unit, calls []*call[R]) error
	// fits tells whether a call can be made with others. It may be nil.
	fits func(calls []*call[R], next *call[R]) bool
	// lone has room for the calls that are made with nobody else at one time.
	lone chan struct{}
	// wait waits, holding nothing, for what a call that is made again may have to wait
	// for. It may be nil.
	wait func(c *call[R]) error

	mu      sync.Mutex
	waiting []*call[R]
	working bool
}

// call is one of them.
type call[R any] struct {
	req  R
	rows int // what it counts against maxShared
	size int // in bytes
	err  error
	done chan struct{}
	// again, when run sets it, has the call made once more with nobody else: then alone
	// is set. It may take as long as it likes there.
	again, alone bool
}

// The bounds of what shares a transaction. One call may be larger.
const (
	maxShared      = 2000
	maxSharedBytes = 4 << 20
)

// do queues a call and returns its outcome. If ctx is done before the call was taken
// up, that is its error and nothing has happened; afterwards ctx changes nothing.
func (j *joint[R]) do(ctx context.Context, c *call[R]) error {
	c.done = make(chan struct{})
	j.mu.Lock()
	j.waiting = append(j.waiting, c)
	if !j.working {
		j.working = true
		go j.work()
	}
	j.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	if j.withdraw(c) {
		return ctx.Err()
	}
	<-c.done
	return c.err
}

func (j *joint[R]) withdraw(c *call[R]) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range j.waiting {
		if j.waiting[i] == c {
			j.waiting = append(j.waiting[:i:i], j.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// work makes one transaction after the other until nothing waits. What comes while it
// waits for a connection joins.
func (j *joint[R]) work() {
	for {
		conn, err := j.e.pool.Acquire(context.Background())
		calls := j.take()
		switch {
		case len(calls) > 0 && err == nil:
			err = j.e.doOn(context.Background(), conn, func(u *unit) error { return j.try(u, calls) })
		case err == nil:
			conn.Release()
		}
		j.end(calls, err)
		if len(calls) == 0 {
			return
		}
	}
}

// try makes one try of a transaction.
func (j *joint[R]) try(u *unit, calls []*call[R]) error {
	for _, c := range calls {
		c.err, c.again = nil, false
	}
	return j.run(u, calls)
}

// take returns what shares the next transaction, oldest first. Nothing is left: then
// nobody works any more.
func (j *joint[R]) take() (calls []*call[R]) {
	j.mu.Lock()
	defer j.mu.Unlock()
	rows, size := 0, 0
	for len(calls) < len(j.waiting) {
		c := j.waiting[len(calls)]
		rows, size = rows+c.rows, size+c.size
		if len(calls) > 0 && (rows > maxShared || size > maxSharedBytes || j.fits != nil && !j.fits(calls, c)) {
			break
		}
		calls = append(calls, c)
	}
	j.waiting = j.waiting[len(calls):]
	j.working = len(calls) > 0
	return calls
}

// end tells the calls their outcome. When the server has refused something that one of
// several calls brought, each is made alone: it is the end of that one only.
func (j *joint[R]) end(calls []*call[R], err error) {
	for _, c := range calls {
		switch {
		case len(calls) > 1 && refused(err), err == nil && c.again:
			go j.single(c)
			continue
		case err != nil:
			c.err = err
		}
		close(c.done)
	}
}

// single makes a call with nobody else, while others do so that lone has room for.
func (j *joint[R]) single(c *call[R]) {
	c.alone = true
	defer close(c.done)
	j.lone <- struct{}{}
	defer func() { <-j.lone }()
	if j.wait != nil {
		if c.err = j.wait(c); c.err != nil {
			return
		}
	}
	alone := []*call[R]{c}
	if err := j.e.do(context.Background(), func(u *unit) error { return j.try(u, alone) }); err != nil {
		c.err = err
	}
}

// refused tells whether an error is about values: PostgreSQL cannot keep one (22), a
// constraint forbids it (23), or it is too large (54).
func refused(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || errors.Is(err, recall.ErrFailed) {
		return false
	}
	switch pg.Code[:2] {
	case "22", "23", "54":
		return true
	}
	return false
}
