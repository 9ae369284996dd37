package dashboard

import (
	"net/http"
	"net/url"

	"github.com/recallmq/recall"
)

// eventsOnPage is how many events a page of the log shows.
const eventsOnPage = 100

var eventStates = []recall.EventState{
	recall.EventCreated, recall.EventActive, recall.EventDelivered, recall.EventError, recall.EventRetry,
	recall.EventFailed, recall.EventCancelRequested, recall.EventCancelled,
}

func eventsPage(v *visit) error {
	data := struct {
		State    recall.EventState
		States   []recall.EventState
		List     []recall.Event
		Next     string
		Later    bool
		NoEvents bool
		Problem  string
	}{
		State: recall.EventState(v.r.Form.Get("state")), States: eventStates,
		Later: v.r.Form.Get("after") != "", NoEvents: v.site.broker.Options().NoEvents,
	}
	var f recall.EventFilter
	if data.State != "" {
		f.States = []recall.EventState{data.State}
	}
	page, err := v.site.broker.EventPage(v.r.Context(), f, recall.EventID(v.r.Form.Get("after")), eventsOnPage)
	if err != nil {
		status, text := explain(err)
		if status != http.StatusBadRequest {
			return err
		}
		data.Problem = text
		v.showStatus(status, "events", "Events", data)
		return nil
	}
	data.List = page.Events
	if page.Next != "" {
		data.Next = url.Values{"state": {string(data.State)}, "after": {string(page.Next)}}.Encode()
	}
	return v.show("events", "Events", data)
}
