package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// bench is a small measure of this machine, on a file of its own.
type bench struct {
	console
	messages, publishers int
	dir                  string
	json                 bool
}

func benchCommand() *cobra.Command {
	b := &bench{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure publishing and cancelling on this machine",
		Long: `Publish, count, cancel by filter and restore on a temporary file, which is removed, and
say how long it took. Every publish is durable, so it is the disk of --dir that is
measured.`,
		Example: "  recall bench --messages 200000 --dir /var/lib/recall",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.messages < 10 || b.publishers < 1 {
				return usagef("bench needs 10 messages and 1 publisher or more")
			}
			b.console = consoleOf(cmd)
			return b.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.IntVar(&b.messages, "messages", 50_000, "messages to publish")
	f.IntVar(&b.publishers, "publishers", 64, "goroutines that publish")
	f.StringVar(&b.dir, "dir", "", "folder for the file (default: that for temporary files)")
	f.BoolVar(&b.json, "json", false, "write JSON: an object")
	return cmd
}

// measure is what bench has found. Times are in seconds.
type measure struct {
	Messages         int     `json:"messages"`
	Publishers       int     `json:"publishers"`
	PublishSeconds   float64 `json:"publishSeconds"`
	PublishPerSecond float64 `json:"publishPerSecond"`
	CountSeconds     float64 `json:"countSeconds"`
	Cancelled        int     `json:"cancelled"`
	CancelSeconds    float64 `json:"cancelSeconds"`
	RestoreSeconds   float64 `json:"restoreSeconds"`
	OpenSeconds      float64 `json:"openSeconds"`
	FileBytes        int64   `json:"fileBytes"`
}

func (b *bench) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(b.dir, "recall-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, err := b.measure(ctx, filepath.Join(dir, "bench.db"))
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	if b.json {
		return printJSON(b.out, m)
	}
	b.say("published %d durable messages from %d goroutines in %.2fs: %.0f a second", m.Messages, m.Publishers, m.PublishSeconds, m.PublishPerSecond)
	b.say("counted by label in %v", seconds(m.CountSeconds))
	b.say("cancelled %d by label in %v, durable", m.Cancelled, seconds(m.CancelSeconds))
	b.say("restored them in %v", seconds(m.RestoreSeconds))
	b.say("opened the file of %s in %v", bytesText(m.FileBytes), seconds(m.OpenSeconds))
	return nil
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Microsecond)
}

func (b *bench) measure(ctx context.Context, file string) (m measure, err error) {
	m.Messages, m.Publishers = b.messages, b.publishers
	q, err := recall.Open(file, &recall.Options{NoDispatch: true})
	if err != nil {
		return m, err
	}
	if err := errors.Join(b.work(ctx, q, &m), closeBroker(q)); err != nil {
		return m, err
	}
	m.OpenSeconds, err = timed(func() error { q, err = recall.Open(file, &recall.Options{NoDispatch: true}); return err })
	if err != nil {
		return m, err
	}
	m.FileBytes = q.Stats().FileBytes
	return m, closeBroker(q)
}

// work is what is measured of an open file.
func (b *bench) work(ctx context.Context, q *recall.Broker, m *measure) (err error) {
	f := recall.Filter{Labels: []string{"even"}}
	var r recall.CancelResult
	for _, step := range []struct {
		took *float64
		do   func() error
	}{
		{&m.PublishSeconds, func() error { return b.publish(ctx, q) }},
		{&m.CountSeconds, func() error { _, err := q.Count(ctx, f); return err }},
		{&m.CancelSeconds, func() error { r, err = q.CancelMatching(ctx, f); return err }},
		{&m.RestoreSeconds, func() error { _, err := q.Restore(ctx, r.Operation); return err }},
	} {
		if *step.took, err = timed(step.do); err != nil {
			return err
		}
	}
	m.PublishPerSecond, m.Cancelled = float64(m.Messages)/m.PublishSeconds, r.Cancelled
	return nil
}

func timed(do func() error) (float64, error) {
	begun := time.Now()
	err := do()
	return time.Since(begun).Seconds(), err
}

// publish shares the messages out among the publishers. Every second one has the
// label that is cancelled later.
func (b *bench) publish(ctx context.Context, q *recall.Broker) error {
	show := startBar(&b.console, "publishing", int64(b.messages), false)
	defer show.stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range b.publishers {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(b.messages) && ctx.Err() == nil; n = next.Add(1) {
				if _, err := q.Publish(ctx, benchMessage(n)); err != nil {
					cancel(err)
					return
				}
				show.set(n)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func benchMessage(n int64) recall.Message {
	return recall.Message{
		URL: fmt.Sprintf("https://example.com/hook/%d", n%100), Body: []byte(`{"user":7,"text":"a message of a usual size"}`),
		Labels: []string{[]string{"even", "odd"}[n%2]}, Delay: 24 * time.Hour,
	}
}
