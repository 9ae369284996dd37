package recall

import (
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall/internal/retrydelay"
)

// DefaultBackoff is how long to wait after a failed attempt that had retried
// retries before it: e to the power of 2.5·(retried+1) seconds, at most a day.
// That is 12s, 2m28s, 30m8s, 6h7m6s and then 24h, as with QStash.
func DefaultBackoff(retried int) time.Duration {
	const day = 24 * time.Hour
	n := max(0, retried) + 1
	seconds := math.Round(math.Min(day.Seconds(), math.Exp(2.5*float64(n))))
	return time.Duration(seconds) * time.Second
}

// maxReasonBytes bounds Finish.Reason.
const maxReasonBytes = 1024

// boundReason cuts a text for people to what is worth storing.
func boundReason(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxReasonBytes)], "?")
}

// decide says what follows an attempt: it was delivered, there is a next one,
// or the message is dead.
func (b *Broker) decide(m *Message, r result, now time.Time) Finish {
	f := Finish{Outcome: Delivered, Failure: r.failure, Reason: r.reason, Response: r.response}
	switch {
	case r.failure == FailureNone:
	case r.permanent || m.Attempts > m.retries(b.opts):
		f.Outcome = Dead
	default:
		f.Outcome, f.Due = Retry, now.Add(b.delay(m, r))
	}
	return f
}

// delay is the time to the next attempt: as asked for by the endpoint or the
// handler, else by the message, else the backoff.
func (b *Broker) delay(m *Message, r result) (d time.Duration) {
	if r.hasNext {
		return clampDelay(r.next)
	}
	retried := m.Attempts - 1
	if m.RetryDelay != "" {
		if e, err := retrydelay.Parse(m.RetryDelay); err == nil {
			return e.Delay(retried)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("recall: Options.Backoff panicked; the default is used",
				"message", m.ID, "attempt", m.Attempts, "reason", panicText(p), "stack", string(debug.Stack()))
			d = DefaultBackoff(retried)
		}
	}()
	return clampDelay(b.opts.Backoff(retried))
}

func clampDelay(d time.Duration) time.Duration { return min(max(0, d), MaxDelay) }

// retries and timeout fall back to the options for messages of engines that
// did not keep them.
func (m *Message) retries(o *Options) int {
	if m.Retries == nil {
		return *o.Retries
	}
	return *m.Retries
}

func (m *Message) timeout(o *Options) time.Duration {
	if m.Timeout <= 0 {
		return o.Timeout
	}
	return m.Timeout
}

// retryHeaders are the headers by which an endpoint may say when to try again,
// in the order in which they are asked.
var retryHeaders = [...]string{"Retry-After", "X-Ratelimit-Reset", "X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens"}

// maxRetryAfter is the longest wait that an endpoint may ask for; what is
// longer, often a point in time given as a number, leaves it to the backoff.
const maxRetryAfter = 24 * time.Hour

// askedDelay returns the wait that an endpoint asked for. The first header
// that can be understood decides.
func askedDelay(h http.Header, now time.Time) (time.Duration, bool) {
	for _, name := range retryHeaders {
		if d, ok := parseRetryAfter(h.Get(name), now); ok {
			return d, d <= maxRetryAfter
		}
	}
	return 0, false
}

// parseRetryAfter reads seconds, which may have a fraction, an HTTP date, or a
// duration in Go's spelling. A date that has passed means now.
func parseRetryAfter(s string, now time.Time) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, false
	}
	if strings.Trim(s, "0123456789.") == "" {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return 0, false
		}
		return time.Duration(min(seconds, MaxDelay.Seconds()) * float64(time.Second)), true
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, at.Sub(now)), true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}
