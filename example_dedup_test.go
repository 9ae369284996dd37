package recall_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/recallmq/recall"
)

// Who does not know whether an order was sent sends it again: with an id of the
// order only one message comes of it.
func ExampleBroker_Publish_deduplication() {
	b, shut := openExample(&recall.Options{DeduplicationWindow: time.Hour})
	defer shut()

	order := recall.Message{
		URL: "https://api.example.com/orders", Body: []byte(`{"order":7}`), Delay: time.Minute,
		DeduplicationID: "order 7",
	}
	first, err := b.Publish(context.Background(), order)
	if err != nil {
		log.Fatal(err)
	}
	second, err := b.Publish(context.Background(), order)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Deduplicated, second.Deduplicated, second.ID == first.ID)
	// Output: false true true
}
