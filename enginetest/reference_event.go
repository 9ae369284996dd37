package enginetest

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// maxReason is how much of a reason the log keeps.
const maxReason = 256

// log notes that something has happened to a message; nil: to none.
func (r *Reference) log(m *recall.Message, s recall.EventState, now time.Time, ev recall.Event) {
	n := strconv.Itoa(len(r.events) + 1)
	ev.ID, ev.At, ev.State = recall.EventID(strconv.FormatInt(now.UnixMilli(), 10)+"-"+n), millis(now), s
	if m != nil {
		ev.Message, ev.URL, ev.Queue, ev.Topic = m.ID, m.URL, m.Queue, m.Topic
		ev.ScheduleID, ev.CallerIP, ev.FlowKey, ev.Labels = m.ScheduleID, m.CallerIP, m.FlowKey, slices.Clone(m.Labels)
	}
	r.events = append(r.events, ev)
}

// logOutcome notes how an attempt has ended.
func (r *Reference) logOutcome(e *entry, f recall.Finish) {
	ev := recall.Event{Attempt: e.m.Attempts}
	if f.Response != nil {
		ev.Status = f.Response.Status
	}
	failed := ev
	failed.Reason = strings.ToValidUTF8(f.Reason[:min(len(f.Reason), maxReason)], "")
	plain := recall.Event{Attempt: e.m.Attempts}
	switch {
	case f.Outcome == recall.Delivered:
		r.log(&e.m, recall.EventDelivered, f.Now, ev)
		return
	case f.Outcome != recall.Release:
		r.log(&e.m, recall.EventError, f.Now, failed)
	}
	switch {
	case e.requested:
		r.log(&e.m, recall.EventCancelled, f.Now, plain)
		r.ended.cancelled++
	case f.Outcome == recall.Retry:
		plain.Due = millis(f.Due)
		r.log(&e.m, recall.EventRetry, f.Now, plain)
	case f.Outcome == recall.Dead:
		r.log(&e.m, recall.EventFailed, f.Now, failed)
	}
}

// Events implements [recall.EventLog].
func (r *Reference) Events(ctx context.Context, f recall.EventFilter, after recall.EventID, limit int) (page recall.EventPage, err error) {
	if err := r.begin(ctx); err != nil {
		return page, err
	}
	defer r.mu.Unlock()
	if err := checkAfter(after, ""); err != nil {
		return page, err
	}
	from := eventNumber(after)
	for i := range r.events {
		if !f.OldestFirst {
			i = len(r.events) - 1 - i
		}
		n := i + 1
		if from != 0 && (f.OldestFirst && n <= from || !f.OldestFirst && n >= from) || !f.Matches(&r.events[i]) {
			continue
		}
		if len(page.Events) == limit {
			page.Next = page.Events[limit-1].ID
			break
		}
		page.Events = append(page.Events, r.events[i])
	}
	return page, nil
}

// eventNumber returns the counting part of an event's id, 0 for "".
func eventNumber(id recall.EventID) int {
	_, number, _ := strings.Cut(string(id), "-")
	n, _ := strconv.Atoi(number)
	return n
}
