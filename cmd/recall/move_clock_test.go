package main

import (
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// lateEngine is an engine whose clock is a day behind.
type lateEngine struct{ recall.Engine }

func (lateEngine) Clock() recall.Clock { return lateClock{} }

type lateClock struct{ recall.Clock }

func (lateClock) Now() time.Time { return time.Now().Add(-24 * time.Hour) }

// TestMovesGoByTheEngine: a machine whose clock is wrong must not date what a database has.
func TestMovesGoByTheEngine(t *testing.T) {
	if ago := time.Since(nowOf(lateEngine{})); ago < 23*time.Hour {
		t.Errorf("the time is %v ago, want a day", ago)
	}
	if ago := time.Since(nowOf(struct{ recall.Engine }{})); ago > time.Hour {
		t.Errorf("the time without a clock is %v ago", ago)
	}
}
