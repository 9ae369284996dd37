package qstash_test

import (
	"context"
	"testing"
	"time"

	"github.com/recallmq/recall/qstash"
)

// TestQuota refuses some requests, and asks about none without a right token.
func TestQuota(t *testing.T) {
	reset := time.Date(2030, 1, 1, 0, 0, 0, 1, time.UTC)
	type key struct{}
	var asked []string
	s := newServer(t, &qstash.Options{
		Tokens: []string{qstash.DevToken, "t"}, ReadOnlyTokens: []string{"r"},
		Limit: func(ctx context.Context, token string) qstash.Quota {
			if ctx.Value(key{}) != "of the request" {
				t.Error("the context is not that of the request")
			}
			asked = append(asked, token)
			return qstash.Quota{Allowed: token == qstash.DevToken, Limit: 5, Remaining: 2, Reset: reset, RetryAfter: 1100 * time.Millisecond}
		},
	})
	for _, test := range []struct {
		method, target, header string
		status                 int
		asked                  string
	}{
		{"GET", "/v2/keys", qstash.DevToken, 200, qstash.DevToken},
		{"GET", "/v2/keys", "t", 429, "t"},
		{"GET", "/v2/keys?qstash_token=t", "for the endpoint", 429, "t"},
		{"DELETE", "/v2/messages", "t", 429, "t"},
		{"DELETE", "/v2/messages", "r", 429, "r"},
		{"GET", "/v2/keys", "wrong", 401, ""},
		{"GET", "/v2/nothing", "t", 404, ""},
	} {
		asked = nil
		r := request(test.method, test.target, "")
		r.Header.Set("Authorization", "Bearer "+test.header)
		w := s.do(r.WithContext(context.WithValue(r.Context(), key{}, "of the request")))
		checkStatus(t, w, test.status)
		if (test.asked != "") != (len(asked) == 1) || len(asked) == 1 && asked[0] != test.asked {
			t.Errorf("%+v: asked about %q", test, asked)
		}
		if test.status == 429 {
			checkError(t, w, 429, "too many requests")
			checkHeaders(t, w.Header(), map[string]string{
				"Burst-RateLimit-Limit": "5", "Burst-RateLimit-Remaining": "2", "Burst-RateLimit-Reset": "1893456001", "Retry-After": "2",
			})
		}
	}
}
