package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// One call, one message for each endpoint.
func ExampleBroker_PublishTopic() {
	b, err := recall.New(enginetest.NewReference(), &recall.Options{NoDispatch: true}) // or recall.Open("queue.db", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer b.Close(ctx)

	_, err = b.AddEndpoints(ctx, "orders",
		recall.Endpoint{Name: "billing", URL: "https://billing.example.com/orders"},
		recall.Endpoint{Name: "mail", URL: "https://mail.example.com/send"})
	if err != nil {
		log.Fatal(err)
	}
	receipts, err := b.PublishTopic(ctx, "orders", recall.Message{Body: []byte(`{"order":17}`)})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range receipts {
		m, err := b.Get(ctx, r.ID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Topic, m.Endpoint, m.URL)
	}

	if err := b.DeleteTopic(ctx, "orders"); err != nil {
		log.Fatal(err)
	}
	_, err = b.PublishTopic(ctx, "orders", recall.Message{})
	fmt.Println("without the topic:", errors.Is(err, recall.ErrNoTopic))
	count, err := b.Count(ctx, recall.Filter{Topics: []string{"orders"}})
	fmt.Println("published before:", count.Pending, err)
	// Output:
	// orders billing https://billing.example.com/orders
	// orders mail https://mail.example.com/send
	// without the topic: true
	// published before: 2 <nil>
}
