package recall

import (
	"cmp"
	"net/http"
	"time"
)

// callbackBody is what a callback tells, in the form of QStash's. Bodies go as
// base64, as they may be anything.
type callbackBody struct {
	Status     int         `json:"status"`
	Header     http.Header `json:"header"`
	Body       []byte      `json:"body"`
	Truncated  bool        `json:"truncated,omitempty"`
	Retried    int         `json:"retried,omitempty"`
	MaxRetries int         `json:"maxRetries"`

	SourceID     MessageID   `json:"sourceMessageId"`
	Topic        string      `json:"topicName,omitempty"`
	Endpoint     string      `json:"endpointName,omitempty"`
	URL          string      `json:"url"`
	Method       string      `json:"method"`
	SourceHeader http.Header `json:"sourceHeader"`
	SourceBody   []byte      `json:"sourceBody"`
	NotBefore    int64       `json:"notBefore"`
	CreatedAt    int64       `json:"createdAt"`
	ScheduleID   string      `json:"scheduleId,omitempty"`
	CallerIP     string      `json:"callerIP,omitempty"`
}

// openingOfID is how the body of a failure callback begins, before the fields of
// callbackBody. The id of the dead letter, which nobody knows before the commit,
// is inserted behind it.
const openingOfID = `{"dlqId":"`

// addCallbacks makes the callbacks of an attempt part of its outcome. An attempt
// that was not made has none.
func (f *Finish) addCallbacks(m *Message, truncated bool, o *Options) {
	if f.Outcome == Release || m.Callback == nil && m.FailureCallback == nil {
		return
	}
	about := encodeJSON(newCallbackBody(m, f, truncated, o))
	if c := m.Callback; c != nil {
		f.Follow = append(f.Follow, c.message(m, about, f.Now, o))
	}
	if c := m.FailureCallback; c != nil && f.Outcome == Dead {
		body := append([]byte(openingOfID+`",`), about[1:]...)
		f.FollowDead = append(f.FollowDead, DeadFollow{Message: c.message(m, body, f.Now, o), IDAt: len(openingOfID)})
	}
}

// newCallbackBody tells of an attempt: what was answered, or the error.
func newCallbackBody(m *Message, f *Finish, truncated bool, o *Options) *callbackBody {
	b := &callbackBody{
		Header: http.Header{}, Truncated: truncated, Retried: max(0, m.Attempts-1), MaxRetries: m.retries(o),
		SourceID: m.ID, Topic: m.Topic, Endpoint: m.Endpoint, URL: m.URL, Method: m.Method,
		SourceHeader: m.Header, SourceBody: orEmpty(m.Body),
		NotBefore: m.DueAt.UnixMilli(), CreatedAt: m.CreatedAt.UnixMilli(), ScheduleID: m.ScheduleID, CallerIP: m.CallerIP,
	}
	if b.SourceHeader == nil {
		b.SourceHeader = http.Header{}
	}
	switch r := f.Response; {
	case r != nil:
		b.Status, b.Body = r.Status, orEmpty(r.Body)
		if r.Header != nil {
			b.Header = r.Header
		}
	case f.Outcome == Delivered: // within the process
		b.Status, b.Body = http.StatusOK, []byte{}
	default:
		b.Body = []byte(f.Reason)
	}
	return b
}

// orEmpty keeps an empty body from being null in JSON.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// message is a callback of m, as engines want it. It is found by the labels of m,
// and keeps a queue of m waiting; nothing else of m makes it wait.
func (c *Callback) message(m *Message, body []byte, now time.Time, o *Options) Message {
	f := Message{
		URL: c.URL, Method: cmp.Or(c.Method, http.MethodPost), Header: c.header(), Body: body,
		Labels: m.Labels, Priority: m.Priority, Redact: m.Redact.ofCallback(),
		Retries: c.Retries, RetryDelay: c.RetryDelay, Timeout: cmp.Or(c.Timeout, o.Timeout),
		Callback: c.Callback, FailureCallback: c.FailureCallback,
		CreatedAt: now, DueAt: now.Add(c.Delay),
		Source: m.ID, Blocks: cmp.Or(m.Queue, m.Blocks),
	}
	if f.Blocks != "" {
		f.Root = cmp.Or(m.Root, m.Source)
	}
	if f.Retries == nil {
		f.Retries = Retries(m.retries(o))
	}
	return f
}

// header is that of the request: its body is JSON unless the publisher says
// otherwise.
func (c *Callback) header() http.Header {
	h := canonicalHeader(c.Header).Clone()
	if h == nil {
		h = http.Header{}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = []string{"application/json"}
	}
	return h
}
