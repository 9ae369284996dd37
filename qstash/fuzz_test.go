package qstash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// FuzzDuration checks that a duration is read as package time reads it, where
// both can.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"", "0", "50", "50s", "1d10h30m", "1h1h", "-1s", "1.5h", "9223372036s", "106751d", "1h30", "s", "01m"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDuration(s)
		if err != nil {
			return
		}
		if d < 0 || d%time.Second != 0 {
			t.Errorf("%q: got %v", s, d)
		}
		text := s
		if s[len(s)-1] <= '9' {
			text += "s"
		}
		if strings.Contains(text, "d") {
			return // package time knows no days
		}
		if want, err := time.ParseDuration(text); err != nil || d != want {
			t.Errorf("%q: got %v, want %v, %v", s, d, want, err)
		}
	})
}

// FuzzLimits checks that what is read stays within its bounds, and is read
// again from how it would be written.
func FuzzLimits(f *testing.F) {
	for _, seed := range []string{
		"parallelism=2, rate=3, period=60s", "rate=1", "parallelism=1", "period=1h30m3s,rate=2", "period=1s", "rate=0", "rate=1,rate=1",
		"", ",", "=", "rate", "rate=1=1", "period=8d,rate=1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parseLimit(s)
		if err != nil {
			return
		}
		if l.Parallelism < 0 || l.Rate < 0 || l.Parallelism+l.Rate == 0 || l.Period < 0 || l.Period > recall.MaxFlowPeriod ||
			(l.Period == 0) != (l.Rate == 0) {
			t.Errorf("%q: got %+v", s, l)
		}
		var parts []string
		if l.Parallelism > 0 {
			parts = append(parts, fmt.Sprintf("parallelism=%d", l.Parallelism))
		}
		if l.Rate > 0 {
			parts = append(parts, fmt.Sprintf("rate=%d", l.Rate), fmt.Sprintf("period=%d", l.Period/time.Second))
		}
		if again, err := parseLimit(strings.Join(parts, ",")); err != nil || again != l {
			t.Errorf("%q: got %+v, then %+v, %v", s, l, again, err)
		}
	})
}

// FuzzCriteria checks when a request may mean everything: if its query has
// only names that restrict nothing, and its body is empty, a form of such
// names, or a JSON object with no other member than those and an empty
// list of ids. It must also be one that a client can have meant: all=false
// never is.
func FuzzCriteria(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"", "count=100"},
		{"", "all=true&qstash_token=t"},
		{"{}", ""},
		{` {"messageIds" : [ ] } `, ""},
		{`{"messageIds":null,"count":7,"all":true}`, "count=100"},
		{`{"all":false}`, ""},
		{`{"messageIds":["a"],"messageIds":[]}`, ""},
		{`{"queueName":"q","fromDate":1}`, "url=https://a,https://b&path=/a,b,/c"},
		{`{"label":["a","b"]`, ""},
		{"{} {}", ""},
		{"messageIds=a&messageIds=b", ""},
		{"all=1", "all=0"},
		{"[]", ""},
		{"&", "&"},
		{" ", ""},
		{`{"async":false}`, "async=0"},
		{`{"toDate":1}`, "fromDate=2"},
	} {
		f.Add([]byte(seed[0]), seed[1])
	}
	f.Fuzz(func(t *testing.T, body []byte, query string) {
		r := httptest.NewRequest("DELETE", "/v2/messages", bytes.NewReader(body))
		r.URL.RawQuery = query
		c, err := readCriteria(r)
		if err != nil {
			return
		}
		filter, all := c.filter()
		if filter.IsZero() != all {
			t.Errorf("all is %v, but the filter is %v", all, filter)
		}
		if all && (!restrictsNothing(query) || !bodyRestrictsNothing(body)) {
			t.Errorf("body %q, query %q: means everything", body, query)
		}
	})
}

// FuzzOwnCriteria checks that Recall's own cancellation means everything only
// if it says so, and that nothing is both a filter and an option.
func FuzzOwnCriteria(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"{}", ""},
		{`{"all":true,"limit":1}`, ""},
		{"", "all=1&policy=skip"},
		{`{"messageIds":[]}`, ""},
		{`{"messageIds":["a"],"queueName":"q","wait":"2s"}`, "expectAtMost=1"},
		{`{"states":["held"],"dueAfter":1,"minAttempts":2}`, "dueBefore=2&callerIP=10.0.0.0/8"},
		{"dryRun=true&reason=a,b", ""},
		{`{"limit":1}`, "limit=1"},
	} {
		f.Add([]byte(seed[0]), seed[1])
	}
	f.Fuzz(func(t *testing.T, body []byte, query string) {
		r := httptest.NewRequest("POST", "/recall/v1/cancel", bytes.NewReader(body))
		r.URL.RawQuery = query
		c, err := read(r, &cancelling)
		if err != nil {
			return
		}
		filter, all := c.filter()
		if filter.IsZero() != all {
			t.Errorf("all is %v, but the filter is %v", all, filter)
		}
		if c.all != nil && *c.all != all {
			t.Errorf("body %q, query %q: says %v, means %v", body, query, *c.all, all)
		}
		if opts, err := c.cancelOptions(); err == nil && len(opts) > len(c.options) {
			t.Errorf("body %q, query %q: %d options from %v", body, query, len(opts), c.options)
		}
	})
}

func bodyRestrictsNothing(body []byte) bool {
	if len(body) == 0 {
		return true
	}
	body = bytes.TrimSpace(body)
	if !bytes.HasPrefix(body, []byte("{")) {
		return len(body) > 0 && restrictsNothing(string(body))
	}
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return false
	}
	for name, value := range members {
		switch name {
		case "messageIds":
			if list, ok := value.([]any); value != nil && (!ok || len(list) > 0) {
				return false
			}
		case "all":
			if v := strings.ToLower(strings.Trim(fmt.Sprint(value), "[]")); v != "true" && v != "1" {
				return false
			}
		case "count", "async":
		default:
			return false
		}
	}
	return true
}

func restrictsNothing(form string) bool {
	params, err := url.ParseQuery(form)
	if err != nil {
		return false
	}
	for name, values := range params {
		switch name {
		case "count", "async", tokenParam:
		case "all":
			if v := strings.ToLower(strings.Join(values, ",")); v != "true" && v != "1" {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// FuzzDestination checks that what a destination is stored as is what the path
// and the query said, less our own parameters.
func FuzzDestination(f *testing.F) {
	for _, seed := range [][2]string{
		{"https://example.com/a//b/../c%2F", "x=%2F+z&&y"},
		{"https%3A%2F%2Fexample.com%2F%3Fa", "b"},
		{"http://h", "qstash_token=t&upstash-retries=1"},
		{"http://h", "qstash%5Ftoken=t&x=1&UPSTASH%2dDelay=1"},
		{"group/", ""},
		{"local:h", ""},
		{"/", "?"},
	} {
		f.Add(seed[0], seed[1])
	}
	h := &handler{o: (&Options{AllowLocal: true}).withDefaults()}
	f.Fuzz(func(t *testing.T, rest, raw string) {
		query, ours, err := splitQuery(raw)
		if err != nil {
			return
		}
		if len(ours) == 0 && query != raw {
			t.Errorf("query: got %q, want %q", query, raw)
		}
		for part := range strings.SplitSeq(query, "&") {
			name, _, _ := strings.Cut(part, "=")
			name, err := url.QueryUnescape(name)
			if name = strings.ToLower(name); err == nil && (name == tokenParam || strings.HasPrefix(name, "upstash-")) {
				t.Errorf("query %q: %q is left", raw, part)
			}
		}
		dest, group, err := h.destination(rest, query)
		if err != nil {
			return
		}
		if group != "" {
			if dest != "" || !isName(group) || query != "" || group != strings.TrimSuffix(rest, "/") {
				t.Errorf("%q: got %q and the group %q", rest, dest, group)
			}
			return
		}
		want := rest
		if query != "" {
			want += "?" + query
		}
		if isURL(rest) && !strings.Contains(rest, "?") && dest != want {
			t.Errorf("got %q, want %q", dest, want)
		}
		if !isURL(dest) && !strings.HasPrefix(dest, "local:") {
			t.Errorf("%q is accepted as %q", rest, dest)
		}
	})
}

// FuzzFind checks that a path is cut where the route ends, and nothing else
// happens to it.
func FuzzFind(f *testing.F) {
	for _, seed := range []string{
		"/v2/publish/https://h//a/../b%2F", "//V2/Messages/", "/v2/messages/msg_1", "/v2/enqueue/q/https://h", "/v2/keys/", "/", "/v2%2Fkeys",
		"/v2/publish/https://h/%2F{ü}",
	} {
		f.Add("POST", seed)
		f.Add("DELETE", seed)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL = method, u
		call, rest, err := find(r)
		if (call == nil) != (err != nil) {
			t.Errorf("%s %q: got %v, %v", method, target, call != nil, err)
		}
		written, _, _ := strings.Cut(target, "?")
		if err == nil && !strings.HasSuffix(written, rest) {
			t.Errorf("%s %q: got %q", method, target, rest)
		}
	})
}

// FuzzRecordFilter reads the text of a filter back, whole or cut anywhere.
func FuzzRecordFilter(f *testing.F) {
	f.Add("q", "https://example.com/a b?x=1|2", "x=\"y\\", int64(1000), uint16(5))
	f.Add("", "…", "\x00\xff", int64(0), uint16(0))
	f.Fuzz(func(t *testing.T, queue, url, label string, from int64, cut uint16) {
		filter := recall.Filter{Queues: []string{queue}, URLs: []string{url, url + "2"}, Labels: []string{label}}
		if from > 0 && from <= maxDate {
			filter.From = time.UnixMilli(from)
		}
		text := filter.String()
		got := filterOf(text)
		urls := []string{url, url + "2"}
		slices.Sort(urls)
		if !slices.Equal(got["queueName"], []string{queue}) || !slices.Equal(got["url"], urls) || !slices.Equal(got["label"], []string{label}) {
			t.Errorf("%s: got %q", text, got)
		}
		if from > 0 && from <= maxDate && !slices.Equal(got["fromDate"], []string{strconv.FormatInt(from, 10)}) {
			t.Errorf("%s: got %q", text, got)
		}
		filterOf(text[:min(int(cut), len(text))] + cutMark)
	})
}
