package qstash

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
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
	b := batchOf{h: h, answers: make([]any, len(items)), groups: map[string]batchGroup{}}
	for i, item := range items {
		m, err := b.message(item, r)
		switch {
		case isSlotError(err):
			b.refuse(i, err)
		case isBadRequest(err):
			return badRequest("item %d: %s", i, text(err))
		case err != nil:
			return err
		default:
			b.msgs, b.slots = append(b.msgs, m), append(b.slots, i)
		}
	}
	if err := b.publish(r.Context()); err != nil {
		return err
	}
	answer(w, http.StatusOK, b.answers)
	return nil
}

// batchOf is a batch on its way.
type batchOf struct {
	h       *handler
	answers []any // in the order of the items
	msgs    []recall.Message
	slots   []int // the item of each of msgs
	groups  map[string]batchGroup
}

// batchGroup is a URL group as the batch has found it.
type batchGroup struct {
	defaults http.Header
	err      error
}

// isSlotError tells what concerns one item only.
func isSlotError(err error) bool {
	var own *statusError
	var invalid *recall.InvalidError
	return errors.Is(err, errUnknownGroup{}) || errors.As(err, &invalid) && invalid.OverLimit ||
		errors.As(err, &own) && own.status == http.StatusRequestEntityTooLarge
}

// isBadRequest tells what is the fault of an item.
func isBadRequest(err error) bool {
	var own *statusError
	return errors.As(err, &own) || errors.Is(err, recall.ErrInvalid)
}

func (b *batchOf) refuse(slot int, err error) {
	b.answers[slot] = map[string]string{"error": text(err)}
}

// drop refuses messages that were accepted, by their ascending positions in msgs.
func (b *batchOf) drop(err error, positions ...int) {
	msgs, slots := b.msgs[:0], b.slots[:0]
	for i := range b.msgs {
		if _, found := slices.BinarySearch(positions, i); found {
			b.refuse(b.slots[i], err)
			continue
		}
		msgs, slots = append(msgs, b.msgs[i]), append(slots, b.slots[i])
	}
	b.msgs, b.slots = msgs, slots
}

// certain returns the first of the messages without room for their ids that have none
// in any case: a message to a group lets go of what room some of its ids have found.
func (b *batchOf) certain(refused []int) []int {
	if i := slices.IndexFunc(refused, func(at int) bool { return b.msgs[at].Topic != "" }); i >= 0 {
		return refused[:i+1]
	}
	return refused
}

// publish publishes what was accepted. A group that has gone meanwhile is like one
// that was never there.
func (b *batchOf) publish(ctx context.Context) error {
	for {
		lists, err := b.h.b.PublishMixed(ctx, b.msgs)
		var bad *recall.BatchError
		var full *recall.DeduplicationFullError
		switch {
		case errors.As(err, &bad) && errors.Is(err, recall.ErrNoTopic):
			b.drop(errUnknownGroup{b.msgs[bad.Index].Topic}, bad.Index)
			continue
		case errors.As(err, &full):
			b.drop(recall.ErrDeduplicationFull, b.certain(full.Indexes)...)
			continue
		case bad != nil:
			return badRequest("item %d: %s", b.slots[bad.Index], text(bad.Err))
		case err != nil:
			return err
		}
		for i, receipts := range lists {
			all := publishedAll(receipts)
			if b.answers[b.slots[i]] = all; b.msgs[i].Topic == "" {
				b.answers[b.slots[i]] = all[0]
			}
		}
		return nil
	}
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
			return nil, badRequest("item %d: %v", len(items), jsonFault(err))
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

// message makes the message of an item. What is wrong with the item itself comes
// before a group that does not exist.
func (b *batchOf) message(item batchItem, r *http.Request) (m recall.Message, err error) {
	if item.Destination == nil {
		return m, noDestination(nil, nil, nil, "")
	}
	isGroup, err := b.h.checkDestination(*item.Destination)
	if err != nil {
		return m, err
	}
	s := settings{authorization: true}
	if s.header, err = item.header(); err != nil {
		return m, err
	}
	m = recall.Message{URL: *item.Destination, CallerIP: b.h.callerIP(r)}
	var group batchGroup
	if isGroup {
		m.URL, m.Topic = "", m.URL
		group = b.group(r.Context(), m.Topic)
		s.defaults = group.defaults
	}
	if item.Queue != nil && *item.Queue != "" {
		if m.Queue = *item.Queue; !isName(m.Queue) {
			return m, badQueue(m.Queue)
		}
	}
	if item.Body != nil {
		m.Body = []byte(*item.Body)
	}
	if err := b.h.configure(s, &m); err != nil {
		return m, err
	}
	if s.get("Cron") != "" || s.get("Schedule-Id") != "" {
		return m, badRequest("a batch makes no schedules: Upstash-Cron and Upstash-Schedule-Id are for a request by itself")
	}
	if len(m.Body) > b.h.o.MaxBody {
		return m, httpError(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", b.h.o.MaxBody)
	}
	if err := b.h.b.Validate(m); err != nil {
		return m, err
	}
	return m, group.err
}

// group looks a URL group up once.
func (b *batchOf) group(ctx context.Context, name string) batchGroup {
	g, known := b.groups[name]
	if !known {
		g.defaults, g.err = b.h.groupDefaults(ctx, name)
		b.groups[name] = g
	}
	return g
}

// header returns the headers of an item by their canonical names.
func (item *batchItem) header() (http.Header, error) {
	header := http.Header{}
	for name, values := range item.Headers {
		if len(values) == 0 {
			continue
		}
		if !isHeaderName(name) {
			return nil, badRequest("%.100q is not the name of a header", name)
		}
		key := http.CanonicalHeaderKey(name)
		if header[key] != nil {
			return nil, badRequest("the header %s is given twice", key)
		}
		header[key] = values
	}
	return header, nil
}
