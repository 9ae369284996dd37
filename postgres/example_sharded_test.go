package postgres_test

import (
	"context"
	"log"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// A queue of twelve shards on three servers. All processes name the same servers in the
// same order.
func ExampleOpenShards() {
	ctx := context.Background()
	engine, err := postgres.OpenShards(ctx, []string{
		"postgres://recall@a.internal/app?connect_timeout=5",
		"postgres://recall@b.internal/app?connect_timeout=5",
		"postgres://recall@c.internal/app?connect_timeout=5",
	}, &postgres.Options{Shards: 12})
	if err != nil {
		log.Fatal(err)
	}
	b, err := recall.New(engine, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close(ctx)

	// The messages of a queue are in one shard, and keep their order.
	_, err = b.Publish(ctx, recall.Message{URL: "https://example.com/hook", Queue: "customer-7"})
	if err != nil {
		log.Fatal(err)
	}
	// A bulk cancellation goes from shard to shard; one for a queue asks its shard only.
	_, err = b.CancelMatching(ctx, recall.Filter{Queues: []string{"customer-7"}})
	if err != nil {
		log.Fatal(err)
	}
}
