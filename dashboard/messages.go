package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/recallmq/recall"
)

// messagesOnPage is how many messages a page of the list shows.
const messagesOnPage = 50

// messagesPage lists live messages in the order of publication.
func messagesPage(v *visit) error {
	data := struct {
		Form    filterForm
		Count   recall.Count
		List    []recall.Message
		Next    string // the query of the next page
		Later   bool   // this is not the first one
		Query   string // of the filter alone
		Problem string
	}{Form: formOf(v.r.Form), Later: v.r.Form.Get("after") != ""}
	f, err := filterOf(v.r.Form)
	after, cursorErr := cursorOf(v.r.Form)
	if err == nil {
		err = cursorErr
	}
	if err != nil {
		var status int
		status, data.Problem = explain(err)
		v.showStatus(status, "messages", "Messages", data)
		return nil
	}
	q := valuesOf(f)
	data.Query = q.Encode()
	if data.Count, err = v.site.broker.Count(v.r.Context(), f); err != nil {
		return err
	}
	if data.List, err = messagesAfter(v.r.Context(), v.site.broker, f, after, messagesOnPage+1); err != nil {
		return err
	}
	if len(data.List) > messagesOnPage {
		data.List = data.List[:messagesOnPage]
		data.Next = nextQuery(q, &data.List[messagesOnPage-1])
	}
	v.showStatus(http.StatusOK, "messages", "Messages", data)
	return nil
}

// cursor is the message that a page of the list ends with. Its time lets the next
// page begin where it is.
type cursor struct {
	id recall.MessageID
	at time.Time
}

func cursorOf(q url.Values) (c cursor, err error) {
	if q.Get("after") == "" {
		return c, nil
	}
	if c.id, err = recall.ParseMessageID(q.Get("after")); err != nil {
		return c, err
	}
	ms, err := strconv.ParseInt(q.Get("at"), 10, 64)
	if err != nil {
		return c, badInput("The place in the list cannot be read.")
	}
	c.at = time.UnixMilli(ms).UTC()
	return c, nil
}

func nextQuery(q url.Values, last *recall.Message) string {
	q.Set("after", string(last.ID))
	q.Set("at", strconv.FormatInt(last.CreatedAt.UnixMilli(), 10))
	return q.Encode()
}

// messagesAfter lists matches behind a cursor. Ids and times of publication are in
// one order, and several messages may have one time.
func messagesAfter(ctx context.Context, b *recall.Broker, f recall.Filter, after cursor, limit int) (list []recall.Message, err error) {
	if after.at.After(f.From) {
		f.From = after.at
	}
	if !f.To.IsZero() && f.From.After(f.To) {
		return nil, nil
	}
	for m, err := range b.List(ctx, f) {
		if err != nil {
			return nil, err
		}
		if m.ID <= after.id {
			continue
		}
		if list = append(list, m); len(list) == limit {
			break
		}
	}
	return list, nil
}
