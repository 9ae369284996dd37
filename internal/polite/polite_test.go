package polite_test

import (
	"runtime"
	"testing"

	"github.com/recallmq/recall/internal/polite"
)

// TestYield: another goroutine comes on, though there is one processor only.
func TestYield(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	ran := make(chan struct{})
	go close(ran)
	for range 1000 {
		polite.Yield()
	}
	select {
	case <-ran:
	default:
		t.Error("a goroutine that waits was not let through")
	}
}

func BenchmarkYield(b *testing.B) {
	for b.Loop() {
		polite.Yield()
	}
}
