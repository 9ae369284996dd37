package prefault

import (
	"runtime"
	"testing"
)

// What is allocated is zero, as large as was asked for, and the collector's like
// any other memory.
func TestAllocations(t *testing.T) {
	for _, n := range []int{0, 1, 511, 4096, 8191, 100_000, 1 << 20} {
		s := Slice[uint64](n)
		if len(s) != 0 || cap(s) < n {
			t.Fatalf("%d: length %d, capacity %d", n, len(s), cap(s))
		}
		for i, have := range s[:n] {
			if have != 0 {
				t.Fatalf("%d: number %d is %d", n, i, have)
			}
			s[:n][i] = uint64(i)
		}
		runtime.GC()
		for i, have := range s[:n] {
			if have != uint64(i) {
				t.Fatalf("%d: number %d became %d", n, i, have)
			}
		}
	}
	if p := New[[50_000]byte](); *p != [50_000]byte{} {
		t.Error("New is not zero")
	}
}

func BenchmarkSlice(b *testing.B) {
	for b.Loop() {
		s := Slice[uint64](1 << 20)
		for i := range s[:cap(s)] {
			s[:cap(s)][i] = 1
		}
	}
}
