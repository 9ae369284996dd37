package qstash

import (
	"net/http"
	"slices"

	"github.com/recallmq/recall"
)

// retried is what was published for a dead letter.
type retried struct {
	MessageID recall.MessageID `json:"messageId"`
}

// retryDeadMany publishes entries again, by ids or by a filter; without either
// the first ones, as QStash does.
func (h *handler) retryDeadMany(w http.ResponseWriter, r *http.Request, rest string) error {
	if rest == "/" && h.o.StrictPaths {
		return badRequest("the id of the dead letter is missing")
	}
	change, err := h.overrides(r)
	if err != nil {
		return err
	}
	c, err := read(r, &deadChanging)
	if err != nil {
		return err
	}
	ids, next, err := h.deadToRetry(r, &c)
	if err != nil {
		return err
	}
	receipts, err := h.b.RetryDeadLettersWith(r.Context(), change, ids...)
	if err != nil {
		return err
	}
	body := struct {
		Responses []retried           `json:"responses"`
		Cursor    recall.DeadLetterID `json:"cursor,omitempty"`
	}{[]retried{}, next}
	for _, receipt := range receipts {
		body.Responses = append(body.Responses, retried{receipt.ID})
	}
	answer(w, http.StatusCreated, body)
	return nil
}

func (h *handler) deadToRetry(r *http.Request, c *criteria) (ids []recall.DeadLetterID, next recall.DeadLetterID, err error) {
	s, err := c.deadSelection()
	if err != nil {
		return nil, "", err
	}
	next, err = h.selectDead(r.Context(), &s, func(d *recall.DeadLetter) { ids = append(ids, d.ID) })
	if err != nil || s.ids == nil {
		return ids, next, err
	}
	for _, text := range c.values["dlqIds"] {
		if !slices.Contains(ids, recall.DeadLetterID(text)) {
			return nil, "", notFound("dead letter %.100s not found; nothing was retried", text)
		}
	}
	return ids, "", nil
}

// retryDead publishes one entry again.
func (h *handler) retryDead(w http.ResponseWriter, r *http.Request, rest string) error {
	id, err := deadID(rest)
	if err != nil {
		return err
	}
	change, err := h.overrides(r)
	if err != nil {
		return err
	}
	receipts, err := h.b.RetryDeadLettersWith(r.Context(), change, id)
	if err == nil && len(receipts) == 0 {
		err = recall.ErrNotFound
	}
	if err != nil {
		return deadNotFound(id, err)
	}
	answer(w, http.StatusCreated, retried{receipts[0].ID})
	return nil
}
