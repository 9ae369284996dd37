package recall

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A merge hands out the union of its lists in order, whatever the steps.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newValueTable()
		var want []uint64
		var set numbers
		for i := range rapid.IntRange(2, 40).Draw(t, "values") {
			n, _ := table.intern([]byte{byte(i)})
			set = append(set, n)
			clustered := rapid.Bool().Draw(t, "clustered")
			for seq := uint64(rapid.IntRange(1, 400).Draw(t, "first")); seq < 4000; {
				table.add(n, seq)
				want = append(want, seq)
				if clustered && seq%16 != 0 {
					seq++
				} else {
					seq += uint64(rapid.IntRange(1, 700).Draw(t, "gap"))
				}
			}
		}
		slices.Sort(want)
		want = slices.Compact(want)
		from := uint64(rapid.IntRange(1, 500).Draw(t, "from"))
		i, _ := slices.BinarySearch(want, from)
		var got []uint64
		for m := newMerge(&table, set, from); ; {
			step := rapid.IntRange(1, 200).Draw(t, "step")
			before := len(got)
			if got = m.collect(got, step); len(got)-before < step {
				break
			}
		}
		if !slices.Equal(got, want[i:]) {
			t.Fatalf("got %v, want %v", got, want[i:])
		}
	})
}
