package qstash

import (
	"net/http"
	"strconv"
	"time"

	"github.com/recallmq/recall/internal/bearer"
)

// Quota is what a token may still ask for, see Options.Limit.
type Quota struct {
	Allowed bool // the request that it is about
	// Limit is how many requests may come at once, Remaining how many of them
	// are left.
	Limit, Remaining int
	// Reset is when there is room again, and RetryAfter how long that is from
	// now. Both are told in whole seconds, rounded up.
	Reset      time.Time
	RetryAfter time.Duration
}

// limit refuses a request whose token has sent too many. Some SDKs show nothing
// of such an answer but these headers.
func (h *handler) limit(w http.ResponseWriter, r *http.Request) error {
	if h.o.Limit == nil || h.access(r) == bearer.None {
		return nil
	}
	q := h.o.Limit(r.Context(), h.tokenOf(r))
	if q.Allowed {
		return nil
	}
	for name, n := range map[string]int64{
		"Burst-RateLimit-Limit":     int64(q.Limit),
		"Burst-RateLimit-Remaining": int64(q.Remaining),
		"Burst-RateLimit-Reset":     q.Reset.Add(time.Second - 1).Unix(),
		"Retry-After":               int64((q.RetryAfter + time.Second - 1) / time.Second),
	} {
		w.Header().Set(name, strconv.FormatInt(n, 10))
	}
	return httpError(http.StatusTooManyRequests, "too many requests: %d at once are allowed", q.Limit)
}

// tokenOf is the token of a request that has access.
func (h *handler) tokenOf(r *http.Request) string {
	if header := bearer.From(r); h.tokens.Grants(header) != bearer.None {
		return header
	}
	return queryToken(r.URL.RawQuery)
}
