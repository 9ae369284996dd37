package tracing_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/tracing"
)

// traced is a broker whose spans are kept in memory.
type traced struct {
	*recall.Broker
	spans *tracetest.InMemoryExporter
	from  trace.Tracer // of the program
}

func open(t *testing.T, o *recall.Options, opts ...tracing.Option) *traced {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(exporter))
	if o == nil {
		o = &recall.Options{}
	}
	o.Durability, o.Logger = recall.SyncNever, slog.New(slog.DiscardHandler)
	if err := tracing.Instrument(o, append([]tracing.Option{tracing.WithTracerProvider(provider)}, opts...)...); err != nil {
		t.Fatal(err)
	}
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &traced{b, exporter, provider.Tracer("test")}
}

// take returns the spans that have ended since the last call.
func (b *traced) take() tracetest.SpanStubs {
	synctest.Wait()
	defer b.spans.Reset()
	return b.spans.GetSpans()
}

// only returns the one span of a name.
func only(t *testing.T, spans tracetest.SpanStubs, name string) tracetest.SpanStub {
	t.Helper()
	var found []tracetest.SpanStub
	var names []string
	for _, s := range spans {
		if names = append(names, s.Name); s.Name == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("got %d spans %q, want one, of %q", len(found), name, names)
	}
	return found[0]
}

// text returns an attribute as text, "" if it is not there.
func text(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func checkText(t *testing.T, s tracetest.SpanStub, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := text(s, key); got != value {
			t.Errorf("%s: %s: got %q, want %q; it has %v", s.Name, key, got, value, s.Attributes)
		}
	}
}

// linksTo checks that a span links to exactly these.
func linksTo(t *testing.T, s tracetest.SpanStub, to ...trace.SpanContext) {
	t.Helper()
	got := make([]trace.SpanID, len(s.Links))
	for i, l := range s.Links {
		got[i] = l.SpanContext.SpanID()
	}
	want := make([]trace.SpanID, len(to))
	for i, c := range to {
		want[i] = c.SpanID()
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: links to %v, want %v", s.Name, got, want)
	}
}

func handle(t *testing.T, b *traced, url string, h recall.Handler) {
	t.Helper()
	if err := b.Handle(url, h); err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, b *traced, ctx context.Context, m recall.Message) recall.MessageID {
	t.Helper()
	r, err := b.Publish(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// transport answers requests with a status, and keeps their headers.
type transport struct {
	status int
	got    []http.Header
}

func (r *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	r.got = append(r.got, req.Header.Clone())
	return &http.Response{StatusCode: r.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// TestHandler follows a message from a request of the program to its handler.
func TestHandler(t *testing.T) {
	for _, parent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var opts []tracing.Option
			if parent {
				opts = append(opts, tracing.WithParent())
			}
			b := open(t, nil, opts...)
			var within trace.SpanContext
			handle(t, b, "local:mail", func(ctx context.Context, _ *recall.Delivery) error {
				within = trace.SpanContextFromContext(ctx)
				_, inner := b.from.Start(ctx, "inner")
				inner.End()
				return nil
			})
			ctx, request := b.from.Start(t.Context(), "request")
			id := publish(t, b, ctx, recall.Message{URL: "local:mail", Body: []byte("hello"), Labels: []string{"l"}, FlowKey: "f"})
			request.End()
			spans := b.take()

			made := only(t, spans, "publish local:mail")
			if made.SpanKind != trace.SpanKindProducer || made.Parent.SpanID() != request.SpanContext().SpanID() {
				t.Errorf("publish: got kind %v, parent %v", made.SpanKind, made.Parent.SpanID())
			}
			linksTo(t, made)
			checkText(t, made, map[string]string{
				"messaging.system": "recall", "messaging.operation.name": "publish", "messaging.operation.type": "send",
				"messaging.destination.name": "local:mail", "messaging.message.id": string(id), "messaging.message.body.size": "5",
				"messaging.recall.flow_key": "f", "messaging.batch.message_count": "", "error.type": "",
			})
			got := only(t, spans, "process local:mail")
			linksTo(t, got, made.SpanContext)
			if got.SpanKind != trace.SpanKindConsumer || got.SpanContext.SpanID() != within.SpanID() || got.Status.Code != codes.Unset {
				t.Errorf("process: got kind %v, status %v; the handler had %v", got.SpanKind, got.Status, within.SpanID())
			}
			if one := got.SpanContext.TraceID() == made.SpanContext.TraceID(); one != parent || got.Parent.IsValid() != parent {
				t.Errorf("with parent %v: the same trace is %v, the parent %v", parent, one, got.Parent.SpanID())
			}
			checkText(t, got, map[string]string{
				"messaging.operation.type": "process", "messaging.recall.attempt": "1", "messaging.recall.outcome": "delivered",
				"messaging.message.id": string(id),
			})
			if inner := only(t, spans, "inner"); inner.Parent.SpanID() != within.SpanID() {
				t.Errorf("what the handler does has the parent %v, want %v", inner.Parent.SpanID(), within.SpanID())
			}
		})
	}
}

// TestHTTP: the endpoint gets the context of the attempt, and the next attempt links to
// the publish as the first one did.
func TestHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &transport{status: 503}
		var signed []string
		b := open(t, &recall.Options{
			Transport: endpoint,
			OnRequest: func(r *http.Request, _ *recall.Delivery) error {
				signed = append(signed, r.Header.Get("Traceparent"))
				return nil
			},
		})
		publish(t, b, t.Context(), recall.Message{
			URL: "https://user:secret@api.test:8443/hook?token=secret", Retries: recall.Retries(1), Header: http.Header{"Mine": {"1"}},
		})
		time.Sleep(time.Hour)
		spans := b.take()
		made := only(t, spans, "publish https://api.test:8443")
		var attempts tracetest.SpanStubs
		for _, s := range spans {
			for _, a := range s.Attributes {
				if strings.Contains(a.Value.String(), "secret") {
					t.Errorf("%s: %s has a secret: %s", s.Name, a.Key, a.Value.String())
				}
			}
			if s.Name == "deliver https://api.test:8443" {
				attempts = append(attempts, s)
			}
		}
		if len(attempts) != 2 || len(endpoint.got) != 2 || len(signed) != 2 {
			t.Fatalf("got %d attempts, %d requests, %d signed; want 2", len(attempts), len(endpoint.got), len(signed))
		}
		for i, s := range attempts {
			linksTo(t, s, made.SpanContext)
			sent := endpoint.got[i]
			if want := traceparent(s.SpanContext); sent.Get("Traceparent") != want || signed[i] != want || sent.Get("Mine") != "1" {
				t.Errorf("attempt %d: the endpoint got %v, the hook %q, want %q", i+1, sent, signed[i], want)
			}
			if s.Status.Code != codes.Error || s.Status.Description == "" {
				t.Errorf("attempt %d: got status %+v", i+1, s.Status)
			}
			checkText(t, s, map[string]string{
				"messaging.recall.outcome": []string{"retry", "dead"}[i], "http.response.status_code": "503", "error.type": "status",
				"server.address": "api.test", "messaging.recall.attempt": []string{"1", "2"}[i],
			})
		}
		for d, err := range b.DeadLetters(t.Context(), recall.Filter{}) {
			if got := d.Message.Header.Get("Traceparent"); err != nil || got != traceparent(made.SpanContext) {
				t.Errorf("the dead letter has %q, %v, want that of the publish", got, err)
			}
		}
	})
}

func traceparent(c trace.SpanContext) string {
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + c.TraceFlags().String()
}

// TestBatch: a batch is one span, the context of which all get that bring none.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, nil)
		handle(t, b, "local:a", func(context.Context, *recall.Delivery) error { return nil })
		handle(t, b, "local:b", func(context.Context, *recall.Delivery) error { return nil })
		_, own := b.from.Start(t.Context(), "own")
		own.End()
		brought := http.Header{"traceparent": {traceparent(own.SpanContext())}} // not in canonical form
		mine := http.Header{"Mine": {"1"}}
		if _, err := b.PublishBatch(t.Context(), []recall.Message{{URL: "local:a", Header: mine}, {URL: "local:b", Header: brought}}); err != nil {
			t.Fatal(err)
		}
		if len(mine) != 1 || len(brought) != 1 {
			t.Errorf("headers of the caller were changed: %v, %v", mine, brought)
		}
		spans := b.take()
		made := only(t, spans, "publish")
		linksTo(t, made, own.SpanContext())
		if made.SpanKind != trace.SpanKindProducer {
			t.Errorf("got kind %v", made.SpanKind)
		}
		checkText(t, made, map[string]string{"messaging.batch.message_count": "2", "messaging.destination.name": "", "messaging.message.id": ""})
		linksTo(t, only(t, spans, "process local:a"), made.SpanContext)
		linksTo(t, only(t, spans, "process local:b"), own.SpanContext())

		publish(t, b, t.Context(), recall.Message{URL: "local:b", Header: brought})
		if made := only(t, b.take(), "publish local:b"); made.SpanKind != trace.SpanKindClient {
			t.Errorf("a publish whose context goes nowhere: got kind %v", made.SpanKind)
		}
	})
}

// TestTopicScheduleTransaction: the other ways to publish have their span.
func TestTopicScheduleTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, nil)
		for _, url := range []string{"local:a", "local:b"} {
			handle(t, b, url, func(context.Context, *recall.Delivery) error { return nil })
		}
		if _, err := b.AddEndpoints(t.Context(), "news", recall.Endpoint{URL: "local:a"}, recall.Endpoint{URL: "local:b"}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.PublishTopic(t.Context(), "news", recall.Message{}); err != nil {
			t.Fatal(err)
		}
		spans := b.take()
		made := only(t, spans, "publish news")
		checkText(t, made, map[string]string{"messaging.batch.message_count": "2", "messaging.destination.name": "news"})
		attempts := 0
		for _, s := range spans {
			if s.Name == "process news" {
				linksTo(t, s, made.SpanContext)
				attempts++
			}
		}
		if attempts != 2 {
			t.Errorf("got %d attempts, want 2", attempts)
		}

		ctx, request := b.from.Start(t.Context(), "request")
		if err := b.Update(ctx, func(tx *recall.Tx) error {
			_, err := tx.Publish(recall.Message{URL: "local:a"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		request.End()
		spans = b.take()
		if made := only(t, spans, "publish local:a"); made.Parent.SpanID() != request.SpanContext().SpanID() {
			t.Errorf("in a transaction: got the parent %v", made.Parent.SpanID())
		}

		if _, err := b.SetSchedule(t.Context(), recall.Schedule{ID: "s", Cron: "* * * * *", Message: recall.Message{URL: "local:a"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		spans = b.take()
		made = only(t, spans, "publish local:a")
		checkText(t, made, map[string]string{"messaging.recall.schedule_id": "s"})
		linksTo(t, only(t, spans, "process local:a"), made.SpanContext)
	})
}

// TestConsumer: a lease is an attempt, which ends with it.
func TestConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, nil)
		publish(t, b, t.Context(), recall.Message{Queue: "jobs", Timeout: time.Minute})
		got, err := b.Receive(t.Context(), "jobs", 1)
		if err != nil {
			t.Fatal(err)
		}
		made := only(t, b.take(), "publish jobs")
		time.Sleep(time.Minute) // the lease runs out
		expired := only(t, b.take(), "process jobs")
		linksTo(t, expired, made.SpanContext)
		if expired.SpanContext.SpanID() != trace.SpanContextFromContext(got[0].Context()).SpanID() {
			t.Error("the context of the lease has another span")
		}
		checkText(t, expired, map[string]string{
			"error.type": "timeout", "messaging.recall.outcome": "retry", "messaging.recall.queue": "jobs", "messaging.destination.name": "jobs",
		})
		if got, err = b.Receive(t.Context(), "jobs", 1); err != nil {
			t.Fatal(err)
		}
		if err := got[0].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkText(t, only(t, b.take(), "process jobs"), map[string]string{"messaging.recall.attempt": "2", "messaging.recall.outcome": "delivered"})
	})
}

// TestCancel: a bulk cancellation says what it took and what was in its way.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &recall.Options{Transport: &transport{status: 200}})
		handle(t, b, "local:slow", func(ctx context.Context, _ *recall.Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		})
		for range 3 {
			publish(t, b, t.Context(), recall.Message{URL: "https://api.test/hook?token=secret", Delay: time.Hour, Labels: []string{"a"}})
		}
		slow := publish(t, b, t.Context(), recall.Message{URL: "local:slow", Labels: []string{"a"}, Timeout: time.Minute})
		b.take()
		res, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{"a"}}, recall.Reason("mistake"))
		if !errors.Is(err, recall.ErrNotCancellable) {
			t.Fatal(err)
		}
		s := only(t, b.take(), "cancel")
		checkText(t, s, map[string]string{
			"messaging.system": "recall", "messaging.recall.cancel.filter": "label=a", "messaging.recall.cancel.policy": "stop",
			"messaging.recall.cancel.cancelled": "3", "messaging.recall.cancel.blocker": string(slow),
			"messaging.recall.cancel.operation": string(res.Operation), "messaging.recall.cancel.reason": "mistake",
			"messaging.recall.cancel.index": "label", "error.type": "not_cancellable",
		})
		if s.SpanKind != trace.SpanKindInternal || s.Status.Code != codes.Error {
			t.Errorf("got kind %v, status %v", s.SpanKind, s.Status)
		}
		if _, err := b.CancelMatching(t.Context(), recall.Filter{URLs: []string{"https://api.test/hook?token=secret"}}, recall.DryRun()); err != nil {
			t.Fatal(err)
		}
		checkText(t, only(t, b.take(), "cancel"), map[string]string{
			"messaging.recall.cancel.filter": "url=https://api.test", "messaging.recall.cancel.dry_run": "true", "error.type": "",
			"messaging.recall.cancel.cancelled": "0", "messaging.recall.cancel.blocker": "",
		})
	})
}

// TestRefused: a publish that fails says why, and a duplicate that it is one.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &recall.Options{MaxDeduplicationIDs: 1})
		m := recall.Message{URL: "local:h", DeduplicationID: "1"}
		publish(t, b, t.Context(), m)
		b.take()
		publish(t, b, t.Context(), m)
		checkText(t, only(t, b.take(), "publish local:h"), map[string]string{"messaging.recall.deduplicated": "true"})
		m.DeduplicationID = "2"
		if _, err := b.Publish(t.Context(), m); !errors.Is(err, recall.ErrDeduplicationFull) {
			t.Fatal(err)
		}
		s := only(t, b.take(), "publish local:h")
		checkText(t, s, map[string]string{"error.type": "deduplication_full"})
		if s.Status.Code != codes.Error {
			t.Errorf("got status %v", s.Status)
		}
	})
}

// TestPropagation: baggage travels if it is asked for, what is not sampled is
// propagated all the same, and without a provider nothing is added.
func TestPropagation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := func(b *traced, ctx context.Context, h http.Header) (got context.Context, header http.Header) {
			handle(t, b, "local:h", func(ctx context.Context, d *recall.Delivery) error {
				got, header = ctx, d.Header
				return nil
			})
			publish(t, b, ctx, recall.Message{URL: "local:h", Header: h})
			synctest.Wait()
			return got, header
		}
		member, err := baggage.NewMember("tenant", "shop")
		if err != nil {
			t.Fatal(err)
		}
		bag, err := baggage.New(member)
		if err != nil {
			t.Fatal(err)
		}
		ctx := baggage.ContextWithBaggage(t.Context(), bag)
		both := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
		got, header := seen(open(t, nil, tracing.WithPropagator(both)), ctx, nil)
		if baggage.FromContext(got).Member("tenant").Value() != "shop" || header.Get("Baggage") == "" || header.Get("Traceparent") == "" {
			t.Errorf("with baggage: the handler got %v, the header %v", baggage.FromContext(got), header)
		}
		got, header = seen(open(t, nil), ctx, nil)
		if baggage.FromContext(got).Len() != 0 || header.Get("Baggage") != "" {
			t.Errorf("baggage that nobody asked for: %v", header)
		}

		never := sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample()))
		b := open(t, nil, tracing.WithTracerProvider(never))
		_, header = seen(b, t.Context(), nil)
		if tp := header.Get("Traceparent"); !strings.HasSuffix(tp, "-00") {
			t.Errorf("what is not sampled: got %q, want a context that says so", tp)
		}
		if spans := b.take(); len(spans) != 0 {
			t.Errorf("got %d spans that are not sampled", len(spans))
		}
		_, header = seen(open(t, nil, tracing.WithTracerProvider(noop.NewTracerProvider())), t.Context(), nil)
		if len(header) != 0 {
			t.Errorf("without a provider: got %v", header)
		}
		_, header = seen(open(t, nil), t.Context(), http.Header{"Traceparent": {"nonsense"}})
		if tp := header.Values("Traceparent"); len(tp) != 1 || !strings.HasPrefix(tp[0], "00-") {
			t.Errorf("in place of a context that cannot be read: got %v", tp)
		}
	})
}

// TestInstrument refuses what it cannot instrument, and leaves it as it is.
func TestInstrument(t *testing.T) {
	if err := tracing.Instrument(nil); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("nil: got %v", err)
	}
	o := &recall.Options{Observer: &recall.Observer{}}
	had := *o
	if err := tracing.Instrument(o); !errors.Is(err, recall.ErrInvalid) || o.OnRequest != nil || o.Observer != had.Observer {
		t.Errorf("with an observer: got %v, %+v", err, o)
	}
	if err := tracing.Instrument(&recall.Options{}, nil, tracing.WithPropagator(nil), tracing.WithTracerProvider(nil)); err != nil {
		t.Errorf("with options that are nil: %v", err)
	}
}
