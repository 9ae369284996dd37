package qstash

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/recallmq/recall"
)

// maxBatchBody is the largest batch request, in bytes.
const maxBatchBody = 100 << 20

// batchItem is one message of a batch. SDKs send null and "" for what is not
// set.
type batchItem struct {
	Destination *string                `json:"destination"`
	Headers     map[string]headerValue `json:"headers"`
	Body        *string                `json:"body"`
	Queue       *string                `json:"queue"`
}

// headerValue is a string or an array of strings.
type headerValue []string

// UnmarshalJSON implements json.Unmarshaler. Null is no value.
func (v *headerValue) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*v = nil
		return nil
	}
	var one string
	if json.Unmarshal(data, &one) == nil {
		*v = headerValue{one}
		return nil
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return errors.New("a header must be a string or an array of strings")
	}
	*v = list
	return nil
}

// batch publishes the items that can be accepted in one commit. An item that
// is malformed refuses the whole; one that is well-formed but cannot be
// accepted is answered in its place.
func (h *handler) batch(w http.ResponseWriter, r *http.Request, _ string) error {
	items, err := readBatch(r)
	if err != nil {
		return err
	}
	answers := make([]any, len(items))
	var msgs []recall.Message
	var slots []int
	for i, item := range items {
		m, err := h.batchMessage(item, r)
		var group errUnknownGroup
		var own *statusError
		switch {
		case errors.As(err, &group), errors.As(err, &own) && own.status == http.StatusRequestEntityTooLarge:
			answers[i] = map[string]string{"error": err.Error()}
		case err != nil:
			return badRequest("item %d: %v", i, err)
		default:
			msgs, slots = append(msgs, m), append(slots, i)
		}
	}
	receipts, err := h.b.PublishBatch(r.Context(), msgs)
	var bad *recall.BatchError
	if errors.As(err, &bad) {
		return badRequest("item %d: %v", slots[bad.Index], bad.Err)
	}
	if err != nil {
		return err
	}
	for i, receipt := range receipts {
		answers[slots[i]] = published{receipt.ID, msgs[i].URL}
	}
	answer(w, http.StatusOK, answers)
	return nil
}

func readBatch(r *http.Request) ([]batchItem, error) {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBatchBody))
	var raw []json.RawMessage
	err := dec.Decode(&raw)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, httpError(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBatchBody)
	case err != nil:
		return nil, badRequest("the body is not a JSON array: %v", err)
	case raw == nil:
		return nil, badRequest("the body is not a JSON array: null")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("something follows the JSON array")
	}
	items := make([]batchItem, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &items[i]); err != nil {
			return nil, badRequest("item %d: %v", i, err)
		}
	}
	return items, nil
}

// batchMessage makes the message of an item.
func (h *handler) batchMessage(item batchItem, r *http.Request) (m recall.Message, err error) {
	if item.Destination == nil {
		return m, noDestination(nil, nil, nil, "")
	}
	header := http.Header{}
	for name, values := range item.Headers {
		if len(values) == 0 {
			continue
		}
		key := http.CanonicalHeaderKey(name)
		if header[key] != nil {
			return m, badRequest("the header %s is given twice", key)
		}
		header[key] = values
	}
	m = recall.Message{URL: *item.Destination, CallerIP: callerIP(r)}
	if item.Queue != nil && *item.Queue != "" {
		if m.Queue = *item.Queue; !isName(m.Queue) {
			return m, badQueue(m.Queue)
		}
	}
	if item.Body != nil {
		m.Body = []byte(*item.Body)
	}
	if err := (settings{header: header}).apply(&m); err != nil {
		return m, err
	}
	if len(m.Body) > h.o.MaxBody {
		return m, httpError(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", h.o.MaxBody)
	}
	return m, h.checkDestination(m.URL)
}
