package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/bench/peer"
)

// bench is one run: where its files are, how big it is, and what it found.
type bench struct {
	sizes
	dir      string // ours alone; removed at the end
	out      io.Writer
	profiles string // folder for those of each workload; none if empty
	report   *report
	base     *dataset // the big file, built by the first workload that wants it

	against []*peer.Peer // Recall and those beside it, once somebody asked
	skipped []string     // which of them are not there, and why
}

func newBench(parent string, sz sizes, out io.Writer) (*bench, error) {
	dir, err := os.MkdirTemp(parent, "recall-bench-")
	if err != nil {
		return nil, err
	}
	// A service may run as another user; it has to get to its folder in there.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &bench{sizes: sz, dir: dir, out: out, report: newReport(describeMachine(dir), sz)}, nil
}

// close stops the services that a failed workload may have left, and removes the
// files.
func (b *bench) close() error { return errors.Join(peer.Shutdown(), os.RemoveAll(b.dir)) }

// closeOnSignal does the same when the process is told to end, until it is
// called off.
func (b *bench) closeOnSignal() (off func()) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
		case <-told:
			if err := b.close(); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
			os.Exit(1)
		}
	}()
	return func() {
		signal.Stop(told)
		close(done)
	}
}

func (b *bench) runAll(chosen []workload) error {
	b.report.printHead(b.out)
	for _, w := range chosen {
		b.settle()
		start, used := time.Now(), readProcessor()
		b.report.begin(w.name, w.what)
		if err := profiled(b.profiles, w.name, func() error { return w.run(b) }); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		took := time.Since(start)
		runtime.GC() // which brings the figures of the collector up to date
		b.noteCollector(used)
		b.report.end(b.out, took)
	}
	b.report.printSummary(b.out)
	return nil
}

// settle lets what came before pass: its garbage, and its dirty pages.
func (b *bench) settle() {
	runtime.GC()
	syncFileSystems()
	time.Sleep(b.Gap / 10)
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// progress is a line for the person who waits, kept out of the tables.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.out, "  … "+format+"\n", args...)
}

// options are those of every broker measured here. The durability is spelled
// out, because everything else would be another benchmark. A sweep is measured
// from the answer of its cancellation on, so nothing can be undone: that would
// put it off.
func options(slots int) *recall.Options {
	return &recall.Options{
		Durability: recall.SyncAlways,
		Slots:      slots,
		NoDispatch: slots == 0,
		UndoWindow: -1,
		Logger:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// openBroker opens a file with that many slots; with none it delivers nothing.
func openBroker(path string, slots int) (*recall.Broker, error) {
	o := options(slots)
	if o.Durability != recall.SyncAlways {
		return nil, errors.New("the benchmark would not sync")
	}
	if slots == 0 {
		o.Slots = 1 // unused, but it has to be valid
	}
	return recall.Open(path, o)
}

func closeBroker(br *recall.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return br.Close(ctx)
}

// withBroker runs fn on a broker and closes it, reporting both failures.
func withBroker(path string, slots int, fn func(*recall.Broker) error) error {
	br, err := openBroker(path, slots)
	if err != nil {
		return err
	}
	return errors.Join(fn(br), closeBroker(br))
}

// withFreshBroker is withBroker on a new file that is removed afterwards.
func (b *bench) withFreshBroker(slots int, fn func(*recall.Broker) error) error {
	path := b.path("fresh.db")
	defer os.Remove(path)
	return withBroker(path, slots, fn)
}

// bg is the context of calls that nobody interrupts.
var bg = context.Background()
