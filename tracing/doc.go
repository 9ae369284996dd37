// Package tracing traces messages of a [recall.Broker] with OpenTelemetry, from the
// call that publishes one to the attempts that deliver it.
//
//	opts := &recall.Options{}
//	if err := tracing.Instrument(opts); err != nil {
//		return err
//	}
//	b, err := recall.Open(path, opts)
//
// A publish is a producer span, whose context goes with the messages as headers: W3C
// traceparent and tracestate. An attempt – of a handler, over HTTP, or by a consumer,
// whose lease is one – is a consumer span that links to it. An HTTP request carries
// the context of its attempt to the endpoint. A bulk cancellation is a span too.
// docs/metrics.md lists spans and attributes, which follow the semantic conventions of
// OpenTelemetry for messaging.
//
// It is a module of its own, and needs no more than the API of OpenTelemetry: the SDK is
// for the program to choose.
package tracing
