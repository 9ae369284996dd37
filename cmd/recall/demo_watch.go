package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// acknowledged is what the child had been promised when it was killed.
type acknowledged struct {
	delayed   map[recall.MessageID]string // label
	immediate map[recall.MessageID]bool
	busy      int // of delayed: published after the cancellation
	cancelled int // as the cancellation returned it
}

// watch follows a child to its end.
type watch struct {
	*demo
	acks   *acknowledged
	lines  <-chan string // closed at the end of the child
	in     io.Writer
	kill   func()
	phase  string
	bar    *progress
	killed bool
}

// watchChild starts the child, follows what it reports, and kills it while it
// publishes.
func (d *demo) watchChild(ctx context.Context) (*acknowledged, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	work := &demoChild{db: d.db, receiver: d.receiver.url(), size: d.size}
	child := exec.CommandContext(ctx, self, work.arguments()...)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	w := &watch{
		demo: d, lines: wholeLines(out), in: in,
		acks: &acknowledged{delayed: map[recall.MessageID]string{}, immediate: map[recall.MessageID]bool{}},
		kill: func() { _ = child.Process.Kill() }, // SIGKILL where there is such a thing; it may be dead already
	}
	err = w.follow(ctx)
	w.kill()
	for range w.lines { // a pipe must be read to its end before Wait closes it
	}
	_ = child.Wait() // it was killed: there is nothing to learn
	return w.acks, err
}

// wholeLines sends the lines of r that end with a newline. The kill can cut
// the last one short, and what it says was then not said.
func wholeLines(r io.Reader) <-chan string {
	lines := make(chan string, 1024)
	go func() { // ends with r
		defer close(lines)
		for b := bufio.NewReader(r); ; {
			line, err := b.ReadString('\n')
			if err != nil {
				return
			}
			lines <- strings.TrimRight(line, "\r\n")
		}
	}()
	return lines
}

var errEndedEarly = errors.New("the working process ended by itself")

// follow reads the child's reports to their end.
func (w *watch) follow(ctx context.Context) error {
	defer func() { w.bar.stop() }()
	for line := range w.lines {
		if err := w.read(ctx, line); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !w.killed:
		return errEndedEarly
	}
	w.say("\nKilled the process hard while it went on publishing: %d more messages had been acknowledged.", w.acks.busy)
	return nil
}

// read takes one report.
func (w *watch) read(ctx context.Context, line string) error {
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "phase":
		w.bar.finish()
		w.bar, w.phase = nil, rest
		return w.enter(ctx)
	case "delayed":
		id, label, _ := strings.Cut(rest, " ")
		w.delayed(recall.MessageID(id), label)
	case "immediate":
		w.acks.immediate[recall.MessageID(rest)] = true
		w.bar.set(len(w.acks.immediate))
	case "cancelled":
		return w.cancelled(rest)
	case "error":
		return errors.New(rest)
	default:
		return fmt.Errorf("the working process reports %q", line)
	}
	return nil
}

// enter says what comes next. Before the cancellation everything that is due
// at once has to arrive.
func (w *watch) enter(ctx context.Context) error {
	switch w.phase {
	case "delayed":
		w.say("\nPublishing. A message counts when it is acknowledged, which is after a sync of the file.")
		w.bar = startProgress(w.out, "delayed messages", w.size.delayed)
	case "immediate":
		w.bar = startProgress(w.out, "immediate messages", w.size.immediate)
	case "cancel":
		if err := w.awaitDeliveries(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w.in, "go")
		return err
	}
	return nil
}

// busyAcks is how many publishes are acknowledged between the cancellation and
// the kill: enough that all publishers are at it again.
const busyAcks = 1_000

func (w *watch) delayed(id recall.MessageID, label string) {
	w.acks.delayed[id] = label
	if w.phase != "busy" {
		w.bar.set(len(w.acks.delayed))
		return
	}
	w.acks.busy++
	if w.acks.busy >= min(busyAcks, w.size.delayed) && !w.killed {
		w.killed = true
		w.kill()
	}
}

// deliveryPatience is how long nothing may arrive.
const deliveryPatience = 30 * time.Second

// awaitDeliveries waits until every immediate message has arrived. The child
// reports nothing meanwhile.
func (w *watch) awaitDeliveries(ctx context.Context) error {
	bar := startProgress(w.out, "delivered over HTTP", w.size.immediate)
	defer bar.stop()
	for {
		n := w.receiver.count()
		bar.set(n)
		if n >= w.size.immediate {
			bar.stop()
			w.say("  delivered over HTTP: %d of %d", n, w.size.immediate)
			return nil
		}
		select {
		case <-w.receiver.arrived:
		case <-time.After(deliveryPatience):
			return fmt.Errorf("only %d of %d messages arrived, and none for %v", n, w.size.immediate, deliveryPatience)
		case line, ok := <-w.lines:
			if ok {
				return w.read(ctx, line) // an error, as it should have waited
			}
			return errors.Join(ctx.Err(), errEndedEarly)
		}
	}
}

// cancelled prints what the child has measured.
func (w *watch) cancelled(report string) error {
	var scanned int
	var micros int64
	var index string
	if _, err := fmt.Sscan(report, &w.acks.cancelled, &scanned, &micros, &index); err != nil {
		return fmt.Errorf("the working process reports %q: %w", report, err)
	}
	w.say("\nTaking back every message with the label %q.", labelCancelled)
	w.say("  cancelled %d messages in %v, durably: walked the index %q and looked at %d of its entries",
		w.acks.cancelled, time.Duration(micros)*time.Microsecond, index, scanned)
	return nil
}
