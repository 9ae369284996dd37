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
	cancelled int
	busy      int // of delayed: published after the cancellation
}

// watchChild starts the child, follows what it reports, and kills it while it
// publishes.
func (d *demo) watchChild(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.CommandContext(ctx, self, "demo-child", "--db", d.db, "--receiver", d.receiver.url(),
		"--delayed", fmt.Sprint(d.delayed), "--immediate", fmt.Sprint(d.immediate))
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	kill := func() { _ = child.Process.Kill() } // SIGKILL where there is such a thing
	err = d.follow(ctx, out, in, kill)
	kill()
	_ = child.Wait() // it was killed: there is nothing to learn
	return err
}

// busyAcks is how many publishes the child makes between the cancellation and
// its end.
const busyAcks = 2_000

// follow reads the child's reports to their end.
func (d *demo) follow(ctx context.Context, out io.Reader, in io.Writer, kill func()) error {
	d.acks.delayed, d.acks.immediate = map[recall.MessageID]string{}, map[recall.MessageID]bool{}
	lines := bufio.NewScanner(out)
	phase, killed := "", false
	var bar *progress
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 2 && f[0] == "phase":
			if bar != nil {
				bar.finish()
				bar = nil
			}
			phase = f[1]
			if err := d.enter(ctx, phase, &bar, in); err != nil {
				return err
			}
		case len(f) == 3 && f[0] == "delayed":
			d.acks.delayed[recall.MessageID(f[1])] = f[2]
			if phase == "busy" {
				if d.acks.busy++; d.acks.busy == min(busyAcks, d.delayed/10+1) {
					kill()
					killed = true
				}
			} else {
				bar.set(len(d.acks.delayed))
			}
		case len(f) == 2 && f[0] == "immediate":
			d.acks.immediate[recall.MessageID(f[1])] = true
			bar.set(len(d.acks.immediate))
		case len(f) == 5 && f[0] == "cancelled":
			if err := d.showCancel(f[1:]); err != nil {
				return err
			}
		}
	}
	if !killed {
		return errors.Join(errors.New("the working process ended early"), lines.Err())
	}
	d.say("  killed the process hard, in the middle of publishing: %d more messages were acknowledged by then", d.acks.busy)
	return nil
}

// enter says what comes next, and waits for the deliveries before the
// cancellation.
func (d *demo) enter(ctx context.Context, phase string, bar **progress, in io.Writer) error {
	switch phase {
	case "delayed":
		d.say("\nPublishing, each acknowledged after an fsync.")
		*bar = startProgress(d.out, "delayed messages", d.delayed)
	case "immediate":
		*bar = startProgress(d.out, "immediate messages", d.immediate)
	case "cancel":
		if err := d.awaitDeliveries(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(in, "go")
		return err
	}
	return nil
}

// awaitDeliveries waits until every immediate message has arrived.
func (d *demo) awaitDeliveries(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	bar := startProgress(d.out, "delivered over HTTP", d.immediate)
	for {
		n, _ := d.receiver.count()
		bar.set(n)
		if n >= d.immediate {
			bar.stop()
			d.say("  delivered over HTTP: %d of %d", n, d.immediate)
			return nil
		}
		select {
		case <-d.receiver.arrived:
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d messages arrived: %w", n, d.immediate, ctx.Err())
		}
	}
}

// showCancel prints what the child has measured.
func (d *demo) showCancel(f []string) error {
	var scanned int
	var micros int64
	if _, err := fmt.Sscan(strings.Join([]string{f[0], f[2], f[3]}, " "), &d.acks.cancelled, &scanned, &micros); err != nil {
		return err
	}
	d.say("\nTaking back every message with the label %q.", badLabel)
	d.say("  cancelled %d messages in %v: walked the index %q, looked at %d entries, one durable commit",
		d.acks.cancelled, time.Duration(micros)*time.Microsecond, f[1], scanned)
	return nil
}
