package qstash

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

var deadRoutes = []route{
	{"v2/dlq", map[string]call{http.MethodGet: (*handler).listDead, http.MethodDelete: (*handler).deleteDeadMany}},
	{"v2/dlq/retry", map[string]call{http.MethodPost: (*handler).retryDeadMany}},
	{"v2/dlq/retry/", map[string]call{http.MethodPost: (*handler).retryDead}},
	{"v2/dlq/", map[string]call{http.MethodGet: (*handler).getDead, http.MethodDelete: (*handler).deleteDead}},
}

// deadMessage is an entry of the dead letter queue: the message, and how its last
// attempt ended.
type deadMessage struct {
	message
	DLQID              recall.DeadLetterID `json:"dlqId"`
	ResponseStatus     int                 `json:"responseStatus"` // 0: there was none
	ResponseHeader     http.Header         `json:"responseHeader,omitempty"`
	ResponseBody       *string             `json:"responseBody,omitempty"`
	ResponseBodyBase64 []byte              `json:"responseBodyBase64,omitempty"`
	Error              string              `json:"error,omitempty"`    // in words
	DiedAt             int64               `json:"failedAt,omitempty"` // ms
}

func deadBody(d *recall.DeadLetter) deadMessage {
	out := deadMessage{message: messageBody(&d.Message), DLQID: d.ID, Error: d.Reason, DiedAt: millis(d.DiedAt)}
	r := d.Response
	if r == nil {
		return out
	}
	out.ResponseStatus, out.ResponseHeader = r.Status, r.Header
	if utf8.Valid(r.Body) {
		text := string(r.Body)
		out.ResponseBody = &text
	} else {
		out.ResponseBodyBase64 = r.Body
	}
	return out
}

// listDead is a page of the dead letter queue, oldest first.
func (h *handler) listDead(w http.ResponseWriter, r *http.Request, _ string) error {
	c, err := readQuery(r, &deadReading)
	if err != nil {
		return err
	}
	s, err := c.deadSelection()
	if err != nil {
		return err
	}
	var page struct {
		Messages []deadMessage       `json:"messages"`
		Cursor   recall.DeadLetterID `json:"cursor,omitempty"`
	}
	page.Messages = []deadMessage{}
	page.Cursor, err = h.selectDead(r.Context(), &s, func(d *recall.DeadLetter) {
		page.Messages = append(page.Messages, deadBody(d))
	})
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, page)
	return nil
}

func (h *handler) getDead(w http.ResponseWriter, r *http.Request, rest string) error {
	id, err := deadID(rest)
	if err != nil {
		return err
	}
	d, err := h.b.DeadLetter(r.Context(), id)
	if err != nil {
		return deadNotFound(id, err)
	}
	answer(w, http.StatusOK, deadBody(&d))
	return nil
}

// deleteDeadMany deletes entries by ids or by a filter; without either the
// first ones, as QStash does.
func (h *handler) deleteDeadMany(w http.ResponseWriter, r *http.Request, rest string) error {
	if rest == "/" && h.o.StrictPaths {
		return badRequest("the id of the dead letter is missing")
	}
	ids, next, err := h.deadOf(r)
	if err != nil {
		return err
	}
	n, err := h.b.DeleteDeadLetters(r.Context(), ids...)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, struct {
		Deleted int                 `json:"deleted"`
		Cursor  recall.DeadLetterID `json:"cursor,omitempty"`
	}{n, next})
	return nil
}

// deadOf returns the entries that a request for a change means. Of ids it passes
// over those that name none; the broker does so too, if they go meanwhile.
func (h *handler) deadOf(r *http.Request) (ids []recall.DeadLetterID, next recall.DeadLetterID, err error) {
	c, err := read(r, &deadChanging)
	if err != nil {
		return nil, "", err
	}
	s, err := c.deadSelection()
	if err != nil {
		return nil, "", err
	}
	if s.ids != nil {
		return s.ids, "", nil
	}
	next, err = h.selectDead(r.Context(), &s, func(d *recall.DeadLetter) { ids = append(ids, d.ID) })
	return ids, next, err
}

func (h *handler) deleteDead(w http.ResponseWriter, r *http.Request, rest string) error {
	id, err := deadID(rest)
	if err != nil {
		return err
	}
	n, err := h.b.DeleteDeadLetters(r.Context(), id)
	if err == nil && n == 0 {
		err = recall.ErrNotFound
	}
	if err != nil {
		return deadNotFound(id, err)
	}
	answer(w, http.StatusOK, map[string]int{"deleted": n})
	return nil
}

// selectDead calls take for each entry that is selected, oldest first, and returns
// what to go on behind if there are more.
func (h *handler) selectDead(ctx context.Context, s *deadSelection, take func(*recall.DeadLetter)) (next recall.DeadLetterID, err error) {
	if s.ids != nil {
		return "", h.eachDead(ctx, s.ids, take)
	}
	last, n, size := s.after, 0, 0
	for after := s.after; ; {
		page, err := h.b.DeadLetterPage(ctx, s.filter, after, maxDeadPage)
		if err != nil {
			return "", err
		}
		for i := range page.DeadLetters {
			d := &page.DeadLetters[i]
			if !s.answered(d) {
				continue
			}
			if n == s.limit || size >= recall.PageBytes {
				return last, nil
			}
			take(d)
			last, n, size = d.ID, n+1, size+sizeOfDead(d)
		}
		if after = page.Next; after == "" {
			return "", nil
		}
	}
}

// sizeOfDead is about what an entry takes in an answer, or as a message.
func sizeOfDead(d *recall.DeadLetter) int {
	n := len(d.Message.Body)
	if d.Response != nil {
		n += len(d.Response.Body)
	}
	return n
}

// eachDead calls take for the entries that ids name.
func (h *handler) eachDead(ctx context.Context, ids []recall.DeadLetterID, take func(*recall.DeadLetter)) error {
	if len(ids) > maxDeadIDs {
		return badRequest("dlqIds: %d are more than the limit of %d", len(ids), maxDeadIDs)
	}
	for _, id := range ids {
		d, err := h.b.DeadLetter(ctx, id)
		switch {
		case err == nil:
			take(&d)
		case !errors.Is(err, recall.ErrNotFound):
			return err
		}
	}
	return nil
}

// deadID reads the id of a path. What is no id names no dead letter.
func deadID(rest string) (recall.DeadLetterID, error) {
	text, err := url.PathUnescape(strings.TrimSuffix(rest, "/"))
	if err == nil {
		if id, err := recall.ParseDeadLetterID(text); err == nil {
			return id, nil
		}
	}
	return "", notFound("dead letter %.100s not found", text)
}

func deadNotFound(id recall.DeadLetterID, err error) error {
	if errors.Is(err, recall.ErrNotFound) {
		return notFound("dead letter %s not found", id)
	}
	return err
}
