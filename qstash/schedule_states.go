package qstash

import (
	"context"

	"github.com/recallmq/recall"
)

// maxStatePages bounds what one request reads of the log.
const maxStatePages = 16

// lastStates tells what has become of the messages that a schedule has published at
// its last time, as far as the log of events knows. What was cancelled is neither
// on its way nor has it failed, and is left out.
func (h *handler) lastStates(ctx context.Context, s *recall.Schedule) map[recall.MessageID]string {
	if s.Last.IsZero() {
		return nil
	}
	states := map[recall.MessageID]string{}
	f := recall.EventFilter{Filter: recall.Filter{Schedules: []string{s.ID}}, From: s.Last, OldestFirst: true}
	var after recall.EventID
	for range maxStatePages {
		page, err := h.b.EventPage(ctx, f, after, recall.MaxEventPage)
		if err != nil { // an engine without a log, or a page that is damaged
			return states
		}
		for i := range page.Events {
			noteState(states, &page.Events[i])
		}
		if after = page.Next; after == "" {
			break
		}
	}
	return states
}

// noteState follows a message from its beginning; one that began before is of an
// earlier time.
func noteState(states map[recall.MessageID]string, ev *recall.Event) {
	if _, known := states[ev.Message]; !known && ev.State != recall.EventCreated {
		return
	}
	switch ev.State {
	case recall.EventCreated:
		states[ev.Message] = "IN_PROGRESS"
	case recall.EventDelivered:
		states[ev.Message] = "SUCCESS"
	case recall.EventFailed:
		states[ev.Message] = "FAIL"
	case recall.EventCancelled:
		delete(states, ev.Message)
	}
}
