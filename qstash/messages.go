package qstash

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

var messageRoutes = []route{
	{"v2/messages", map[string]call{http.MethodDelete: (*handler).cancelMany}},
	{"v2/messages/", map[string]call{http.MethodGet: (*handler).getMessage, http.MethodDelete: (*handler).cancelOne}},
}

// message is what GET returns. Some facts go by two names, because clients
// differ.
type message struct {
	MessageID    recall.MessageID `json:"messageId"`
	URL          string           `json:"url"`
	Method       string           `json:"method"`
	Header       http.Header      `json:"header"`
	Body         *string          `json:"body,omitempty"`
	BodyBase64   []byte           `json:"bodyBase64,omitempty"`
	MaxRetries   int              `json:"maxRetries"`
	RetryDelay   string           `json:"retryDelayExpression,omitempty"`
	NotBefore    int64            `json:"notBefore"`
	CreatedAt    int64            `json:"createdAt"`
	TopicName    string           `json:"topicName,omitempty"`
	URLGroup     string           `json:"urlGroup,omitempty"`
	EndpointName string           `json:"endpointName,omitempty"`
	QueueName    string           `json:"queueName,omitempty"`
	ScheduleID   string           `json:"scheduleId,omitempty"`
	CallerIP     string           `json:"callerIP,omitempty"`
	CallerIp     string           `json:"callerIp,omitempty"` //nolint:staticcheck // the wire has both spellings
	shared
}

// shared is what answers say alike of a message and of a schedule.
type shared struct {
	flowLimit

	Callback              string      `json:"callback,omitempty"`
	CallbackHeader        http.Header `json:"callbackHeader,omitempty"`
	FailureCallback       string      `json:"failureCallback,omitempty"`
	FailureCallbackHeader http.Header `json:"failureCallbackHeader,omitempty"`

	Label  string   `json:"label,omitempty"`
	Labels []string `json:"labels,omitempty"`
}

func sharedBy(m *recall.Message) shared {
	out := shared{flowLimit: flowLimitOf(m), Labels: m.Labels}
	if len(m.Labels) > 0 {
		out.Label = m.Labels[0]
	}
	if c := m.Callback; c != nil {
		out.Callback, out.CallbackHeader = c.URL, c.Header
	}
	if c := m.FailureCallback; c != nil {
		out.FailureCallback, out.FailureCallbackHeader = c.URL, c.Header
	}
	return out
}

// flowLimit is the flow control of a message, or of a schedule. A rate or a
// parallelism that is not there is no limit; the period is always.
type flowLimit struct {
	FlowControlKey string `json:"flowControlKey,omitempty"`
	Rate           int    `json:"rate,omitempty"`
	Parallelism    int    `json:"parallelism,omitempty"`
	Period         int64  `json:"period,omitempty"` // s
}

func flowLimitOf(m *recall.Message) flowLimit {
	if m.FlowKey == "" {
		return flowLimit{}
	}
	out := flowLimit{FlowControlKey: m.FlowKey, Period: seconds(defaultPeriod)}
	if l := m.Flow; l != nil {
		out.Rate, out.Parallelism, out.Period = l.Rate, l.Parallelism, seconds(cmp.Or(l.Period, defaultPeriod))
	}
	return out
}

// seconds is how answers write a duration; a part of a second counts as a whole
// one.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func (h *handler) getMessage(w http.ResponseWriter, r *http.Request, rest string) error {
	id, err := messageID(rest)
	if err != nil {
		return err
	}
	m, err := h.read(r.Context(), id)
	if err != nil {
		return named(id, err)
	}
	answer(w, http.StatusOK, messageBody(&m))
	return nil
}

// DeliveredRetention is how long messages should stay readable after their
// delivery, for [recall.Options].DeliveredRetention: tests that were written for
// QStash publish to a fast endpoint and then read the message.
const DeliveredRetention = 10 * time.Second

// read returns a message that lives, or was delivered a moment ago.
func (h *handler) read(ctx context.Context, id recall.MessageID) (recall.Message, error) {
	m, err := h.b.Get(ctx, id)
	if errors.Is(err, recall.ErrNotFound) {
		return h.b.Delivered(ctx, id)
	}
	return m, err
}

func messageBody(m *recall.Message) message {
	out := message{
		MessageID: m.ID, URL: m.URL, Method: m.Method, Header: object(m.Header), MaxRetries: *m.Retries,
		RetryDelay: m.RetryDelay,
		NotBefore:  m.DueAt.UnixMilli(), CreatedAt: m.CreatedAt.UnixMilli(), TopicName: m.Topic, URLGroup: m.Topic,
		EndpointName: m.Endpoint,
		QueueName:    m.Queue, ScheduleID: m.ScheduleID, CallerIP: m.CallerIP, CallerIp: m.CallerIP,
		shared: sharedBy(m),
	}
	if utf8.Valid(m.Body) {
		text := string(m.Body)
		out.Body = &text
	} else {
		out.BodyBase64 = m.Body
	}
	return out
}

// object is a header that JSON shows as one, also when it is empty.
func object(h http.Header) http.Header {
	if h == nil {
		return http.Header{}
	}
	return h
}

// messageID reads the id of a path. What is no id names no message.
func messageID(rest string) (recall.MessageID, error) {
	text, err := url.PathUnescape(strings.TrimSuffix(rest, "/"))
	if err == nil {
		if id, err := recall.ParseMessageID(text); err == nil {
			return id, nil
		}
	}
	return "", notFound("message %.100s not found", text)
}

// named says which message was not found.
func named(id recall.MessageID, err error) error {
	if errors.Is(err, recall.ErrNotFound) {
		return notFound("message %s not found", id)
	}
	return err
}
