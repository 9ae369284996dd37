package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// demoChild is the process that does the work and is killed. It reports over
// its standard output, a line for each acknowledgement: "phase NAME",
// "delayed ID LABEL", "immediate ID", "cancelled COUNT INDEX SCANNED MICROS".
type demoChild struct {
	db, receiver       string
	delayed, immediate int
	broker             *recall.Broker
	mu                 sync.Mutex
	out                *bufio.Writer
}

func demoChildCommand() *cobra.Command {
	c := &demoChild{}
	cmd := &cobra.Command{
		Use:    "demo-child",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&c.db, "db", "", "")
	cmd.Flags().StringVar(&c.receiver, "receiver", "", "")
	cmd.Flags().IntVar(&c.delayed, "delayed", 0, "")
	cmd.Flags().IntVar(&c.immediate, "immediate", 0, "")
	return cmd
}

func (c *demoChild) run(ctx context.Context) (err error) {
	c.out = bufio.NewWriter(os.Stdout)
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

func (c *demoChild) report(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, format+"\n", args...)
	_ = c.out.Flush() // the parent is gone if this fails, and so are we
}

// message i of the demo: label, queue, URL and caller are spread so that each
// filter meets another part.
func (c *demoChild) message(i int) recall.Message {
	label := fmt.Sprintf("deploy-%d", 41-i%demoLabels)
	if i%demoLabels < demoTaken {
		label = badLabel
	} else if i%demoLabels == demoTaken {
		label = "deploy-41"
	}
	return recall.Message{
		URL:      fmt.Sprintf("%s/hook/%d", c.receiver, i%100),
		Queue:    []string{"mail", "invoices", "reports"}[i%3],
		Labels:   []string{label},
		CallerIP: fmt.Sprintf("10.0.%d.%d", i%4, i%200),
		Body:     fmt.Appendf(nil, `{"order":%d}`, i),
	}
}

// publishDelayed publishes batches from several goroutines.
func (c *demoChild) publishDelayed(ctx context.Context) error {
	const batch = 500
	return c.parallel(4, (c.delayed+batch-1)/batch, func(n int) error {
		var msgs []recall.Message
		for i := n * batch; i < min((n+1)*batch, c.delayed); i++ {
			m := c.message(i)
			m.Delay = time.Duration(1+i%48) * time.Hour
			msgs = append(msgs, m)
		}
		receipts, err := c.broker.PublishBatch(ctx, msgs)
		if err != nil {
			return err
		}
		c.mu.Lock()
		for i, r := range receipts {
			fmt.Fprintf(c.out, "delayed %s %s\n", r.ID, msgs[i].Labels[0])
		}
		_ = c.out.Flush()
		c.mu.Unlock()
		return nil
	})
}

// publishImmediate publishes one by one, as a service would.
func (c *demoChild) publishImmediate(ctx context.Context) error {
	return c.parallel(16, c.immediate, func(i int) error {
		m := c.message(i)
		m.Labels = []string{"now"}
		r, err := c.broker.Publish(ctx, m)
		if err == nil {
			c.report("immediate %s", r.ID)
		}
		return err
	})
}

func (c *demoChild) cancel(ctx context.Context) error {
	// Deliveries come first: the next line of the parent says when.
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	begun := time.Now()
	res, err := c.broker.CancelMatching(ctx, recall.Filter{Labels: []string{badLabel}})
	if err != nil {
		return err
	}
	c.report("cancelled %d %s %d %d", res.Cancelled, res.Index, res.Scanned, time.Since(begun).Microseconds())
	return nil
}

// stayBusy publishes until the process is killed.
func (c *demoChild) stayBusy(ctx context.Context) error {
	return c.parallel(16, 1<<30, func(i int) error {
		m := c.message(demoTaken + 1 + i%3) // not what was cancelled
		m.Delay = time.Hour
		r, err := c.broker.Publish(ctx, m)
		if err == nil {
			c.report("delayed %s %s", r.ID, m.Labels[0])
		}
		return err
	})
}

// parallel calls do for 0 … n-1 from several goroutines, until one fails.
func (c *demoChild) parallel(goroutines, n int, do func(int) error) error {
	var mu sync.Mutex
	next, failed := 0, error(nil)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= n && failed == nil
	}
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				if err := do(i); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return failed
}
