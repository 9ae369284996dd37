// The incident of docs/cancellation.md: a bad deploy has published thousands of
// wrong messages. Find them, explain, stop more of them, cancel, look at who
// was in the way, and restore the ones that were right.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/recallmq/recall"
)

func main() {
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := run(context.Background(), os.Stdout, filepath.Join(dir, "queue.db")); err != nil {
		log.Print(err)
	}
}

func run(ctx context.Context, out io.Writer, path string) error {
	b, err := recall.Open(path, &recall.Options{UndoWindow: 2 * time.Hour})
	if err != nil {
		return err
	}
	defer b.Close(ctx)
	receipt, err := deploy(ctx, b)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return find(ctx, out, b) },
		func() error { return dam(ctx, out, b) },
		func() error { return cancel(ctx, out, b) },
		func() error { return restore(ctx, out, b, receipt) },
		func() error { return review(ctx, out, b) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// deploy does the damage, beside messages of others. It returns one message
// that was right, when another one is in flight.
func deploy(ctx context.Context, b *recall.Broker) (receipt recall.MessageID, err error) {
	started := make(chan bool)
	err = b.Handle("local:shop", func(ctx context.Context, _ *recall.Delivery) error {
		started <- true
		<-ctx.Done() // a slow endpoint
		return ctx.Err()
	})
	if err != nil {
		return "", err
	}
	if err := b.SetQueue(ctx, "prices", 100); err != nil { // otherwise one at a time
		return "", err
	}
	var msgs []recall.Message
	for i := range 4000 {
		m := recall.Message{URL: "https://shop.example/prices", Queue: "prices", Delay: time.Hour}
		switch {
		case i%4 == 0:
			m.Queue = "newsletter"
		case i%40 == 1:
			m.URL, m.Queue = "https://shop.example/receipts", "receipts"
		}
		if m.Queue != "newsletter" {
			m.Labels = []string{"deploy-42"}
		}
		if i == 42 {
			m.URL, m.Delay = "local:shop", 0
		}
		msgs = append(msgs, m)
	}
	receipts, err := b.PublishBatch(ctx, msgs)
	if err != nil {
		return "", err
	}
	<-started
	return receipts[1].ID, nil
}

// suspects are all messages that the deploy has published.
var suspects = recall.Filter{Labels: []string{"deploy-42"}}

func find(ctx context.Context, out io.Writer, b *recall.Broker) error {
	n, err := b.Count(ctx, suspects)
	if err != nil {
		return err
	}
	plan, err := b.Explain(ctx, suspects)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d wait, %d in flight\n%s", n.Pending, n.InFlight, plan)
	return nil
}

func dam(ctx context.Context, out io.Writer, b *recall.Broker) error {
	_, err := b.CancelFuture(ctx, suspects, time.Now().Add(time.Hour), recall.Reason("INC-7: until deploy-42 is rolled back"))
	if err != nil {
		return err
	}
	late, err := b.Publish(ctx, recall.Message{URL: "https://shop.example/prices", Labels: []string{"deploy-42"}})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "cancelled on arrival:", late.CancelledBy != "")
	return nil
}

func cancel(ctx context.Context, out io.Writer, b *recall.Broker) error {
	for _, queue := range []string{"prices", "receipts"} {
		wrong := suspects
		wrong.Queues = []string{queue}
		n, err := b.Count(ctx, wrong)
		if err != nil {
			return err
		}
		guard, reason := recall.ExpectExactly(n.Pending), recall.Reason("INC-7: wrong prices")

		result, err := b.CancelMatching(ctx, wrong, guard, reason)
		var stop *recall.NotCancellableError
		if errors.As(err, &stop) {
			m, err := b.Get(ctx, stop.ID)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s: stopped after %d, by attempt %d at %s\n", queue, stop.Cancelled, m.Attempts, m.URL)
			// It does not need to finish: tear it down, and take the rest.
			result, err = b.CancelMatching(ctx, wrong, recall.Abort, reason)
			if err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: cancelled %d, asked for %d\n", queue, result.Cancelled, result.Requested)
	}
	return nil
}

func restore(ctx context.Context, out io.Writer, b *recall.Broker, receipt recall.MessageID) error {
	// The deploy is rolled back. What fails an attempt arrives once more, so the
	// good ones must not meet what takes its messages.
	standing, err := b.StandingCancellations(ctx)
	if err != nil {
		return err
	}
	for _, s := range standing {
		if err := b.LiftCancellation(ctx, s.ID); err != nil {
			return err
		}
	}
	op, err := b.WhoCancelled(ctx, receipt)
	if err != nil {
		return err
	}
	back, err := b.Restore(ctx, op.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%q took it; %d are back\n", op.Filter, back.Restored)
	return nil
}

func review(ctx context.Context, out io.Writer, b *recall.Broker) error {
	for op, err := range b.Cancellations(ctx) {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s: took %d (%s), restored: %t\n", op.Kind, op.Filter, op.Count, op.Reason, !op.RestoredAt.IsZero())
	}
	return nil
}
