package main

import (
	"context"
	"crypto/sha256"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/recallmq/recall/qstash"
)

// rateLimit bounds the requests of each token of one user. Only tokens that are
// right get here, so there are few.
type rateLimit struct {
	user   string
	rate   rate.Limit // 0: no limit
	burst  int
	mu     sync.Mutex
	tokens map[[sha256.Size]byte]*rate.Limiter // guarded by mu; no token in the clear
}

func newRateLimit(user string, l *limits) *rateLimit {
	burst := l.burst
	if burst == 0 {
		burst = max(1, int(math.Ceil(l.rate)))
	}
	return &rateLimit{user: user, rate: rate.Limit(l.rate), burst: burst, tokens: map[[sha256.Size]byte]*rate.Limiter{}}
}

// admit is for qstash.Options.Limit. It also notes whose request it is.
func (l *rateLimit) admit(ctx context.Context, token string) qstash.Quota {
	if s := scopeOf(ctx); s != nil {
		s.user = l.user
	}
	if l.rate == 0 {
		return qstash.Quota{Allowed: true}
	}
	now, limiter := time.Now(), l.of(token)
	allowed, left := limiter.AllowN(now, 1), limiter.TokensAt(now)
	wait := time.Duration(max(0, 1-left) / float64(l.rate) * float64(time.Second)) // until there is room for one
	return qstash.Quota{Allowed: allowed, Limit: l.burst, Remaining: int(max(0, left)), Reset: now.Add(wait), RetryAfter: wait}
}

func (l *rateLimit) of(token string) *rate.Limiter {
	hash := sha256.Sum256([]byte(token))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tokens[hash] == nil {
		l.tokens[hash] = rate.NewLimiter(l.rate, l.burst)
	}
	return l.tokens[hash]
}
