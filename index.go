package recall

import (
	"math"
	"slices"

	"github.com/google/btree"
	"github.com/recallmq/recall/internal/prefault"
	"github.com/recallmq/recall/store"
)

// An index holds what memory knows of every message: an entry by sequence
// number, a posting list for each value of each field, and a B-tree over time.
// Live messages and dead letters have one each. It is rebuilt when a file is
// opened. The lock of the engine that owns it guards it.
//
// Entries are pointer-free and kept in pages of consecutive sequence numbers,
// so a million of them cost the garbage collector next to nothing. Marking an
// entry takes it out of the counts at once; lists, values and pages keep it
// until it is unlinked, because until then the mark can be undone.
type index struct {
	fields [allFields]valueTable
	sets   labelSets

	pages     []*page              // pages[i] holds the numbers from (firstPage+i)<<pageBits; nil when nothing in it is held
	lives     []int32              // of each page, how many of its entries can still match: in one piece, to be summed
	firstPage uint64               //
	timeline  *btree.BTreeG[*page] // the timestamp index: pages are its runs
	live      int                  // entries that can still match
	inFlight  int                  // of those, in flight
	last      uint64               // newest sequence number inserted
	visible   uint64               // newest number that claims, walks and counts may see
	gone      func(seq uint64)     // told of what is unlinked; nil: nobody is
	maxBack   int64                // ms: the largest step back of the wall clock among entries
	ordered   bool
	scratch   []byte      // for label set keys
	dirty     []dirtyList // lists that are worth cleaning
	cleaning  cleaning
	late      []*uncounted // marked by passes, and perhaps still in the counts of their values
	touched   int64        // what touch has read: only there so that it does
}

type dirtyList struct {
	field field
	value uint32
}

const (
	pageBits = 10
	pageSize = 1 << pageBits
)

// page holds the entries of pageSize consecutive sequence numbers.
type page struct {
	base    uint64 // its first number
	created int64  // ms: of the first entry inserted; entries count from it
	held    int32
	wide    map[uint64]wideTimes // times that do not fit an entry
	*entries
}

// entries has no pointers, so the garbage collector does not look into it, and is 48
// kB: with what else belongs to a page it would take 56.
type entries struct {
	statuses   [pageSize]status
	attributes [pageSize]attributes
}

type wideTimes struct{ created, wall int64 }

// entry is what the index keeps of one message: 48 bytes without pointers, in two
// parts. A walk that meets every tenth message waits for memory half of the time, and
// most walks look at the statuses alone. So those are small, and lie next to each
// other. The zero entry stands for a message that is not there.
type entry struct {
	*status
	*attributes
}

// status is the part of an entry that walks look at, and change.
type status struct {
	mark  uint16 // with phaseMarked: the cancellation that took it; 0: a call for one message
	phase phase
	flags uint8
}

// attributes are the rest of an entry.
type attributes struct {
	dueAt   [2]uint32 // ms, low half first: a word of eight bytes would leave four unused
	labels  uint32    // number of the label set
	created uint32    // ms after page.created; order of ids
	back    uint16    // ms that the publisher's clock was behind created
	tries   uint16    // attempts, priority and parked: see tries.go
	values  [plainFields]uint32
}

// at returns the entry of a number of the page, held or not.
func (p *page) at(seq uint64) entry {
	i := seq & (pageSize - 1)
	return entry{&p.statuses[i], &p.attributes[i]}
}

// due is when the message may be claimed, in milliseconds.
func (a *attributes) due() int64 { return int64(a.dueAt[1])<<32 | int64(a.dueAt[0]) }

func (a *attributes) setDue(ms int64) { a.dueAt = [2]uint32{uint32(ms), uint32(ms >> 32)} }

// exists tells whether there is such an entry.
func (e entry) exists() bool { return e.status != nil }

const (
	flagWide      = 1 << iota // times are in page.wide
	flagRequested             // its cancellation was requested while in flight: never again a match
	flagRetried               // waits for a retry
	flagQueued                // is in a lane
	flagAside                 // waits in another lane than the plain one
	flagHeld                  // claims pass it over
	flagDamaged               // cannot be read: never queued again
	flagUncounted             // marked, and still in the counts of its values
)

// newIndex returns an empty index. ordered says that created never falls as
// numbers rise, so that dates narrow the range of numbers.
func newIndex(ordered bool) *index {
	ix := &index{
		ordered: ordered,
		sets:    newLabelSets(),
		timeline: btree.NewG(32, func(a, b *page) bool {
			return a.created < b.created || a.created == b.created && a.base < b.base
		}),
	}
	for f := range ix.fields {
		ix.fields[f] = newValueTable()
	}
	ix.fields[fieldURL].hosts = make([]uint32, 1)
	ix.fields[fieldIP].addrs = newAddresses()
	return ix
}

// times of one entry, in milliseconds.
type times struct{ created, wall, due int64 }

// insert adds a message; numbers come in ascending order, created never falls.
func (ix *index) insert(seq uint64, rec *store.Record, t times) entry {
	p := ix.pageFor(seq, t.created)
	e := p.at(seq)
	*e.status, *e.attributes = status{phase: phasePending}, attributes{}
	e.setDue(t.due)
	if isLocal(rec.URL) || rec.Priority != 0 {
		e.flags |= flagAside
		e.setPriority(rec.Priority)
	}
	ix.setTimes(p, e, seq, t)
	ix.link(e, seq, rec)
	ix.lives[seq>>pageBits-ix.firstPage]++
	p.held++
	ix.live++
	ix.setLast(seq)
	return e
}

// setLast moves on to a number. The page that is left behind may be empty by
// now: it was kept because numbers were being added to it.
func (ix *index) setLast(seq uint64) {
	left := ix.last>>pageBits - ix.firstPage
	ix.last = seq
	if left < uint64(len(ix.pages)) && ix.pages[left] != nil {
		ix.dropPage(ix.pages[left])
	}
}

func (ix *index) setTimes(p *page, e entry, seq uint64, t times) {
	since, back := t.created-p.created, t.created-t.wall
	ix.maxBack = max(ix.maxBack, back)
	if since >= 0 && since <= math.MaxUint32 && back >= 0 && back <= math.MaxUint16 {
		e.created, e.back = uint32(since), uint16(back)
		return
	}
	if p.wide == nil {
		p.wide = map[uint64]wideTimes{}
	}
	p.wide[seq] = wideTimes{t.created, t.wall}
	e.flags |= flagWide
}

// timesOf returns created and wall of an entry.
func (p *page) timesOf(seq uint64, e entry) (created, wall int64) {
	if e.flags&flagWide != 0 {
		w := p.wide[seq]
		return w.created, w.wall
	}
	created = p.created + int64(e.created)
	return created, created - int64(e.back)
}

// link interns the values of a message and appends it to their lists.
func (ix *index) link(e entry, seq uint64, rec *store.Record) {
	for f, name := range [plainFields][]byte{rec.Queue, rec.URL, rec.Topic, rec.Schedule, rec.CallerIP, rec.FlowKey} {
		if len(name) == 0 {
			continue
		}
		n, fresh := ix.fields[f].intern(name)
		if fresh && field(f) == fieldURL {
			ix.linkHost(n, name)
		}
		ix.fields[f].add(n, seq)
		e.values[f] = n
	}
	if host := ix.hostNumber(e.values[fieldURL]); host != 0 {
		ix.fields[fieldHost].add(host, seq)
	}
	if len(rec.Labels) > 0 {
		ix.linkLabels(e, seq, rec.Labels)
	}
}

// linkHost notes the host of a new URL. The URL's entries keep the host held.
func (ix *index) linkHost(url uint32, name []byte) {
	hosts := &ix.fields[fieldURL].hosts
	for uint32(len(*hosts)) <= url {
		*hosts = append(*hosts, 0)
	}
	(*hosts)[url] = 0
	if host := withoutPort(hostOf(string(name))); host != "" {
		(*hosts)[url], _ = ix.fields[fieldHost].intern([]byte(host))
	}
}

func (ix *index) hostNumber(url uint32) uint32 { return ix.fields[fieldURL].hosts[url] }

func (ix *index) linkLabels(e entry, seq uint64, labels [][]byte) {
	key := ix.scratch[:0]
	for i, l := range labels {
		if i > 0 {
			key = append(key, labelSeparator)
		}
		key = append(key, l...)
	}
	ix.scratch = key
	e.labels = ix.sets.intern(key, &ix.fields[fieldLabel])
	set := &ix.sets.slab[e.labels]
	set.held++
	for _, n := range set.labels {
		ix.fields[fieldLabel].add(n, seq)
	}
}

// valuesOf calls fn for every value that an entry is listed under.
func (ix *index) valuesOf(e entry, fn func(field, uint32)) {
	for f, n := range e.values {
		if n != 0 {
			fn(field(f), n)
		}
	}
	if host := ix.hostNumber(e.values[fieldURL]); host != 0 {
		fn(fieldHost, host)
	}
	if e.labels != 0 {
		for _, n := range ix.sets.slab[e.labels].labels {
			fn(fieldLabel, n)
		}
	}
}

// onMove, set only by tests, sees every step that a message takes; see moves.
var onMove func(from, to phase)

// move changes the phase of an entry and keeps the counts in step with it.
func (ix *index) move(p *page, e entry, to phase) {
	if onMove != nil {
		onMove(e.phase, to)
	}
	was := e.countable()
	ix.inFlight -= e.running()
	e.phase = to
	ix.inFlight += e.running()
	ix.recount(p, e, was)
	if e.flags&flagUncounted != 0 { // nothing will bring it back
		e.flags &^= flagUncounted
		ix.countValuesOf(e, -1)
	}
}

func (ix *index) recount(p *page, e entry, was bool) {
	switch is := e.countable(); {
	case is && !was:
		ix.count(p, e, 1)
	case was && !is:
		ix.count(p, e, -1)
	}
}

// countable tells whether an entry can match a filter.
func (s *status) countable() bool {
	return (s.phase == phasePending || s.phase == phaseInFlight) && s.flags&flagRequested == 0
}

// running is 1 of an entry that counts as in flight.
func (s *status) running() int {
	if s.phase == phaseInFlight && s.countable() {
		return 1
	}
	return 0
}

// waits tells whether an entry can be claimed when it is due at the given time.
func (e entry) waits(due int64) bool {
	return e.phase == phasePending && e.due() == due && e.flags&flagHeld == 0
}

// request takes an entry in flight out of every later match; undo puts it back.
func (ix *index) request(p *page, e entry, on bool) {
	was := e.countable()
	ix.inFlight -= e.running()
	e.flags &^= flagRequested
	if on {
		e.flags |= flagRequested
	}
	ix.inFlight += e.running()
	ix.recount(p, e, was)
}

// unlinkAll unlinks the entries of some numbers that are marked.
func (ix *index) unlinkAll(seqs []uint64) {
	for some := range slices.Chunk(seqs, walkTouch) {
		ix.touch(some, true)
		for _, seq := range some {
			if p, e := ix.lookup(seq); p != nil && e.phase == phaseMarked {
				ix.unlink(p, e, seq)
			}
		}
	}
}

// unlink forgets an entry whose message is gone for good. Lists shed it later.
func (ix *index) unlink(p *page, e entry, seq uint64) {
	ix.move(p, e, phaseGone)
	if ix.gone != nil {
		ix.gone(seq)
	}
	if host := ix.hostNumber(e.values[fieldURL]); host != 0 { // the URL knows it
		ix.release(fieldHost, host)
	}
	for f, n := range e.values {
		if n != 0 {
			ix.release(field(f), n)
		}
	}
	if e.labels != 0 {
		for _, n := range ix.sets.slab[e.labels].labels {
			ix.release(fieldLabel, n)
		}
		ix.sets.release(e.labels)
	}
	if e.flags&flagWide != 0 {
		delete(p.wide, seq)
	}
	*e.status = status{} // which says that there is none: the attributes need not be written
	p.held--
	ix.dropPage(p)
}

func (ix *index) release(f field, n uint32) {
	if ix.fields[f].release(n) {
		ix.dirty = append(ix.dirty, dirtyList{f, n})
	}
}

// cleaning is a posting list that is being rid of unlinked entries.
type cleaning struct {
	list dirtyList
	at   uint64
	busy bool
}

// cleanRuns is how many runs of a list one lock hold cleans.
const cleanRuns = 4

// clean goes on with the list that is being cleaned, or begins with another,
// for a bounded time. It reports whether there was anything to do.
func (ix *index) clean() bool {
	c := &ix.cleaning
	if !c.busy {
		last := len(ix.dirty) - 1
		if last < 0 {
			return false
		}
		*c = cleaning{list: ix.dirty[last], busy: true}
		ix.dirty = ix.dirty[:last]
		ix.fields[c.list.field].uses[c.list.value].due = false
	}
	next, done := ix.fields[c.list.field].slab[c.list.value].list.Shed(c.at, cleanRuns, func(seq uint64) bool {
		return ix.lists(seq, c.list)
	})
	c.at, c.busy = next, !done
	return true
}

// lists tells whether the entry of seq, if held, has the value.
func (ix *index) lists(seq uint64, d dirtyList) bool {
	_, e := ix.lookup(seq)
	switch {
	case !e.exists():
		return false
	case d.field == fieldHost:
		return ix.hostNumber(e.values[fieldURL]) == d.value
	case d.field == fieldLabel:
		return containsNumber(ix.sets.slab[e.labels].labels, d.value)
	}
	return e.values[d.field] == d.value
}

// lookup returns the page and entry of a held message, or nothing.
func (ix *index) lookup(seq uint64) (*page, entry) {
	if p := ix.pageOf(seq); p != nil {
		if e := p.at(seq); e.phase != phaseNone {
			return p, e
		}
	}
	return nil, entry{}
}

// pageOf returns the page that a number would be held in, or nil.
func (ix *index) pageOf(seq uint64) *page {
	if i := seq>>pageBits - ix.firstPage; i < uint64(len(ix.pages)) {
		return ix.pages[i]
	}
	return nil
}

// pageFor returns the page of a new number, making it if need be.
func (ix *index) pageFor(seq uint64, created int64) *page {
	number := seq >> pageBits
	if len(ix.pages) == 0 {
		ix.firstPage = number
	}
	for uint64(len(ix.pages)) <= number-ix.firstPage {
		ix.pages, ix.lives = append(ix.pages, nil), append(ix.lives, 0)
	}
	p := ix.pages[number-ix.firstPage]
	if p == nil {
		p = &page{base: number << pageBits, created: created, entries: prefault.New[entries]()}
		ix.pages[number-ix.firstPage] = p
		ix.timeline.ReplaceOrInsert(p)
	}
	return p
}

// dropPage gives back a page in which nothing is held, and the head of the
// page table with it. The page that numbers are being added to stays.
func (ix *index) dropPage(p *page) {
	if p.held > 0 || ix.last>>pageBits == p.base>>pageBits {
		return
	}
	ix.timeline.Delete(p)
	ix.pages[p.base>>pageBits-ix.firstPage] = nil
	drop := 0
	for drop < len(ix.pages) && ix.pages[drop] == nil {
		drop++
	}
	ix.pages, ix.lives = ix.pages[drop:], ix.lives[drop:]
	ix.firstPage += uint64(drop)
}

// seqAt returns the first number whose message was created at ms or later; the
// numbers before it are all older. It is found in the timestamp index.
func (ix *index) seqAt(ms int64) uint64 {
	start := uint64(0)
	ix.timeline.DescendLessOrEqual(&page{created: ms}, func(p *page) bool {
		start = p.base + pageSize // unless one of its own is new enough
		for seq := p.base; seq < p.base+pageSize; seq++ {
			e := p.at(seq)
			if e.phase == phaseNone {
				continue
			}
			if created, _ := p.timesOf(seq, e); created >= ms {
				start = seq
				break
			}
		}
		return false
	})
	return start
}
