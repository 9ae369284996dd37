package recall

import "slices"

// laneOrder gives what waits in some lanes in the order of claims: of what is due the
// highest priority and then the earliest, and if nothing is due the earliest of all. It
// looks at each lane once and then at the one that it has taken from, so a claim of
// many messages takes hardly longer where a program has many handlers. It is good until
// the lanes change by other means: within one lock hold.
type laneOrder struct {
	ranks []laneHeap // one for each priority, highest first

	// What the lanes were found for, and when. Claims ask for the same ones again and
	// again, until a handler comes or goes.
	urls    []string
	changes int
	lanes   [][]*lane // by priority
}

// laneHeap has the lanes of one priority that are not empty, as a heap by their first
// item.
type laneHeap []laneHead

type laneHead struct {
	lane  *lane
	first dueItem
}

// orderOf begins with the lanes of some URLs, and unless only those count with the
// lanes of what goes over HTTP.
func (l *lanes) orderOf(urls []string, only bool) *laneOrder {
	o := &l.orders[0]
	if only {
		o = &l.orders[1]
	}
	if o.changes != l.changes || !slices.Equal(o.urls, urls) {
		o.find(l, urls, only)
	}
	for i, some := range o.lanes {
		heads := o.ranks[i][:0]
		for _, ln := range some {
			if first, ok := ln.items.Min(); ok {
				heads = append(heads, laneHead{ln, first})
			}
		}
		for j := len(heads)/2 - 1; j >= 0; j-- {
			heads.sink(j)
		}
		o.ranks[i] = heads
	}
	return o
}

// find looks the lanes up.
func (o *laneOrder) find(l *lanes, urls []string, only bool) {
	*o = laneOrder{
		urls: slices.Clone(urls), changes: l.changes,
		lanes: make([][]*lane, len(l.priorities)), ranks: make([]laneHeap, len(l.priorities)),
	}
	for i, priority := range l.priorities {
		if ln := l.byKey[laneKey{priority: priority}]; ln != nil && !only {
			o.lanes[i] = append(o.lanes[i], ln)
		}
		for _, url := range urls {
			if ln := l.byKey[laneKey{url: url, priority: priority}]; ln != nil {
				o.lanes[i] = append(o.lanes[i], ln)
			}
		}
	}
}

// head returns what is to be claimed next, and where it waits; no lane if nothing is
// left.
func (o *laneOrder) head(now int64) (best *lane, first dueItem) {
	if h := o.rank(now); h != nil {
		return (*h)[0].lane, (*h)[0].first
	}
	return nil, first
}

// rank is the heap that the head is the first of.
func (o *laneOrder) rank(now int64) (best *laneHeap) {
	for i := range o.ranks {
		h := &o.ranks[i]
		if len(*h) == 0 || best != nil && !lessDue((*h)[0].first, (*best)[0].first) {
			continue
		}
		if best = h; (*h)[0].first.due <= now {
			break
		}
	}
	return best
}

// take takes the head out of its lane.
func (o *laneOrder) take(now int64) {
	h := o.rank(now)
	heads := *h
	ln := heads[0].lane
	ln.items.DeleteMin()
	first, ok := ln.items.Min()
	if !ok {
		end := len(heads) - 1
		heads[0], heads[end] = heads[end], laneHead{}
		*h = heads[:end]
	} else {
		heads[0].first = first
	}
	h.sink(0)
}

// sink restores the order of the heap below i.
func (h laneHeap) sink(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if lessDue(h[c].first, h[least].first) {
				least = c
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
