package main

import (
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/recallmq/recall/qstash"
)

// withAccessLog writes a line about each request when it has been answered.
func withAccessLog(next http.Handler, log *slog.Logger, level slog.Level, proxies []netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !log.Enabled(r.Context(), level) {
			next.ServeHTTP(w, r)
			return
		}
		begun, answer := time.Now(), &recorder{ResponseWriter: w}
		defer func() { // also after a panic that cuts the connection
			log.LogAttrs(r.Context(), level, "request", answer.attrs(r, proxies, time.Since(begun))...)
		}()
		next.ServeHTTP(answer, r)
	})
}

// recorder sees what is answered.
type recorder struct {
	http.ResponseWriter
	status int
	size   int
}

// Unwrap lets [http.ResponseController] through.
func (a *recorder) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *recorder) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *recorder) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.size += n
	return n, err
}

func (a *recorder) attrs(r *http.Request, proxies []netip.Prefix, took time.Duration) []slog.Attr {
	list := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", loggedPath(r.URL.EscapedPath())),
		slog.Int("status", a.status), slog.Int("bytes", a.size), slog.Duration("took", took),
	}
	if caller := qstash.CallerIP(r, proxies); caller.IsValid() {
		list = append(list, slog.String("caller", caller.String()))
	}
	if s := scopeOf(r.Context()); s != nil && s.user != "" {
		list = append(list, slog.String("user", s.user))
	}
	return list
}

const maxLoggedPath = 200

// schemeEnd is what separates the scheme of a destination from its host, in any spelling.
var schemeEnd = regexp.MustCompile(`(?i)(:|%3a)(/|%2f){1,2}`)

// loggedPath cuts a destination down to scheme and host: what follows, and a
// password before it, may be a secret. So may a query, which never gets here.
func loggedPath(path string) string {
	at := schemeEnd.FindStringIndex(path)
	switch {
	case at == nil:
	case path[at[0]:at[1]] != "://": // escaped in part, or wrong: what is the host is not certain
		path = path[:at[1]] + "…"
	default:
		host := path[at[1]:]
		end := strings.IndexByte(host, '/')
		if end >= 0 {
			host = host[:end]
		}
		host = host[strings.LastIndexByte(host, '@')+1:]
		if end >= 0 {
			host += "/…"
		}
		path = path[:at[1]] + host
	}
	if len(path) > maxLoggedPath {
		path = strings.ToValidUTF8(path[:maxLoggedPath], "") + "…"
	}
	return path
}
