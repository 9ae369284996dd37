package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/recallmq/recall"
)

// dataset is a closed file with N waiting messages; workloads work on copies.
type dataset struct {
	path  string
	shape shape
	bytes int64
	took  time.Duration
}

// big returns the file that several workloads share.
func (b *bench) big() (*dataset, error) {
	if b.base != nil {
		return b.base, nil
	}
	d, err := b.build("base.db", shape{n: b.N, due: later(time.Now())})
	b.base = d
	return d, err
}

func (b *bench) build(name string, s shape) (*dataset, error) {
	d := &dataset{path: b.path(name), shape: s}
	b.progress("building a file with %s messages", short(float64(s.n)))
	var err error
	if d.took, err = timed(func() error { return preload(d.path, s) }); err != nil {
		return nil, err
	}
	info, err := os.Stat(d.path)
	if err != nil {
		return nil, err
	}
	d.bytes = info.Size()
	return d, nil
}

// buildBatch is how many messages are published at a time into a file that is built.
const buildBatch = 2000

// preload publishes all messages of a shape, in order, into a new file.
func preload(path string, s shape) error {
	return withBroker(path, 0, func(br *recall.Broker) error {
		for from := 0; from < s.n; from += buildBatch {
			if err := publishRange(br, s, from, min(from+buildBatch, s.n)); err != nil {
				return err
			}
		}
		if got := br.Stats().Pending; got != s.n {
			return fmt.Errorf("%d messages are pending after %d were published", got, s.n)
		}
		return nil
	})
}

func publishRange(br *recall.Broker, s shape, from, to int) error {
	batch := make([]recall.Message, 0, to-from)
	for i := from; i < to; i++ {
		batch = append(batch, s.message(i))
	}
	_, err := br.PublishBatch(bg, batch)
	return err
}

// copyTo makes a copy that is on disk when it returns: what it left dirty would
// otherwise be written during the measurement.
func (d *dataset) copyTo(path string) (err error) {
	from, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Sync(), to.Close())
}

// withCopy runs fn on a broker over a copy of the file.
func (b *bench) withCopy(d *dataset, slots int, fn func(*recall.Broker) error) error {
	return b.withCopyAt(d, func(path string) error { return withBroker(path, slots, fn) })
}

// withCopyAt runs fn on a copy of the file that nobody has open.
func (b *bench) withCopyAt(d *dataset, fn func(path string) error) error {
	path := b.path("copy.db")
	defer os.Remove(path)
	if err := d.copyTo(path); err != nil {
		return err
	}
	b.settle()
	return fn(path)
}

// patience ends a wait for something that will not come.
const patience = 3 * time.Minute

// waitUntil polls until ok; the poll is short beside anything timed with it.
func waitUntil(what string, ok func() bool) error {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(500 * time.Microsecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", patience, what)
		}
	}
	return nil
}

// waitIdle waits until nothing is in flight and background work has come to
// rest. Some backlog may stay for good: folding a little does not pay.
func waitIdle(br *recall.Broker) error {
	_, err := waitRest(br, func(was, is recall.Stats) bool {
		return is.InFlight > 0 || is.Waiting > 0 || is.Busy > 0 || is.Commits != was.Commits || is.Backlog != was.Backlog
	})
	return err
}

// rest is how long nothing may have happened before work counts as done. It is
// longer than the commits of background work, so that none hides in it.
const rest = 100 * time.Millisecond

// waitRest returns when the last thing happened, after which nothing did.
// happened compares two looks at the broker, a moment apart.
func waitRest(br *recall.Broker, happened func(was, is recall.Stats) bool) (last time.Time, err error) {
	last = time.Now()
	was := br.Stats()
	err = waitUntil("background work", func() bool {
		is, now := br.Stats(), time.Now()
		if happened(was, is) {
			last = now
		}
		was = is
		return now.Sub(last) > rest
	})
	return last, err
}
