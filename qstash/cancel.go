package qstash

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/recallmq/recall"
)

// cancelMany is the bulk cancel: by ids, by filter, or, for a request that
// names neither, of everything.
func (h *handler) cancelMany(w http.ResponseWriter, r *http.Request, rest string) error {
	if rest == "/" && h.o.StrictPaths {
		return badRequest("the id of the message is missing")
	}
	c, err := readCriteria(r)
	if err != nil {
		return err
	}
	opts := h.cancelOptions(&c)
	if c.async && !c.idsWin() {
		return h.cancelLater(w, r, &c, opts)
	}
	if h.waits() {
		outwait(w)
	}
	res, err := h.cancelBy(r.Context(), r, &c, opts)
	if err != nil {
		return inPart(err, res)
	}
	answer(w, http.StatusAccepted, map[string]int{"cancelled": res.Cancelled + res.Requested})
	return nil
}

// waits tells whether bulk cancellations wait for messages in flight.
func (h *handler) waits() bool { return h.o.CancelPolicy == recall.Stop && h.o.CancelWait > 0 }

// cancelOptions are those of QStash's bulk cancellation.
func (h *handler) cancelOptions(c *criteria) (opts []recall.CancelOption) {
	if h.waits() {
		opts = append(opts, recall.Wait(h.o.CancelWait))
	} else {
		opts = append(opts, h.o.CancelPolicy)
	}
	if c.limit > 0 && !c.idsWin() {
		opts = append(opts, recall.Limit(c.limit))
	}
	return opts
}

// cancelBy cancels what a request asks for.
func (h *handler) cancelBy(ctx context.Context, r *http.Request, c *criteria, opts []recall.CancelOption) (recall.CancelResult, error) {
	f, all := c.filter()
	if !all {
		return h.b.CancelMatching(ctx, f, opts...)
	}
	res, err := h.b.CancelAll(ctx, opts...)
	h.logAll(r, c.limit, res, err)
	return res, err
}

// inPart adds to an error that ended a wait what is durable all the same. The
// answer of the stop rule is QStash's, and says it.
func inPart(err error, res recall.CancelResult) error {
	if res.Operation == "" || errors.Is(err, recall.ErrNotCancellable) {
		return err
	}
	return &factsError{err, map[string]any{"cancelled": res.Cancelled, "operation": res.Operation}}
}

// logAll says who emptied the queue: it may have been a mistake.
func (h *handler) logAll(r *http.Request, limit int, res recall.CancelResult, err error) {
	text, attrs := "qstash: all messages were cancelled", []slog.Attr{
		slog.Int("cancelled", res.Cancelled), slog.String("operation", string(res.Operation)),
		slog.String("from", h.from(r)), slog.String("user_agent", r.UserAgent()),
	}
	if limit > 0 {
		text, attrs = "qstash: the oldest messages were cancelled", append(attrs, slog.Int("limit", limit))
	}
	if err != nil {
		text, attrs = "qstash: a cancellation of all messages ended early", append(attrs, slog.Any("error", err))
	}
	h.o.Logger.LogAttrs(r.Context(), slog.LevelInfo, text, attrs...)
}

// cancelOne takes back one message. QStash's answer is yes also for one in
// flight: the attempt may finish, and is the last.
func (h *handler) cancelOne(w http.ResponseWriter, r *http.Request, rest string) error {
	id, err := messageID(rest)
	if err != nil {
		return err
	}
	if err := h.b.Cancel(r.Context(), id, recall.Sticky); err != nil {
		return named(id, err)
	}
	answer(w, http.StatusAccepted, map[string]int{"cancelled": 1})
	return nil
}

// count and explain tell what a bulk call with the same filter would meet, and
// how it would go about it.
func (h *handler) count(w http.ResponseWriter, r *http.Request, _ string) error {
	f, err := readFilter(r)
	if err != nil {
		return err
	}
	n, err := h.b.Count(r.Context(), f)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]int{"pending": n.Pending, "inFlight": n.InFlight})
	return nil
}

func (h *handler) explain(w http.ResponseWriter, r *http.Request, _ string) error {
	f, err := readFilter(r)
	if err != nil {
		return err
	}
	plan, err := h.b.Explain(r.Context(), f)
	if err != nil {
		return err
	}
	type candidate struct {
		Index string `json:"index"`
		Count int    `json:"count"`
		Exact bool   `json:"exact"`
	}
	body := struct {
		Filter     string      `json:"filter"`
		Index      string      `json:"index"`
		Scan       int         `json:"scan"`
		Candidates []candidate `json:"candidates"`
		Text       string      `json:"text"` // the same for a person
	}{plan.Filter.String(), plan.Index, plan.Scan, []candidate{}, plan.String()}
	for _, c := range plan.Candidates {
		body.Candidates = append(body.Candidates, candidate(c))
	}
	answer(w, http.StatusOK, body)
	return nil
}

func readFilter(r *http.Request) (recall.Filter, error) {
	c, err := read(r, &looking)
	if err != nil {
		return recall.Filter{}, err
	}
	if c.limit > 0 {
		return recall.Filter{}, badRequest("count is for cancellations")
	}
	f, _ := c.filter()
	return f, nil
}
