package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"regexp"
)

// requestIDHeader names a request in our log, in that of the caller, and in
// those of what stands in between.
const requestIDHeader = "X-Request-Id"

// saneID is what we take over from a caller: it stands in a log.
var saneID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}$`)

type scopeKey struct{}

// scope is what is known of a request while it is served.
type scope struct {
	id   string
	user string // whose token it bears; "" if there is only one user
}

func scopeOf(ctx context.Context) *scope {
	s, _ := ctx.Value(scopeKey{}).(*scope)
	return s
}

// withRequestID gives each request an id, its own if that is sane, and tells the
// caller.
func withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &scope{id: r.Header.Get(requestIDHeader)}
		if !saneID.MatchString(s.id) {
			s.id = rand.Text()
		}
		w.Header().Set(requestIDHeader, s.id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), scopeKey{}, s)))
	})
}

// withRequestIDs adds the id of the request to every line that has its context.
type withRequestIDs struct{ slog.Handler }

func (h withRequestIDs) Handle(ctx context.Context, line slog.Record) error {
	if s := scopeOf(ctx); s != nil {
		line = line.Clone()
		line.AddAttrs(slog.String("request_id", s.id))
	}
	return h.Handler.Handle(ctx, line)
}

func (h withRequestIDs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withRequestIDs{h.Handler.WithAttrs(attrs)}
}

func (h withRequestIDs) WithGroup(name string) slog.Handler {
	return withRequestIDs{h.Handler.WithGroup(name)}
}
