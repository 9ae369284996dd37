package recall

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"
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

// query is a Filter translated for one index. Value numbers may be freed and
// used again between two lock holds, but only by messages newer than the
// boundary, which neither counts nor walks look at; so the boundary is fixed
// before the first number is looked up.
type query struct {
	names  [allFields][]string // that are asked for, distinct; nil: not restricted
	ranges []netip.Prefix      // of caller IPs, beside their names

	sets   [allFields]numbers // nil: not restricted, or checked in another way
	early  [allFields]bool    // sets that were looked up before the lock hold of the plan
	ids    map[uint64]int64   // sequence number → created; nil: not restricted
	order  []uint64           // the numbers of ids, ascending
	hosts  []string           // if one has a port: all of them, checked against the URL
	paths  []string
	byURL  map[uint32]bool // memory of the checks on URL text; nil: there are none
	byIP   map[uint32]bool // memory of the checks on ranges; nil: sets has what they cover
	single numbers         // with byIP: the addresses that are asked for one by one

	asOf     uint64 // the newest number that is looked at, before dates narrow it
	from, to int64  // ms, wall time
	dated    bool
	lo, hi   uint64 // sequence numbers: boundary and dates; hi is inclusive. lo is 0 before the boundary is fixed

	changing       bool // some of the following restricts
	now            time.Time
	states         []State // nil: not restricted; stateOf says what they are
	stateOf        func(entry, uint64) State
	dueFrom, dueTo int64 // ms
	minAttempts    int
}

// maxUnion is how many values of a field one walk merges, and one lock hold
// looks up. A filter with more is checked against the entries of another index.
const maxUnion = 256

// planRuns is how many runs of posting lists one plan goes through to count
// what is within its dates: a quarter of a million entries.
const planRuns = 1024

// resolvedID is an id whose keyed check was right.
type resolvedID struct {
	seq     uint64
	created int64
}

// newQuery does what can be done before the lock hold of the plan, which is
// everything that grows with the length of the filter's lists. It takes the
// lock itself, for short holds, if lists are long.
func (e *embedded) newQuery(ix *index, f Filter, now time.Time) *query {
	q := translate(f, now)
	q.stateOf = func(en entry, seq uint64) State { return e.stateLocked(en, seq, now) }
	if f.IDs != nil {
		q.setIDs(e.ids.resolveAll(f.IDs))
	}
	q.lookUpEarly(ix, &e.mu)
	return q
}

// translate reads the parts of f that do not depend on an index.
func translate(f Filter, now time.Time) *query {
	q := &query{from: math.MinInt64, to: math.MaxInt64, now: now, dueFrom: math.MinInt64, dueTo: math.MaxInt64, minAttempts: f.MinAttempts}
	addresses, ranges := splitSources(f.CallerIPs)
	q.ranges = ranges
	for field, names := range [allFields][]string{
		fieldQueue: f.Queues, fieldURL: f.URLs, fieldTopic: f.Topics, fieldSchedule: f.Schedules, fieldIP: addresses,
		fieldFlow: f.FlowKeys, fieldHost: mapped(f.Hosts, withoutPort), fieldLabel: f.Labels,
	} {
		q.names[field] = distinct(names)
	}
	if slices.ContainsFunc(f.Hosts, func(h string) bool { return withoutPort(h) != h }) {
		q.hosts = distinct(f.Hosts)
	}
	q.paths = distinct(f.Paths)
	if q.hosts != nil || q.paths != nil {
		q.byURL = map[uint32]bool{}
	}
	if f.States != nil {
		q.states = slices.DeleteFunc(slices.Clone(allStates), func(s State) bool { return !slices.Contains(f.States, s) })
	}
	q.setTimes(f)
	q.changing = q.states != nil || f.dueBounded() || f.MinAttempts > 0
	return q
}

func (q *query) setTimes(f Filter) {
	bound := func(ms *int64, t time.Time) {
		if !t.IsZero() {
			*ms = t.UnixMilli()
		}
	}
	bound(&q.from, f.From)
	bound(&q.to, f.To)
	bound(&q.dueFrom, f.DueAfter)
	bound(&q.dueTo, f.DueBefore)
	q.dated = !f.From.IsZero() || !f.To.IsZero()
}

// setIDs restricts q to messages, in the order of their creation.
func (q *query) setIDs(ids []resolvedID) {
	q.ids, q.order = make(map[uint64]int64, len(ids)), make([]uint64, 0, len(ids))
	for _, id := range ids {
		if _, twice := q.ids[id.seq]; !twice {
			q.order = append(q.order, id.seq)
		}
		q.ids[id.seq] = id.created
	}
	slices.Sort(q.order)
}

// lookUpEarly finds the numbers of lists that are too long for one lock hold.
func (q *query) lookUpEarly(ix *index, mu *sync.Mutex) {
	for f, names := range q.names {
		if len(names) <= maxUnion {
			continue
		}
		var set numbers
		for some := range slices.Chunk(names, walkSlice) {
			mu.Lock()
			ix.bound(q)
			set = ix.fields[f].appendNumbers(set, some)
			mu.Unlock()
		}
		q.sets[f], q.early[f] = sorted(set), true
	}
}

// bound fixes the boundary of q, once.
func (ix *index) bound(q *query) {
	if q.lo == 0 {
		q.lo, q.hi, q.asOf = 1, ix.visible, ix.visible
	}
}

// compile finishes q. The lock is held, and kept until the walk or the plan is
// made.
func (ix *index) compile(q *query) {
	ix.bound(q)
	for f, names := range q.names {
		if names != nil && !q.early[f] {
			q.sets[f] = sorted(ix.fields[f].appendNumbers(nil, names))
		}
	}
	if q.ranges != nil {
		ix.compileRanges(q)
	}
	ix.clip(q)
}

// compileRanges lists the addresses that the ranges cover if they are few.
func (ix *index) compileRanges(q *query) {
	covered, few := ix.fields[fieldIP].addrs.within(q.ranges, maxUnion)
	if few {
		q.sets[fieldIP] = sorted(append(q.sets[fieldIP], covered...))
		return
	}
	q.byIP = map[uint32]bool{}
	q.single, q.sets[fieldIP] = q.sets[fieldIP], nil
}

// sorted returns set as a set; it is never nil.
func sorted(set numbers) numbers {
	if set == nil {
		return numbers{}
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// appendNumbers appends the numbers of the names that are known.
func (t *valueTable) appendNumbers(set numbers, names []string) numbers {
	for _, name := range names {
		if n := t.lookup(name); n != 0 {
			set = append(set, n)
		}
	}
	return set
}

// clip narrows the range of sequence numbers by the dates. Created is never
// before the wall time and at most maxBack after it; the wall time itself is
// checked per entry.
func (ix *index) clip(q *query) {
	if !ix.ordered {
		return
	}
	if q.from != math.MinInt64 {
		q.lo = max(q.lo, ix.seqAt(q.from))
	}
	if q.to != math.MaxInt64 {
		q.hi = min(q.hi, ix.lastBefore(addMs(q.to, ix.maxBack+1)))
	}
	q.hi = max(q.hi, q.lo-1) // an empty range, and not less
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

// matches tells whether an entry is one that q asks for. seq is within q's
// range.
func (ix *index) matches(q *query, p *page, e entry, seq uint64) bool {
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
	if q.byIP != nil && !ix.matchesIP(q, e.values[fieldIP]) {
		return false
	}
	if q.changing && !q.matchesNow(e, seq) {
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
	ok := (q.hosts == nil || among(q.hosts, host) || among(q.hosts, withoutPort(host))) &&
		(q.paths == nil || among(q.paths, pathOf(name)))
	q.byURL[url] = ok
	return ok
}

// among looks for what is not empty in a sorted list.
func among(list []string, s string) bool {
	_, found := slices.BinarySearch(list, s)
	return found && s != ""
}

// matchesIP checks an address against the ranges, once per address.
func (ix *index) matchesIP(q *query, ip uint32) bool {
	if ip == 0 || q.single.has(ip) {
		return ip != 0
	}
	ok, known := q.byIP[ip]
	if !known {
		a, err := netip.ParseAddr(ix.fields[fieldIP].slab[ip].name)
		ok = err == nil && covers(q.ranges, a.Unmap())
		q.byIP[ip] = ok
	}
	return ok
}

// matchesNow judges what changes in the life of a message. One whose end is
// decided but not durable passes: the answer has to wait for it, whatever it
// was.
func (q *query) matchesNow(e entry, seq uint64) bool {
	return e.phase == phaseFinishing ||
		(q.states == nil || slices.Contains(q.states, q.stateOf(e, seq))) &&
			e.due() >= q.dueFrom && e.due() <= q.dueTo && e.attempts() >= q.minAttempts
}

// only tells whether what q asks for is just what a source lists.
func (q *query) only(src source) bool {
	if q.dated || q.changing || q.ids != nil || q.byURL != nil || q.byIP != nil {
		return false
	}
	for f, set := range q.sets {
		if set != nil && (src.kind != sourceField || src.field != field(f)) {
			return false
		}
	}
	return true
}

// source is an index that a walk can follow.
type source struct {
	name  string
	count int  // live entries that the walk would look at
	exact bool // otherwise at most so many
	field field
	kind  sourceKind
}

type sourceKind uint8

const (
	sourceTime sourceKind = iota
	sourceField
	sourceIDs
)

// sources lists every index that q could walk, narrowest first. While a commit
// is half applied, live counts run ahead of what is visible.
func (ix *index) sources(q *query) []source {
	list := make([]source, 0, allFields+2)
	settled := ix.last == ix.visible
	all := ix.countTime(q)
	budget := planRuns
	for f := range allFields {
		if set := q.sets[f]; set != nil && len(set) <= maxUnion {
			// Labels overlap: a message may have several.
			exact := settled && !q.dated && !q.early[f] && (f != fieldLabel || len(set) <= 1)
			count := min(all, ix.countValues(q, f, set, &budget))
			list = append(list, source{name: fieldNames[f], count: count, exact: exact, field: f, kind: sourceField})
		}
	}
	if q.ids != nil {
		count := q.countIDs()
		list = append(list, source{name: "id", count: count, exact: count == 0, kind: sourceIDs})
	}
	list = append(list, source{name: "time", count: all, exact: settled, kind: sourceTime})
	slices.SortStableFunc(list, func(a, b source) int { return a.count - b.count })
	return list
}

// countValues adds up the live counts, clipped to the range of dates as far as
// the budget of runs goes.
func (ix *index) countValues(q *query, f field, set numbers, budget *int) int {
	total := 0
	for _, n := range set {
		count := int(ix.fields[f].live[n])
		if q.dated {
			if listed, ok := ix.fields[f].slab[n].list.CountRange(q.lo, q.hi, budget); ok {
				count = min(count, listed)
			}
		}
		total += count
	}
	return total
}

// countIDs counts the ids of the range.
func (q *query) countIDs() int {
	i, _ := slices.BinarySearch(q.order, q.lo)
	j, found := slices.BinarySearch(q.order, q.hi)
	if found {
		j++
	}
	return max(0, j-i)
}

// countTime counts the live entries of the range exactly, from the pages'
// counts and the entries of the first and last page.
func (ix *index) countTime(q *query) int {
	if !q.dated {
		return ix.live
	}
	total := 0
	first, last := q.lo>>pageBits, q.hi>>pageBits
	for number := max(first, ix.firstPage); number <= last && number-ix.firstPage < uint64(len(ix.pages)); number++ {
		if i := number - ix.firstPage; number > first && number < last {
			total += int(ix.lives[i])
		} else if ix.pages[i] != nil {
			total += ix.pages[i].countRange(q.lo, q.hi)
		}
	}
	return total
}

func (p *page) countRange(lo, hi uint64) (total int) {
	for i := range p.statuses {
		if seq := p.base + uint64(i); seq >= lo && seq <= hi && p.statuses[i].countable() {
			total++
		}
	}
	return total
}

// exact returns the number of matches if one live count tells it: no
// restriction at all, or one value of one field.
func (ix *index) exact(q *query) (count int, ok bool) {
	if q.dated || q.changing || q.ids != nil || q.byURL != nil || q.byIP != nil || ix.last != ix.visible {
		return 0, false
	}
	count = ix.live
	restricted := false
	for f, set := range q.sets {
		if set == nil {
			continue
		}
		if restricted || q.early[f] || len(set) > 1 {
			return 0, false
		}
		restricted, count = true, 0
		if len(set) == 1 {
			count = int(ix.fields[f].live[set[0]])
		}
	}
	return count, true
}
