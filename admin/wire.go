package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// The types below are those of package recall with names for JSON. Most can be
// converted: recall.Message(m), admin.Message(m). So none can lack a field.

// Message is a [recall.Message] on the wire.
type Message struct {
	URL                string            `json:"url,omitempty"`
	Method             string            `json:"method,omitempty"`
	Header             http.Header       `json:"header,omitempty"`
	Body               []byte            `json:"body,omitempty"`
	Queue              string            `json:"queue,omitempty"`
	Topic              string            `json:"topic,omitempty"`
	ScheduleID         string            `json:"scheduleId,omitempty"`
	FlowKey            string            `json:"flowKey,omitempty"`
	Labels             []string          `json:"labels,omitempty"`
	CallerIP           string            `json:"callerIP,omitempty"`
	Delay              time.Duration     `json:"delay,omitempty"`
	NotBefore          time.Time         `json:"notBefore,omitzero"`
	Retries            *int              `json:"retries,omitempty"`
	RetryDelay         string            `json:"retryDelay,omitempty"`
	Timeout            time.Duration     `json:"timeout,omitempty"`
	Priority           int               `json:"priority,omitempty"`
	Flow               *recall.FlowLimit `json:"flow,omitempty"`
	Callback           *recall.Callback  `json:"callback,omitempty"`
	FailureCallback    *recall.Callback  `json:"failureCallback,omitempty"`
	DeduplicationID    string            `json:"deduplicationId,omitempty"`
	DeduplicateContent bool              `json:"deduplicateContent,omitempty"`
	Redact             *recall.Redaction `json:"redact,omitempty"`
	ID                 recall.MessageID  `json:"id,omitempty"`
	State              recall.State      `json:"state,omitempty"`
	CreatedAt          time.Time         `json:"createdAt,omitzero"`
	DueAt              time.Time         `json:"dueAt,omitzero"`
	Attempts           int               `json:"attempts,omitempty"`
	Endpoint           string            `json:"endpoint,omitempty"`
	Source             recall.MessageID  `json:"source,omitempty"`
	Blocks             string            `json:"blocks,omitempty"`
	Root               recall.MessageID  `json:"root,omitempty"`
}

// Receipt is a [recall.TopicReceipt] on the wire.
type Receipt struct {
	ID           recall.MessageID   `json:"id"`
	CreatedAt    time.Time          `json:"createdAt,omitzero"`
	CancelledBy  recall.OperationID `json:"cancelledBy,omitempty"`
	Deduplicated bool               `json:"deduplicated,omitempty"`
	Endpoint     recall.Endpoint    `json:"endpoint,omitzero"`
}

// WireReceipt returns a receipt as it is on the wire.
func WireReceipt(r recall.TopicReceipt) Receipt {
	return Receipt{r.ID, r.CreatedAt, r.CancelledBy, r.Deduplicated, r.Endpoint}
}

func (r Receipt) receipt() recall.TopicReceipt {
	return recall.TopicReceipt{
		Receipt:  recall.Receipt{ID: r.ID, CreatedAt: r.CreatedAt, CancelledBy: r.CancelledBy, Deduplicated: r.Deduplicated},
		Endpoint: r.Endpoint,
	}
}

// Count is a [recall.Count] on the wire.
type Count struct {
	Pending  int `json:"pending"`
	InFlight int `json:"inFlight"`
}

// Candidate is a [recall.Candidate] on the wire.
type Candidate struct {
	Index string `json:"index"`
	Count int    `json:"count"`
	Exact bool   `json:"exact"`
}

// Plan is a [recall.Plan] on the wire.
type Plan struct {
	Filter     recall.Filter `json:"filter"`
	Index      string        `json:"index"`
	Scan       int           `json:"scan"`
	Candidates []Candidate   `json:"candidates"`
	Steps      []string      `json:"steps,omitempty"` // of a database
}

// WirePlan returns a plan as it is on the wire.
func WirePlan(p recall.Plan) Plan {
	w := Plan{Filter: p.Filter, Index: p.Index, Scan: p.Scan, Candidates: []Candidate{}, Steps: p.Steps}
	for _, c := range p.Candidates {
		w.Candidates = append(w.Candidates, Candidate(c))
	}
	return w
}

func (p Plan) plan() recall.Plan {
	out := recall.Plan{Filter: p.Filter, Index: p.Index, Scan: p.Scan, Steps: p.Steps}
	for _, c := range p.Candidates {
		out.Candidates = append(out.Candidates, recall.Candidate(c))
	}
	return out
}

// CancelResult is a [recall.CancelResult] on the wire.
type CancelResult struct {
	Cancelled int                `json:"cancelled"`
	Requested int                `json:"requested"`
	Skipped   []recall.MessageID `json:"skipped,omitempty"`
	Operation recall.OperationID `json:"operation,omitempty"`
	Index     string             `json:"index"`
	Scanned   int                `json:"scanned"`
}

// ChangeResult is a [recall.ChangeResult] on the wire.
type ChangeResult struct {
	Changed   int                `json:"changed"`
	Skipped   []recall.MessageID `json:"skipped,omitempty"`
	Operation recall.OperationID `json:"operation,omitempty"`
	Index     string             `json:"index"`
	Scanned   int                `json:"scanned"`
}

// RestoreResult is a [recall.RestoreResult] on the wire.
type RestoreResult struct {
	Restored int `json:"restored"`
	Lifted   int `json:"lifted"`
}

// Operation is a [recall.Operation] on the wire.
type Operation struct {
	ID         recall.OperationID   `json:"id"`
	Kind       recall.OperationKind `json:"kind"`
	At         time.Time            `json:"at"`
	Filter     string               `json:"filter"`
	Reason     string               `json:"reason,omitempty"`
	Policy     string               `json:"policy"`
	Count      int                  `json:"count"`
	Requested  int                  `json:"requested,omitempty"`
	Blocker    recall.MessageID     `json:"blocker,omitempty"`
	Index      string               `json:"index,omitempty"`
	Scanned    int                  `json:"scanned"`
	Took       time.Duration        `json:"took"`
	Until      time.Time            `json:"until,omitzero"`
	LiftedAt   time.Time            `json:"liftedAt,omitzero"`
	RestoredAt time.Time            `json:"restoredAt,omitzero"`
	Undoable   bool                 `json:"undoable"`
}

// WireOperation returns the record of an operation as it is on the wire.
func WireOperation(o recall.Operation) Operation {
	return Operation{
		o.ID, o.Kind, o.At, o.Filter, o.Reason, o.Policy.String(), o.Count, o.Requested, o.Blocker, o.Index, o.Scanned,
		o.Took, o.Until, o.LiftedAt, o.RestoredAt, o.Undoable,
	}
}

func (o Operation) operation() recall.Operation {
	policy, _ := policyOf(o.Policy)
	return recall.Operation{
		ID: o.ID, Kind: o.Kind, At: o.At, Filter: o.Filter, Reason: o.Reason, Policy: policy, Count: o.Count,
		Requested: o.Requested, Blocker: o.Blocker, Index: o.Index, Scanned: o.Scanned, Took: o.Took, Until: o.Until,
		LiftedAt: o.LiftedAt, RestoredAt: o.RestoredAt, Undoable: o.Undoable,
	}
}

// Standing is a [recall.StandingCancellation] on the wire.
type Standing struct {
	ID       recall.OperationID `json:"id"`
	Filter   recall.Filter      `json:"filter"`
	Reason   string             `json:"reason,omitempty"`
	At       time.Time          `json:"at"`
	Until    time.Time          `json:"until"`
	LiftedAt time.Time          `json:"liftedAt,omitzero"`
	Count    int                `json:"count"`
}

// Response is a [recall.HTTPResponse] on the wire.
type Response struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

// DeadLetter is a [recall.DeadLetter] on the wire.
type DeadLetter struct {
	ID       recall.DeadLetterID `json:"id"`
	Message  Message             `json:"message"`
	DiedAt   time.Time           `json:"diedAt"`
	Attempts int                 `json:"attempts"`
	Reason   string              `json:"reason,omitempty"`
	Response *Response           `json:"response,omitempty"`
}

// WireDeadLetter returns a dead letter as it is on the wire.
func WireDeadLetter(d recall.DeadLetter) DeadLetter {
	return DeadLetter{d.ID, Message(d.Message), d.DiedAt, d.Attempts, d.Reason, (*Response)(d.Response)}
}

func (d DeadLetter) deadLetter() recall.DeadLetter {
	return recall.DeadLetter{
		ID: d.ID, Message: recall.Message(d.Message), DiedAt: d.DiedAt, Attempts: d.Attempts, Reason: d.Reason,
		Response: (*recall.HTTPResponse)(d.Response),
	}
}

// Queue is a [recall.QueueInfo] on the wire.
type Queue struct {
	Name        string    `json:"name"`
	Parallelism int       `json:"parallelism"`
	Paused      bool      `json:"paused,omitempty"`
	CreatedAt   time.Time `json:"created"`
	UpdatedAt   time.Time `json:"updated"`
	Lag         int       `json:"lag"`
	InFlight    int       `json:"inFlight"`
}

// WireQueue returns a queue as it is on the wire.
func WireQueue(q recall.QueueInfo) Queue {
	return Queue{q.Name, q.Parallelism, q.Paused, q.CreatedAt, q.UpdatedAt, q.Lag, q.InFlight}
}

func (q Queue) queue() recall.QueueInfo {
	return recall.QueueInfo{
		Name: q.Name, Lag: q.Lag, InFlight: q.InFlight,
		QueueSettings: recall.QueueSettings{Parallelism: q.Parallelism, Paused: q.Paused, CreatedAt: q.CreatedAt, UpdatedAt: q.UpdatedAt},
	}
}

// Topic is a [recall.Topic] on the wire.
type Topic struct {
	Name      string            `json:"name"`
	Endpoints []recall.Endpoint `json:"endpoints"`
	Defaults  http.Header       `json:"defaults,omitempty"`
	CreatedAt time.Time         `json:"created,omitzero"`
	UpdatedAt time.Time         `json:"updated,omitzero"`
}

// Schedule is a [recall.Schedule] on the wire.
type Schedule struct {
	ID        string    `json:"id,omitempty"`
	Cron      string    `json:"cron"`
	Message   Message   `json:"message"`
	CatchUp   string    `json:"catchUp,omitempty"` // "one", "none" or "all"
	Paused    bool      `json:"paused,omitempty"`
	CreatedAt time.Time `json:"created,omitzero"`
	UpdatedAt time.Time `json:"updated,omitzero"`
	Next      time.Time `json:"next,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	Error     string    `json:"error,omitempty"`
}

// WireSchedule returns a schedule as it is on the wire.
func WireSchedule(s recall.Schedule) Schedule {
	return Schedule{
		s.ID, s.Cron, Message(s.Message), s.CatchUp.String(), s.Paused, s.CreatedAt, s.UpdatedAt, s.Next, s.Last, s.Error,
	}
}

func (s Schedule) schedule() (recall.Schedule, error) {
	out := recall.Schedule{
		ID: s.ID, Cron: s.Cron, Message: recall.Message(s.Message), Paused: s.Paused,
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, Next: s.Next, Last: s.Last, Error: s.Error,
	}
	for _, c := range []recall.CatchUp{recall.CatchUpOne, recall.CatchUpNone, recall.CatchUpAll} {
		if s.CatchUp == "" || s.CatchUp == c.String() {
			out.CatchUp = c
			return out, nil
		}
	}
	return out, &recall.InvalidError{Field: "CatchUp", Reason: "it is neither one, none nor all"}
}

// FlowKey is a [recall.FlowState] on the wire.
type FlowKey struct {
	Key string `json:"key"`
	recall.FlowSettings
	InFlight    int       `json:"inFlight"`
	PeriodStart time.Time `json:"periodStart,omitzero"`
	Used        int       `json:"used"`
}

// Event is a [recall.Event] on the wire.
type Event struct {
	ID         recall.EventID     `json:"id,omitempty"`
	At         time.Time          `json:"at"`
	State      recall.EventState  `json:"state"`
	Message    recall.MessageID   `json:"message,omitempty"`
	URL        string             `json:"url,omitempty"`
	Queue      string             `json:"queue,omitempty"`
	Topic      string             `json:"topic,omitempty"`
	ScheduleID string             `json:"scheduleId,omitempty"`
	CallerIP   string             `json:"callerIP,omitempty"`
	FlowKey    string             `json:"flowKey,omitempty"`
	Labels     []string           `json:"labels,omitempty"`
	Attempt    int                `json:"attempt,omitempty"`
	Status     int                `json:"status,omitempty"`
	Reason     string             `json:"reason,omitempty"`
	Due        time.Time          `json:"due,omitzero"`
	Operation  recall.OperationID `json:"operation,omitempty"`
	Count      int                `json:"count,omitempty"`
	Requested  int                `json:"requested,omitempty"`
}

// Stats are [recall.Stats] on the wire: every field, its name with a small letter in
// front, and so within.
type Stats recall.Stats

// MarshalJSON implements json.Marshaler.
func (s Stats) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(recall.Stats(s))
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // no number passes through a float
	var fields any
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	return json.Marshal(smallNames(fields))
}

// smallNames puts a small letter in front of every name.
func smallNames(v any) any {
	switch v := v.(type) {
	case map[string]any:
		small := make(map[string]any, len(v))
		for name, value := range v {
			small[strings.ToLower(name[:1])+name[1:]] = smallNames(value)
		}
		return small
	case []any:
		for i := range v {
			v[i] = smallNames(v[i])
		}
	}
	return v
}
