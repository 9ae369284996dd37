package qstash

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/recallmq/recall"
)

var publishRoutes = []route{
	{"v2/publish", map[string]call{http.MethodPost: noDestination}},
	{"v2/publish/", map[string]call{http.MethodPost: (*handler).publish}},
	{"v2/enqueue", map[string]call{http.MethodPost: noDestination}},
	{"v2/enqueue/", map[string]call{http.MethodPost: (*handler).enqueue}},
	{"v2/batch", map[string]call{http.MethodPost: (*handler).batch}},
}

// published is the answer to a message that was taken.
type published struct {
	MessageID    recall.MessageID `json:"messageId"`
	Deduplicated bool             `json:"deduplicated,omitempty"`
	URL          string           `json:"url"`
}

func noDestination(*handler, http.ResponseWriter, *http.Request, string) error {
	return badRequest("a non-empty destination must be provided")
}

func (h *handler) publish(w http.ResponseWriter, r *http.Request, rest string) error {
	return h.publishTo(w, r, "", rest)
}

func (h *handler) enqueue(w http.ResponseWriter, r *http.Request, rest string) error {
	escaped, rest, _ := strings.Cut(rest, "/")
	queue, err := url.PathUnescape(escaped)
	if err != nil || !isName(queue) {
		return badQueue(queue)
	}
	return h.publishTo(w, r, queue, rest)
}

// badQueue refuses the name of a queue. One with a comma could not be told
// from two in a filter.
func badQueue(name string) error {
	return badRequest("%.100q cannot be the name of the queue: letters, digits and -_. make a name", name)
}

// publishTo publishes, or, with a line of cron, makes a schedule that will.
func (h *handler) publishTo(w http.ResponseWriter, r *http.Request, queue, rest string) error {
	m, s, err := h.readMessage(r, queue, rest)
	switch {
	case err != nil:
		return err
	case s.get("Cron") != "":
		return h.setSchedule(w, r, s, m)
	case s.get("Schedule-Id") != "":
		return badRequest("Upstash-Schedule-Id needs an Upstash-Cron")
	case m.Topic != "":
		return h.publishToGroup(w, r, m)
	}
	receipt, err := h.b.Publish(r.Context(), m)
	if err != nil {
		return err
	}
	answer(w, statusOfReceipt(receipt), published{receipt.ID, receipt.Deduplicated, m.URL})
	return nil
}

// publishToGroup answers with an array and nothing around it.
func (h *handler) publishToGroup(w http.ResponseWriter, r *http.Request, m recall.Message) error {
	receipts, err := h.b.PublishTopic(r.Context(), m.Topic, m)
	if err != nil {
		return groupNotFound(m.Topic, err)
	}
	status := http.StatusAccepted // if all are duplicates
	for _, receipt := range receipts {
		if !receipt.Deduplicated {
			status = http.StatusOK
		}
	}
	answer(w, status, publishedAll(receipts))
	return nil
}

func publishedAll(receipts []recall.TopicReceipt) []published {
	out := make([]published, len(receipts))
	for i, receipt := range receipts {
		out[i] = published{receipt.ID, receipt.Deduplicated, receipt.Endpoint.URL}
	}
	return out
}

// readMessage makes the message that a request describes, for a URL or a URL
// group, and returns what it was configured by too.
func (h *handler) readMessage(r *http.Request, queue, rest string) (m recall.Message, s settings, err error) {
	query, params, err := splitQuery(r.URL.RawQuery)
	if err != nil {
		return m, s, err
	}
	m = recall.Message{Queue: queue, CallerIP: h.callerIP(r)}
	if m.URL, m.Topic, err = h.destination(rest, query); err != nil {
		return m, s, err
	}
	if r.URL.ForceQuery && m.URL != "" { // a "?" with nothing behind it is part of the text, too
		m.URL += "?"
	}
	s = settings{header: r.Header, query: params, authorization: !h.bears(r)}
	if m.Topic != "" {
		if s.defaults, err = h.groupDefaults(r.Context(), m.Topic); err != nil {
			return m, s, err
		}
	}
	if err := h.configure(s, &m); err != nil {
		return m, s, err
	}
	m.Body, err = h.readBody(r)
	return m, s, err
}

// groupDefaults returns the settings beneath those of who publishes to a group.
func (h *handler) groupDefaults(ctx context.Context, group string) (http.Header, error) {
	t, err := h.b.Topic(ctx, group)
	return t.Defaults, groupNotFound(group, err)
}

func (h *handler) readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(bodyOf(r, int64(h.o.MaxBody)))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, httpError(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", h.o.MaxBody)
	}
	if err != nil {
		return nil, badRequest("the body could not be read: %v", err)
	}
	return body, nil
}

// bodyOf is the body of a request, of which limit bytes can be read. One that
// no server made, for a call within the process, may have none.
func bodyOf(r *http.Request, limit int64) io.Reader {
	if r.Body == nil {
		return http.NoBody
	}
	return http.MaxBytesReader(nil, r.Body, limit)
}

// splitQuery takes our own parameters out of a query string, and leaves the
// rest byte for byte: it belongs to the destination. A name counts as ours
// also when it is escaped, or a token would go on to the destination.
func splitQuery(raw string) (rest string, ours url.Values, err error) {
	ours = url.Values{}
	var kept []string
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		if text, err := url.QueryUnescape(name); err == nil {
			name = strings.ToLower(text)
		}
		if name != tokenParam && !strings.HasPrefix(name, strings.ToLower(prefix)) {
			kept = append(kept, part)
			continue
		}
		text, err := url.QueryUnescape(value)
		if err != nil {
			return "", nil, badRequest("the parameter %s has a bad escape", name)
		}
		ours.Add(name, text)
	}
	return strings.Join(kept, "&"), ours, nil
}

// destination puts the URL together as it was written: what is signed and
// filtered is this very text. One that is escaped as a whole is unescaped. What is
// no URL is the name of a URL group.
func (h *handler) destination(rest, query string) (dest, group string, err error) {
	if isEscapedURL(rest) {
		if rest, err = url.PathUnescape(rest); err != nil {
			return "", "", badRequest("the destination has a bad escape")
		}
	}
	if rest == "" || rest == "/" {
		return "", "", noDestination(nil, nil, nil, "")
	}
	if !isURL(rest) && !strings.HasPrefix(rest, "local:") {
		rest = strings.TrimSuffix(rest, "/")
	}
	isGroup, err := h.checkDestination(rest)
	switch {
	case err != nil:
		return "", "", err
	case isGroup && query != "":
		return "", "", badRequest("a URL group has no query: there is nothing to do with %.100q", query)
	case isGroup:
		return "", rest, nil
	case query == "":
	case strings.Contains(rest, "?"): // it was escaped with its own query
		rest += "&" + query
	default:
		rest += "?" + query
	}
	return rest, "", nil
}

// isEscapedURL tells whether a destination is percent-encoded as a whole.
func isEscapedURL(dest string) bool {
	lower := strings.ToLower(dest)
	return strings.HasPrefix(lower, "http%3a") || strings.HasPrefix(lower, "https%3a")
}

func isURL(dest string) bool {
	return strings.HasPrefix(dest, "http://") || strings.HasPrefix(dest, "https://")
}

// errUnknownGroup is well-formed but cannot be accepted: in a batch it
// concerns its item only.
type errUnknownGroup struct{ name string }

func (e errUnknownGroup) Error() string { return "topic " + e.name + " not found" }

// Is makes every unknown group the same error.
func (e errUnknownGroup) Is(target error) bool {
	_, ok := target.(errUnknownGroup)
	return ok
}

// groupNotFound says which group was not found.
func groupNotFound(name string, err error) error {
	if errors.Is(err, recall.ErrNoTopic) {
		return errUnknownGroup{name}
	}
	return err
}

// checkDestination tells URLs from names of URL groups.
func (h *handler) checkDestination(dest string) (isGroup bool, err error) {
	switch {
	case dest == "":
		return false, noDestination(nil, nil, nil, "")
	case isURL(dest):
		return false, nil
	case strings.HasPrefix(dest, "local:") && h.o.AllowLocal:
		return false, nil
	case isName(dest):
		return true, nil
	}
	return false, badURL()
}

func badURL() error {
	return badRequest("invalid destination url: endpoint has invalid scheme, add http:// or https://")
}

// isName tells whether s could name a queue or a URL group.
func isName(s string) bool {
	for _, r := range s {
		if r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return s != ""
}
