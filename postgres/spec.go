package postgres

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// spec is what of a message never changes and cannot be asked for, as it is kept
// beside the body.
type spec struct {
	Method          string            `json:"m,omitempty"`
	Header          []field           `json:"h,omitempty"`
	Delay           time.Duration     `json:"d,omitempty"`
	NotBefore       *time.Time        `json:"nb,omitempty"`
	Retries         *int              `json:"r,omitempty"`
	RetryDelay      string            `json:"rd,omitempty"`
	Timeout         time.Duration     `json:"t,omitempty"`
	Flow            *recall.FlowLimit `json:"f,omitempty"`
	Callback        *recall.Callback  `json:"cb,omitempty"`
	FailureCallback *recall.Callback  `json:"fcb,omitempty"`
	Redact          *recall.Redaction `json:"x,omitempty"`
	Endpoint        string            `json:"e,omitempty"`
	Source          recall.MessageID  `json:"s,omitempty"`
	Root            recall.MessageID  `json:"ro,omitempty"`
	Blocks          string            `json:"b,omitempty"`
	CallerIP        string            `json:"ip,omitempty"`
}

// field is one name of a header with its values, which may have any bytes.
type field struct {
	Name   []byte   `json:"n"`
	Values [][]byte `json:"v"`
}

func specOf(m *recall.Message) ([]byte, error) {
	s := spec{
		Method: m.Method, Header: fieldsOf(m.Header), Delay: m.Delay, Retries: m.Retries, RetryDelay: m.RetryDelay,
		Timeout: m.Timeout, Flow: m.Flow, Callback: m.Callback, FailureCallback: m.FailureCallback, Redact: m.Redact,
		Endpoint: m.Endpoint, Source: m.Source, Root: m.Root, Blocks: m.Blocks, CallerIP: m.CallerIP,
	}
	if !m.NotBefore.IsZero() {
		s.NotBefore = &m.NotBefore
	}
	return json.Marshal(s)
}

// addTo fills in what it keeps of a message.
func (s *spec) addTo(m *recall.Message) {
	m.Method, m.Header, m.Delay, m.Retries, m.RetryDelay = s.Method, headerOf(s.Header), s.Delay, s.Retries, s.RetryDelay
	m.Timeout, m.Flow, m.Callback, m.FailureCallback, m.Redact = s.Timeout, s.Flow, s.Callback, s.FailureCallback, s.Redact
	m.Endpoint, m.Source, m.Root, m.Blocks, m.CallerIP = s.Endpoint, s.Source, s.Root, s.Blocks, s.CallerIP
	if s.NotBefore != nil {
		m.NotBefore = *s.NotBefore
	}
}

func fieldsOf(h http.Header) (list []field) {
	for name, values := range h {
		f := field{Name: []byte(name), Values: [][]byte{}}
		for _, v := range values {
			f.Values = append(f.Values, []byte(v))
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b field) int { return cmp.Compare(string(a.Name), string(b.Name)) })
	return list
}

func headerOf(list []field) http.Header {
	if list == nil {
		return nil
	}
	h := make(http.Header, len(list))
	for _, f := range list {
		values := make([]string, len(f.Values))
		for i, v := range f.Values {
			values[i] = string(v)
		}
		h[string(f.Name)] = values
	}
	return h
}

// sizeOf and sizeOfHeader are what counts for [recall.PageBytes].
func sizeOf(m *recall.Message) int { return len(m.Body) + sizeOfHeader(m.Header) }

func sizeOfHeader(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// response is the answer of an endpoint, as it is kept with a dead letter.
type response struct {
	Status int     `json:"s"`
	Header []field `json:"h,omitempty"`
	Body   []byte  `json:"b,omitempty"`
}

func responseOf(r *recall.HTTPResponse) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	return json.Marshal(response{Status: r.Status, Header: fieldsOf(r.Header), Body: r.Body})
}

func readResponse(text []byte) (*recall.HTTPResponse, error) {
	if text == nil {
		return nil, nil
	}
	var r response
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, corrupt("a response", err)
	}
	return &recall.HTTPResponse{Status: r.Status, Header: headerOf(r.Header), Body: r.Body}, nil
}
