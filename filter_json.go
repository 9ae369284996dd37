package recall

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// UnmarshalJSON reads the object that a Filter is written as, and replaces f.
// A member that is missing or null is no restriction, and [] matches nothing.
// A name that is unknown, in other letters or given twice is an *[InvalidError]:
// a filter that says less than was meant would match more. What the values
// mean is for [Filter.Validate] to check.
func (f *Filter) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil // by the convention of encoding/json
	}
	if !utf8.Valid(data) { // the decoder would put other characters in its place
		return invalid("Filter", "it is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return invalid("Filter", "it is not a JSON object")
	}
	var read Filter
	members := read.members()
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return invalid("Filter", "%v", err)
		}
		name, _ := token.(string)
		into, known := members[name]
		if !known {
			return invalid("Filter", "%q is unknown, or given twice", clip(name))
		}
		delete(members, name)
		if err := dec.Decode(into); err != nil {
			return invalid("Filter", "%s: %v", name, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return invalid("Filter", "%v", err)
	}
	*f = read
	return nil
}

// members names the fields of f as JSON does.
func (f *Filter) members() map[string]any {
	return map[string]any{
		"ids": &f.IDs, "queues": &f.Queues, "urls": &f.URLs, "hosts": &f.Hosts, "paths": &f.Paths,
		"topics": &f.Topics, "schedules": &f.Schedules, "callerIPs": &f.CallerIPs, "labels": &f.Labels,
		"flowKeys": &f.FlowKeys, "from": &f.From, "to": &f.To, "dueAfter": &f.DueAfter, "dueBefore": &f.DueBefore,
		"states": &f.States, "minAttempts": &f.MinAttempts,
	}
}
