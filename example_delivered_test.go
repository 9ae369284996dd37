package recall_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/recallmq/recall"
)

// A message is gone when it is delivered, but for whoever wants to look at it a
// moment later.
func ExampleBroker_Delivered() {
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	b, err := recall.Open(filepath.Join(dir, "queue.db"), &recall.Options{DeliveredRetention: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close(ctx)
	receipt, err := b.Publish(ctx, recall.Message{Queue: "hello", Body: []byte("hello")})
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := b.Receive(ctx, "hello", 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := got[0].Ack(ctx); err != nil {
		fmt.Println(err)
		return
	}
	_, gone := b.Get(ctx, receipt.ID)
	m, err := b.Delivered(ctx, receipt.ID)
	fmt.Println(gone)
	fmt.Println(string(m.Body), err)
	// Output:
	// recall: message not found
	// hello <nil>
}
