//go:build unix

package postgres_test

import (
	"bufio"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/postgres/pgtest"
)

// crew is processes that work on one queue, and what they have done.
type crew struct {
	t       *testing.T
	job     job
	workers []*worker
	started int // clients
	lines   chan enginetest.Deed
	gone    chan *worker // its output has ended
	deeds   []enginetest.Deed
	calls   int // that were answered
}

// worker is one of the processes.
type worker struct {
	cmd     *exec.Cmd
	in      io.Closer
	leaving bool // it was told to end
}

func newCrew(t *testing.T, dsn, schema string, n int) *crew {
	t.Helper()
	c := &crew{t: t, job: job{DSN: dsn, Schema: schema, Ticks: newTicks(t)}, lines: make(chan enginetest.Deed, 1<<16), gone: make(chan *worker, 1000)}
	for range n {
		c.workers = append(c.workers, c.start())
	}
	return c
}

func (c *crew) start() *worker {
	c.t.Helper()
	j := c.job
	j.Client, j.Seed = c.started, rand.Uint64()
	c.started += workerClients
	text, err := json.Marshal(j)
	if err != nil {
		c.t.Fatal(err)
	}
	w := &worker{cmd: exec.Command(os.Args[0])}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		w.in, err = w.cmd.StdinPipe()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	pgtest.DieWithParent(w.cmd)
	if err := w.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	go c.read(w, out)
	return w
}

// read passes on what a worker writes. The last line of one that was killed may be cut.
func (c *crew) read(w *worker, out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var d enginetest.Deed
		if json.Unmarshal(lines.Bytes(), &d) == nil {
			c.lines <- d
		}
	}
	c.gone <- w
}

// next waits for a line. It reports the worker whose last one it was, if it was.
func (c *crew) next() *worker {
	c.t.Helper()
	select {
	case d := <-c.lines:
		c.note(d)
	case w := <-c.gone:
		if !w.leaving {
			c.t.Fatalf("a worker has ended by itself: %v", w.cmd.Wait())
		}
		return w
	case <-time.After(patience):
		c.t.Fatal("nobody says anything any more")
	}
	return nil
}

func (c *crew) note(d enginetest.Deed) {
	c.deeds = append(c.deeds, d)
	if d.Answer != enginetest.AnswerNothing && d.Answer != enginetest.AnswerFailed {
		c.calls++
	}
}

// await returns after so many more calls.
func (c *crew) await(calls int) {
	c.t.Helper()
	for until := c.calls + calls; c.calls < until; {
		c.next()
	}
}

// leave waits for the end of a worker that was told to end.
func (c *crew) leave(w *worker) {
	c.t.Helper()
	for c.next() != w {
	}
	for len(c.lines) > 0 {
		c.note(<-c.lines)
	}
	if err := w.cmd.Wait(); err != nil && w.cmd.ProcessState.Exited() {
		c.t.Errorf("a worker: %v", err)
	}
}

// kill kills one of the workers, and starts another.
func (c *crew) kill() {
	c.t.Helper()
	i := rand.IntN(len(c.workers))
	w := c.workers[i]
	w.leaving = true
	if err := w.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.leave(w)
	c.workers[i] = c.start()
}

// pause has one of the workers stand still until something has come about, which the others
// bring about.
func (c *crew) pause(until func() bool) {
	c.t.Helper()
	w := c.workers[rand.IntN(len(c.workers))].cmd.Process
	for !until() {
		if err := w.Signal(syscall.SIGSTOP); err != nil { // again: somebody else may have it go on
			c.t.Fatal(err)
		}
		c.await(20)
	}
	if err := w.Signal(syscall.SIGCONT); err != nil {
		c.t.Fatal(err)
	}
}

// retire has all workers end in order.
func (c *crew) retire() {
	c.t.Helper()
	for _, w := range c.workers {
		w.leaving = true
		if err := w.in.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
	left := len(c.workers)
	for left > 0 {
		if w := c.next(); w != nil {
			left--
			if err := w.cmd.Wait(); err != nil {
				c.t.Errorf("a worker: %v", err)
			}
		}
	}
	for len(c.lines) > 0 {
		c.note(<-c.lines)
	}
}
