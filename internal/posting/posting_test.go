package posting

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestListAgainstSlice drives a list and a plain slice with the same
// operations.
func TestListAgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list List
		var model []uint64
		step := rapid.SampledFrom([]uint64{1, 2, 300, math.MaxUint32, math.MaxUint32 + 5})
		var next uint64
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 600).Draw(t, "n") {
					next += step.Draw(t, "step")
					list.Append(next)
					model = append(model, next)
				}
			},
			"shed": func(t *rapid.T) {
				mod := rapid.Uint64Range(1, 5).Draw(t, "mod")
				keep := func(n uint64) bool { return n%mod == 0 }
				limit := rapid.IntRange(1, 5).Draw(t, "limit")
				for from, done := uint64(0), false; !done; {
					from, done = list.Shed(from, limit, keep)
				}
				model = slices.DeleteFunc(model, func(n uint64) bool { return !keep(n) })
			},
			"": func(t *rapid.T) {
				from := rapid.Uint64Range(0, next+2).Draw(t, "from")
				to := from + rapid.Uint64Range(0, next+2).Draw(t, "width")
				compare(t, &list, model, from, to)
			},
		})
	})
}

func compare(t *rapid.T, list *List, model []uint64, from, to uint64) {
	if list.Len() != len(model) {
		t.Fatalf("Len() = %d, want %d", list.Len(), len(model))
	}
	i, _ := slices.BinarySearch(model, from)
	if got := list.Collect(nil, from, len(model)+1); !slices.Equal(got, model[i:]) {
		t.Fatalf("Collect from %d: got %d numbers, want %d", from, len(got), len(model)-i)
	}
	want := 0
	for _, n := range model[i:] {
		if n <= to {
			want++
		}
	}
	budget := len(model)
	if got, ok := list.CountRange(from, to, &budget); !ok || got != want {
		t.Fatalf("CountRange(%d, %d) = %d, %v, want %d", from, to, got, ok, want)
	}
}

func TestCollectStopsAtLimit(t *testing.T) {
	var list List
	for n := range uint64(1000) {
		list.Append(n)
	}
	if got := list.Collect(nil, 300, 5); !slices.Equal(got, []uint64{300, 301, 302, 303, 304}) {
		t.Errorf("Collect = %v", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	var list List
	b.ReportAllocs()
	for n := range uint64(b.N) {
		list.Append(n * 10)
	}
}
