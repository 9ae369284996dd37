package recall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
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
	Of     int64  `json:"of,omitempty"` // storedSchedule.Updated of the line that it follows from
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
		n.stored.Updated = old.updated(now)
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

// updated is when a change at now makes s another one: it tells s from what it was, so
// it is not the same twice.
func (s *schedule) updated(now time.Time) int64 { return max(now.UnixMilli(), s.stored.Updated+1) }

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

// storeSchedule makes s durable, which was changed as a whole, then the truth, and
// wakes whoever publishes.
func (b *Broker) storeSchedule(ctx context.Context, k Keeper, s *schedule, have current[*schedule], now time.Time) (Schedule, error) {
	o := Object{Kind: ObjectSchedule, Name: s.id, Value: encodeJSON(s.stored)}
	if err := b.applySchedule(ctx, k, s, Change{Objects: []Object{o}, If: have.was, Now: now}); err != nil {
		return Schedule{}, err
	}
	b.schedules.remember(s.id, s, have.reads)
	if b.scheduler != nil {
		b.scheduler.hint()
	}
	return s.shown()
}

// storeTime makes durable that s has met a time, with the messages of it, unless
// another process on the same queue has met it, or changed the schedule.
func (b *Broker) storeTime(ctx context.Context, k Keeper, s *schedule, reads int, now time.Time, msgs ...Message) error {
	c := Change{If: []Object{{Kind: ObjectScheduleTime, Name: s.id, Value: s.at}}, Messages: msgs, Now: now}
	if err := b.applySchedule(ctx, k, s, c); err != nil {
		return err
	}
	b.schedules.remember(s.id, s, reads)
	return nil
}

// applySchedule makes a change with the time of s.
func (b *Broker) applySchedule(ctx context.Context, k Keeper, s *schedule, c Change) error {
	at := encodeJSON(storedTime{Next: unixMilli(s.next), Of: s.stored.Updated, Last: unixMilli(s.last), Reason: s.reason})
	c.Objects = append(c.Objects, Object{Kind: ObjectScheduleTime, Name: s.id, Value: at})
	var done func([]Receipt, error)
	if len(c.Messages) > 0 {
		done = b.observePublish(ctx, c.Messages)
	}
	receipts, err := k.Apply(ctx, c)
	b.observePublished(done, receipts, err)
	if err == nil {
		s.at = at
	}
	return err
}

func (b *Broker) fillSchedules(ctx context.Context, k Keeper) error {
	times := map[string]Object{}
	return b.schedules.fill(b.revision(ObjectSchedule), func() (list []Object, err error) {
		list, times, err = b.readSchedules(ctx, k)
		return list, err
	}, func(o Object) (*schedule, error) {
		s, err := decodeSchedule(o, times[o.Name].Value)
		if err == nil {
			s.keep(b.schedules.known(o.Name).value)
		}
		return s, err
	})
}

// readSchedules returns the schedules and their times. What another process makes in
// between has no time yet, so then they are read again.
func (b *Broker) readSchedules(ctx context.Context, k Keeper) (list []Object, times map[string]Object, err error) {
	for range mostTries {
		times = map[string]Object{}
		all, err := k.Objects(ctx, ObjectScheduleTime)
		if err != nil {
			return nil, nil, err
		}
		for _, o := range all {
			times[o.Name] = o
		}
		if list, err = k.Objects(ctx, ObjectSchedule); err != nil {
			return nil, nil, err
		}
		if b.shared == nil || !slices.ContainsFunc(list, func(o Object) bool { return times[o.Name].Value == nil }) {
			break
		}
	}
	return list, times, nil
}

// keep takes over what only this process knows of a schedule, if it is the same.
func (s *schedule) keep(old *schedule) {
	if old != nil && old.stored.Updated == s.stored.Updated && bytes.Equal(old.at, s.at) {
		s.limited, s.owed = old.limited, old.owed
	}
}

// currentSchedule returns a schedule as it is now.
func (b *Broker) currentSchedule(ctx context.Context, id string) (c current[*schedule], err error) {
	c = b.schedules.known(id)
	if b.shared == nil {
		return c, nil
	}
	for _, kind := range []ObjectKind{ObjectScheduleTime, ObjectSchedule} {
		o, err := b.shared.Object(ctx, kind, id)
		if err != nil {
			return c, err
		}
		c.was = append(c.was, o)
	}
	at, o, old := c.was[0], c.was[1], c.value
	c.value, c.found, c.fault = nil, o.Value != nil, nil
	if !c.found {
		return c, nil
	}
	if c.value, err = decodeSchedule(o, at.Value); err != nil {
		c.fault = faultOf(id, err)
		return c, nil
	}
	c.value.keep(old)
	return c, nil
}

// readAgain has a schedule known as it is now: another process has met its time, or
// changed it.
func (b *Broker) readAgain(ctx context.Context, id string) error {
	if b.shared == nil {
		b.schedules.outdate()
		return nil
	}
	c, err := b.currentSchedule(ctx, id)
	switch {
	case err != nil:
		return err
	case c.fault != nil:
		b.schedules.outdate()
	case !c.found:
		b.schedules.forget(id, c.reads)
	default:
		b.schedules.remember(id, c.value, c.reads)
	}
	return nil
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
