package qstash

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/recallmq/recall"
)

var operationRoutes = []route{
	{"recall/v1/cancellations", map[string]call{http.MethodGet: (*handler).cancellations}},
	{"recall/v1/cancellations/by-message/", map[string]call{http.MethodGet: (*handler).whoCancelled}},
	{"recall/v1/standing", map[string]call{http.MethodGet: (*handler).listStanding, http.MethodPost: (*handler).cancelFuture}},
	{"recall/v1/standing/", map[string]call{http.MethodDelete: (*handler).lift}},
}

// operation is the record of a bulk call as answers write it.
type operation struct {
	ID         recall.OperationID   `json:"id"`
	Kind       recall.OperationKind `json:"kind"`
	At         int64                `json:"at"`
	Filter     string               `json:"filter"`
	Reason     string               `json:"reason"`
	Policy     string               `json:"policy"`
	Count      int                  `json:"count"`
	Requested  int                  `json:"requested"`
	Blocker    recall.MessageID     `json:"blocker,omitempty"`
	Index      string               `json:"index"`
	Scanned    int                  `json:"scanned"`
	Took       float64              `json:"took"` // ms
	Until      int64                `json:"until,omitempty"`
	LiftedAt   int64                `json:"liftedAt,omitempty"`
	RestoredAt int64                `json:"restoredAt,omitempty"`
	Undoable   bool                 `json:"undoable"`
}

func operationBody(o *recall.Operation) operation {
	return operation{
		ID: o.ID, Kind: o.Kind, At: millis(o.At), Filter: o.Filter, Reason: o.Reason, Policy: o.Policy.String(),
		Count: o.Count, Requested: o.Requested, Blocker: o.Blocker, Index: o.Index, Scanned: o.Scanned,
		Took: float64(o.Took.Microseconds()) / 1000, Until: millis(o.Until), LiftedAt: millis(o.LiftedAt),
		RestoredAt: millis(o.RestoredAt), Undoable: o.Undoable,
	}
}

// The page of a list of operations.
const (
	defaultPage = 100
	maxPage     = 1000
)

// cancellations is a page of the records of bulk calls, oldest first. The name
// of the next page is there when this one is full.
func (h *handler) cancellations(w http.ResponseWriter, r *http.Request, _ string) error {
	c, err := parseQuery(r.URL.RawQuery, &paging)
	if err != nil {
		return err
	}
	after, limit := recall.OperationID(c.options["after"]), defaultPage
	if after != "" && !isOperationID(after) {
		return badRequest("after: %.100q is not the id of an operation", after)
	}
	if text, given := c.options["limit"]; given {
		if err := setNumber(&limit, "limit", []string{text}); err != nil || limit > maxPage {
			return badRequest("limit must be a number between 1 and %d", maxPage)
		}
	}
	var page struct {
		Cancellations []operation        `json:"cancellations"`
		Next          recall.OperationID `json:"next,omitempty"` // to ask for with after
	}
	page.Cancellations = []operation{}
	for o, err := range h.b.Cancellations(r.Context()) {
		if err != nil {
			return err
		}
		if o.ID <= after {
			continue
		}
		if len(page.Cancellations) == limit {
			page.Next = page.Cancellations[limit-1].ID
			break
		}
		page.Cancellations = append(page.Cancellations, operationBody(&o))
	}
	answer(w, http.StatusOK, page)
	return nil
}

// isOperationID tells whether the text is one that could sort among ids.
func isOperationID(id recall.OperationID) bool {
	const length = 26
	rest, ok := strings.CutPrefix(string(id), "op_")
	return ok && len(rest) == length && strings.Trim(rest, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") == ""
}

// whoCancelled is the record of the call that took a message.
func (h *handler) whoCancelled(w http.ResponseWriter, r *http.Request, rest string) error {
	id, err := messageID(rest)
	if err != nil {
		return err
	}
	o, err := h.b.WhoCancelled(r.Context(), id)
	if err != nil {
		return named(id, err)
	}
	answer(w, http.StatusOK, operationBody(&o))
	return nil
}

// cancelFuture begins a standing cancellation.
func (h *handler) cancelFuture(w http.ResponseWriter, r *http.Request, _ string) error {
	c, err := read(r, &standing)
	if err != nil {
		return err
	}
	until, err := c.time("until")
	if err != nil {
		return err
	}
	f, all := c.filter()
	if all {
		return badRequest("there is no filter")
	}
	op, err := h.b.CancelFuture(r.Context(), f, until, recall.Reason(c.options["reason"]))
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]recall.OperationID{"operation": op})
	return nil
}

// listStanding lists the standing cancellations, oldest first.
func (h *handler) listStanding(w http.ResponseWriter, r *http.Request, _ string) error {
	if _, err := parseQuery(r.URL.RawQuery, &dialect{own: true, bare: true}); err != nil {
		return err
	}
	list, err := h.b.StandingCancellations(r.Context())
	if err != nil {
		return err
	}
	type item struct {
		Operation recall.OperationID `json:"operation"`
		Filter    string             `json:"filter"`
		Reason    string             `json:"reason"`
		At        int64              `json:"at"`
		Until     int64              `json:"until"`
		LiftedAt  int64              `json:"liftedAt,omitempty"`
		Count     int                `json:"count"`
	}
	items := []item{}
	for _, s := range list {
		items = append(items, item{s.ID, s.Filter.String(), s.Reason, millis(s.At), millis(s.Until), millis(s.LiftedAt), s.Count})
	}
	answer(w, http.StatusOK, map[string][]item{"standing": items})
	return nil
}

// lift ends a standing cancellation.
func (h *handler) lift(w http.ResponseWriter, r *http.Request, rest string) error {
	op, err := url.PathUnescape(strings.TrimSuffix(rest, "/"))
	if err != nil || !isOperationID(recall.OperationID(op)) {
		return notFound("operation %.100s not found", op)
	}
	if err := h.b.LiftCancellation(r.Context(), recall.OperationID(op)); err != nil {
		return operationNotFound(op, err)
	}
	answer(w, http.StatusOK, map[string]string{"operation": op})
	return nil
}
