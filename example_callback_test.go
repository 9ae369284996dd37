package recall_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/recallmq/recall"
)

// Have a handler told when a message has failed for good. Its body names the
// dead letter, so the handler can publish the message again.
func ExampleCallback() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()

	failed := make(chan string)
	err := errors.Join(
		b.Handle("local:emails", func(context.Context, *recall.Delivery) error {
			return recall.Permanent(errors.New("no such address"))
		}),
		b.Handle("local:failed", func(_ context.Context, d *recall.Delivery) error {
			var about struct {
				DeadLetter recall.DeadLetterID `json:"dlqId"`
				Status     int                 `json:"status"`
				Body       []byte              `json:"body"`
				SourceBody []byte              `json:"sourceBody"`
			}
			if err := json.Unmarshal(d.Body, &about); err != nil {
				return recall.Permanent(err)
			}
			failed <- fmt.Sprintf("%q failed with status %d: %s", about.SourceBody, about.Status, about.Body)
			return nil
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	_, err = b.Publish(ctx, recall.Message{
		URL: "local:emails", Body: []byte("welcome, Ada"),
		FailureCallback: &recall.Callback{URL: "local:failed", Retries: recall.Retries(10)},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-failed)
	// Output: "welcome, Ada" failed with status 0: no such address
}

// Keep what is secret out of what is shown. It is delivered as it is.
func ExampleRedaction() {
	b, shut := openExample(&recall.Options{NoDispatch: true})
	defer shut()
	ctx := context.Background()

	r, err := b.Publish(ctx, recall.Message{
		URL: "https://api.example.com/pay", Body: []byte("4111 1111 1111 1111"),
		Redact: &recall.Redaction{Body: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	m, err := b.Get(ctx, r.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", m.Body)
	// Output: REDACTED:6a7e0e79b018d08c9d1bb20be79999a7778399f7ee17258b3a0d36d4b4a7bec5
}
