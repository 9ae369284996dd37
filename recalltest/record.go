package recalltest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// Delivery is one request that the server has made, and what came of it.
type Delivery struct {
	// MessageID is the message that was delivered, Attempt which attempt it was,
	// from 1.
	MessageID recall.MessageID `json:"messageId"`
	Attempt   int              `json:"attempt"`
	// URL is the destination as it was published; Method, Header and Body are what
	// was sent.
	URL    string      `json:"url"`
	Method string      `json:"method"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
	// At is when it began.
	At time.Time `json:"at"`
	// Status is what the endpoint answered, 0 if it has not, or not yet; Error is
	// why there was no answer.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
}

// record is what is known of a message.
type record struct {
	message   recall.Message // as it was published; Attempts are those that began
	requests  []*Delivery
	delivered bool
	dead      bool
	lists     [2]bool // what has named it: a CheckPublished, a CheckDelivered
	named     bool    // by any check
}

// The lists that a check goes through.
const (
	listPublished = iota
	listDelivered
)

// published notes messages that are durable now.
func (w *watch) published(msgs []recall.Message, receipts []recall.Receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range receipts {
		if r.Deduplicated || i >= len(msgs) {
			continue
		}
		m := msgs[i]
		m.ID, m.CreatedAt = r.ID, r.CreatedAt
		w.noteLocked(&m)
	}
}

// seen notes a message that was met in another way: a callback, or a dead letter
// that was published again.
func (w *watch) seen(m *recall.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.noteLocked(m)
	r.message.Attempts = max(r.message.Attempts, m.Attempts)
}

func (w *watch) noteLocked(m *recall.Message) *record {
	r := w.records[m.ID]
	if r == nil {
		r = &record{message: *m}
		w.records[m.ID] = r
	}
	return r
}

// finished notes how an attempt ended.
func (w *watch) finished(m *recall.Message, o recall.Outcome, dead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.noteLocked(m)
	r.delivered = r.delivered || o == recall.Delivered
	r.dead = r.dead || dead
}

// requested notes a request, and returns how to note what came of it.
func (w *watch) requested(d Delivery) (answered func(status int, err error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, &d)
	if r := w.records[d.MessageID]; r != nil {
		r.requests = append(r.requests, &d)
	}
	return func(status int, err error) {
		text := ""
		if err != nil {
			text = err.Error()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		d.Status, d.Error = status, text
	}
}

// fault makes the next calls fail that the test has asked for.
func (w *watch) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.commitFaults == 0 {
		return nil
	}
	w.commitFaults--
	return ErrInjected
}

// fate is what has become of a message.
type fate string

const (
	fateWaits     fate = "waits"
	fateInFlight  fate = "in flight"
	fateDelivered fate = "delivered"
	fateDead      fate = "dead"
	fateCancelled fate = "cancelled"
)

// known is a copy of a record with its fate.
type known struct {
	*record
	message  recall.Message
	requests []Delivery
	fate     fate
	due      time.Time
}

// all returns what is known of every message, in the order of publication.
func (s *Server) all(w *world) ([]known, error) {
	live := map[recall.MessageID]recall.Message{}
	for m, err := range w.broker.List(context.Background(), recall.Filter{}) {
		if err != nil {
			return nil, err
		}
		live[m.ID] = m
		w.watch.seen(&m)
	}
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	list := make([]known, 0, len(w.watch.records))
	for id, r := range w.watch.records {
		k := known{record: r, message: r.message, fate: fateCancelled}
		for _, d := range r.requests {
			k.requests = append(k.requests, *d)
		}
		m, lives := live[id]
		switch {
		case w.watch.running[id] != nil || lives && m.State == recall.StateInFlight:
			k.fate, k.due = fateInFlight, m.DueAt // lists leave out those whose cancellation was requested
		case lives:
			k.fate, k.due = fateWaits, m.DueAt
		case r.delivered:
			k.fate = fateDelivered
		case r.dead:
			k.fate = fateDead
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b known) int { return strings.Compare(string(a.message.ID), string(b.message.ID)) })
	return list, nil
}

// Deliveries returns all requests that the server has made, in the order in which
// they began.
func (s *Server) Deliveries() []Delivery { return s.deliveriesTo(func(string) bool { return true }) }

func (s *Server) deliveriesTo(matches func(url string) bool) []Delivery {
	w := s.now().watch
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []Delivery{}
	for _, d := range w.requests {
		if matches(d.URL) {
			list = append(list, *d)
		}
	}
	return list
}
