package recalltest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

// State is what a server holds, as [Server.Dump] writes it and [Server.Load] reads
// it. Its JSON is made to be written by hand: what is not said takes its default.
type State struct {
	// Messages are those that wait or are in flight, oldest first.
	Messages  []StateMessage  `json:"messages,omitempty"`
	Queues    []StateQueue    `json:"queues,omitempty"`
	Topics    []StateTopic    `json:"topics,omitempty"`
	Schedules []StateSchedule `json:"schedules,omitempty"`
	FlowKeys  []StateFlowKey  `json:"flowKeys,omitempty"`
	// Standing are the cancellations that still take what arrives. Loaded messages
	// are there before them.
	Standing []StateStanding `json:"standing,omitempty"`

	// Now, DeadLetters and Deliveries are written only.
	Now         time.Time   `json:"now,omitzero"`
	DeadLetters []StateDead `json:"deadLetters,omitempty"`
	Deliveries  []Delivery  `json:"deliveries,omitempty"`
	Problems    []string    `json:"problems,omitempty"`
}

// StateMessage is a message of a [State].
type StateMessage struct {
	ID recall.MessageID `json:"id,omitempty"` // written only: messages that are read get new ids
	// State is read only if it is "held": the others follow from the rest.
	State recall.State `json:"state,omitempty"`
	// Attempts are those that were made; written only.
	Attempts int `json:"attempts,omitempty"`

	URL        string      `json:"url,omitempty"`
	Method     string      `json:"method,omitempty"`
	Header     http.Header `json:"header,omitempty"`
	Body       string      `json:"body,omitempty"`
	BodyBase64 []byte      `json:"bodyBase64,omitempty"` // instead of Body, if that is no UTF-8

	Queue      string `json:"queue,omitempty"`
	Topic      string `json:"topic,omitempty"`
	ScheduleID string `json:"scheduleId,omitempty"`
	FlowKey    string `json:"flowKey,omitempty"`
	// Flow is the limit that the message brings to its key.
	Flow     *StateLimit `json:"flow,omitempty"`
	Labels   []string    `json:"labels,omitempty"`
	CallerIP string      `json:"callerIP,omitempty"`
	// Due is when the next attempt is due, Delay how long that is from now: one of
	// them is enough, and written is Due.
	Due        time.Time `json:"due,omitzero"`
	Delay      string    `json:"delay,omitempty"`
	Retries    *int      `json:"retries,omitempty"`
	RetryDelay string    `json:"retryDelay,omitempty"`
	Timeout    string    `json:"timeout,omitempty"`
	Priority   int       `json:"priority,omitempty"`

	Callback        *recall.Callback `json:"callback,omitempty"`
	FailureCallback *recall.Callback `json:"failureCallback,omitempty"`

	// Redact is what is not shown. It is not written either, so who reads such a
	// message has to say what it really is.
	Redact *recall.Redaction `json:"redact,omitempty"`
}

// StateLimit is the limit of a flow-control key.
type StateLimit struct {
	Rate        int    `json:"rate,omitempty"`
	Period      string `json:"period,omitempty"` // such as 1m; default 1s
	Parallelism int    `json:"parallelism,omitempty"`
}

// StateDead is a dead letter of a [State].
type StateDead struct {
	ID      recall.DeadLetterID `json:"id"`
	Message StateMessage        `json:"message"`
	DiedAt  time.Time           `json:"diedAt"`
	Reason  string              `json:"reason,omitempty"`
	Status  int                 `json:"status,omitempty"`
}

// Dump writes what the server holds as indented JSON, a [State]: for people, and
// to compare with a golden file. With [Seed] it is the same in each run up to the
// first delivery: then the header Upstash-Signature of each entry of Deliveries is
// another one, since the id in a signature is random, and with [Concurrent] so may
// be their order. Leave the header out before you compare.
func (s *Server) Dump(out io.Writer) error {
	state, err := s.state(context.Background())
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(state)
}

// Load adds what JSON, a [State], says to what the server holds: queues, topics,
// flow-control keys and schedules, then all messages in one commit, then standing
// cancellations, but those that have expired. What cannot be read – unknown names, a
// delay that is none – is refused before anything is changed; what the broker refuses,
// such as a URL that is none, leaves what came before it. Of what [Server.Dump] writes it passes over ids,
// states but that of being held, and attempts of messages, dead letters, deliveries,
// problems and the time.
func (s *Server) Load(in io.Reader) error {
	var state State
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&state); err != nil {
		return fmt.Errorf("recalltest: the state cannot be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("recalltest: the state cannot be read: something follows it")
	}
	return s.load(context.Background(), &state)
}

func (s *Server) load(ctx context.Context, state *State) error {
	msgs, schedules, err := state.read()
	if err != nil {
		return err
	}
	b := s.Broker()
	err = state.loadObjects(ctx, b)
	for _, one := range schedules {
		if err != nil {
			break
		}
		if _, err = b.SetSchedule(ctx, one); err != nil {
			err = fmt.Errorf("recalltest: schedule %q: %w", one.ID, err)
		}
	}
	if err == nil {
		err = state.publish(ctx, b, msgs, s.Now())
	}
	if err = errors.Join(err, state.unpin(ctx, b)); err != nil {
		return err
	}
	return state.loadStanding(ctx, b, s.Now())
}

// publish publishes all messages at once. Those that are to be held must not go out
// before they are, so they are not due until then.
func (state *State) publish(ctx context.Context, b *recall.Broker, msgs []recall.Message, now time.Time) error {
	due := map[int]time.Time{}
	for i := range msgs {
		if state.Messages[i].State != recall.StateHeld {
			continue
		}
		if due[i] = msgs[i].NotBefore; due[i].IsZero() {
			due[i] = now.Add(msgs[i].Delay)
		}
		msgs[i].Delay, msgs[i].NotBefore = 0, now.Add(recall.MaxDelay)
	}
	receipts, err := b.PublishBatch(ctx, msgs)
	if err != nil {
		return err
	}
	for _, i := range slices.Sorted(maps.Keys(due)) {
		id := recall.Filter{IDs: []recall.MessageID{receipts[i].ID}}
		if _, err := b.Hold(ctx, id); err != nil {
			return err
		}
		if _, err := b.Reschedule(ctx, id, due[i]); err != nil {
			return err
		}
	}
	return nil
}

// read makes what a state says ready, before anything is changed.
func (state *State) read() (msgs []recall.Message, schedules []recall.Schedule, err error) {
	for i := range state.Messages {
		m, err := state.Messages[i].message()
		if err != nil {
			return nil, nil, bad("message %d: %v", i, err)
		}
		msgs = append(msgs, m)
	}
	for i := range state.Schedules {
		one, err := state.Schedules[i].schedule()
		if err != nil {
			return nil, nil, bad("schedule %q: %v", state.Schedules[i].ID, err)
		}
		schedules = append(schedules, one)
	}
	for _, k := range state.FlowKeys {
		if _, err := k.Limit.limit(); err != nil {
			return nil, nil, bad("flow-control key %q: %v", k.Key, err)
		}
	}
	for i, one := range state.Standing {
		if err := one.Filter.Validate(); err != nil || one.Filter.IsZero() {
			return nil, nil, bad("standing cancellation %d: %v", i, cmp.Or(err, recall.ErrEmptyFilter))
		}
	}
	return msgs, schedules, nil
}

// message is what a state says, as it is published.
func (m *StateMessage) message() (recall.Message, error) {
	out := recall.Message{
		URL: m.URL, Method: m.Method, Header: m.Header, Body: []byte(m.Body),
		Queue: m.Queue, Topic: m.Topic, ScheduleID: m.ScheduleID, FlowKey: m.FlowKey, Labels: m.Labels, CallerIP: m.CallerIP,
		NotBefore: m.Due, Retries: m.Retries, RetryDelay: m.RetryDelay, Priority: m.Priority,
		Callback: m.Callback, FailureCallback: m.FailureCallback, Redact: m.Redact,
	}
	if m.BodyBase64 != nil {
		out.Body = m.BodyBase64
	}
	if m.isRedacted() {
		return out, errors.New("it is redacted; the real thing is wanted")
	}
	flow, err := m.Flow.limit()
	if err != nil {
		return out, err
	}
	out.Flow = flow
	if m.Delay != "" {
		if out.Delay, err = time.ParseDuration(m.Delay); err != nil {
			return out, err
		}
	}
	if m.Timeout != "" {
		out.Timeout, err = time.ParseDuration(m.Timeout)
	}
	if m.Queue != "" && m.URL == "pull:"+m.Queue {
		out.URL = ""
	}
	return out, err
}

// isRedacted tells whether a message is one that was written without what it hides.
func (m *StateMessage) isRedacted() bool {
	if m.Redact == nil {
		return false
	}
	hidden := strings.HasPrefix(m.Body, redactedPrefix)
	for _, values := range m.Header {
		hidden = hidden || slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(v, redactedPrefix) })
	}
	return hidden
}

// redactedPrefix is what a value begins with that is not shown.
const redactedPrefix = "REDACTED:"

func (l *StateLimit) limit() (*recall.FlowLimit, error) {
	if l == nil {
		return nil, nil
	}
	out := &recall.FlowLimit{Rate: l.Rate, Parallelism: l.Parallelism}
	if l.Period == "" {
		return out, nil
	}
	var err error
	out.Period, err = time.ParseDuration(l.Period)
	return out, err
}

func stateLimitOf(l *recall.FlowLimit) *StateLimit {
	if l == nil {
		return nil
	}
	out := &StateLimit{Rate: l.Rate, Parallelism: l.Parallelism}
	if l.Period != 0 {
		out.Period = l.Period.String()
	}
	return out
}

func stateOf(m *recall.Message) StateMessage {
	out := StateMessage{
		ID: m.ID, State: m.State, Attempts: m.Attempts,
		URL: m.URL, Method: m.Method, Header: m.Header,
		Queue: m.Queue, Topic: m.Topic, ScheduleID: m.ScheduleID, FlowKey: m.FlowKey, Labels: m.Labels, CallerIP: m.CallerIP,
		Due: m.DueAt.UTC(), Retries: m.Retries, RetryDelay: m.RetryDelay, Priority: m.Priority,
		Callback: m.Callback, FailureCallback: m.FailureCallback, Redact: m.Redact, Flow: stateLimitOf(m.Flow),
	}
	if m.DueAt.IsZero() {
		out.Due = time.Time{}
	}
	if m.Timeout != 0 {
		out.Timeout = m.Timeout.String()
	}
	if m.Delay != 0 {
		out.Delay = m.Delay.String()
	}
	if utf8.Valid(m.Body) {
		out.Body = string(m.Body)
	} else {
		out.BodyBase64 = m.Body
	}
	return out
}

// state reads all that the server holds.
func (s *Server) state(ctx context.Context) (*State, error) {
	b := s.Broker()
	state := &State{Now: s.Now().UTC(), Deliveries: s.Deliveries(), Problems: s.Problems()}
	for m, err := range b.List(ctx, recall.Filter{}) {
		if err != nil {
			return nil, err
		}
		state.Messages = append(state.Messages, stateOf(&m))
	}
	for d, err := range b.DeadLetters(ctx, recall.Filter{}) {
		if err != nil {
			return nil, err
		}
		dead := StateDead{ID: d.ID, Message: stateOf(&d.Message), DiedAt: d.DiedAt.UTC(), Reason: d.Reason}
		if d.Response != nil {
			dead.Status = d.Response.Status
		}
		state.DeadLetters = append(state.DeadLetters, dead)
	}
	if err := state.readObjects(ctx, b); err != nil {
		return nil, err
	}
	return state, state.readStanding(ctx, b)
}
