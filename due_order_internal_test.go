package recall

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestLaneOrder: claims take from any lanes what looking at all of them each time
// would find next.
func TestLaneOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLanes()
		only := rapid.Bool().Draw(t, "only")
		type waiting struct {
			dueItem
			priority int8
		}
		var all []waiting
		l.orderOf(nil, only)
		for seq := range rapid.IntRange(0, 60).Draw(t, "messages") {
			key := laneKey{
				url:      fmt.Sprint("local:", rapid.IntRange(0, 5).Draw(t, "url")),
				priority: rapid.SampledFrom([]int8{0, 0, 5, -5}).Draw(t, "priority"),
			}
			w := waiting{dueItem{rapid.Int64Range(0, 20).Draw(t, "due"), uint64(seq)}, key.priority}
			if rapid.IntRange(0, 9).Draw(t, "HTTP") == 0 {
				key.url = ""
			}
			l.at(key).items.ReplaceOrInsert(w.dueItem)
			if key.url != "local:5" && (key.url != "" || !only) {
				all = append(all, w)
			}
		}
		now := rapid.Int64Range(0, 20).Draw(t, "now")
		next := func() int { // by the rule, word for word
			best := -1
			for i, w := range all {
				if best >= 0 {
					b := all[best]
					switch isDue, bestDue := w.due <= now, b.due <= now; {
					case isDue != bestDue && !isDue, isDue && bestDue && w.priority < b.priority:
						continue
					case isDue == bestDue && (!isDue || w.priority == b.priority) && lessDue(b.dueItem, w.dueItem):
						continue
					}
				}
				best = i
			}
			return best
		}
		urls := []string{"local:0", "local:1", "local:2", "local:3", "local:4"}
		l.orderOf(urls[:rapid.IntRange(0, 5).Draw(t, "handlers before")], only) // and then some came
		order := l.orderOf(urls, only)
		for len(all) > 0 {
			i := next()
			ln, it := order.head(now)
			if ln == nil || it != all[i].dueItem {
				t.Fatalf("next is %v, want %v", it, all[i])
			}
			order.take(now)
			if _, there := ln.items.Get(it); there {
				t.Fatalf("%v is still in its lane", it)
			}
			all = slices.Delete(all, i, i+1)
		}
		if ln, it := order.head(now); ln != nil {
			t.Fatalf("%v is left, and in no lane that was asked for", it)
		}
	})
}
