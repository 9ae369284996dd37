package tracing_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/tracing"
)

// A message is followed from its publish to its handler.
func Example() {
	dir, err := os.MkdirTemp("", "tracing")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	spans := tracetest.NewInMemoryExporter() // a program has an exporter of its collector's
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	opts := &recall.Options{}
	if err := tracing.Instrument(opts, tracing.WithTracerProvider(provider), tracing.WithParent()); err != nil {
		log.Fatal(err)
	}
	b, err := recall.Open(filepath.Join(dir, "queue.db"), opts)
	if err != nil {
		log.Fatal(err)
	}
	if err := b.Handle("local:mail", func(context.Context, *recall.Delivery) error { return nil }); err != nil {
		log.Fatal(err)
	}
	if _, err := b.Publish(context.Background(), recall.Message{URL: "local:mail"}); err != nil {
		log.Fatal(err)
	}
	for b.Stats().Delivered == 0 { // a program would have something better to do
		if _, err := b.DispatchDue(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	if err := b.Close(context.Background()); err != nil { // attempts have ended, and so have their spans
		log.Fatal(err)
	}
	all := spans.GetSpans() // in the order in which they ended
	slices.SortFunc(all, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	fmt.Println(all[0].Name)
	fmt.Println(all[1].Name)
	fmt.Println("one trace:", all[0].SpanContext.TraceID() == all[1].SpanContext.TraceID())
	// Output:
	// publish local:mail
	// process local:mail
	// one trace: true
}
