package main

import (
	"slices"
	"testing"
)

// TestGrowthSets: at each size a set has as many messages, all over the file, in
// no other set, and the filter means those that the model counts.
func TestGrowthSets(t *testing.T) {
	for _, n := range []int{growthLeast, 10_000, 12_345} {
		s := growthShape(n)
		m := newModel(n)
		for k := range growthLabels {
			q := growthQuery(n, k)
			var at []int
			for i := range 2 * n { // beyond the file is what is published into it
				msg := s.message(i)
				if got := slices.Contains(msg.Labels, growthLabel(k)); got != (i < n && q.match(i)) {
					t.Fatalf("%d: message %d: label %v, model %v", n, i, got, q.match(i))
				} else if got {
					at = append(at, i)
				}
				if msg.Queue != "" {
					t.Fatalf("message %d waits in queue %q", i, msg.Queue)
				}
			}
			if err := m.cancel(q, growthTaken); err != nil {
				t.Error(err)
			}
			if first, last := at[0], at[len(at)-1]; len(at) != growthTaken || first > n/100 || last < n*8/10 {
				t.Errorf("%d: set %d has %d messages, from %d to %d", n, k, len(at), first, last)
			}
		}
	}
}

func TestGrowthSizes(t *testing.T) {
	f, err := parseFlags([]string{"-growth", "3000, 40000"}, t.Output())
	if err != nil || f.growth.String() != "3000,40000" {
		t.Errorf("got %v, %v", f.growth, err)
	}
	if got := (flags{quick: true, scaleLarge: true, n: 10_000}).sizes().Growth; !slices.Equal(got, []int{10_000, 50_000, 100_000}) {
		t.Errorf("got %v", got)
	}
	if got := (flags{growth: []int{4000}, scaleLarge: true}).sizes().Growth; !slices.Equal(got, []int{4000}) {
		t.Errorf("got %v", got)
	}
}
