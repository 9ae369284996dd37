package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/recallmq/recall"
)

func ExampleBroker_Events() {
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := recall.Open(filepath.Join(dir, "queue.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err = b.Handle("local:mail", func(_ context.Context, d *recall.Delivery) error {
		if d.Attempt == 1 {
			return recall.RetryAfter(time.Millisecond, errors.New("busy"))
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := b.Publish(ctx, recall.Message{URL: "local:mail", Labels: []string{"order-7"}})
	if err != nil {
		log.Fatal(err)
	}
	untilExampleGone(b, receipt.ID)
	f := recall.EventFilter{Filter: recall.Filter{Labels: []string{"order-7"}}, OldestFirst: true}
	for ev, err := range b.Events(ctx, f) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.State, ev.Attempt)
	}
	if err := b.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// created 0
	// active 1
	// error 1
	// retry 1
	// active 2
	// delivered 2
}
