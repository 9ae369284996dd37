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

// route is a path and what serves it by method. A path that ends in a slash
// takes whatever follows; the others allow one trailing slash.
type route struct {
	path  string
	calls map[string]call
}

// routes are matched in order, in any letter case. Each file that serves some
// lists its own.
var routes = slices.Concat(
	modelRoutes,
	publishRoutes,
	messageRoutes,
	keyRoutes,
	readinessRoutes,
	bulkRoutes,
	operationRoutes,
	queueRoutes,
	groupRoutes,
	scheduleRoutes,
	flowRoutes,
	deadRoutes,
	logRoutes,
	bulkActionRoutes,
	workflowRoutes, // behind what else begins like them
)

// find matches the path without cleaning it: a destination is part of it, byte
// for byte. Leading slashes count as one, because a base URL that ends in a
// slash doubles it.
func find(r *http.Request) (call, string, error) {
	path := routePath(r)
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

func routePath(r *http.Request) string { return strings.TrimLeft(rawPath(r.URL), "/") }

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
