package dump

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/recallmq/recall"
)

// Version is that of the format.
const Version = 1

// line is one line: exactly one of its fields is set.
type line struct {
	Dump     *header   `json:"dump,omitempty"`
	Object   *object   `json:"object,omitempty"`
	Standing *standing `json:"standing,omitempty"`
	Row      *row      `json:"row,omitempty"`
	Message  *message  `json:"message,omitempty"`
	Dead     *dead     `json:"dead,omitempty"`
	End      *Counts   `json:"end,omitempty"`
}

// header is the first line.
type header struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // of this dump: where an import of it goes on
	At      time.Time `json:"at"`
}

// Counts are the lines of a dump.
type Counts struct {
	Objects  int `json:"objects"`
	Standing int `json:"standing"` // cancellations
	Rows     int `json:"rows"`     // signing keys
	Messages int `json:"messages"`
	Dead     int `json:"dead"`
}

// object is a queue, topic, schedule or key. Its value is JSON, as its broker has it.
type object struct {
	Kind  string          `json:"kind"`
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// kinds are the names of objects.
var kinds = []struct {
	kind recall.ObjectKind
	name string
}{
	{recall.ObjectQueue, "queue"},
	{recall.ObjectFlow, "flow"},
	{recall.ObjectTopic, "topic"},
	{recall.ObjectSchedule, "schedule"},
	{recall.ObjectScheduleTime, "scheduleTime"},
}

func objectOf(o recall.Object) *object {
	for _, k := range kinds {
		if k.kind == o.Kind {
			return &object{k.name, o.Name, o.Value}
		}
	}
	return nil
}

func (o *object) object() (recall.Object, error) {
	for _, k := range kinds {
		if k.name == o.Kind {
			return recall.Object{Kind: k.kind, Name: o.Name, Value: o.Value}, nil
		}
	}
	return recall.Object{}, fmt.Errorf("there are no objects of kind %q", o.Kind)
}

// standing is a standing cancellation.
type standing struct {
	Filter recall.Filter `json:"filter"`
	Reason string        `json:"reason,omitempty"`
	Until  time.Time     `json:"until"`
}

// row is one of a bucket.
type row struct {
	Bucket string `json:"bucket"`
	Key    []byte `json:"key"`
	Value  []byte `json:"value"`
}

// errLine is why a line is none of a dump.
var errLine = errors.New("it is no line of a dump")

// parse reads a line strictly: what it does not know would be lost.
func parse(text []byte) (*line, error) {
	var l line
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errLine
	}
	n := 0
	for _, there := range []bool{l.Dump != nil, l.Object != nil, l.Standing != nil, l.Row != nil, l.Message != nil, l.Dead != nil, l.End != nil} {
		if there {
			n++
		}
	}
	if n != 1 {
		return nil, errLine
	}
	return &l, nil
}

// text is the way back.
func (l *line) text() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
