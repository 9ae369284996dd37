package dump

import (
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

// message is a live message, or the one of a dead letter.
type message struct {
	ID              recall.MessageID    `json:"id"`
	URL             string              `json:"url"`
	Method          string              `json:"method"`
	Header          map[string][]string `json:"header,omitempty"`
	HeaderBytes     map[string][][]byte `json:"headerBytes,omitempty"` // names with a value that is no text, in base64
	Body            []byte              `json:"body,omitempty"`        // base64
	Queue           string              `json:"queue,omitempty"`
	Topic           string              `json:"topic,omitempty"`
	Schedule        string              `json:"schedule,omitempty"`
	FlowKey         string              `json:"flowKey,omitempty"`
	Flow            *recall.FlowLimit   `json:"flow,omitempty"`
	CallerIP        string              `json:"callerIp,omitempty"`
	Labels          []string            `json:"labels,omitempty"`
	CreatedAt       time.Time           `json:"createdAt"`
	DueAt           time.Time           `json:"dueAt"`
	Delay           time.Duration       `json:"delay,omitempty"` // nanoseconds
	NotBefore       time.Time           `json:"notBefore,omitzero"`
	Retries         *int                `json:"retries"`
	RetryDelay      string              `json:"retryDelay,omitempty"`
	Timeout         time.Duration       `json:"timeout,omitempty"` // nanoseconds
	Priority        int                 `json:"priority,omitempty"`
	Attempts        int                 `json:"attempts,omitempty"`
	Held            bool                `json:"held,omitempty"`
	Endpoint        string              `json:"endpoint,omitempty"`
	Source          recall.MessageID    `json:"source,omitempty"`
	Root            recall.MessageID    `json:"root,omitempty"`
	Blocks          string              `json:"blocks,omitempty"`
	Callback        *recall.Callback    `json:"callback,omitempty"`
	FailureCallback *recall.Callback    `json:"failureCallback,omitempty"`
	Redact          *recall.Redaction   `json:"redact,omitempty"`
}

func messageOf(m *recall.Message) *message {
	w := &message{
		ID: m.ID, URL: m.URL, Method: m.Method, Body: m.Body, Queue: m.Queue, Topic: m.Topic, Schedule: m.ScheduleID,
		FlowKey: m.FlowKey, Flow: m.Flow, CallerIP: m.CallerIP, Labels: m.Labels, CreatedAt: m.CreatedAt.UTC(), DueAt: m.DueAt.UTC(),
		Delay: m.Delay, Retries: m.Retries, RetryDelay: m.RetryDelay, Timeout: m.Timeout,
		Priority: m.Priority, Attempts: m.Attempts, Held: m.State == recall.StateHeld, Endpoint: m.Endpoint, Source: m.Source,
		Root: m.Root, Blocks: m.Blocks, Callback: m.Callback, FailureCallback: m.FailureCallback, Redact: m.Redact,
	}
	if !m.NotBefore.IsZero() {
		w.NotBefore = m.NotBefore.UTC()
	}
	w.Header, w.HeaderBytes = splitHeader(m.Header)
	return w
}

func (w *message) message() (recall.Message, error) {
	m := recall.Message{
		ID: w.ID, URL: w.URL, Method: w.Method, Body: w.Body, Queue: w.Queue, Topic: w.Topic, ScheduleID: w.Schedule,
		FlowKey: w.FlowKey, Flow: w.Flow, CallerIP: w.CallerIP, Labels: w.Labels, CreatedAt: w.CreatedAt, DueAt: w.DueAt,
		Delay: w.Delay, NotBefore: w.NotBefore, Retries: w.Retries, RetryDelay: w.RetryDelay, Timeout: w.Timeout,
		Priority: w.Priority, Attempts: w.Attempts, Endpoint: w.Endpoint, Source: w.Source,
		Root: w.Root, Blocks: w.Blocks, Callback: w.Callback, FailureCallback: w.FailureCallback, Redact: w.Redact,
	}
	if w.Held {
		m.State = recall.StateHeld
	}
	var err error
	m.Header, err = joinHeader(w.Header, w.HeaderBytes)
	return m, err
}

// splitHeader tells names whose values JSON can say from those with bytes that are no
// text.
func splitHeader(h http.Header) (text map[string][]string, raw map[string][][]byte) {
	for name, values := range h {
		if isText(values) {
			if text == nil {
				text = map[string][]string{}
			}
			text[name] = values
			continue
		}
		if raw == nil {
			raw = map[string][][]byte{}
		}
		for _, v := range values {
			raw[name] = append(raw[name], []byte(v))
		}
	}
	return text, raw
}

func isText(values []string) bool {
	for _, v := range values {
		if !utf8.ValidString(v) {
			return false
		}
	}
	return true
}

func joinHeader(text map[string][]string, raw map[string][][]byte) (http.Header, error) {
	if len(text)+len(raw) == 0 {
		return nil, nil
	}
	h := http.Header{}
	for name, values := range text {
		h[name] = values
	}
	for name, values := range raw {
		if h[name] != nil {
			return nil, errors.New("a header is there as text and as bytes")
		}
		for _, v := range values {
			h[name] = append(h[name], string(v))
		}
	}
	return h, nil
}

// dead is a dead letter. Its id is new wherever it is imported.
type dead struct {
	Message  *message  `json:"message"`
	DiedAt   time.Time `json:"diedAt"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason,omitempty"`
	Response *response `json:"response,omitempty"`
}

type response struct {
	Status      int                 `json:"status"`
	Header      map[string][]string `json:"header,omitempty"`
	HeaderBytes map[string][][]byte `json:"headerBytes,omitempty"`
	Body        []byte              `json:"body,omitempty"`
}

func deadOf(d *recall.DeadLetter) *dead {
	w := &dead{Message: messageOf(&d.Message), DiedAt: d.DiedAt.UTC(), Attempts: d.Attempts, Reason: d.Reason}
	w.Message.Attempts = 0 // they are those of the letter
	if r := d.Response; r != nil {
		w.Response = &response{Status: r.Status, Body: r.Body}
		w.Response.Header, w.Response.HeaderBytes = splitHeader(r.Header)
	}
	return w
}

func (w *dead) dead() (recall.DeadLetter, error) {
	d := recall.DeadLetter{DiedAt: w.DiedAt, Attempts: w.Attempts, Reason: w.Reason}
	if w.Message == nil {
		return d, errLine
	}
	m, err := w.Message.message()
	if err != nil {
		return d, err
	}
	d.Message = m
	if w.Response != nil {
		d.Response = &recall.HTTPResponse{Status: w.Response.Status, Body: w.Response.Body}
		d.Response.Header, err = joinHeader(w.Response.Header, w.Response.HeaderBytes)
	}
	return d, err
}
