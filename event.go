package recall

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EventState says what has happened to a message. The states are those of
// QStash's log.
type EventState string

// The states of events.
const (
	// EventCreated: it was published.
	EventCreated EventState = "created"
	// EventActive: an attempt has started. Without an outcome behind it the attempt
	// was given back, because the broker was closed, or ended with the process.
	EventActive EventState = "active"
	// EventError: an attempt has failed. EventRetry, EventFailed or EventCancelled
	// follows.
	EventError EventState = "error"
	// EventRetry: another attempt will be made, at Due.
	EventRetry EventState = "retry"
	// EventDelivered: the endpoint has taken it. Nothing follows.
	EventDelivered EventState = "delivered"
	// EventFailed: it is in the dead letter queue. Nothing follows.
	EventFailed EventState = "failed"
	// EventCancelRequested: it was in flight, and will not be tried again.
	EventCancelRequested EventState = "cancel requested"
	// EventCancelled: it was cancelled. Without a message it is a bulk cancellation,
	// and says how many messages that took.
	EventCancelled EventState = "cancelled"
	// EventInProgress stands in a filter for EventActive, EventRetry and EventError.
	// No event has it.
	EventInProgress EventState = "in progress"
)

// eventStates are those that events have; the number of a state in the file is
// its place here.
var eventStates = [...]EventState{
	1: EventCreated, EventActive, EventError, EventRetry, EventDelivered, EventFailed, EventCancelRequested, EventCancelled,
}

// EventID is the place of an event in the log: a time in milliseconds, "-", and a
// number that counts up. It stays when what is around it goes.
type EventID string

func (id EventID) parse() (mark int64, number uint64, err error) {
	ms, n, ok := strings.Cut(string(id), "-")
	if ok {
		if mark, err = strconv.ParseInt(ms, 10, 64); err == nil {
			number, err = strconv.ParseUint(n, 10, 64)
		}
	}
	if !ok || err != nil || mark < 0 || number == 0 {
		return 0, 0, invalid("EventID", "%q is not the id of an event", clip(string(id)))
	}
	return mark, number, nil
}

// Event is an entry of the log: something that has happened to a message. It
// holds what a message can be found by, so that it can still be found when the
// message is gone.
type Event struct {
	ID      EventID // empty: it is not in the log, see [Broker.MessageEvents]
	At      time.Time
	State   EventState
	Message MessageID // empty: it is about an operation

	URL        string
	Queue      string
	Topic      string
	ScheduleID string
	CallerIP   string
	FlowKey    string
	Labels     []string

	Attempt int       // of EventActive, and of the outcomes of an attempt: 1 for the first
	Status  int       // of the response to the attempt; 0: there was none
	Reason  string    // of EventError and EventFailed; at most 256 bytes, less beside long names
	Due     time.Time // of EventRetry: when the next attempt is

	Operation OperationID // of a cancellation that has a record
	Count     int         // messages that the operation has taken
	Requested int         // messages in flight that it has asked for
}

// maxEventReason is how much of a reason the log keeps.
const maxEventReason = maxReason

// EventFilter selects events. The zero value selects all.
type EventFilter struct {
	// Filter is about the message: its From and To are about the publication, as
	// the message's id says it. What changes in a message's life – DueAfter,
	// DueBefore, States, MinAttempts – cannot be asked for. Only a Filter that
	// restricts nothing finds events about operations.
	Filter Filter `json:"filter,omitzero"`
	// States are what has happened; nil: anything.
	States []EventState `json:"states,omitzero"`
	// From and To bound the time of the event. They are inclusive and compared in
	// milliseconds.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// OldestFirst turns the order round.
	OldestFirst bool `json:"oldestFirst,omitzero"`
}

// Validate returns an *[InvalidError] for a Filter that is none, or asks for what
// events cannot answer, for an unknown state, and for a From after To.
func (f EventFilter) Validate() error {
	if err := f.Filter.Validate(); err != nil {
		return err
	}
	switch m := &f.Filter; {
	case m.States != nil:
		return invalid("Filter.States", "an event has the state of the event only: see EventFilter.States")
	case m.dueBounded():
		return invalid("Filter.DueAfter", "events cannot be found by due times")
	case m.MinAttempts != 0:
		return invalid("Filter.MinAttempts", "events cannot be found by attempts")
	}
	for _, s := range f.States {
		if s != EventInProgress && (s == "" || !slices.Contains(eventStates[:], s)) {
			return invalid("EventFilter.States", "%q is not a state of events", clip(string(s)))
		}
	}
	if !f.From.IsZero() && !f.To.IsZero() && f.From.UnixMilli() > f.To.UnixMilli() {
		return invalid("EventFilter.From", "it is after To")
	}
	return nil
}

// normalise returns f in the spelling that engines use.
func (f EventFilter) normalise() EventFilter {
	f.Filter = f.Filter.normalise()
	if slices.Contains(f.States, EventInProgress) {
		f.States = append(slices.Clone(f.States), EventActive, EventRetry, EventError)
	}
	return f
}

// Matches tells whether an event has what f asks for. It is the plain reading of
// an EventFilter, for reference engines and tests.
func (f EventFilter) Matches(ev *Event) bool {
	f = f.normalise()
	return f.takes(ev)
}

// takes is Matches of a filter in its normal form.
func (f *EventFilter) takes(ev *Event) bool {
	if f.States != nil && !slices.Contains(f.States, ev.State) || !within(f.From, ev.At, f.To) {
		return false
	}
	if f.Filter.IsZero() {
		return true
	}
	if ev.Message == "" {
		return false
	}
	return f.Filter.takes(&Message{
		ID: ev.Message, URL: ev.URL, Queue: ev.Queue, Topic: ev.Topic, ScheduleID: ev.ScheduleID, CallerIP: ev.CallerIP,
		FlowKey: ev.FlowKey, Labels: ev.Labels, CreatedAt: ev.Message.created(),
	})
}

// created is the time in an id.
func (id MessageID) created() time.Time {
	u, err := id.ulid()
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(u.Time()))
}

// EventPage is a part of the log.
type EventPage struct {
	Events []Event
	// Next is what to go on behind; empty: there was nothing more.
	Next EventID
}

// EventLog is an [Engine] that keeps a log of events, as [Broker.Events]
// describes.
type EventLog interface {
	// Events returns up to limit events that match f, behind the event `after` in
	// the order that f asks for, if it is not empty. A page may be shorter than
	// limit, and even empty, before the end of the log: Next says whether it is.
	Events(ctx context.Context, f EventFilter, after EventID, limit int) (EventPage, error)
}

// MaxEventPage is the most events that [Broker.EventPage] returns.
const MaxEventPage = 1000

// Events iterates over the log of what has happened to messages, newest first
// unless f says otherwise. It reads in pages and holds nothing in between. What
// happens meanwhile is not seen newest first, and is seen oldest first. The
// iteration ends with the first error.
//
// An event is in the log from the moment on at which what it tells of is durable,
// and is so with it: after a crash neither is there without the other. Only the
// start of an attempt may be noted up to a second late, or not at all if the
// process ends before; it stands before all else that the log has of the attempt,
// outside of [Broker.Update]. The order is that of the log: the times of
// neighbours may differ by as much.
//
// The log keeps events for Options.EventRetention, at most Options.MaxEvents of
// them, and gives way when a publish finds no room. It costs no memory and has no
// index: a call goes through all rows of the log from From on, and takes those
// apart that hold something not later than To.
//
// A bulk cancellation is one event, whatever it takes, with the number of
// messages: see [Broker.MessageEvents] for one of them.
//
// Errors: [ErrInvalid], [ErrUnsupported], [ErrCorrupt], [ErrClosed], that of ctx.
// Safe for concurrent use.
func (b *Broker) Events(ctx context.Context, f EventFilter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for after := EventID(""); ; {
			page, err := b.EventPage(ctx, f, after, listPage)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for i := range page.Events {
				if !yield(page.Events[i], nil) {
					return
				}
			}
			if after = page.Next; after == "" {
				return
			}
		}
	}
}

// EventPage returns up to limit events of [Broker.Events], those behind the event
// `after` if it is not empty: the Next of the page before, or the ID of any event.
// It is short only at the end. A cursor outlives a restart, and the event that it
// names; newest first, what happens later is not in any page behind one. The limit
// is between 1 and [MaxEventPage].
func (b *Broker) EventPage(ctx context.Context, f EventFilter, after EventID, limit int) (page EventPage, err error) {
	if limit < 1 || limit > MaxEventPage {
		return page, invalid("limit", "%d is not between 1 and %d", limit, MaxEventPage)
	}
	if after != "" {
		if _, _, err := after.parse(); err != nil {
			return page, err
		}
	}
	if err := f.Validate(); err != nil {
		return page, err
	}
	return b.eventPage(ctx, f.normalise(), after, limit)
}

// eventPage fills a page with those of the engine.
func (b *Broker) eventPage(ctx context.Context, f EventFilter, after EventID, limit int) (page EventPage, err error) {
	for page.Next = after; ; {
		part, err := b.partOfEvents(ctx, f, page.Next, limit-len(page.Events))
		if err != nil {
			return EventPage{}, err
		}
		page.Events, page.Next = append(page.Events, part.Events...), part.Next
		if page.Next == "" || len(page.Events) == limit {
			return page, nil
		}
	}
}

func (b *Broker) partOfEvents(ctx context.Context, f EventFilter, after EventID, limit int) (EventPage, error) {
	log, err := asEngine[EventLog](b, ctx)
	if err != nil {
		return EventPage{}, err
	}
	defer b.end()
	return log.Events(ctx, f, after, limit)
}

// MessageEvents returns what the log has of one message, oldest first; nothing if
// it has nothing. It reads the log from the time of publication on to the event
// that is the last of the message, or to the end.
//
// What a bulk cancellation has done to the message is told too, as long as
// [Broker.WhoCancelled] knows of it: EventCancelled if the message is gone,
// EventCancelRequested while it is in flight, with the time and the id of the
// operation. These have no ID.
//
// Errors: [ErrInvalid] for what is no id, and those of [Broker.Events].
func (b *Broker) MessageEvents(ctx context.Context, id MessageID) ([]Event, error) {
	if _, err := id.ulid(); err != nil {
		return nil, err
	}
	f := EventFilter{Filter: Filter{IDs: []MessageID{id}}, OldestFirst: true}
	var list []Event
	for after := EventID(""); ; {
		page, err := b.partOfEvents(ctx, f, after, MaxEventPage)
		if err != nil {
			return nil, err
		}
		for i := range page.Events {
			if list = append(list, page.Events[i]); list[len(list)-1].last() {
				return list, nil
			}
		}
		if after = page.Next; after == "" {
			return b.addBulkEvent(ctx, id, list)
		}
	}
}

// last tells whether nothing can follow.
func (ev *Event) last() bool {
	return ev.State == EventDelivered || ev.State == EventFailed || ev.State == EventCancelled
}

// addBulkEvent adds what a bulk cancellation has done to a message.
func (b *Broker) addBulkEvent(ctx context.Context, id MessageID, list []Event) ([]Event, error) {
	ev, found, err := b.bulkEvent(ctx, id)
	if err != nil || !found {
		return list, err
	}
	if len(list) > 0 {
		known := list[len(list)-1]
		if slices.ContainsFunc(list, func(have Event) bool { return have.State == ev.State && have.Operation == ev.Operation }) {
			return list, nil
		}
		known.ID, known.Attempt, known.Status, known.Reason, known.Due = "", 0, 0, "", time.Time{}
		known.At, known.State, known.Operation = ev.At, ev.State, ev.Operation
		ev = known
	}
	return append(list, ev), nil
}

// bulkEvent is the last thing that a bulk cancellation has done to a message.
func (b *Broker) bulkEvent(ctx context.Context, id MessageID) (ev Event, found bool, err error) {
	if _, ok := b.engine.(Auditor); !ok {
		return ev, false, nil
	}
	state := EventCancelled
	m, err := b.Get(ctx, id)
	switch {
	case err == nil && m.State != StateInFlight:
		return ev, false, nil
	case err == nil:
		state = EventCancelRequested
	case !errors.Is(err, ErrNotFound):
		return ev, false, err
	}
	op, err := b.WhoCancelled(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return ev, false, nil
	}
	return Event{At: op.At, State: state, Message: id, Operation: op.ID}, err == nil, err
}
