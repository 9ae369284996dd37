package qstash

import (
	"net/http"
	"slices"
	"strings"
)

// anyOrigin in Options.AllowedOrigins stands for all of them.
const anyOrigin = "*"

// preflightAge is how long a browser may remember the answer to a preflight, in
// seconds.
const preflightAge = "600"

// cors lets pages of the allowed origins read the answer, and answers the
// request by which a browser asks beforehand: that bears no token. It reports
// whether it has answered. Others get no header, and their browser refuses them.
func (h *handler) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(h.o.AllowedOrigins) == 0 {
		return false
	}
	header := w.Header()
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !h.allows(origin) {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	if asked := r.Header["Access-Control-Request-Headers"]; len(asked) > 0 {
		// A star would not stand for Authorization.
		header.Set("Access-Control-Allow-Headers", strings.Join(asked, ", "))
	}
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		header.Set("Access-Control-Allow-Private-Network", "true")
	}
	header.Set("Access-Control-Max-Age", preflightAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// allows compares origins as browsers write them, in lower case and without a
// slash at the end, with what people write.
func (h *handler) allows(origin string) bool {
	return slices.ContainsFunc(h.o.AllowedOrigins, func(allowed string) bool {
		return allowed == anyOrigin || strings.EqualFold(strings.TrimSuffix(allowed, "/"), origin)
	})
}
