package recall

import (
	"cmp"
	"slices"

	"github.com/google/btree"
)

// dueItem orders what waits: earliest due first, then oldest.
type dueItem struct {
	due int64 // ms
	seq uint64
}

func lessDue(a, b dueItem) bool {
	return a.due < b.due || a.due == b.due && a.seq < b.seq
}

// lane holds the pending messages that become claimable together: all of those
// that are delivered over HTTP, those of one local handler, which wait whether
// due or not until it is registered, or those for the consumers of one queue.
type lane struct {
	items *btree.BTreeG[dueItem]
	dead  int // items whose message was cancelled; skipped when they come up
	fresh int // of dead, those that came since shedding began
}

// lanes are the due times of the live messages. The key is the URL of a local
// handler or of a queue's consumers, or "" for everything else.
type lanes struct {
	byURL map[string]*lane
	http  *lane // byURL[""]
	nodes *btree.FreeListG[dueItem]
}

// dueDegree: wide nodes, because most items are added and removed at the edges.
const dueDegree = 64

func newLanes() lanes {
	l := lanes{byURL: map[string]*lane{}, nodes: btree.NewFreeListG[dueItem](256)}
	l.http = l.at("")
	return l
}

func (l *lanes) at(url string) *lane {
	ln := l.byURL[url]
	if ln == nil {
		ln = &lane{items: btree.NewWithFreeListG(dueDegree, lessDue, l.nodes)}
		l.byURL[url] = ln
	}
	return ln
}

// head returns the lane among those of keys whose first item comes first.
func (l *lanes) head(keys []string) (best *lane, first dueItem) {
	for _, key := range keys {
		ln := l.byURL[key]
		if ln == nil {
			continue
		}
		if it, ok := ln.items.Min(); ok && (best == nil || lessDue(it, first)) {
			best, first = ln, it
		}
	}
	return best, first
}

// fill adds many items to an empty lane. Ascending inserts leave the nodes of
// a B-tree half full: every other item first, and the rest fill the nodes up.
func (ln *lane) fill(items []dueItem) {
	slices.SortFunc(items, func(a, b dueItem) int {
		if a.due != b.due {
			return cmp.Compare(a.due, b.due)
		}
		return cmp.Compare(a.seq, b.seq)
	})
	for _, first := range []int{0, 1} {
		for i := first; i < len(items); i += 2 {
			ln.items.ReplaceOrInsert(items[i])
		}
	}
}

// mostlyDead tells whether going through the lane to shed its dead items pays.
func (ln *lane) mostlyDead() bool {
	const smallest = 4096
	return ln.dead > smallest && ln.dead*2 > ln.items.Len()
}

// shed removes up to limit items that keep refuses, starting at from, and
// returns where to go on; done is true at the end of the lane.
func (ln *lane) shed(from dueItem, limit int, keep func(dueItem) bool) (next dueItem, done bool) {
	var drop []dueItem
	seen := 0
	done = true
	ln.items.AscendGreaterOrEqual(from, func(it dueItem) bool {
		if seen == limit {
			next, done = it, false
			return false
		}
		seen++
		if !keep(it) {
			drop = append(drop, it)
		}
		return true
	})
	for _, it := range drop {
		ln.items.Delete(it)
	}
	ln.dead = max(0, ln.dead-len(drop))
	return next, done
}

// mostlyDead returns a lane worth shedding, or nil.
func (l *lanes) mostlyDead() (key string, ln *lane) {
	for key, ln := range l.byURL {
		if ln.mostlyDead() {
			return key, ln
		}
	}
	return "", nil
}
