package tracing

import (
	"context"
	"errors"
	"net/url"

	"github.com/recallmq/recall"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// Attributes that the conventions do not have. docs/metrics.md lists them.
const (
	keyAttempt      = attribute.Key("messaging.recall.attempt")
	keyOutcome      = attribute.Key("messaging.recall.outcome")
	keyQueue        = attribute.Key("messaging.recall.queue")
	keyTopic        = attribute.Key("messaging.recall.topic")
	keyFlow         = attribute.Key("messaging.recall.flow_key")
	keySchedule     = attribute.Key("messaging.recall.schedule_id")
	keyDeduplicated = attribute.Key("messaging.recall.deduplicated")
	keyCancelledBy  = attribute.Key("messaging.recall.cancelled_by")

	keyFilter    = attribute.Key("messaging.recall.cancel.filter")
	keyPolicy    = attribute.Key("messaging.recall.cancel.policy")
	keyDryRun    = attribute.Key("messaging.recall.cancel.dry_run")
	keyReason    = attribute.Key("messaging.recall.cancel.reason")
	keyCancelled = attribute.Key("messaging.recall.cancel.cancelled")
	keyRequested = attribute.Key("messaging.recall.cancel.requested")
	keySkipped   = attribute.Key("messaging.recall.cancel.skipped")
	keyScanned   = attribute.Key("messaging.recall.cancel.scanned")
	keyIndex     = attribute.Key("messaging.recall.cancel.index")
	keyOperation = attribute.Key("messaging.recall.cancel.operation")
	keyBlocker   = attribute.Key("messaging.recall.cancel.blocker")
)

// operation is what every span has.
func operation(name, dest string) []attribute.KeyValue {
	list := []attribute.KeyValue{semconv.MessagingSystemKey.String("recall"), semconv.MessagingOperationName(name)}
	if dest != "" {
		list = append(list, semconv.MessagingDestinationName(dest))
	}
	return list
}

// messageAttributes are about one message.
func messageAttributes(m *recall.Message) []attribute.KeyValue {
	list := []attribute.KeyValue{semconv.MessagingMessageBodySize(len(m.Body))}
	if m.ID != "" {
		list = append(list, semconv.MessagingMessageID(string(m.ID)))
	}
	for _, a := range []attribute.KeyValue{
		keyQueue.String(m.Queue), keyTopic.String(m.Topic), keyFlow.String(m.FlowKey), keySchedule.String(m.ScheduleID),
		semconv.ServerAddress(hostOf(m.URL)),
	} {
		if a.Value.AsString() != "" {
			list = append(list, a)
		}
	}
	return list
}

func spanName(name, dest string) string {
	if dest == "" {
		return name
	}
	return name + " " + dest
}

// destination names where a message goes, by one of few names: the queue, the topic,
// or the target of its URL.
func destination(m *recall.Message) string {
	switch {
	case m.Queue != "":
		return m.Queue
	case m.Topic != "":
		return m.Topic
	}
	return target(m.URL)
}

// commonDestination is the destination of all messages, "" if they have several.
func commonDestination(msgs []recall.Message) (dest string) {
	for i := range msgs {
		d := destination(&msgs[i])
		if i > 0 && d != dest {
			return ""
		}
		dest = d
	}
	return dest
}

// target is a destination without what may be secret, or one of many: of a URL scheme
// and host, of a handler its name.
func target(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return ""
	case u.Host == "":
		return raw
	}
	return u.Scheme + "://" + u.Host
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// finish ends the span of a call.
func finish(span trace.Span, err error) {
	if err != nil {
		span.SetAttributes(semconv.ErrorTypeKey.String(errorType(err)))
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// errorTypes name the errors that callers test for.
var errorTypes = []struct {
	err  error
	name string
}{
	{recall.ErrNotCancellable, "not_cancellable"},
	{recall.ErrUnexpectedCount, "unexpected_count"},
	{recall.ErrDeduplicationFull, "deduplication_full"},
	{recall.ErrFailed, "failed"},
	{recall.ErrFull, "full"},
	{recall.ErrClosed, "closed"},
	{recall.ErrInvalid, "invalid"},
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "deadline_exceeded"},
}

func errorType(err error) string {
	for _, e := range errorTypes {
		if errors.Is(err, e.err) {
			return e.name
		}
	}
	return semconv.ErrorTypeOther.Value.AsString()
}
