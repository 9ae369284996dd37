package qstash

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

// maxBatchBody is the largest batch request, in bytes, and maxBatchItems how
// many items are read of one; a broker allows no more than that.
const (
	maxBatchBody  = 100 << 20
	maxBatchItems = 100_000
)

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
		return badRequest("item %d: %s", slots[bad.Index], text(bad.Err))
	}
	if err != nil {
		return err
	}
	for i, receipt := range receipts {
		answers[slots[i]] = published{receipt.ID, receipt.Deduplicated, msgs[i].URL}
	}
	answer(w, http.StatusOK, answers)
	return nil
}

func readBatch(r *http.Request) ([]batchItem, error) {
	dec := json.NewDecoder(bodyOf(r, maxBatchBody))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, noArray(err)
	}
	items := []batchItem{}
	for dec.More() {
		if len(items) == maxBatchItems {
			return nil, badRequest("there are more than %d items", maxBatchItems)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, noArray(err)
		}
		if !utf8.Valid(raw) { // the decoder would put other characters in its place
			return nil, badRequest("item %d is not valid UTF-8", len(items))
		}
		var item batchItem
		if err := json.Unmarshal(raw, &item); err != nil {
			return nil, badRequest("item %d: %v", len(items), err)
		}
		items = append(items, item)
	}
	if _, err := dec.Token(); err != nil {
		return nil, noArray(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("something follows the JSON array")
	}
	return items, nil
}

// noArray refuses a body that is not what a batch is; err may be nil.
func noArray(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return httpError(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBatchBody)
	case err != nil:
		return badRequest("the body is not a JSON array: %v", err)
	}
	return badRequest("the body is not a JSON array")
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
		if !isHeaderName(name) {
			return m, badRequest("%.100q is not the name of a header", name)
		}
		key := http.CanonicalHeaderKey(name)
		if header[key] != nil {
			return m, badRequest("the header %s is given twice", key)
		}
		header[key] = values
	}
	m = recall.Message{URL: *item.Destination, CallerIP: h.callerIP(r)}
	if item.Queue != nil && *item.Queue != "" {
		if m.Queue = *item.Queue; !isName(m.Queue) {
			return m, badQueue(m.Queue)
		}
	}
	if item.Body != nil {
		m.Body = []byte(*item.Body)
	}
	if err := h.configure(settings{header: header, authorization: true}, &m); err != nil {
		return m, err
	}
	if len(m.Body) > h.o.MaxBody {
		return m, httpError(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", h.o.MaxBody)
	}
	return m, h.checkDestination(m.URL)
}
