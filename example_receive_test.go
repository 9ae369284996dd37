package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/recallmq/recall"
)

// A message with a queue and without a URL waits until somebody fetches it.
func ExampleBroker_Receive() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()

	if err := b.SetQueue(ctx, "resize", 10); err != nil { // otherwise one at a time
		log.Fatal(err)
	}
	for _, photo := range []string{"cat.jpg", "dog.jpg", "notes.txt"} {
		if _, err := b.Publish(ctx, recall.Message{Queue: "resize", Body: []byte(photo)}); err != nil {
			log.Fatal(err)
		}
	}
	jobs, err := b.Receive(ctx, "resize", 10) // waits until there is one at least
	if err != nil {
		log.Fatal(err)
	}
	for _, job := range jobs {
		if string(job.Body) == "notes.txt" {
			err = job.DeadLetter(ctx, "this is no picture")
		} else {
			fmt.Printf("resized %s in attempt %d\n", job.Body, job.Attempt)
			err = job.Ack(ctx)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	for d, err := range b.DeadLetters(ctx, recall.Filter{Queues: []string{"resize"}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", d.Message.Body, d.Reason)
	}
	// Output:
	// resized cat.jpg in attempt 1
	// resized dog.jpg in attempt 1
	// notes.txt: this is no picture
}

// A worker fetches message after message until its context is done. What fails
// is tried again, as if a handler had returned the error.
func ExampleReceived_Fail() {
	b, shut := openExample(nil)
	defer shut()
	ctx, stop := context.WithCancel(context.Background())

	work := func(_ context.Context, d *recall.Delivery) error {
		fmt.Printf("%s, attempt %d\n", d.Body, d.Attempt)
		if d.Attempt == 1 {
			return recall.RetryAfter(0, errors.New("the printer is busy"))
		}
		stop()
		return nil
	}
	if _, err := b.Publish(ctx, recall.Message{Queue: "print", Body: []byte("invoice 7")}); err != nil {
		log.Fatal(err)
	}
	for {
		got, err := b.Receive(ctx, "print", 1)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		for _, r := range got {
			err := r.Fail(context.Background(), work(r.Context(), &r.Delivery)) // of nil it is Ack
			if err != nil && !errors.Is(err, recall.ErrLeaseLost) {
				log.Fatal(err)
			}
		}
	}
	// Output:
	// invoice 7, attempt 1
	// invoice 7, attempt 2
}
