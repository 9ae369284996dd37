package qstash

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// maxLogPage is the largest page of the log, and the usual one; maxLogIDs is how
// many messages a request may name, each of which costs a look into the log.
const (
	maxLogPage = 1000
	maxLogIDs  = 1000
)

// logReading is what a request for the log may say. Other names are passed over:
// SDKs and consoles send some that mean nothing here.
var logReading = dialect{
	only: []string{
		"messageId", "messageIds", "state", "url", "host", "path", "topicName", "scheduleId", "queueName",
		"callerIp", "callerIP", "flowControlKey", "label", "fromDate", "toDate", "count",
	},
	options: []string{"cursor", "order"}, lenient: true,
}

// logQuery is a page of the log that is asked for.
type logQuery struct {
	filter  recall.EventFilter
	after   recall.EventID
	limit   int
	nothing bool // no event can match
}

func (c *criteria) logQuery() (q logQuery, err error) {
	f, _ := c.messagesOfLog()
	q.filter = recall.EventFilter{Filter: f, From: f.From, To: f.To}
	q.filter.Filter.From, q.filter.Filter.To = time.Time{}, time.Time{}
	if q.filter.States, err = eventStates(c.values["state"]); err != nil {
		return q, err
	}
	switch order := c.options["order"]; order {
	case "", "latestFirst":
	case "earliestFirst":
		q.filter.OldestFirst = true
	default:
		return q, badRequest("order: %.100q is neither latestFirst nor earliestFirst", order)
	}
	q.limit = maxLogPage
	if c.limit > 0 {
		q.limit = min(c.limit, maxLogPage)
	}
	return q, q.setCursor(c.options["cursor"])
}

// messagesOfLog is the filter of the messages that are asked for. Ids go by two
// names here, and are a field like any other.
func (c *criteria) messagesOfLog() (f recall.Filter, all bool) {
	ids := c.ids
	if one, ok := c.values["messageId"]; ok {
		if ids != nil {
			one = common(ids, one)
		}
		ids = one
	}
	own := *c
	own.ids, own.dialect = ids, &dialect{own: true}
	return own.filter()
}

// eventStates reads states in QStash's spelling, and in the other.
func eventStates(names []string) (list []recall.EventState, err error) {
	for _, name := range names {
		state, ok := recall.EventInProgress, name == "IN_PROGRESS"
		for s, text := range logStates {
			if text == name || s == recall.EventCancelled && name == "CANCELLED" {
				state, ok = s, true
			}
		}
		if !ok {
			return nil, badRequest("state: %.100q is not a state", name)
		}
		list = append(list, state)
	}
	return list, nil
}

// setCursor takes the cursor of a page, or a time in milliseconds: what is older
// than that, or newer, if that is the order.
func (q *logQuery) setCursor(text string) error {
	if text == "" {
		return nil
	}
	if strings.Contains(text, "-") {
		q.after = recall.EventID(text)
		return nil // checked by the broker
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 {
		return badRequest("cursor: %.100q is none of the log", text)
	}
	f := &q.filter
	if f.OldestFirst {
		f.From = timeOf(later(msOf(f.From), msOf(time.UnixMilli(min(ms, maxDate)+1))))
	} else {
		f.To = timeOf(earlier(msOf(f.To), msOf(time.UnixMilli(min(ms, maxDate+1)-1))))
	}
	q.nothing = !f.From.IsZero() && !f.To.IsZero() && f.From.After(f.To) || !f.To.IsZero() && f.To.UnixMilli() < 0
	return nil
}

func msOf(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// eventsOfMessages returns the events of the messages that are named, with what
// bulk cancellations have done to them, of which the log has one event for all
// that each has taken.
func (h *handler) eventsOfMessages(ctx context.Context, q *logQuery) ([]recall.Event, error) {
	ids := q.filter.Filter.IDs
	if len(ids) > maxLogIDs {
		return nil, badRequest("messageIds: %d are more than the limit of %d", len(ids), maxLogIDs)
	}
	if q.after != "" {
		if _, err := parsePlace(q.after); err != nil {
			return nil, err
		}
	}
	var list []recall.Event
	for i, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		events, err := h.b.MessageEvents(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, ev := range events {
			if ev.ID == "" { // not in the log: its place is behind all of its millisecond
				ev.ID = recall.EventID(fmt.Sprintf("%d-%d", ev.At.UnixMilli(), uint64(math.MaxUint64)-uint64(i)))
			}
			if q.filter.Matches(&ev) {
				list = append(list, ev)
			}
		}
	}
	slices.SortFunc(list, func(a, b recall.Event) int { return q.compare(a.ID, b.ID) })
	if q.after != "" {
		list = slices.DeleteFunc(list, func(ev recall.Event) bool { return q.compare(ev.ID, q.after) <= 0 })
	}
	return list[:min(len(list), q.limit+1)], nil
}

// place is where an event stands in the log.
type place struct {
	ms     int64
	number uint64
}

func parsePlace(id recall.EventID) (p place, err error) {
	ms, number, _ := strings.Cut(string(id), "-")
	if p.ms, err = strconv.ParseInt(ms, 10, 64); err == nil {
		p.number, err = strconv.ParseUint(number, 10, 64)
	}
	if err != nil {
		return p, badRequest("cursor: %.100q is none of the log", id)
	}
	return p, nil
}

// compare orders places as the query does.
func (q *logQuery) compare(a, b recall.EventID) int {
	x, _ := parsePlace(a)
	y, _ := parsePlace(b)
	order := cmp.Or(cmp.Compare(x.ms, y.ms), cmp.Compare(x.number, y.number))
	if q.filter.OldestFirst {
		return order
	}
	return -order
}
