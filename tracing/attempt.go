package tracing

import (
	"context"
	"strings"

	"github.com/recallmq/recall"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// attempt begins the span of an attempt, in the context of which handlers and requests
// run.
func (t *tracer) attempt(ctx context.Context, d *recall.Delivery) (context.Context, func(recall.AttemptEnd)) {
	var links []trace.Link
	within := t.extract(ctx, d.Header) // has baggage, too, if the propagator reads it
	if sc := t.contextOf(context.Background(), d.Header); sc.IsValid() {
		links = append(links, trace.Link{SpanContext: sc})
		if !t.parent {
			within = trace.ContextWithSpanContext(within, trace.SpanContextFromContext(ctx))
		}
	}
	name, dest := attemptName(&d.Message), destination(&d.Message)
	attributes := append(operation(name, dest), semconv.MessagingOperationTypeProcess, keyAttempt.Int(d.Attempt))
	within, span := t.spans.Start(within, spanName(name, dest), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(links...), trace.WithAttributes(append(attributes, messageAttributes(&d.Message)...)...))
	return within, func(e recall.AttemptEnd) { endAttempt(span, e) }
}

// attemptName tells a request to an endpoint from work that is done in this process.
func attemptName(m *recall.Message) string {
	if strings.HasPrefix(m.URL, "http://") || strings.HasPrefix(m.URL, "https://") {
		return "deliver"
	}
	return "process"
}

func endAttempt(span trace.Span, e recall.AttemptEnd) {
	defer span.End()
	span.SetAttributes(keyOutcome.String(outcomeName(e.Outcome)))
	if e.Status != 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(e.Status))
	}
	if e.Outcome != recall.Retry && e.Outcome != recall.Dead {
		return
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(failureName(e.Failure)))
	span.SetStatus(codes.Error, e.Reason)
}

func outcomeName(o recall.Outcome) string {
	switch o {
	case recall.Delivered:
		return "delivered"
	case recall.Retry:
		return "retry"
	case recall.Dead:
		return "dead"
	}
	return "released"
}

func failureName(f recall.FailureClass) string {
	switch f {
	case recall.FailureStatus:
		return "status"
	case recall.FailureTimeout:
		return "timeout"
	case recall.FailureNetwork:
		return "network"
	case recall.FailureHandler:
		return "handler"
	case recall.FailureShutdown:
		return "shutdown"
	}
	return semconv.ErrorTypeOther.Value.AsString()
}
