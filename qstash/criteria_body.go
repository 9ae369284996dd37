package qstash

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// parseBody reads criteria from a body: JSON, or, because a widespread way to
// call the API from Python sends that, a form, whatever the Content-Type says.
func parseBody(data []byte, d *dialect) (criteria, error) {
	if len(data) == 0 {
		return criteria{}, nil
	}
	data = bytes.TrimSpace(data) // white space alone is a body, and no filter: it is refused below
	if bytes.HasPrefix(data, []byte("{")) {
		return parseJSON(data, d)
	}
	c, err := parseQuery(string(data), d)
	if err != nil || !c.restricts() && c.all == nil && c.limit == 0 && len(c.options) == 0 {
		return criteria{}, badRequest("the body is neither a JSON object nor a form with known names")
	}
	return c, nil
}

// parseJSON reads one object, and nothing but it. A name that is given twice
// is refused: which of the two is meant?
func parseJSON(data []byte, d *dialect) (criteria, error) {
	c := criteria{dialect: d, values: map[string][]string{}}
	if !utf8.Valid(data) { // the decoder would put other characters in its place
		return c, badRequest("the body is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		return c, unreadable(err)
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return c, unreadable(err)
		}
		name, _ := token.(string)
		if seen[canonicalName(name)] {
			return c, badRequest("%q is given twice", name)
		}
		seen[canonicalName(name)] = true
		var value any
		if err := dec.Decode(&value); err != nil {
			return c, unreadable(err)
		}
		if err := c.setJSON(name, value); err != nil {
			return c, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return c, unreadable(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return c, badRequest("something follows the JSON object")
	}
	return c, nil
}

func unreadable(err error) error { return badRequest("the body is not valid JSON: %v", err) }

func canonicalName(name string) string {
	if canonical, ok := filterNames[name]; ok {
		return canonical
	}
	return name
}

// setJSON takes one member of the object. Elements of an array are never cut
// at commas.
func (c *criteria) setJSON(name string, value any) error {
	if !c.dialect.knows(name) && !c.dialect.isOption(name) {
		return badRequest("unknown filter %q", name)
	}
	if name == "messageIds" {
		return c.setIDs(value)
	}
	values, ok := stringsOf(value, numberNames[name], boolNames[name])
	if !ok {
		return badRequest("%s has a value of the wrong type", name)
	}
	return c.set(name, values)
}

// numberNames and boolNames have values other than strings.
var (
	numberNames = map[string]bool{
		"fromDate": true, "toDate": true, "dueAfter": true, "dueBefore": true, "minAttempts": true, "count": true,
		"limit": true, "expectAtMost": true, "expectExactly": true, "wait": true, "due": true, "until": true,
		"responseStatus": true,
	}
	boolNames = map[string]bool{"all": true, "async": true, "dryRun": true}
)

// setIDs takes an id or a list of ids. On QStash's wire an empty list and null
// count as not given, and what is no id in a list is passed over, even if it is
// empty.
func (c *criteria) setIDs(value any) error {
	if value == nil && !c.dialect.own {
		return nil
	}
	ids, ok := stringsOf(value, false, false)
	if !ok {
		return badRequest("messageIds must be a string or an array of strings")
	}
	if _, one := value.(string); one || c.dialect.own {
		return c.set("messageIds", ids)
	}
	c.ids = append(c.ids, ids...)
	return nil
}

// stringsOf returns the texts of a string or an array of strings, or of numbers
// or a boolean where these may stand.
func stringsOf(value any, number, boolean bool) ([]string, bool) {
	switch v := value.(type) {
	case string:
		return []string{v}, true
	case json.Number:
		return []string{v.String()}, number
	case bool:
		return []string{strconv.FormatBool(v)}, boolean
	case []any:
		list := []string{}
		for _, e := range v {
			switch e := e.(type) {
			case string:
				list = append(list, e)
			case json.Number:
				if !number {
					return nil, false
				}
				list = append(list, e.String())
			default:
				return nil, false
			}
		}
		return list, true
	}
	return nil, false
}
