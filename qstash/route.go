package qstash

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// call serves one endpoint. rest is what of the path follows the route, with
// its escapes.
type call func(h *handler, w http.ResponseWriter, r *http.Request, rest string) error

// routes are matched in order, in any letter case. One that ends in a slash
// takes whatever follows; the others allow one trailing slash.
var routes = []struct {
	path  string
	calls map[string]call
}{
	{"v2/publish", map[string]call{http.MethodPost: noDestination}},
	{"v2/publish/", map[string]call{http.MethodPost: (*handler).publish}},
	{"v2/enqueue", map[string]call{http.MethodPost: noDestination}},
	{"v2/enqueue/", map[string]call{http.MethodPost: (*handler).enqueue}},
	{"v2/batch", map[string]call{http.MethodPost: (*handler).batch}},
	{"v2/messages", map[string]call{http.MethodDelete: (*handler).cancelMany}},
	{"v2/messages/", map[string]call{http.MethodGet: (*handler).getMessage, http.MethodDelete: (*handler).cancelOne}},
	{"v2/keys", map[string]call{http.MethodGet: (*handler).keys}},
	{"recall/v1/count", map[string]call{http.MethodPost: (*handler).count}},
	{"recall/v1/explain", map[string]call{http.MethodPost: (*handler).explain}},
	{"recall/v1/cancel", map[string]call{http.MethodPost: (*handler).cancelBulk}},
	{"recall/v1/restore", map[string]call{http.MethodPost: (*handler).restore}},
	{"recall/v1/hold", map[string]call{http.MethodPost: (*handler).hold}},
	{"recall/v1/release", map[string]call{http.MethodPost: (*handler).release}},
	{"recall/v1/reschedule", map[string]call{http.MethodPost: (*handler).reschedule}},
	{"recall/v1/retry-now", map[string]call{http.MethodPost: (*handler).retryNow}},
	{"recall/v1/cancellations", map[string]call{http.MethodGet: (*handler).cancellations}},
	{"recall/v1/cancellations/by-message/", map[string]call{http.MethodGet: (*handler).whoCancelled}},
	{"recall/v1/standing", map[string]call{http.MethodGet: (*handler).listStanding, http.MethodPost: (*handler).cancelFuture}},
	{"recall/v1/standing/", map[string]call{http.MethodDelete: (*handler).lift}},
}

// find matches the path without cleaning it: a destination is part of it, byte
// for byte. Leading slashes count as one, because a base URL that ends in a
// slash doubles it.
func find(r *http.Request) (call, string, error) {
	path := strings.TrimLeft(rawPath(r.URL), "/")
	for _, route := range routes {
		rest, ok := match(route.path, path)
		if !ok {
			continue
		}
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if c := route.calls[method]; c != nil {
			return c, rest, nil
		}
		return nil, "", &statusError{status: http.StatusMethodNotAllowed, text: "method not allowed", allow: allowed(route.calls)}
	}
	return nil, "", notFound("no such endpoint: %.200s", r.URL.Path)
}

// rawPath is the path as the client wrote it. EscapedPath alone escapes a path
// anew when it holds a character that should have been escaped, such as "{",
// and then "%2F" becomes a slash.
func rawPath(u *url.URL) string {
	if path, err := url.PathUnescape(u.RawPath); err == nil && path == u.Path && path != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

func match(route, path string) (rest string, ok bool) {
	if len(path) < len(route) || !strings.EqualFold(path[:len(route)], route) {
		return "", false
	}
	rest = path[len(route):]
	if strings.HasSuffix(route, "/") {
		return rest, true
	}
	return rest, rest == "" || rest == "/"
}

func allowed(calls map[string]call) string {
	var methods []string
	for m := range calls {
		methods = append(methods, m)
		if m == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

func (h *handler) keys(w http.ResponseWriter, _ *http.Request, _ string) error {
	answer(w, http.StatusOK, map[string]string{"current": h.o.CurrentSigningKey, "next": h.o.NextSigningKey})
	return nil
}
