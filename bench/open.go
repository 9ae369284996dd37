package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/recallmq/recall"
)

// benchOpen opens files with N waiting messages: after a clean close, after a
// crash, and with every URL distinct. The page cache is warm.
func benchOpen(b *bench) error {
	d, err := b.big()
	if err != nil {
		return err
	}
	if err := b.openBuilding(d); err != nil {
		return err
	}
	if err := b.openParts(d); err != nil {
		return err
	}
	if err := b.openCase("10k URLs", d, openBounds{rebuild: 0.6, heap: 100, gc: 15}); err != nil {
		return err
	}
	if err := b.openCrashed(d); err != nil {
		return err
	}
	return b.openUnique()
}

// openBuilding tells what the file took to build, and its size.
func (b *bench) openBuilding(d *dataset) error {
	limit := b.newLimits()
	if err := limit.log(1, buildBatch, bodyOf); err != nil {
		return err
	}
	rate := series{float64(d.shape.n) / d.took.Seconds()}
	what := fmt.Sprintf("building the file, batches of %d", buildBatch)
	b.report.rates(what, "msg/s", rate)
	limit.share(what, "msg/s", bareLog, rate)
	size := series{float64(d.bytes) / float64(d.shape.n)}
	b.report.rates("file size per message", "B", size)
	b.limitOf(bodyMean).share("file size per message", "B", bareBody, size)
	return nil
}

func (b *bench) openUnique() error {
	u, err := b.build("unique.db", shape{n: b.N, uniqueURLs: true, due: later(time.Now())})
	if err != nil {
		return err
	}
	defer os.Remove(u.path)
	return b.openCase("every URL distinct", u, openBounds{heap: 250})
}

// openParts measures what opening cannot avoid: one read of the file, and
// bbolt's own open.
func (b *bench) openParts(d *dataset) error {
	read, err := repeat(b.Reps, func(int) error { return readThrough(d.path) })
	if err != nil {
		return err
	}
	bare, err := repeat(b.Reps, func(int) error { return openBolt(d.path) })
	if err != nil {
		return err
	}
	b.report.times("reading the file once, in sequence", exact(read))
	b.report.times("bbolt's open alone", exact(bare))
	return nil
}

func readThrough(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{file}, make([]byte, 1<<20))
	return err
}

// readFolder reads all files that are in there.
func readFolder(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return readThrough(path)
	})
}

func openBolt(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	return db.Close()
}

// openBounds are those of target 11, for a million; zero means none is stated.
type openBounds struct{ rebuild, heap, gc float64 }

func (b *bench) openCase(name string, d *dataset, bounds openBounds) error {
	var run openRun
	for range b.Reps {
		if err := run.add(d); err != nil {
			return err
		}
	}
	perMillion := 1e6 / float64(d.shape.n)
	b.report.times("open, "+name, exact(run.took)).ratio("reading and bbolt's open", run.beyondReading()...)
	scaled := make(series, len(run.rebuild))
	for i, r := range run.rebuild {
		scaled[i] = r * perMillion
	}
	bound(b.report.rates("  without reading and bbolt's open, per million", "s", scaled), bounds.rebuild)
	bound(b.report.rates("  heap per message", "B", run.heap), bounds.heap)
	b.limitOf(idBytes).share("  heap per message", "B", bareID, run.heap)
	bound(b.report.rates("  full GC", "ms", run.gc), bounds.gc)
	empty := &limits{b: b, values: run.gcBefore}
	empty.share("  full GC", "ms", "that of the heap before", run.gc)
	return nil
}

func bound(line *row, most float64) {
	if most > 0 {
		line.atMost(11, most)
	}
}

type openRun struct {
	took, read        []time.Duration
	rebuild, heap, gc series
	gcBefore          series
}

// beyondReading is how many times as long an open takes as what it cannot avoid.
func (r *openRun) beyondReading() (s series) {
	for i, took := range r.took {
		s = append(s, float64(took)/float64(r.read[i]))
	}
	return s
}

// add opens once and measures the rest around it: what reading and bbolt cost
// is taken right before, on the same warm file.
func (r *openRun) add(d *dataset) error {
	rest, err := timed(func() error { return errors.Join(readThrough(d.path), openBolt(d.path)) })
	if err != nil {
		return err
	}
	heapBefore, gcBefore := heapInUse(), fullGC()
	start := time.Now()
	br, err := openBroker(d.path, 0)
	took := time.Since(start)
	if err != nil {
		return err
	}
	heapAfter := heapInUse()
	r.took, r.read = append(r.took, took), append(r.read, rest)
	r.gcBefore = append(r.gcBefore, gcBefore)
	r.rebuild = append(r.rebuild, max(0, took-rest).Seconds())
	r.heap = append(r.heap, float64(heapAfter-heapBefore)/float64(d.shape.n))
	r.gc = append(r.gc, fullGC())
	return errors.Join(checkPending(br, d.shape.n), closeBroker(br))
}

func checkPending(br *recall.Broker, want int) error {
	if got := br.Stats().Pending; got != want {
		return fmt.Errorf("%d messages are pending, not %d", got, want)
	}
	return nil
}

// heapInUse returns live bytes: two collections, because finalisers and pools
// give back only with the second.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fullGC returns the milliseconds of one collection, the median of five.
func fullGC() float64 {
	var took series
	for range 5 {
		start := time.Now()
		runtime.GC()
		took = append(took, ms(time.Since(start)))
	}
	return took.median()
}

// openCrashed opens copies that were made while the file was open and quiet:
// what a killed process leaves.
func (b *bench) openCrashed(d *dataset) error {
	crashed := &dataset{path: b.path("crashed.db"), shape: d.shape}
	defer os.Remove(crashed.path)
	var beyond series
	took, err := repeatTimed(min(b.Reps, 3), func() (time.Duration, error) {
		if err := b.crash(d, crashed.path); err != nil {
			return 0, err
		}
		var run openRun
		if err := run.add(crashed); err != nil {
			return 0, err
		}
		beyond = append(beyond, run.beyondReading()...)
		return run.took[0], nil
	})
	if err != nil {
		return err
	}
	b.report.times("open after a crash, 10k URLs", exact(took)).ratio("reading and bbolt's open", beyond...)
	return nil
}

// crash leaves at path what d would be if its process died.
func (b *bench) crash(d *dataset, path string) error {
	return b.withCopy(d, 0, func(br *recall.Broker) error {
		// The first commit takes the mark of the clean close away; a cancelled
		// message leaves the number of waiting ones as it was.
		r, err := br.Publish(bg, recall.Message{URL: sink, Delay: time.Hour})
		if err == nil {
			err = br.Cancel(bg, r.ID)
		}
		if err == nil {
			err = waitIdle(br)
		}
		if err != nil {
			return err
		}
		open := dataset{path: b.path("copy.db")}
		return open.copyTo(path)
	})
}

func repeatTimed(times int, fn func() (time.Duration, error)) ([]time.Duration, error) {
	out := make([]time.Duration, 0, times)
	for range times {
		one, err := fn()
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}
