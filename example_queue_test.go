package recall_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/recallmq/recall"
)

// Messages of a queue go out one after the other, in the order of publication.
func ExampleBroker_SetQueue() {
	b, stop := openExample(nil)
	defer stop()
	ctx := context.Background()

	done := make(chan string, 3)
	err := b.Handle("local:orders", func(_ context.Context, d *recall.Delivery) error {
		done <- string(d.Body)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := b.SetQueue(ctx, "customer-7", 1); err != nil { // 1 is what it would be anyway
		log.Fatal(err)
	}
	for _, step := range []string{"created", "paid", "shipped"} {
		_, err := b.Publish(ctx, recall.Message{URL: "local:orders", Queue: "customer-7", Body: []byte(step)})
		if err != nil {
			log.Fatal(err)
		}
	}
	for range 3 {
		fmt.Println(<-done)
	}
	// Output:
	// created
	// paid
	// shipped
}

// A flow-control key keeps a customer from taking all there is, whatever the
// customer publishes.
func ExampleBroker_PinFlow() {
	b, stop := openExample(nil)
	defer stop()
	ctx := context.Background()

	for range 5 {
		_, err := b.Publish(ctx, recall.Message{
			URL: "local:nobody", FlowKey: "customer-7", Flow: &recall.FlowLimit{Rate: 100, Period: time.Minute},
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	// Less, from now on, also for what waits already.
	if err := b.PinFlow(ctx, "customer-7", recall.FlowLimit{Rate: 10, Period: time.Minute, Parallelism: 2}); err != nil {
		log.Fatal(err)
	}
	key, err := b.FlowKey(ctx, "customer-7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key.Limit.Rate, "per", key.Limit.Period, "and", key.Limit.Parallelism, "at a time")
	// Output: 10 per 1m0s and 2 at a time
}

// What is more important goes first among what is due.
func ExampleMessage_priority() {
	b, stop := openExample(&recall.Options{Slots: 1})
	defer stop()
	ctx := context.Background()

	for _, m := range []recall.Message{
		{URL: "local:mails", Body: []byte("newsletter"), Priority: -5},
		{URL: "local:mails", Body: []byte("receipt")},
		{URL: "local:mails", Body: []byte("password reset"), Priority: 5},
	} {
		if _, err := b.Publish(ctx, m); err != nil {
			log.Fatal(err)
		}
	}
	done := make(chan string)
	err := b.Handle("local:mails", func(_ context.Context, d *recall.Delivery) error {
		done <- string(d.Body)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		fmt.Println(<-done)
	}
	// Output:
	// password reset
	// receipt
	// newsletter
}
