package main

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newRateLimit("", &limits{rate: 2.5})
		admitted := func(token string, n int) (allowed int) {
			for range n {
				if l.admit(t.Context(), token).Allowed {
					allowed++
				}
			}
			return allowed
		}
		if got := admitted("a", 10); got != 3 {
			t.Errorf("at once: got %d, want the 2.5 of a second, rounded up", got)
		}
		if got := admitted("b", 1); got != 1 {
			t.Error("another token has no room")
		}
		q := l.admit(t.Context(), "a")
		if q.Allowed || q.Limit != 3 || q.Remaining != 0 || q.RetryAfter != 400*time.Millisecond || !q.Reset.Equal(time.Now().Add(q.RetryAfter)) {
			t.Errorf("got %+v", q)
		}
		time.Sleep(q.RetryAfter)
		if got := admitted("a", 2); got != 1 {
			t.Errorf("after %v: got %d, want 1", q.RetryAfter, got)
		}
		time.Sleep(time.Hour)
		if got := admitted("a", 10); got != 3 {
			t.Errorf("after an hour: got %d, want 3", got)
		}
	})
}

func TestNoRateLimit(t *testing.T) {
	l := newRateLimit("shop", &limits{})
	for range 1000 {
		if !l.admit(t.Context(), "a").Allowed {
			t.Fatal("there is a limit")
		}
	}
	if len(l.tokens) > 0 {
		t.Error("tokens are kept")
	}
}
