package main

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall/admin"
	"github.com/recallmq/recall/qstash"
)

// withAdmin serves Recall's own calls beside the API, each user's on their own
// broker, for the same tokens and within the same limits.
func (s *server) withAdmin(next http.Handler, limits map[*user]*rateLimit) http.Handler {
	var list []adminUser
	for _, u := range s.users {
		a := adminUser{access: admin.Tokens(u.tokens, u.readOnly), limit: limits[u]}
		a.Handler = admin.NewHandler(u.broker, &admin.Options{
			Access: a.access, Logger: s.log, CallerIP: s.callerIP, MaxRequest: admin.RequestFor(s.limits.maxBody),
		})
		list = append(list, a)
	}
	nobody := admin.NewHandler(nil, &admin.Options{Logger: s.log})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, admin.Prefix) {
			next.ServeHTTP(w, r)
			return
		}
		serve := nobody
		for i := range list { // all of them, so that the time says nothing about a token
			if list[i].access(r) != admin.None {
				serve = &list[i]
			}
		}
		serve.ServeHTTP(w, r)
	})
}

// callerIP is what messages keep of who published them.
func (s *server) callerIP(r *http.Request) string {
	if a := qstash.CallerIP(r, s.proxies); a.IsValid() {
		return a.String()
	}
	return ""
}

// adminUser is one of those whose tokens let requests in.
type adminUser struct {
	http.Handler
	access func(*http.Request) admin.Access
	limit  *rateLimit
}

// ServeHTTP implements http.Handler.
func (a *adminUser) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	q := a.limit.admit(r.Context(), token)
	if !q.Allowed {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((q.RetryAfter+time.Second-1)/time.Second), 10))
		admin.Refuse(w, admin.ErrTooManyRequests)
		return
	}
	a.Handler.ServeHTTP(w, r)
}
