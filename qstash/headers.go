package qstash

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// settings are the configuration of one message: the headers of a request or
// of a batch item, beneath them the query parameters of the same names, and
// beneath those the defaults of the URL group that it is for.
type settings struct {
	header   http.Header
	query    url.Values // names in lower case
	defaults http.Header

	// authorization: the header of that name is the message's, and not the one
	// that let the request in.
	authorization bool
}

const prefix = "Upstash-"

// get returns a setting. A header that is empty counts as not given, and leaves
// it to the parameter, and that to the default.
func (s settings) get(name string) string {
	name = prefix + name
	return cmp.Or(joined(s.header[name]), joined(s.query[strings.ToLower(name)]), joined(s.defaults[name]))
}

func joined(values []string) string { return strings.TrimSpace(strings.Join(values, ",")) }

// configure sets what the headers ask for on a message.
func (h *handler) configure(s settings, m *recall.Message) error {
	m.Method = strings.ToUpper(s.get("Method"))
	m.Labels = s.labels()
	for _, set := range []func(*recall.Message) error{
		s.setQueue, s.setHeader, s.setTimes, s.setRetries, s.setDeduplication, h.setCallbacks(s), s.setRedaction, s.setFlow,
	} {
		if err := set(m); err != nil {
			return err
		}
	}
	return nil
}

// setQueue reads the queue, unless the address names one: two are one too many.
func (s settings) setQueue(m *recall.Message) error {
	name := s.get("Queue-Name")
	switch {
	case name == "" || name == m.Queue:
		return nil
	case !isName(name):
		return badQueue(name)
	case m.Queue != "":
		return badRequest("Upstash-Queue-Name: %.100q is another queue than %.100q", name, m.Queue)
	}
	m.Queue = name
	return nil
}

func (s settings) setTimes(m *recall.Message) (err error) {
	if v := s.get("Delay"); v != "" {
		if m.Delay, err = parseDuration(v); err != nil {
			return badRequest("Upstash-Delay: %v", err)
		}
	}
	if v := s.get("Timeout"); v != "" {
		if m.Timeout, err = parseDuration(v); err != nil {
			return badRequest("Upstash-Timeout: %v", err)
		}
	}
	if v := s.get("Not-Before"); v != "" {
		seconds, err := strconv.ParseInt(v, 10, 64)
		if err != nil || seconds < 0 || seconds > maxDate/1000 {
			return badRequest("Upstash-Not-Before: %q is not a time in seconds", v)
		}
		m.NotBefore = time.Unix(seconds, 0)
	}
	return nil
}

func (s settings) setRetries(m *recall.Message) error {
	m.RetryDelay = s.get("Retry-Delay")
	v := s.get("Retries")
	if v == "" {
		return nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return badRequest("Upstash-Retries: %q is not a number of at least 0", v)
	}
	m.Retries = recall.Retries(n)
	return nil
}

func (s settings) labels() (labels []string) {
	for l := range strings.SplitSeq(s.get("Label"), ",") {
		if l = strings.TrimSpace(l); l != "" && !slices.Contains(labels, l) {
			labels = append(labels, l)
		}
	}
	return labels
}

// notForwarded are headers of the publishing request that are about its
// connection, even when it asks to have all of them forwarded.
var notForwarded = []string{
	"Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Accept-Encoding",
}

// forwardable tells whether a header goes along with all the others. A
// connection may name further headers as its own.
func (s settings) forwardable(name string) bool {
	if name == "Authorization" {
		return s.authorization
	}
	for own := range strings.SplitSeq(strings.Join(s.header["Connection"], ","), ",") {
		if strings.EqualFold(strings.TrimSpace(own), name) {
			return false
		}
	}
	return !slices.Contains(notForwarded, name)
}

func (s settings) setHeader(m *recall.Message) error {
	switch v := s.get("Header-Forward"); strings.ToLower(v) {
	case "true":
		m.Header = s.forwarded(true)
	case "", "false":
		m.Header = s.forwarded(false)
	default:
		return badRequest("Upstash-Header-Forward: %q is neither true nor false", v)
	}
	return nil
}

// forwarded returns the headers that the message is delivered with; all: also
// those without prefix. What is forwarded by its name wins over those, a header
// over a parameter, and either over a default.
func (s settings) forwarded(all bool) http.Header {
	const forward = prefix + "Forward-"
	out := http.Header{}
	for name, values := range s.defaults {
		if isPlain(name) && (name == "Content-Type" || all && !slices.Contains(notForwarded, name)) {
			out[name] = values
		}
	}
	forwardByName(out, s.defaults, forward)
	for name, values := range s.header {
		if isPlain(name) && (name == "Content-Type" || all && s.forwardable(name)) {
			out[name] = values
		}
	}
	forwardByName(out, s.query, strings.ToLower(forward))
	forwardByName(out, s.header, forward)
	return out
}

// isPlain tells whether a header is not one of QStash's.
func isPlain(name string) bool { return !strings.HasPrefix(name, prefix) }

// forwardByName sets the headers that others name behind a prefix, but not the
// type: clients that prefix every header would overwrite it.
func forwardByName(out http.Header, given map[string][]string, prefix string) {
	for name, values := range given {
		cut, ok := strings.CutPrefix(name, prefix)
		if !ok || cut == "" || strings.EqualFold(cut, "Content-Type") {
			continue
		}
		out[http.CanonicalHeaderKey(cut)] = values
	}
}

// isHeaderName tells whether s is a token of RFC 9110.
func isHeaderName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
