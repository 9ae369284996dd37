package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// demoChild is the process that does the work and is killed. It reports over
// its standard output, a line for each fact, and only what the broker has
// acknowledged:
//
//	phase NAME
//	delayed ID LABEL
//	immediate ID
//	cancelled COUNT SCANNED MICROSECONDS INDEX
//	error TEXT
//
// The line "go" on its standard input lets it begin to cancel.
type demoChild struct {
	db, receiver string
	size         demoSize
	broker       *recall.Broker
	in           io.Reader
	mu           sync.Mutex
	out          *bufio.Writer // guarded by mu
}

func demoChildCommand() *cobra.Command {
	c := &demoChild{}
	cmd := &cobra.Command{
		Use:    "demo-child",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.in, c.out = cmd.InOrStdin(), bufio.NewWriter(cmd.OutOrStdout())
			// Ctrl-C goes to both processes; what it means is the parent's business.
			if err := c.run(context.WithoutCancel(cmd.Context())); err != nil {
				c.report("error %s", strings.ReplaceAll(err.Error(), "\n", "; "))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&c.db, "db", "", "")
	cmd.Flags().StringVar(&c.receiver, "receiver", "", "")
	cmd.Flags().IntVar(&c.size.delayed, "delayed", 0, "")
	cmd.Flags().IntVar(&c.size.immediate, "immediate", 0, "")
	cmd.Flags().IntVar(&c.size.cancel, "cancel", 0, "")
	return cmd
}

// arguments is the command line that demoChildCommand understands.
func (c *demoChild) arguments() []string {
	return []string{
		"demo-child", "--db", c.db, "--receiver", c.receiver, "--delayed", fmt.Sprint(c.size.delayed),
		"--immediate", fmt.Sprint(c.size.immediate), "--cancel", fmt.Sprint(c.size.cancel),
	}
}

func (c *demoChild) run(ctx context.Context) (err error) {
	if c.broker, err = recall.Open(c.db, nil); err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		do   func(context.Context) error
	}{{"delayed", c.publishDelayed}, {"immediate", c.publishImmediate}, {"cancel", c.cancel}, {"busy", c.stayBusy}} {
		c.report("phase %s", phase.name)
		if err := phase.do(ctx); err != nil {
			return err
		}
	}
	return closeBroker(c.broker)
}

// report writes a line. If nobody reads it any more, the write ends this
// process, by a signal or by an error that makes it useless to go on.
func (c *demoChild) report(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, format+"\n", args...)
	if c.out.Flush() != nil {
		os.Exit(1)
	}
}

// publishDelayed publishes batches from several goroutines.
func (c *demoChild) publishDelayed(ctx context.Context) error {
	const batch, publishers = 500, 4
	return inParallel(publishers, (c.size.delayed+batch-1)/batch, func(n int) error {
		var msgs []recall.Message
		for i := n * batch; i < min((n+1)*batch, c.size.delayed); i++ {
			msgs = append(msgs, c.size.delayedMessage(i, c.receiver))
		}
		receipts, err := c.broker.PublishBatch(ctx, msgs)
		if err != nil {
			return err
		}
		var lines strings.Builder
		for i, r := range receipts {
			fmt.Fprintf(&lines, "\ndelayed %s %s", r.ID, msgs[i].Labels[0])
		}
		c.report("%s", lines.String()[1:])
		return nil
	})
}

// singlePublishers is how many goroutines publish message by message, as the
// requests of a service would.
const singlePublishers = 16

func (c *demoChild) publishImmediate(ctx context.Context) error {
	return inParallel(singlePublishers, c.size.immediate, func(i int) error {
		m := demoMessage(i, c.receiver, labelNow)
		m.Queue = "" // its messages wait for those that are delayed
		r, err := c.broker.Publish(ctx, m)
		if err == nil {
			c.report("immediate %s", r.ID)
		}
		return err
	})
}

// cancel waits for the word of the parent, which knows what has arrived.
func (c *demoChild) cancel(ctx context.Context) error {
	if _, err := bufio.NewReader(c.in).ReadString('\n'); err != nil {
		return err
	}
	begun := time.Now()
	res, err := c.broker.CancelMatching(ctx, recall.Filter{Labels: []string{labelCancelled}})
	took := time.Since(begun)
	if err != nil {
		return err
	}
	c.report("cancelled %d %d %d %s", res.Cancelled, res.Scanned, took.Microseconds(), res.Index)
	return nil
}

// stayBusy publishes until the process is killed.
func (c *demoChild) stayBusy(ctx context.Context) error {
	const forEver = 1 << 30
	return inParallel(singlePublishers, forEver, func(i int) error {
		m := demoMessage(i, c.receiver, otherLabel(i))
		m.Delay = time.Hour
		r, err := c.broker.Publish(ctx, m)
		if err == nil {
			c.report("delayed %s %s", r.ID, m.Labels[0])
		}
		return err
	})
}

// inParallel calls do for 0 … n-1 from several goroutines, until one fails. It
// returns the first error.
func inParallel(goroutines, n int, do func(int) error) error {
	var mu sync.Mutex
	next, failed := 0, error(nil)
	take := func(err error) (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
		next++
		return next - 1, next <= n && failed == nil
	}
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i, ok := take(nil); ok; {
				i, ok = take(do(i))
			}
		})
	}
	wg.Wait()
	return failed
}
