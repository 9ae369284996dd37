package recall

import (
	"math"
	"slices"
)

// numbers is a small set of value numbers.
type numbers []uint32

func (s numbers) has(n uint32) bool {
	const few = 8
	if len(s) <= few {
		return containsNumber(s, n)
	}
	_, ok := slices.BinarySearch(s, n)
	return ok
}

// query is a Filter translated into the numbers of one index. Value numbers
// may be freed and used again while a walk is between two lock holds, but only
// by messages newer than the walk's boundary, which it does not look at.
type query struct {
	sets     [allFields]numbers // nil: not restricted
	ids      map[uint64]int64   // sequence number → created; nil: not restricted
	hosts    []string           // those with a port: checked against the URL
	anyHosts []string           // all of the filter's hosts
	paths    []string
	byURL    map[uint32]bool // memory of the checks on URL text
	from, to int64           // ms, wall time
	dated    bool
	lo, hi   uint64 // sequence numbers: boundary and dates; hi is inclusive
}

// resolvedID is an id whose keyed check was right.
type resolvedID struct {
	seq     uint64
	created int64
}

// compile translates f; ids are those of f that this file could have issued.
func (ix *index) compile(f Filter, ids []resolvedID) *query {
	q := &query{lo: 1, hi: ix.visible, from: math.MinInt64, to: math.MaxInt64, anyHosts: f.Hosts, paths: f.Paths}
	for field, names := range [plainFields][]string{f.Queues, f.URLs, f.Topics, f.Schedules, f.CallerIPs, f.FlowKeys} {
		q.sets[field] = ix.numbersOf(ix.lookupField(field), names)
	}
	q.sets[fieldLabel] = ix.numbersOf(&ix.fields[fieldLabel], f.Labels)
	q.sets[fieldHost] = ix.numbersOf(&ix.fields[fieldHost], mapped(f.Hosts, withoutPort))
	if slices.ContainsFunc(f.Hosts, func(h string) bool { return withoutPort(h) != h }) {
		q.hosts = f.Hosts
	}
	if q.hosts != nil || q.paths != nil {
		q.byURL = map[uint32]bool{}
	}
	if f.IDs != nil {
		q.ids = make(map[uint64]int64, len(ids))
		for _, id := range ids {
			q.ids[id.seq] = id.created
		}
	}
	ix.clip(q, f)
	return q
}

func (ix *index) lookupField(f int) *valueTable { return &ix.fields[f] }

// numbersOf keeps nil apart from "none of these names is known".
func (ix *index) numbersOf(t *valueTable, names []string) numbers {
	if names == nil {
		return nil
	}
	set := make(numbers, 0, len(names))
	for _, name := range names {
		if n := t.lookup(name); n != 0 {
			set = append(set, n)
		}
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// clip narrows the range of sequence numbers by the dates. Created is never
// before the wall time and at most maxBack after it; the wall time itself is
// checked per entry.
func (ix *index) clip(q *query, f Filter) {
	if !f.From.IsZero() {
		q.from, q.dated = f.From.UnixMilli(), true
		if ix.ordered {
			q.lo = max(q.lo, ix.seqAt(q.from))
		}
	}
	if !f.To.IsZero() {
		q.to, q.dated = f.To.UnixMilli(), true
		if ix.ordered {
			q.hi = min(q.hi, ix.lastBefore(addMs(q.to, ix.maxBack+1)))
		}
	}
}

// lastBefore returns the newest number whose message may be older than ms.
func (ix *index) lastBefore(ms int64) uint64 {
	return max(ix.seqAt(ms), 1) - 1
}

func addMs(ms, d int64) int64 {
	if ms > math.MaxInt64-d {
		return math.MaxInt64
	}
	return ms + d
}

// matches tells whether a countable entry is one that q asks for. seq is
// within q's range.
func (ix *index) matches(q *query, p *page, e *entry, seq uint64) bool {
	for f, n := range e.values {
		if set := q.sets[f]; set != nil && !set.has(n) {
			return false
		}
	}
	if set := q.sets[fieldLabel]; set != nil && !ix.hasLabel(set, e.labels) {
		return false
	}
	if set := q.sets[fieldHost]; set != nil && !set.has(ix.hostNumber(e.values[fieldURL])) {
		return false
	}
	if q.byURL != nil && !ix.matchesURL(q, e.values[fieldURL]) {
		return false
	}
	if !q.dated && q.ids == nil {
		return true
	}
	created, wall := p.timesOf(seq, e)
	if q.ids != nil {
		if want, ok := q.ids[seq]; !ok || want != created {
			return false
		}
	}
	return wall >= q.from && wall <= q.to
}

func (ix *index) hasLabel(set numbers, labels uint32) bool {
	if labels == 0 {
		return false
	}
	for _, n := range ix.sets.slab[labels].labels {
		if set.has(n) {
			return true
		}
	}
	return false
}

// matchesURL checks hosts with ports, and paths, against the text of a URL,
// once per URL.
func (ix *index) matchesURL(q *query, url uint32) bool {
	if ok, known := q.byURL[url]; known {
		return ok
	}
	name := ix.fields[fieldURL].slab[url].name
	host := hostOf(name)
	ok := (q.hosts == nil || slices.Contains(q.anyHosts, host) || slices.Contains(q.anyHosts, withoutPort(host))) &&
		oneOf(q.paths, pathOf(name))
	q.byURL[url] = ok
	return ok
}

// source is an index that a walk can follow.
type source struct {
	name  string
	count int
	field field
	kind  sourceKind
}

type sourceKind uint8

const (
	sourceTime sourceKind = iota
	sourceField
	sourceIDs
)

// sources lists every index that q could walk, narrowest first. Counts are
// exact for one value and an upper bound where values are ORed or dates apply.
func (ix *index) sources(q *query) []source {
	list := make([]source, 0, allFields+2)
	for f := range allFields {
		if set := q.sets[f]; set != nil {
			list = append(list, source{name: fieldNames[f], count: ix.countValues(q, f, set), field: f, kind: sourceField})
		}
	}
	if q.ids != nil {
		list = append(list, source{name: "id", count: len(q.ids), kind: sourceIDs})
	}
	list = append(list, source{name: "time", count: ix.countTime(q), kind: sourceTime})
	slices.SortStableFunc(list, func(a, b source) int { return a.count - b.count })
	return list
}

func (ix *index) countValues(q *query, f field, set numbers) int {
	total := 0
	for _, n := range set {
		v := &ix.fields[f].slab[n]
		count := int(v.live)
		if q.dated {
			count = min(count, v.list.CountRange(q.lo, q.hi))
		}
		total += count
	}
	return total
}

// countTime counts the live entries of the range exactly, from the pages'
// counts and the entries of the first and last page.
func (ix *index) countTime(q *query) int {
	if !q.dated {
		return ix.live
	}
	total := 0
	for _, p := range ix.pages {
		if p == nil || p.base+pageSize-1 < q.lo || p.base > q.hi {
			continue
		}
		if p.base >= q.lo && p.base+pageSize-1 <= q.hi {
			total += int(p.live)
			continue
		}
		for i := range p.entries {
			seq := p.base + uint64(i)
			if seq >= q.lo && seq <= q.hi && p.entries[i].countable() {
				total++
			}
		}
	}
	return total
}

// exact returns the number of matches if one live count tells it: no
// restriction at all, or one value of one field.
func (ix *index) exact(q *query) (count int, ok bool) {
	if q.dated || q.ids != nil || q.byURL != nil {
		return 0, false
	}
	count = ix.live
	restricted := false
	for f, set := range q.sets {
		if set == nil {
			continue
		}
		if restricted || len(set) > 1 {
			return 0, false
		}
		restricted, count = true, 0
		if len(set) == 1 {
			count = int(ix.fields[f].slab[set[0]].live)
		}
	}
	return count, true
}
