package recall

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/recallmq/recall/internal/cron"
)

// schedule is what a broker remembers of a schedule. It is not changed, but
// replaced. The message stays encoded, so nobody shares its parts.
type schedule struct {
	id      string
	stored  storedSchedule
	line    *cron.Line
	next    time.Time
	last    time.Time
	reason  string    // why nothing was published at last
	limited time.Time // up to here the times that CatchUpAll makes up for are chosen
	owed    time.Time // the time whose messages were refused, for a reason that may pass
	at      []byte    // the value of the object with its times
}

// storedSchedule is the value of a schedule's object, and storedTime that of its
// time, which is written at each time. Times are in milliseconds.
type storedSchedule struct {
	Cron    string          `json:"cron"`
	Message json.RawMessage `json:"message"` // a storedMessage
	CatchUp CatchUp         `json:"catchUp,omitempty"`
	Paused  bool            `json:"paused,omitempty"`
	Created int64           `json:"created"`
	Updated int64           `json:"updated"`
	Since   int64           `json:"since"` // when the line was set
}

type storedTime struct {
	Next   int64  `json:"next,omitempty"`
	Last   int64  `json:"last,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// newSchedule is what s becomes in the place of old, which may be nil.
func newSchedule(s Schedule, line *cron.Line, old *schedule, now time.Time) *schedule {
	n := &schedule{id: s.ID, line: line, stored: storedSchedule{
		Cron: s.Cron, Message: encodeJSON(storeMessage(&s.Message)), CatchUp: s.CatchUp, Paused: s.Paused,
		Created: now.UnixMilli(), Updated: now.UnixMilli(), Since: now.Truncate(time.Second).UnixMilli(),
	}}
	if old != nil {
		n.stored.Created = old.stored.Created
		n.last, n.reason = old.last, old.reason
		if old.stored.Cron == s.Cron {
			n.stored.Since = old.stored.Since
		}
	}
	switch {
	case s.Paused:
	case old != nil && old.stored.Cron == s.Cron && !old.stored.Paused:
		n.next, n.limited, n.owed = old.next, old.limited, old.owed
	default:
		n.next = n.after(now)
	}
	return n
}

// after returns the first time after t and after the last one.
func (s *schedule) after(t time.Time) time.Time {
	if s.last.After(t) { // the clock was set back
		t = s.last
	}
	return s.line.Next(t, time.UnixMilli(s.stored.Since))
}

// shown returns s as programs see it.
func (s *schedule) shown() (Schedule, error) {
	out, err := s.whole()
	out.Message = out.Message.shown()
	return out, err
}

// whole is that with what is not to be shown.
func (s *schedule) whole() (Schedule, error) {
	m, err := loadMessage(s.stored.Message)
	if err != nil {
		return Schedule{}, fmt.Errorf("schedule %q: %w: %w", clip(s.id), ErrCorrupt, err)
	}
	return Schedule{
		ID: s.id, Cron: s.stored.Cron, Message: m, CatchUp: s.stored.CatchUp, Paused: s.stored.Paused,
		CreatedAt: time.UnixMilli(s.stored.Created), UpdatedAt: time.UnixMilli(s.stored.Updated),
		Next: s.next, Last: s.last, Error: s.reason,
	}, nil
}

// storeSchedule makes s durable with the messages of its time, then the truth.
// When it is whole, not only its time, whoever publishes is woken.
func (b *Broker) storeSchedule(
	ctx context.Context, k Keeper, s *schedule, now time.Time, whole bool, msgs ...Message,
) (Schedule, error) {
	at := encodeJSON(storedTime{Next: unixMilli(s.next), Last: unixMilli(s.last), Reason: s.reason})
	c := Change{Objects: []Object{{Kind: ObjectScheduleTime, Name: s.id, Value: at}}, Messages: msgs, Now: now}
	if whole {
		c.Objects = append(c.Objects, Object{Kind: ObjectSchedule, Name: s.id, Value: encodeJSON(s.stored)})
	} else { // another process on the same queue may have met the time
		c.If = []Object{{Kind: ObjectScheduleTime, Name: s.id, Value: s.at}}
	}
	if err := b.applySchedule(ctx, k, c); err != nil {
		return Schedule{}, err
	}
	s.at = at
	b.schedules.remember(s.id, s)
	if whole && b.scheduler != nil {
		b.scheduler.hint()
	}
	return s.shown()
}

func (b *Broker) applySchedule(ctx context.Context, k Keeper, c Change) error {
	var done func([]Receipt, error)
	if len(c.Messages) > 0 {
		done = b.observePublish(ctx, c.Messages)
	}
	receipts, err := k.Apply(ctx, c)
	b.observePublished(done, receipts, err)
	return err
}

func (b *Broker) fillSchedules(ctx context.Context, k Keeper) error {
	times := map[string]Object{}
	return b.schedules.fill(func() ([]Object, error) {
		list, err := k.Objects(ctx, ObjectScheduleTime)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			times[o.Name] = o
		}
		return k.Objects(ctx, ObjectSchedule)
	}, func(o Object) (*schedule, error) {
		return decodeSchedule(o, times[o.Name].Value)
	})
}

// decodeSchedule is the way back. A schedule whose zone this machine does not
// know cannot be used here either.
func decodeSchedule(o Object, at []byte) (*schedule, error) {
	s := &schedule{id: o.Name, at: at}
	var t storedTime
	if err := json.Unmarshal(o.Value, &s.stored); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := json.Unmarshal(at, &t); err != nil {
		return nil, fmt.Errorf("%w: its time: %w", ErrCorrupt, err)
	}
	line, err := cron.Parse(s.stored.Cron)
	if err != nil {
		return nil, invalid("Cron", "%v", err)
	}
	s.line, s.next, s.last, s.reason = line, fromMilli(t.Next), fromMilli(t.Last), t.Reason
	_, err = loadMessage(s.stored.Message)
	if err != nil {
		return nil, fmt.Errorf("%w: its message: %w", ErrCorrupt, err)
	}
	return s, nil
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// storedMessage is the message of a schedule, as the program gave it: defaults
// are filled in when it is published. Header values are bytes, as they need not
// be UTF-8.
type storedMessage struct {
	URL                string              `json:"url,omitempty"`
	Method             string              `json:"method,omitempty"`
	Header             map[string][][]byte `json:"header,omitempty"`
	Body               []byte              `json:"body,omitempty"`
	Queue              string              `json:"queue,omitempty"`
	Topic              string              `json:"topic,omitempty"`
	FlowKey            string              `json:"flowKey,omitempty"`
	Labels             []string            `json:"labels,omitempty"`
	CallerIP           string              `json:"callerIP,omitempty"`
	Delay              time.Duration       `json:"delay,omitempty"`
	Retries            *int                `json:"retries,omitempty"`
	RetryDelay         string              `json:"retryDelay,omitempty"`
	Timeout            time.Duration       `json:"timeout,omitempty"`
	Priority           int                 `json:"priority,omitempty"`
	Flow               *FlowLimit          `json:"flow,omitempty"`
	Callback           *Callback           `json:"callback,omitempty"`
	FailureCallback    *Callback           `json:"failureCallback,omitempty"`
	DeduplicationID    string              `json:"deduplicationId,omitempty"`
	DeduplicateContent bool                `json:"deduplicateContent,omitempty"`
	Redact             *Redaction          `json:"redact,omitempty"`
}

func storeMessage(m *Message) *storedMessage {
	s := &storedMessage{
		URL: m.URL, Method: m.Method, Body: m.Body, Queue: m.Queue, Topic: m.Topic, FlowKey: m.FlowKey,
		Labels: m.Labels, CallerIP: m.CallerIP, Delay: m.Delay, Retries: m.Retries, RetryDelay: m.RetryDelay,
		Timeout: m.Timeout, Priority: m.Priority, Flow: m.Flow, Callback: m.Callback,
		FailureCallback: m.FailureCallback, DeduplicationID: m.DeduplicationID,
		DeduplicateContent: m.DeduplicateContent, Redact: m.Redact,
	}
	for name, values := range m.Header {
		if s.Header == nil {
			s.Header = map[string][][]byte{}
		}
		for _, v := range values {
			s.Header[name] = append(s.Header[name], []byte(v))
		}
	}
	return s
}

// loadMessage is the way back.
func loadMessage(text []byte) (m Message, err error) {
	var s storedMessage
	if err := json.Unmarshal(text, &s); err != nil {
		return m, err
	}
	m = Message{
		URL: s.URL, Method: s.Method, Body: s.Body, Queue: s.Queue, Topic: s.Topic, FlowKey: s.FlowKey,
		Labels: s.Labels, CallerIP: s.CallerIP, Delay: s.Delay, Retries: s.Retries, RetryDelay: s.RetryDelay,
		Timeout: s.Timeout, Priority: s.Priority, Flow: s.Flow, Callback: s.Callback,
		FailureCallback: s.FailureCallback, DeduplicationID: s.DeduplicationID,
		DeduplicateContent: s.DeduplicateContent, Redact: s.Redact,
	}
	for name, values := range s.Header {
		if m.Header == nil {
			m.Header = http.Header{}
		}
		for _, v := range values {
			m.Header[name] = append(m.Header[name], string(v))
		}
	}
	return m, nil
}
