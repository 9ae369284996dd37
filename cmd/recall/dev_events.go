package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// eventPages shows what has happened to the messages of all users, oldest
// first, as text or as JSON, a line for each event.
type eventPages struct{ users []*user }

const (
	eventsShown    = 1000   // unless asked otherwise
	maxEventsShown = 100000 // at once; who wants more has the API
	followEvery    = 200 * time.Millisecond
)

// eventQuery is what was asked for.
type eventQuery struct {
	users  []*user
	json   bool
	n      int // the newest of each user
	follow bool
}

// ServeHTTP implements http.Handler.
func (p *eventPages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, status, err := p.parse(r)
	if err != nil {
		answerJSON(w, status, map[string]string{"error": err.Error()})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if q.json {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	if err := q.write(r.Context(), w); err != nil {
		fmt.Fprintf(w, "error: %v\n", err)
	}
}

func (p *eventPages) parse(r *http.Request) (q eventQuery, status int, err error) {
	switch {
	case r.URL.Path != "/":
		return q, http.StatusNotFound, fmt.Errorf("there is nothing at %.200q: the log is at /", r.URL.Path)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return q, http.StatusMethodNotAllowed, fmt.Errorf("method not allowed")
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, http.StatusBadRequest, err
	}
	q = eventQuery{users: p.users, n: eventsShown}
	for name := range values {
		if err := q.set(name, values.Get(name)); err != nil {
			return q, http.StatusBadRequest, err
		}
	}
	return q, 0, nil
}

func (q *eventQuery) set(name, value string) (err error) {
	switch name {
	case "format":
		if q.json = value == "json"; !q.json && value != "text" {
			return fmt.Errorf("format: %.100q is neither text nor json", value)
		}
	case "user":
		q.users = slices.DeleteFunc(slices.Clone(q.users), func(u *user) bool { return u.name != value })
		if len(q.users) == 0 {
			return fmt.Errorf("user: there is no %.100q", value)
		}
	case "n":
		if q.n, err = strconv.Atoi(value); err != nil || q.n < 1 || q.n > maxEventsShown {
			return fmt.Errorf("n: not a number between 1 and %d", maxEventsShown)
		}
	case "follow":
		if q.follow, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("follow: %.100q is neither true nor false", value)
		}
	default:
		return fmt.Errorf("unknown parameter %.100q: there are format, user, n and follow", name)
	}
	return nil
}

// write writes what there is, and then what comes until ctx ends, if that was
// asked for.
func (q *eventQuery) write(ctx context.Context, w http.ResponseWriter) error {
	last := make([]recall.EventID, len(q.users))
	for read := q.newest; ; read = q.since {
		list, err := read(ctx, last)
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := q.line(w, &e); err != nil {
				return nil //nolint:nilerr // the reader is gone
			}
		}
		if !q.follow {
			return nil
		}
		_ = http.NewResponseController(w).Flush() // every writer of net/http can
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// userEvent is an event and whose it is.
type userEvent struct {
	user string
	recall.Event
}

// newUserEvent leaves out the password of a URL.
func newUserEvent(u *user, e recall.Event) userEvent {
	if at, err := url.Parse(e.URL); err == nil && at.User != nil {
		e.URL = at.Redacted()
	}
	return userEvent{u.name, e}
}

// newest reads the last events of each user, and notes where to go on.
func (q *eventQuery) newest(ctx context.Context, last []recall.EventID) (list []userEvent, err error) {
	for i, u := range q.users {
		n := 0
		for e, err := range u.broker.Events(ctx, recall.EventFilter{}) {
			if err != nil {
				return nil, err
			}
			if n == 0 {
				last[i] = e.ID
			}
			list = append(list, newUserEvent(u, e))
			if n++; n == q.n {
				break
			}
		}
	}
	slices.Reverse(list)
	return inOrder(list), nil
}

// since reads what has come behind the events that last names.
func (q *eventQuery) since(ctx context.Context, last []recall.EventID) (list []userEvent, err error) {
	for i, u := range q.users {
		page, err := u.broker.EventPage(ctx, recall.EventFilter{OldestFirst: true}, last[i], eventsShown)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			list = append(list, newUserEvent(u, e))
			last[i] = e.ID
		}
	}
	return inOrder(list), nil
}

// inOrder sorts by time; what has one time keeps its order.
func inOrder(list []userEvent) []userEvent {
	slices.SortStableFunc(list, func(a, b userEvent) int { return a.At.Compare(b.At) })
	return list
}

// eventJSON is an event as a line of JSON.
type eventJSON struct {
	Time      time.Time          `json:"time"`
	User      string             `json:"user"`
	State     recall.EventState  `json:"state"`
	Message   recall.MessageID   `json:"messageId,omitempty"`
	URL       string             `json:"url,omitempty"`
	Queue     string             `json:"queueName,omitempty"`
	Topic     string             `json:"topicName,omitempty"`
	Schedule  string             `json:"scheduleId,omitempty"`
	CallerIP  string             `json:"callerIP,omitempty"`
	FlowKey   string             `json:"flowControlKey,omitempty"`
	Labels    []string           `json:"labels,omitempty"`
	Attempt   int                `json:"attempt,omitempty"`
	Status    int                `json:"responseStatus,omitempty"`
	Error     string             `json:"error,omitempty"`
	Next      *time.Time         `json:"nextDeliveryTime,omitempty"`
	Operation recall.OperationID `json:"operation,omitempty"`
	Count     int                `json:"cancelled,omitempty"`
	Requested int                `json:"requested,omitempty"`
}

func (q *eventQuery) line(w io.Writer, e *userEvent) error {
	if !q.json {
		_, err := io.WriteString(w, e.text()+"\n")
		return err
	}
	out := eventJSON{
		Time: e.At.UTC(), User: e.user, State: e.State, Message: e.Message, URL: e.URL, Queue: e.Queue, Topic: e.Topic,
		Schedule: e.ScheduleID, CallerIP: e.CallerIP, FlowKey: e.FlowKey, Labels: e.Labels, Attempt: e.Attempt,
		Status: e.Status, Error: e.Reason, Operation: e.Operation, Count: e.Count, Requested: e.Requested,
	}
	if !e.Due.IsZero() {
		due := e.Due.UTC()
		out.Next = &due
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

// text is for people: when, who, what, which message, where to, and why.
func (e *userEvent) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-11s %-16s %s %s", e.At.UTC().Format("2006-01-02T15:04:05.000Z"), e.user, e.State,
		cmp.Or(string(e.Message), string(e.Operation)), e.URL)
	part := func(name string, value any, show bool) {
		if show {
			fmt.Fprintf(&b, " %s=%v", name, value)
		}
	}
	part("attempt", e.Attempt, e.Attempt > 0)
	part("status", e.Status, e.Status > 0)
	part("next", e.Due.UTC().Format(time.RFC3339), !e.Due.IsZero())
	part("cancelled", e.Count, e.Count > 0)
	part("queue", strconv.Quote(e.Queue), e.Queue != "")
	part("group", strconv.Quote(e.Topic), e.Topic != "")
	part("schedule", strconv.Quote(e.ScheduleID), e.ScheduleID != "")
	part("labels", strings.Join(e.Labels, ","), len(e.Labels) > 0)
	part("reason", strconv.Quote(e.Reason), e.Reason != "")
	return strings.TrimRight(b.String(), " ")
}
