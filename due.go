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
	key   laneKey
	items *btree.BTreeG[dueItem]
	dead  int // items whose message was cancelled; skipped when they come up
	fresh int // of dead, those that came since shedding began
}

// laneKey says what waits in a lane.
type laneKey struct {
	url      string // of a local handler or of consumers; "" for what goes over HTTP
	priority int8
	flow     string // if not empty: what waits for this flow-control key
}

// lanes are the due times of the live messages.
type lanes struct {
	byKey      map[laneKey]*lane
	plain      *lane  // byKey of the zero key: most messages wait there
	priorities []int8 // of all lanes, highest first
	nodes      *btree.FreeListG[dueItem]
	changes    int // to byKey, but for lanes of flow-control keys
	recent     [recentLanes]*lane
	orders     [2]laneOrder // of claims, while they hold the lock: for all, and for consumers only
}

// recentLanes is how many lanes are found without a look into a map. A cancellation asks
// for the lane of each message that it takes, and looking for that by name took as long
// as all the rest.
const recentLanes = 256

// dueDegree: wide nodes, because most items are added and removed at the edges.
const dueDegree = 64

func newLanes() lanes {
	l := lanes{byKey: map[laneKey]*lane{}, nodes: btree.NewFreeListG[dueItem](256)}
	l.plain = l.at(laneKey{})
	return l
}

func (l *lanes) at(key laneKey) *lane {
	ln := l.byKey[key]
	if ln == nil {
		ln = &lane{key: key, items: btree.NewWithFreeListG(dueDegree, lessDue, l.nodes)}
		l.byKey[key] = ln
		if key.flow == "" {
			l.changes++
		}
		if !slices.Contains(l.priorities, key.priority) {
			l.priorities = append(l.priorities, key.priority)
			slices.SortFunc(l.priorities, func(a, b int8) int { return cmp.Compare(b, a) })
		}
	}
	return ln
}

// recently is at for a lane that was perhaps asked for just now, for messages with
// the same number.
func (l *lanes) recently(number uint32, key laneKey) *lane {
	ln := &l.recent[number%recentLanes]
	if *ln == nil || (*ln).key != key {
		*ln = l.at(key)
	}
	return *ln
}

// dropEmpty forgets the lanes of a URL if nothing is in them.
func (l *lanes) dropEmpty(url string) {
	for _, priority := range l.priorities {
		key := laneKey{url: url, priority: priority}
		if ln := l.byKey[key]; ln != nil && ln.items.Len() == 0 {
			delete(l.byKey, key)
			l.recent = [recentLanes]*lane{} // this one may be there, under any number
			l.changes++
		}
	}
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
func (l *lanes) mostlyDead() (key laneKey, ln *lane) {
	for key, ln := range l.byKey {
		if ln.mostlyDead() {
			return key, ln
		}
	}
	return laneKey{}, nil
}
