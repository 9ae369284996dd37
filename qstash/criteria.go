package qstash

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// criteria are what a request says about the messages that it means, before
// body and query are put together.
type criteria struct {
	dialect     *dialect
	ids         []string            // nil: none given
	values      map[string][]string // by canonical name
	from, to    *int64              // ms
	dueAfter    *int64              // ms
	dueBefore   *int64
	minAttempts int
	all         *bool // said in so many words
	async       bool
	limit       int               // of a count; 0: none
	options     map[string]string // what is said about the call
}

// filterNames are the fields of a filter as the wire spells them, with the
// name that a field with several spellings goes by.
var filterNames = map[string]string{
	"queueName": "queueName", "url": "url", "topicName": "topicName", "scheduleId": "scheduleId",
	"callerIP": "callerIP", "callerIp": "callerIP", "label": "label", "flowControlKey": "flowControlKey",
	"host": "host", "path": "path",
}

// sdkCount is the count that SDKs send unasked with every filter: no limit.
// Any other number was typed by a person.
const sdkCount = 100

// maxCriteria bounds the body of a request with a filter: about half a million
// ids.
const maxCriteria = 16 << 20

// readCriteria reads body and query of a request of QStash's.
func readCriteria(r *http.Request) (criteria, error) { return read(r, &wire) }

// read reads body and query of a request. A body that cannot be read must
// never pass for none: it would cancel everything.
func read(r *http.Request, d *dialect) (criteria, error) {
	if _, odd := r.Header["Body"]; odd {
		return criteria{}, badRequest("the request has a header named body: the filter seems to have been put among the headers")
	}
	data, err := io.ReadAll(bodyOf(r, maxCriteria))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return criteria{}, httpError(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxCriteria)
		}
		return criteria{}, badRequest("the body could not be read: %v", err)
	}
	body, err := parseBody(data, d)
	if err != nil {
		return criteria{}, err
	}
	query, err := parseQuery(r.URL.RawQuery, d)
	if err != nil {
		return criteria{}, err
	}
	return merge(body, query)
}

// parseQuery reads criteria from a query string or a form. Repeated names and
// comma lists say the same.
func parseQuery(raw string, d *dialect) (criteria, error) {
	c := criteria{dialect: d, values: map[string][]string{}}
	params := url.Values{}
	for p, err := range pairsOf(raw) {
		switch {
		case err != nil:
			return c, badRequest("the query cannot be read: %v", err)
		case p.name == tokenParam:
		case !d.knows(p.name) && !d.isOption(p.name):
			if d.lenient {
				continue
			}
			return c, badRequest("unknown filter %q", p.name)
		default:
			params.Add(p.name, p.value)
		}
	}
	for name, given := range params {
		if d.isOption(name) {
			if err := c.setOption(name, given); err != nil {
				return c, err
			}
			continue
		}
		var values []string
		for _, v := range given {
			values = append(values, splitList(name, v)...)
		}
		if err := c.set(name, values); err != nil {
			return c, err
		}
	}
	return c, nil
}

// splitList cuts a comma list, but not within a URL or a path that has commas:
// matching too much would delete messages.
func splitList(name, v string) []string {
	var before func(string) bool
	switch name {
	case "url":
		before = func(s string) bool { return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") }
	case "path":
		before = func(s string) bool { return strings.HasPrefix(s, "/") }
	default:
		return strings.Split(v, ",")
	}
	var list []string
	start := 0
	for i := range len(v) {
		if v[i] == ',' && before(v[i+1:]) {
			list = append(list, v[start:i])
			start = i + 1
		}
	}
	return append(list, v[start:])
}

// set takes one name that the dialect knows, with its values.
func (c *criteria) set(name string, values []string) error {
	if c.dialect.isOption(name) {
		return c.setOption(name, values)
	}
	switch name {
	case "messageIds":
		if len(values) == 0 || slices.Contains(values, "") {
			return badRequest("filter %q is empty", name)
		}
		c.ids = append(c.ids, values...)
		return nil
	case "fromDate":
		return setDate(&c.from, name, values)
	case "toDate":
		return setDate(&c.to, name, values)
	case "dueAfter":
		return setDate(&c.dueAfter, name, values)
	case "dueBefore":
		return setDate(&c.dueBefore, name, values)
	case "minAttempts":
		return setNumber(&c.minAttempts, name, values)
	case "count":
		return c.setCount(values)
	case "all":
		return c.setAll(values)
	case "async":
		return c.setAsync(values)
	}
	if len(values) == 0 || slices.Contains(values, "") {
		return badRequest("filter %q is empty", name)
	}
	canonical := canonicalName(name)
	if canonical == "callerIP" {
		if err := c.dialect.checkAddresses(name, values); err != nil {
			return err
		}
	}
	c.values[canonical] = append(c.values[canonical], values...)
	return nil
}

// setNumber takes a number of at least 1.
func setNumber(at *int, name string, values []string) error {
	n, err := strconv.Atoi(strings.Join(values, ","))
	if err != nil || n < 1 {
		return badRequest("%s must be a number of at least 1", name)
	}
	*at = n
	return nil
}

func setDate(at **int64, name string, values []string) error {
	if len(values) != 1 {
		return badRequest("%s must be one number", name)
	}
	ms, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || ms < 0 || ms > maxDate {
		return badRequest("%s: %q is not a time in milliseconds", name, values[0])
	}
	*at = &ms
	return nil
}

// maxDate is the last millisecond of the year 9999.
const maxDate = 253402300799999

func (c *criteria) setCount(values []string) error {
	var n int
	err := setNumber(&n, "count", values)
	if n != sdkCount || !c.dialect.sdk {
		c.limit = n
	}
	return err
}

func (c *criteria) setAll(values []string) error {
	all, err := parseBool("all", values)
	c.all = &all
	return err
}

func (c *criteria) setAsync(values []string) (err error) {
	c.async, err = parseBool("async", values)
	return err
}

func parseBool(name string, values []string) (bool, error) {
	switch strings.ToLower(strings.Join(values, ",")) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, badRequest("%s must be true or false", name)
}

func (c *criteria) restricts() bool {
	return c.ids != nil || len(c.values) > 0 || c.from != nil || c.to != nil ||
		c.dueAfter != nil || c.dueBefore != nil || c.minAttempts > 0
}

// backwards names a range that no time is in.
func (c *criteria) backwards() (what string) {
	switch {
	case c.from != nil && c.to != nil && *c.from > *c.to:
		return "fromDate is after toDate"
	case c.dueAfter != nil && c.dueBefore != nil && *c.dueAfter > *c.dueBefore:
		return "dueAfter is after dueBefore"
	}
	return ""
}

// idsWin tells whether ids make everything else not count.
func (c *criteria) idsWin() bool { return c.ids != nil && !c.dialect.own }

// merge puts body and query together: a message must match both, but on
// QStash's wire ids win over everything else.
func merge(a, b criteria) (criteria, error) {
	out := criteria{dialect: b.dialect, all: a.all, async: a.async || b.async, limit: max(a.limit, b.limit), values: map[string][]string{}}
	if a.limit > 0 && b.limit > 0 {
		out.limit = min(a.limit, b.limit)
	}
	switch {
	case a.ids != nil && b.ids != nil:
		out.ids = common(a.ids, b.ids)
	case a.ids != nil:
		out.ids = a.ids
	case b.ids != nil:
		out.ids = b.ids
	}
	for name, values := range a.values {
		out.values[name] = values
	}
	for name, values := range b.values {
		if have, both := out.values[name]; both {
			values = common(have, values)
		}
		out.values[name] = values
	}
	out.from, out.to = later(a.from, b.from), earlier(a.to, b.to)
	out.dueAfter, out.dueBefore = later(a.dueAfter, b.dueAfter), earlier(a.dueBefore, b.dueBefore)
	out.minAttempts = max(a.minAttempts, b.minAttempts)
	if what := cmp.Or(a.backwards(), b.backwards()); what != "" && !out.idsWin() {
		return out, badRequest("%s", what)
	}
	if err := out.mergeOptions(a.options, b.options); err != nil {
		return out, err
	}
	if out.idsWin() {
		out.all = nil
		return out, nil
	}
	if out.all == nil {
		out.all = b.all
	}
	switch {
	case out.all == nil:
	case b.all != nil && *out.all != *b.all:
		return out, badRequest("body and query contradict each other about all")
	case *out.all && out.restricts():
		return out, badRequest("all and a filter contradict each other")
	case !*out.all && !out.restricts():
		return out, badRequest("all is false, but there is no filter")
	}
	return out, nil
}

// common returns what is in both lists. It is not nil: nothing in common
// matches nothing.
func common(a, b []string) []string {
	out, known := []string{}, map[string]bool{}
	for _, v := range b {
		known[v] = true
	}
	for _, v := range a {
		if known[v] {
			out = append(out, v)
		}
	}
	return out
}

func later(a, b *int64) *int64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

func earlier(a, b *int64) *int64 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// filter returns what the criteria mean; all is true if they restrict nothing.
func (c *criteria) filter() (f recall.Filter, all bool) {
	if c.idsWin() {
		return recall.Filter{IDs: c.messageIDs()}, false
	}
	if c.backwards() != "" { // body and query allow different times: nothing is in both
		return recall.Filter{IDs: []recall.MessageID{}}, false
	}
	f = recall.Filter{
		IDs: c.messageIDs(), Queues: c.values["queueName"], URLs: c.values["url"], Topics: c.values["topicName"],
		Schedules: c.values["scheduleId"], CallerIPs: c.values["callerIP"], Labels: c.values["label"],
		FlowKeys: c.values["flowControlKey"], Hosts: c.values["host"], Paths: c.values["path"],
		From: timeOf(c.from), To: timeOf(c.to), DueAfter: timeOf(c.dueAfter), DueBefore: timeOf(c.dueBefore),
		States: states(c.values["states"]), MinAttempts: c.minAttempts,
	}
	return f, f.IsZero()
}

// messageIDs leaves out what is no id, since it names no message. The list
// stays a list, and an empty one matches nothing.
func (c *criteria) messageIDs() []recall.MessageID {
	if c.ids == nil {
		return nil
	}
	ids := []recall.MessageID{}
	for _, s := range c.ids {
		if id, err := recall.ParseMessageID(s); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

func states(names []string) (list []recall.State) {
	for _, s := range names {
		list = append(list, recall.State(s))
	}
	return list
}

func timeOf(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms)
}
