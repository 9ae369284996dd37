package postgres_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// BenchmarkBetweenProcesses measures how long after the call of Publish in one process a
// message is in the handler of another. They meet in the database only.
func BenchmarkBetweenProcesses(b *testing.B) {
	for name, listen := range map[string]bool{"polling": false, "listening": true} {
		b.Run(name, func(b *testing.B) { benchmarkBetween(b, listen) })
	}
}

func benchmarkBetween(b *testing.B, listen bool) {
	dsn, schema := pgtest.Schema(b)
	ctx := b.Context()
	open := func(o *recall.Options) *recall.Broker {
		e, err := postgres.Open(ctx, dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, Listen: listen})
		if err != nil {
			b.Fatal(err)
		}
		broker, err := recall.New(e, o)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = broker.Close(context.Background()) })
		return broker
	}
	from, to := open(&recall.Options{NoDispatch: true}), open(nil)
	arrived := make(chan time.Time)
	err := to.Handle("local:job", func(context.Context, *recall.Delivery) error {
		arrived <- time.Now()
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		time.Sleep(rand.N(postgres.DefaultPollInterval)) // it is called at any time between two polls
		began := time.Now()
		if _, err := from.Publish(ctx, recall.Message{URL: "local:job"}); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-arrived).Sub(began))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}
