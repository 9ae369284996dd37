package qstash

import (
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

func (h *handler) publishTo(w http.ResponseWriter, r *http.Request, queue, rest string) error {
	query, params, err := splitQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	dest, err := h.destination(rest, query)
	if err != nil {
		return err
	}
	if r.URL.ForceQuery { // a "?" with nothing behind it is part of the text, too
		dest += "?"
	}
	m := recall.Message{URL: dest, Queue: queue, CallerIP: h.callerIP(r)}
	if err := h.configure(settings{r.Header, params, !h.bears(r)}, &m); err != nil {
		return err
	}
	if m.Body, err = h.readBody(r); err != nil {
		return err
	}
	receipt, err := h.b.Publish(r.Context(), m)
	if err != nil {
		return err
	}
	answer(w, statusOfReceipt(receipt), published{receipt.ID, receipt.Deduplicated, dest})
	return nil
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
// filtered is this very text. One that is escaped as a whole is unescaped.
func (h *handler) destination(rest, query string) (string, error) {
	if lower := strings.ToLower(rest); strings.HasPrefix(lower, "http%3a") || strings.HasPrefix(lower, "https%3a") {
		text, err := url.PathUnescape(rest)
		if err != nil {
			return "", badRequest("the destination has a bad escape")
		}
		rest = text
	}
	if rest == "" || rest == "/" {
		return "", noDestination(nil, nil, nil, "")
	}
	if !isURL(rest) && !strings.HasPrefix(rest, "local:") {
		rest = strings.TrimSuffix(rest, "/")
	}
	if err := h.checkDestination(rest); err != nil {
		return "", err
	}
	switch {
	case query == "":
	case strings.Contains(rest, "?"): // it was escaped with its own query
		rest += "&" + query
	default:
		rest += "?" + query
	}
	return rest, nil
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

// checkDestination tells URLs from names of URL groups, of which there are
// none yet.
func (h *handler) checkDestination(dest string) error {
	switch {
	case dest == "":
		return noDestination(nil, nil, nil, "")
	case isURL(dest):
		return nil
	case strings.HasPrefix(dest, "local:") && h.o.AllowLocal:
		return nil
	case isName(dest):
		return errUnknownGroup{dest}
	}
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
