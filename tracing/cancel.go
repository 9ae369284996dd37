package tracing

import (
	"context"
	"errors"

	"github.com/recallmq/recall"
	"go.opentelemetry.io/otel/trace"
)

// cancel begins the span of a bulk cancellation.
func (t *tracer) cancel(ctx context.Context, c recall.Cancellation) func(recall.CancelResult, error) {
	attributes := append(operation("cancel", ""),
		keyFilter.String(filterText(c)), keyPolicy.String(c.Policy.String()), keyDryRun.Bool(c.DryRun))
	if c.Reason != "" {
		attributes = append(attributes, keyReason.String(c.Reason))
	}
	_, span := t.spans.Start(ctx, "cancel", trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(attributes...))
	return func(r recall.CancelResult, err error) {
		span.SetAttributes(keyCancelled.Int(r.Cancelled), keyRequested.Int(r.Requested), keySkipped.Int(len(r.Skipped)),
			keyScanned.Int(r.Scanned), keyIndex.String(r.Index))
		if r.Operation != "" {
			span.SetAttributes(keyOperation.String(string(r.Operation)))
		}
		if stop := (*recall.NotCancellableError)(nil); errors.As(err, &stop) {
			span.SetAttributes(keyBlocker.String(string(stop.ID)))
		}
		finish(span, err)
	}
}

// filterText is the filter without what may be secret in its destinations.
func filterText(c recall.Cancellation) string {
	urls := make([]string, len(c.Filter.URLs))
	for i, u := range c.Filter.URLs {
		urls[i] = target(u)
	}
	if c.Filter.URLs != nil {
		c.Filter.URLs = urls
	}
	return c.String()
}
