// The program of the README: publish, deliver, take back.
package main

import (
	"context"
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
	b, err := recall.Open(path, nil)
	if err != nil {
		return err
	}
	defer b.Close(ctx)

	// Deliver to a handler of this process; any http or https URL works as well.
	sent := make(chan string)
	err = b.Handle("local:emails", func(ctx context.Context, d *recall.Delivery) error {
		sent <- string(d.Body)
		return nil // an error means: try again later
	})
	if err != nil {
		return err
	}

	// Durable when Publish returns.
	_, err = b.Publish(ctx, recall.Message{URL: "local:emails", Body: []byte("welcome, Ada")})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "delivered:", <-sent)

	// A campaign for tomorrow …
	for range 1000 {
		_, err := b.Publish(ctx, recall.Message{
			URL: "https://example.com/campaign", Labels: []string{"campaign-12"}, Delay: 24 * time.Hour,
		})
		if err != nil {
			return err
		}
	}

	// … that must not go out after all: one durable commit takes it back.
	result, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{"campaign-12"}})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "took back %d messages by the index %q\n", result.Cancelled, result.Index)
	return nil
}
