package tracing

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"github.com/recallmq/recall"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// publish begins the span of a publish and puts its context into the messages that
// bring none of their own. To those that do it links.
func (t *tracer) publish(ctx context.Context, msgs []recall.Message) func([]recall.Receipt, error) {
	var links []trace.Link
	own := make([]bool, len(msgs))
	all := len(msgs) > 0
	for i := range msgs {
		sc := t.contextOf(context.Background(), msgs[i].Header)
		if own[i] = sc.IsValid(); own[i] {
			links = append(links, trace.Link{SpanContext: sc})
		}
		all = all && own[i]
	}
	kind := trace.SpanKindProducer
	if all { // its own context is nobody's
		kind = trace.SpanKindClient
	}
	dest := commonDestination(msgs)
	ctx, span := t.spans.Start(ctx, spanName("publish", dest), trace.WithSpanKind(kind), trace.WithLinks(links...),
		trace.WithAttributes(publishAttributes(msgs, dest)...))
	t.inject(ctx, msgs, own)
	return func(receipts []recall.Receipt, err error) {
		if len(receipts) == 1 && len(msgs) == 1 {
			span.SetAttributes(receiptAttributes(&receipts[0])...)
		}
		finish(span, err)
	}
}

// inject adds the context to the messages that have none. Headers are copied, since
// they are the caller's; those of messages without any are shared.
func (t *tracer) inject(ctx context.Context, msgs []recall.Message, own []bool) {
	fields := http.Header{}
	t.propagator.Inject(ctx, propagation.HeaderCarrier(fields))
	if len(fields) == 0 {
		return
	}
	for i := range msgs {
		switch {
		case own[i]:
		case len(msgs[i].Header) == 0:
			msgs[i].Header = fields
		default:
			h := maps.Clone(msgs[i].Header) // the lists of values are only read
			maps.Copy(h, fields)
			msgs[i].Header = h
		}
	}
}

// contextOf returns the span that a message was published in, if its header says.
func (t *tracer) contextOf(ctx context.Context, h http.Header) trace.SpanContext {
	return trace.SpanContextFromContext(t.extract(ctx, h))
}

func (t *tracer) extract(ctx context.Context, h http.Header) context.Context {
	return t.propagator.Extract(ctx, messageHeader(h))
}

// messageHeader reads the header of a message, whose names may be in any case before it
// is stored.
type messageHeader http.Header

// Get implements [propagation.TextMapCarrier].
func (h messageHeader) Get(key string) string {
	if v := http.Header(h).Get(key); v != "" {
		return v
	}
	for name, values := range h {
		if strings.EqualFold(name, key) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// Set implements [propagation.TextMapCarrier]. It is not used: messages are written to
// by a copy of their header.
func (h messageHeader) Set(key, value string) { http.Header(h).Set(key, value) }

// Keys implements [propagation.TextMapCarrier].
func (h messageHeader) Keys() []string {
	keys := make([]string, 0, len(h))
	for name := range h {
		keys = append(keys, name)
	}
	return keys
}

func publishAttributes(msgs []recall.Message, dest string) []attribute.KeyValue {
	list := operation("publish", dest)
	list = append(list, semconv.MessagingOperationTypeSend)
	if len(msgs) == 1 {
		return append(list, messageAttributes(&msgs[0])...)
	}
	return append(list, semconv.MessagingBatchMessageCount(len(msgs)))
}

func receiptAttributes(r *recall.Receipt) []attribute.KeyValue {
	list := []attribute.KeyValue{semconv.MessagingMessageID(string(r.ID))}
	if r.Deduplicated {
		list = append(list, keyDeduplicated.Bool(true))
	}
	if r.CancelledBy != "" {
		list = append(list, keyCancelledBy.String(string(r.CancelledBy)))
	}
	return list
}
