package qstash

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/recallmq/recall"
)

// logRoutes serve the same data: SDKs read events, QStash describes logs.
var logRoutes = []route{
	{"v2/events", map[string]call{http.MethodGet: (*handler).listEvents}},
	{"v2/logs", map[string]call{http.MethodGet: (*handler).listLogs}},
}

// logPage is an answer. On /v2/logs the list goes by both names.
type logPage struct {
	Logs   *[]logEntry    `json:"logs,omitempty"`
	Events []logEntry     `json:"events"`
	Cursor recall.EventID `json:"cursor,omitempty"`
}

func (h *handler) listEvents(w http.ResponseWriter, r *http.Request, _ string) error {
	page, err := h.logPage(r)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, page)
	return nil
}

func (h *handler) listLogs(w http.ResponseWriter, r *http.Request, _ string) error {
	page, err := h.logPage(r)
	if err != nil {
		return err
	}
	page.Logs = &page.Events
	answer(w, http.StatusOK, page)
	return nil
}

func (h *handler) logPage(r *http.Request) (page logPage, err error) {
	c, err := readQuery(r, &logReading)
	if err != nil {
		return page, err
	}
	q, err := c.logQuery()
	if err != nil {
		return page, err
	}
	list, err := h.events(r.Context(), &q)
	if err != nil {
		return page, err
	}
	if len(list) > q.limit {
		list, page.Cursor = list[:q.limit], list[q.limit-1].ID
	}
	page.Events, err = h.logEntries(r.Context(), list)
	return page, err
}

// events returns the events that are asked for, and one more if there are more.
func (h *handler) events(ctx context.Context, q *logQuery) ([]recall.Event, error) {
	switch {
	case q.nothing:
		return nil, nil
	case q.filter.Filter.IDs != nil:
		return h.eventsOfMessages(ctx, q)
	}
	var list []recall.Event
	for after := q.after; len(list) <= q.limit; {
		page, err := h.b.EventPage(ctx, q.filter, after, min(q.limit+1-len(list), recall.MaxEventPage))
		if err != nil {
			return nil, err
		}
		for _, ev := range page.Events {
			if ev.Message != "" { // that of a bulk cancellation is about no message, and clients need one
				list = append(list, ev)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	return list, nil
}

// logEntries are events as clients read them, with what is known of the messages
// that live, or were delivered a moment ago.
func (h *handler) logEntries(ctx context.Context, list []recall.Event) ([]logEntry, error) {
	entries := make([]logEntry, 0, len(list))
	known := map[recall.MessageID]*recall.Message{}
	bodies := 0
	for i := range list {
		ev := &list[i]
		m, asked := known[ev.Message]
		if !asked {
			found, err := h.read(ctx, ev.Message)
			switch {
			case err == nil:
				m = &found
			case !errors.Is(err, recall.ErrNotFound):
				return nil, err
			}
			known[ev.Message] = m
		}
		entry := entryOf(ev)
		if m != nil {
			entry.describe(m)
			if bodies += len(m.Body); bodies <= recall.PageBytes {
				entry.Body = m.Body
			}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// logStates are the states of events as answers write them. SDKs know one l.
var logStates = map[recall.EventState]string{
	recall.EventCreated: "CREATED", recall.EventActive: "ACTIVE", recall.EventRetry: "RETRY", recall.EventError: "ERROR",
	recall.EventDelivered: "DELIVERED", recall.EventFailed: "FAILED",
	recall.EventCancelRequested: "CANCEL_REQUESTED", recall.EventCancelled: "CANCELED",
}

// logEntry is an entry of the log. Some facts go by two names, because clients
// differ.
type logEntry struct {
	Time             int64            `json:"time"`
	MessageID        recall.MessageID `json:"messageId"`
	State            string           `json:"state"`
	URL              string           `json:"url"`
	Error            string           `json:"error,omitempty"`
	ResponseStatus   int              `json:"responseStatus,omitempty"`
	NextDeliveryTime int64            `json:"nextDeliveryTime,omitempty"`
	TopicName        string           `json:"topicName,omitempty"`
	QueueName        string           `json:"queueName,omitempty"`
	ScheduleID       string           `json:"scheduleId,omitempty"`
	CallerIP         string           `json:"callerIP,omitempty"`
	CallerIp         string           `json:"callerIp,omitempty"` //nolint:staticcheck // the wire has both spellings
	flowLimit                         // all but the key is of the message, if it can still be read
	Label            string           `json:"label,omitempty"`
	Labels           []string         `json:"labels,omitempty"`

	// Of the message, if it can still be read.
	Method          string      `json:"method,omitempty"`
	Header          http.Header `json:"header,omitempty"`
	Body            []byte      `json:"body,omitempty"` // base64
	EndpointName    string      `json:"endpointName,omitempty"`
	MaxRetries      *int        `json:"maxRetries,omitempty"`
	RetryDelay      string      `json:"retryDelayExpression,omitempty"`
	RetryDelayShort string      `json:"retryDelayExpr,omitempty"`
	Timeout         int64       `json:"timeout,omitempty"` // ms

	Callback               string      `json:"callback,omitempty"`
	CallbackHeaders        http.Header `json:"callbackHeaders,omitempty"`
	FailureCallback        string      `json:"failureCallback,omitempty"`
	FailureCallbackHeaders http.Header `json:"failureCallbackHeaders,omitempty"`
}

func entryOf(ev *recall.Event) logEntry {
	out := logEntry{
		Time: ev.At.UnixMilli(), MessageID: ev.Message, State: logStates[ev.State], URL: ev.URL, Error: ev.Reason,
		ResponseStatus: ev.Status, NextDeliveryTime: millis(ev.Due), TopicName: ev.Topic, QueueName: ev.Queue,
		ScheduleID: ev.ScheduleID, CallerIP: ev.CallerIP, CallerIp: ev.CallerIP, Labels: ev.Labels,
		flowLimit: flowLimit{FlowControlKey: ev.FlowKey},
	}
	if len(ev.Labels) > 0 {
		out.Label = ev.Labels[0]
	}
	return out
}

// describe adds what is known of the message.
func (e *logEntry) describe(m *recall.Message) {
	e.URL = cmp.Or(e.URL, m.URL)
	e.Method, e.Header, e.EndpointName, e.MaxRetries = m.Method, m.Header, m.Endpoint, m.Retries
	e.RetryDelay, e.RetryDelayShort, e.Timeout = m.RetryDelay, m.RetryDelay, m.Timeout.Milliseconds()
	if m.Flow != nil {
		e.flowLimit = flowLimitOf(m)
	}
	if c := m.Callback; c != nil {
		e.Callback, e.CallbackHeaders = c.URL, c.Header
	}
	if c := m.FailureCallback; c != nil {
		e.FailureCallback, e.FailureCallbackHeaders = c.URL, c.Header
	}
}
