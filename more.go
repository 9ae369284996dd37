package recall

import (
	"encoding/json"
	"fmt"

	"github.com/recallmq/recall/store"
)

// What few messages have is kept in their cold row by name, so that it costs the
// others nothing.
const (
	moreCallback        = "callback"
	moreFailureCallback = "failure-callback"
	moreFlow            = "flow"
	moreRedact          = "redact"
	moreEndpoint        = "endpoint"
	moreSource          = "source"
)

// moreOf returns those of a message.
func moreOf(m *Message) (fields []store.Field) {
	add := func(name string, value []byte) {
		fields = append(fields, store.Field{Name: []byte(name), Value: value})
	}
	if m.Callback != nil {
		add(moreCallback, encodeJSON(m.Callback))
	}
	if m.FailureCallback != nil {
		add(moreFailureCallback, encodeJSON(m.FailureCallback))
	}
	if m.Flow != nil {
		add(moreFlow, encodeJSON(m.Flow))
	}
	if m.Redact != nil {
		add(moreRedact, encodeJSON(m.Redact))
	}
	if m.Endpoint != "" {
		add(moreEndpoint, []byte(m.Endpoint))
	}
	if m.Source != "" {
		add(moreSource, []byte(m.Source))
	}
	return fields
}

// encodeJSON is for types that always encode.
func encodeJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("recall: %T does not encode: %v", v, err))
	}
	return text
}

// setMore is the way back.
func (m *Message) setMore(fields []store.Field) error {
	for _, f := range fields {
		var err error
		switch string(f.Name) {
		case moreCallback:
			err = json.Unmarshal(f.Value, &m.Callback)
		case moreFailureCallback:
			err = json.Unmarshal(f.Value, &m.FailureCallback)
		case moreFlow:
			err = json.Unmarshal(f.Value, &m.Flow)
		case moreRedact:
			err = json.Unmarshal(f.Value, &m.Redact)
		case moreEndpoint:
			m.Endpoint = string(f.Value)
		case moreSource:
			m.Source = MessageID(f.Value)
		default:
			err = fmt.Errorf("unknown attribute %q", clip(string(f.Name)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moreSize is what they take.
func moreSize(m *Message) (n int) {
	for _, f := range moreOf(m) {
		n += len(f.Value)
	}
	return n
}
