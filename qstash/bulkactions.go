package qstash

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

var bulkActionRoutes = []route{
	{"v2/bulkActions", map[string]call{http.MethodGet: (*handler).listBulkActions}},
	{"v2/bulkActions/", map[string]call{http.MethodGet: (*handler).getBulkAction}},
	{"v2/workflows/bulkActions", map[string]call{http.MethodGet: (*handler).listBulkActions}},
	{"v2/workflows/bulkActions/", map[string]call{http.MethodGet: (*handler).getBulkAction}},
}

// The states of a bulk action.
const (
	inProgress = "IN_PROGRESS"
	finished   = "FINISHED"
)

// bulkAction is a bulk cancellation as QStash tells of it. The id is that of the
// operation.
type bulkAction struct {
	ActionID    recall.OperationID  `json:"actionId"`
	Kind        string              `json:"kind"`
	State       string              `json:"state"`
	Total       int                 `json:"total"`
	Processed   int                 `json:"processed"`
	CreatedAt   int64               `json:"createdAt"`
	CompletedAt int64               `json:"completedAt,omitempty"`
	Filter      map[string][]string `json:"filter"`
	Error       string              `json:"error,omitempty"`
	MessageID   recall.MessageID    `json:"messageId,omitempty"` // that was in the way
}

// ofRecord tells of a cancellation by its record. How many matched beyond what it
// took is not in it.
func ofRecord(o *recall.Operation) bulkAction {
	n := o.Count + o.Requested
	out := bulkAction{
		ActionID: o.ID, Kind: "cancel", State: finished, Total: n, Processed: n, CreatedAt: millis(o.At),
		CompletedAt: millis(o.At.Add(o.Took)), Filter: filterOf(o.Filter),
	}
	if o.Blocker != "" {
		out.stopped(&recall.NotCancellableError{ID: o.Blocker, Cancelled: o.Count})
		out.Total++
	}
	return out
}

// add puts in what the process itself knows of an action.
func (b *bulkAction) add(a *action) {
	b.ActionID, b.Kind, b.Total, b.Filter = a.id, "cancel", a.total, a.filter
	b.CreatedAt = cmp.Or(b.CreatedAt, createdAt(a.id))
	if !a.done {
		b.State, b.Processed, b.CompletedAt = inProgress, 0, 0
		return
	}
	b.State, b.Processed = finished, a.result.Cancelled+a.result.Requested
	b.CompletedAt = cmp.Or(b.CompletedAt, b.CreatedAt)
	var blocked *recall.NotCancellableError
	switch {
	case errors.As(a.err, &blocked):
		b.stopped(blocked)
	case a.err != nil:
		b.Error = text(a.err)
	}
}

func (b *bulkAction) stopped(e *recall.NotCancellableError) {
	b.Error, b.MessageID = blockedText(e), e.ID
}

// createdAt is the time in the id of an operation, in ms: its first ten
// characters, in base 32.
func createdAt(id recall.OperationID) (ms int64) {
	const digits, length = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 10
	text := strings.TrimPrefix(string(id), "op_")
	for _, c := range text[:min(len(text), length)] {
		ms = ms<<5 | int64(strings.IndexRune(digits, c))
	}
	return ms
}

// listBulkActions is a page of bulk actions, newest first. A state is asked of the
// page: it may be short, and there may be more.
func (h *handler) listBulkActions(w http.ResponseWriter, r *http.Request, _ string) error {
	c, err := readQuery(r, &dialect{only: []string{"count"}, options: []string{"cursor", "state"}, lenient: true})
	if err != nil {
		return err
	}
	state := strings.ToUpper(c.options["state"])
	if state != "" && state != inProgress && state != finished {
		return badRequest("state: %.100q is neither %s nor %s", state, inProgress, finished)
	}
	before := recall.OperationID(c.options["cursor"])
	if before != "" && !isOperationID(before) {
		return badRequest("cursor: %.100q is none of bulk actions", before)
	}
	list, next, err := h.bulkActions(r.Context(), before, min(cmp.Or(c.limit, defaultPage), maxPage))
	if err != nil {
		return err
	}
	page := struct {
		BulkActions []bulkAction       `json:"bulkActions"`
		Cursor      recall.OperationID `json:"cursor,omitempty"`
	}{[]bulkAction{}, next}
	for _, a := range list {
		if state == "" || a.State == state {
			page.BulkActions = append(page.BulkActions, a)
		}
	}
	answer(w, http.StatusOK, page)
	return nil
}

// bulkActions returns up to limit of them, the newest first of those before one,
// and the last of the page if there are more.
func (h *handler) bulkActions(ctx context.Context, before recall.OperationID, limit int) (page []bulkAction, next recall.OperationID, err error) {
	found := map[recall.OperationID]bulkAction{}
	var newest []recall.OperationID // ascending, at most one more than the page
	for o, err := range h.b.Cancellations(ctx) {
		if err != nil {
			return nil, "", err
		}
		if o.Kind != recall.OperationCancel || before != "" && o.ID >= before {
			continue
		}
		found[o.ID] = ofRecord(&o)
		if newest = append(newest, o.ID); len(newest) > limit+1 {
			delete(found, newest[0])
			newest = newest[1:]
		}
	}
	for _, a := range h.actions.list() {
		if before != "" && a.id >= before {
			continue
		}
		one := found[a.id]
		one.add(&a)
		found[a.id] = one
	}
	ids := slices.Sorted(maps.Keys(found))
	slices.Reverse(ids)
	if len(ids) > limit {
		ids, next = ids[:limit], ids[limit-1]
	}
	for _, id := range ids {
		page = append(page, found[id])
	}
	return page, next, nil
}

func (h *handler) getBulkAction(w http.ResponseWriter, r *http.Request, rest string) error {
	unescaped, err := url.PathUnescape(strings.TrimSuffix(rest, "/"))
	id := recall.OperationID(unescaped)
	if err != nil || !isOperationID(id) {
		return notFound("bulk action %.100s not found", unescaped)
	}
	one, err := h.bulkAction(r.Context(), id)
	if errors.Is(err, recall.ErrNotFound) {
		return notFound("bulk action %s not found", id)
	}
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, one)
	return nil
}

func (h *handler) bulkAction(ctx context.Context, id recall.OperationID) (one bulkAction, err error) {
	a, known := h.actions.get(id)
	o, err := h.b.Operation(ctx, id)
	switch {
	case err == nil && o.Kind == recall.OperationCancel:
		one = ofRecord(&o)
	case err != nil && (!known || !errors.Is(err, recall.ErrNotFound) && !errors.Is(err, recall.ErrClosed)):
		return one, err
	case !known:
		return one, recall.ErrNotFound
	}
	if known {
		one.add(&a)
	}
	return one, nil
}

// recordNames are the fields of a filter as the text of a record has them, with
// the names that requests have for them.
var recordNames = map[string]string{
	"id": "messageIds", "queue": "queueName", "url": "url", "host": "host", "path": "path", "topic": "topicName",
	"schedule": "scheduleId", "ip": "callerIp", "label": "label", "flow": "flowControlKey", "from": "fromDate", "to": "toDate",
	"due-after": "dueAfter", "due-before": "dueBefore", "state": "states", "min-attempts": "minAttempts",
}

// filterOf reads the text that [recall.Filter.String] writes, as far as it goes:
// records have long ones cut.
func filterOf(text string) map[string][]string {
	filter := map[string][]string{}
	for text != "" {
		name, rest, ok := strings.Cut(text, "=")
		wire := recordNames[name]
		if !ok || wire == "" {
			break
		}
		var values []string
		values, text = recordValues(rest)
		for _, v := range values {
			filter[wire] = append(filter[wire], recordValue(wire, v))
		}
	}
	return filter
}

// recordValues reads values up to the next field. The last one of a text that was
// cut is left out.
func recordValues(text string) (values []string, rest string) {
	for {
		v, rest, ok := recordValueAt(text)
		if !ok {
			return values, ""
		}
		values = append(values, v)
		if rest == "" || rest[0] == ' ' {
			return values, strings.TrimPrefix(rest, " ")
		}
		text = rest[1:]
	}
}

// recordValueAt reads one value and what follows it; ok is false if it was cut.
func recordValueAt(text string) (value, rest string, ok bool) {
	if strings.HasPrefix(text, `"`) {
		quoted, err := strconv.QuotedPrefix(text)
		if err == nil {
			value, err = strconv.Unquote(quoted)
		}
		return value, text[len(quoted):], err == nil
	}
	end := strings.IndexAny(text, " |")
	if end < 0 {
		end = len(text)
	}
	value = text[:end]
	return value, text[end:], !strings.HasSuffix(text, cutMark) || end < len(text)
}

// cutMark ends a text that was cut.
const cutMark = "…"

// recordValue is a value as requests write it: times in milliseconds.
func recordValue(wire, value string) string {
	switch wire {
	case "fromDate", "toDate", "dueAfter", "dueBefore":
		if t, err := time.Parse(time.RFC3339Nano, value); err == nil {
			return strconv.FormatInt(t.UnixMilli(), 10)
		}
	}
	return value
}
