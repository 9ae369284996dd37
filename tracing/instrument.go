package tracing

import (
	"fmt"
	"net/http"

	"github.com/recallmq/recall"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scope names this instrumentation in spans.
const scope = "github.com/recallmq/recall/tracing"

// Option changes how [Instrument] traces: [WithTracerProvider], [WithPropagator] or
// [WithParent].
type Option interface{ apply(*tracer) }

type optionFunc func(*tracer)

func (f optionFunc) apply(t *tracer) { f(t) }

// WithTracerProvider makes spans by p. The default, also for nil, is the global one, as
// it is when the first span begins.
func WithTracerProvider(p trace.TracerProvider) Option {
	return optionFunc(func(t *tracer) {
		if p != nil {
			t.provider = p
		}
	})
}

// WithPropagator writes contexts into the headers of messages and requests by p, and
// reads them. The default, also for nil, is W3C trace context, without baggage.
func WithPropagator(p propagation.TextMapPropagator) Option {
	return optionFunc(func(t *tracer) {
		if p != nil {
			t.propagator = p
		}
	})
}

// WithParent makes the context that a message was published in the parent of its
// attempts, besides linking to it: then one trace has all. Without it an attempt begins
// a trace, as the conventions have it: it may be days later, and one of many.
func WithParent() Option { return optionFunc(func(t *tracer) { t.parent = true }) }

// tracer makes the spans of one broker.
type tracer struct {
	provider   trace.TracerProvider
	propagator propagation.TextMapPropagator
	parent     bool
	spans      trace.Tracer
}

// Instrument sets o.Observer, and o.OnRequest to one that adds the context of the
// attempt to each HTTP request and then calls the one that was set before. Call it
// before the broker is opened, and when OnRequest is set. It returns an error, which
// wraps [recall.ErrInvalid], and changes nothing if o is nil or has an observer.
func Instrument(o *recall.Options, opts ...Option) error {
	if o == nil {
		return fmt.Errorf("%w: tracing: the options are nil", recall.ErrInvalid)
	}
	if o.Observer != nil {
		return fmt.Errorf("%w: tracing: Options.Observer is set already", recall.ErrInvalid)
	}
	t := &tracer{provider: otel.GetTracerProvider(), propagator: propagation.TraceContext{}}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(t)
		}
	}
	t.spans = t.provider.Tracer(scope)
	o.Observer = &recall.Observer{Publish: t.publish, Attempt: t.attempt, Cancel: t.cancel}
	o.OnRequest = t.onRequest(o.OnRequest)
	return nil
}

func (t *tracer) onRequest(next func(*http.Request, *recall.Delivery) error) func(*http.Request, *recall.Delivery) error {
	return func(r *http.Request, d *recall.Delivery) error {
		t.propagator.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
		if next == nil {
			return nil
		}
		return next(r, d)
	}
}
