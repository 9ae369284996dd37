package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// openExample opens a fresh file. A program would name a path of its own and
// keep the file.
func openExample(opts *recall.Options) (b *recall.Broker, shut func()) {
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		log.Fatal(err)
	}
	b, err = recall.Open(filepath.Join(dir, "queue.db"), opts)
	if err != nil {
		log.Fatal(err)
	}
	return b, func() {
		if err := b.Close(context.Background()); err != nil {
			log.Fatal(err)
		}
		_ = os.RemoveAll(dir)
	}
}

// Open a file, say what to do with messages, and publish one.
func Example() {
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()

	b, err := recall.Open(filepath.Join(dir, "queue.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	sent := make(chan string)
	err = b.Handle("local:emails", func(ctx context.Context, d *recall.Delivery) error {
		sent <- string(d.Body)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Publish(ctx, recall.Message{URL: "local:emails", Body: []byte("welcome, Ada")}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-sent)
	if err := b.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: welcome, Ada
}

// Publish for tomorrow, and take it back by its label.
func Example_takeBack() {
	run := func(ctx context.Context, path string) error {
		b, err := recall.Open(path, nil)
		if err != nil {
			return err
		}
		defer b.Close(ctx)
		_, err = b.Publish(ctx, recall.Message{
			URL:    "https://example.com/welcome",
			Body:   []byte(`{"user":7}`),
			Labels: []string{"campaign-12"},
			Delay:  24 * time.Hour,
		})
		if err != nil {
			return err
		}
		result, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{"campaign-12"}})
		if err != nil {
			return err
		}
		fmt.Println("took back:", result.Cancelled)
		return nil
	}
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := run(context.Background(), filepath.Join(dir, "queue.db")); err != nil {
		log.Fatal(err)
	}
	// Output: took back: 1
}

// A message can say how long to wait before each retry.
func ExampleBroker_Publish_retryDelay() {
	b, shut := openExample(nil)
	defer shut()

	_, err := b.Publish(context.Background(), recall.Message{
		URL:        "https://api.example.com/orders",
		Delay:      time.Hour,
		Retries:    recall.Retries(5),
		RetryDelay: "min(60000, 1000 * pow(2, retried))", // 1s, 2s, 4s, … at most a minute
	})
	fmt.Println(err)

	_, err = b.Publish(context.Background(), recall.Message{
		URL: "https://api.example.com/orders", RetryDelay: "1000 * (1 + retries)",
	})
	fmt.Println(err)
	// Output:
	// <nil>
	// recall: invalid RetryDelay: "1000 * (1 + retries)": at offset 12: "retries" is unknown
}

// A message can wait before it is delivered, and be taken back meanwhile.
func ExampleBroker_Publish_delay() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()

	r, err := b.Publish(ctx, recall.Message{
		URL:   "https://api.example.com/reminders",
		Body:  []byte(`{"order":7}`),
		Delay: 48 * time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	m, err := b.Get(ctx, r.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.State, "until", m.DueAt.Sub(m.CreatedAt), "after it was published")

	fmt.Println(b.Cancel(ctx, r.ID))
	_, err = b.Get(ctx, r.ID)
	fmt.Println(err)
	// Output:
	// delayed until 48h0m0s after it was published
	// <nil>
	// recall: message not found
}

// One call takes back every message with a label, in one commit.
func ExampleBroker_CancelMatching() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()

	for i := range 1000 {
		_, err := b.Publish(ctx, recall.Message{
			URL:    "https://api.example.com/reminders",
			Labels: []string{fmt.Sprintf("customer-%d", i%10)},
			Delay:  time.Hour,
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	result, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{"customer-3", "customer-4"}})
	if err != nil {
		log.Fatal(err)
	}
	left, err := b.Count(ctx, recall.Filter{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("cancelled", result.Cancelled, "by the index on", result.Index)
	fmt.Println("pending", left.Pending)
	// Output:
	// cancelled 200 by the index on label
	// pending 800
}

// A forgotten field does not empty the queue.
func ExampleBroker_CancelMatching_empty() {
	b, shut := openExample(nil)
	defer shut()

	var filter recall.Filter
	_, err := b.CancelMatching(context.Background(), filter)
	fmt.Println(errors.Is(err, recall.ErrEmptyFilter))
	// Output: true
}

// The call stops at a message that is being delivered, and names it. What it
// cancelled before stays cancelled.
func ExampleNotCancellableError() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()

	for range 2 {
		if _, err := b.Publish(ctx, recall.Message{URL: "local:later", Labels: []string{"a"}}); err != nil {
			log.Fatal(err)
		}
	}
	r, err := b.Publish(ctx, recall.Message{URL: "local:now", Labels: []string{"a"}})
	if err != nil {
		log.Fatal(err)
	}
	started, finish := make(chan bool), make(chan bool)
	err = b.Handle("local:now", func(context.Context, *recall.Delivery) error {
		started <- true
		<-finish
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	<-started
	_, err = b.CancelMatching(ctx, recall.Filter{Labels: []string{"a"}})
	var stop *recall.NotCancellableError
	if errors.As(err, &stop) {
		fmt.Println("stopped at the right message:", stop.ID == r.ID)
		fmt.Println("it is", stop.State, "and", stop.Cancelled, "are cancelled")
	}
	close(finish)
	// Output:
	// stopped at the right message: true
	// it is in flight and 2 are cancelled
}

// A batch is published as a whole or not at all.
func ExampleBroker_PublishBatch() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()

	receipts, err := b.PublishBatch(ctx, []recall.Message{
		{URL: "https://api.example.com/a", Delay: time.Hour},
		{URL: "https://api.example.com/b", Delay: time.Hour},
	})
	fmt.Println(len(receipts), err)

	_, err = b.PublishBatch(ctx, []recall.Message{
		{URL: "https://api.example.com/c", Delay: time.Hour},
		{URL: "/d"},
	})
	fmt.Println(err)

	n, err := b.Count(ctx, recall.Filter{})
	fmt.Println(n.Pending, err)
	// Output:
	// 2 <nil>
	// recall: message 1 of the batch: recall: invalid URL: "/d": the scheme must be http, https or local
	// 2 <nil>
}

// A handler that knows that trying again would not help says so: the message
// goes to the dead letter queue at once.
func ExamplePermanent() {
	b, shut := openExample(nil)
	defer shut()

	attempts := make(chan int)
	err := b.Handle("local:emails", func(_ context.Context, d *recall.Delivery) error {
		defer func() { attempts <- d.Attempt }()
		if len(d.Body) == 0 {
			return recall.Permanent(errors.New("there is nobody to write to"))
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Publish(context.Background(), recall.Message{URL: "local:emails"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("attempt", <-attempts)
	fmt.Println(firstDead(b).Reason)
	// Output:
	// attempt 1
	// there is nobody to write to
}

// A handler can say when the next attempt should be made.
func ExampleRetryAfter() {
	b, shut := openExample(nil)
	defer shut()

	done := make(chan int)
	err := b.Handle("local:emails", func(_ context.Context, d *recall.Delivery) error {
		if d.Attempt == 1 {
			return recall.RetryAfter(10*time.Millisecond, errors.New("the mail server is busy"))
		}
		done <- d.Attempt
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Publish(context.Background(), recall.Message{URL: "local:emails"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("sent by attempt", <-done)
	// Output: sent by attempt 2
}

// What could not be delivered is kept, and can be tried again when its cause
// is gone.
func ExampleBroker_RetryDeadLetters() {
	b, shut := openExample(&recall.Options{Retries: recall.Retries(0)})
	defer shut()
	ctx := context.Background()

	var repaired atomic.Bool
	sent := make(chan string)
	err := b.Handle("local:emails", func(_ context.Context, d *recall.Delivery) error {
		if !repaired.Load() {
			return errors.New("the mail server is down")
		}
		sent <- string(d.Body)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Publish(ctx, recall.Message{URL: "local:emails", Body: []byte("welcome, Ada")}); err != nil {
		log.Fatal(err)
	}
	dead := firstDead(b)
	fmt.Println("dead:", dead.Reason)

	repaired.Store(true)
	receipts, err := b.RetryDeadLetters(ctx, dead.ID)
	fmt.Println("published again:", len(receipts), err)
	fmt.Println(<-sent)
	// Output:
	// dead: the mail server is down
	// published again: 1 <nil>
	// welcome, Ada
}

// firstDead waits until there is a dead letter.
func firstDead(b *recall.Broker) recall.DeadLetter {
	for {
		for d, err := range b.DeadLetters(context.Background(), recall.Filter{}) {
			if err != nil {
				log.Fatal(err)
			}
			return d
		}
		runtime.Gosched()
	}
}

// Filters read well in logs.
func ExampleFilter_String() {
	fmt.Println(recall.Filter{Queues: []string{"emails"}, Labels: []string{"order-7", "order-8"}})
	fmt.Println(recall.Filter{})
	// Output:
	// queue=emails label=order-7|order-8
	// everything
}
