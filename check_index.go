package recall

import (
	"fmt"
	"slices"
)

// What an engine has in memory is held against itself here, and against a file in
// check_file.go: [Check] does so with what an open of the file would build, and the
// tests with engines that were in use.

// willCount tells whether an entry that was marked waits to be counted.
func willCount(ix *index, seq uint64) bool {
	return slices.ContainsFunc(ix.late, func(u *uncounted) bool { return slices.Contains(u.seqs[u.at:], seq) })
}

// check collects what is wrong.
type check struct {
	e      *embedded
	faults []error
}

func (c *check) fault(format string, args ...any) {
	if len(c.faults) < 20 { // they tend to be many
		c.faults = append(c.faults, fmt.Errorf(format, args...))
	}
}

func (c *check) memory() {
	c.index("live", c.e.live)
	c.index("dead", c.e.dead)
	c.lanes()
	c.leases()
	c.undo()
	c.marks()
}

// index recounts everything that an index counts.
func (c *check) index(name string, ix *index) {
	var seen [allFields]map[uint32]*recounted
	for f := range seen {
		seen[f] = map[uint32]*recounted{}
	}
	sets := map[uint32]int32{}
	live := 0
	for i, p := range ix.pages {
		if p != nil {
			live += c.page(name, ix, p, ix.firstPage+uint64(i))
		} else if ix.lives[i] != 0 {
			c.fault("%s: page %d is gone and counts %d live", name, ix.firstPage+uint64(i), ix.lives[i])
		}
	}
	ix.eachEntry(func(_ *page, en entry, seq uint64) {
		ix.valuesOf(en, func(f field, n uint32) {
			r := seen[f][n]
			if r == nil {
				r = &recounted{}
				seen[f][n] = r
			}
			r.seqs = append(r.seqs, seq)
			if en.countable() || en.flags&flagUncounted != 0 {
				r.live++
			}
		})
		if en.flags&flagUncounted != 0 && (en.phase != phaseMarked || !willCount(ix, seq)) {
			c.fault("%s: %d is in phase %d, and nothing will count it", name, seq, en.phase)
		}
		if en.labels != 0 {
			sets[en.labels]++
		}
	})
	if live != ix.live {
		c.fault("%s: %d live, %d are counted", name, live, ix.live)
	}
	for f := range seen {
		c.values(name+" "+fieldNames[f], ix, field(f), seen[f])
	}
	c.labelSets(name, &ix.sets, sets)
	if pages := ix.timeline.Len(); pages != len(ix.pages)-countNil(ix.pages) {
		c.fault("%s: %d pages in the timeline, %d in the table", name, pages, len(ix.pages)-countNil(ix.pages))
	}
}

// recounted is what the entries say about one value.
type recounted struct {
	seqs []uint64 // ascending
	live int32
}

func countNil(pages []*page) (n int) {
	for _, p := range pages {
		if p == nil {
			n++
		}
	}
	return n
}

func (ix *index) eachEntry(visit func(*page, entry, uint64)) {
	for _, p := range ix.pages {
		if p == nil {
			continue
		}
		for seq := p.base; seq < p.base+pageSize; seq++ {
			if en := p.at(seq); en.phase != phaseNone {
				visit(p, en, seq)
			}
		}
	}
}

func (c *check) page(name string, ix *index, p *page, number uint64) (live int) {
	held, wide := 0, 0
	for seq := p.base; seq < p.base+pageSize; seq++ {
		en := p.at(seq)
		if en.phase == phaseNone {
			continue
		}
		held++
		if en.countable() {
			live++
		}
		if _, ok := p.wide[seq]; ok != (en.flags&flagWide != 0) {
			c.fault("%s %d: wide times %v, flags %b", name, seq, ok, en.flags)
		}
		wide += int(en.flags & flagWide)
		if en.phase == phaseGone || en.mark != 0 && en.phase != phaseMarked || seq > ix.last {
			c.fault("%s %d: phase %d, mark %d, the last number is %d", name, seq, en.phase, en.mark, ix.last)
		}
	}
	if p.base != number<<pageBits || int(p.held) != held || int(ix.lives[number-ix.firstPage]) != live || len(p.wide) != wide {
		c.fault("%s: page %d at %d counts %d held, %d live, %d wide; recounted %d, %d, %d",
			name, p.base, number<<pageBits, p.held, ix.lives[number-ix.firstPage], len(p.wide), held, live, wide)
	}
	if held == 0 && number != ix.last>>pageBits {
		c.fault("%s: page %d is empty and kept", name, number)
	}
	if found, ok := ix.timeline.Get(p); !ok || found != p {
		c.fault("%s: page %d is not in the timeline", name, p.base)
	}
	return live
}

// values compares the interned values of a field with what entries say.
func (c *check) values(name string, ix *index, f field, seen map[uint32]*recounted) {
	t := &ix.fields[f]
	if used := len(t.slab) - 1 - len(t.free); used != len(seen) || t.byName.Len() != used {
		c.fault("%s: %d values are in use, %d by name, %d by entries", name, used, t.byName.Len(), len(seen))
	}
	for n, r := range seen {
		v := &t.slab[n]
		if t.lookup(v.name) != n || v.name == "" || slices.Contains(t.free, n) {
			c.fault("%s %q: number %d is %d by name, or free", name, v.name, n, t.lookup(v.name))
		}
		if int(t.uses[n].held) != len(r.seqs) || t.live[n] != r.live {
			c.fault("%s %q: counts %d held, %d live; recounted %d, %d", name, v.name, t.uses[n].held, t.live[n], len(r.seqs), r.live)
		}
		if f == fieldURL && t.hosts[n] != ix.fields[fieldHost].lookup(withoutPort(hostOf(v.name))) {
			c.fault("%s %q: its host is number %d", name, v.name, t.hosts[n])
		}
		c.list(name+" "+v.name, ix, dirtyList{f, n}, r.seqs)
	}
}

// list: a posting list holds every entry of its value, and beside them only
// what is not held any more, or under another value.
func (c *check) list(name string, ix *index, d dirtyList, want []uint64) {
	list := &ix.fields[d.field].slab[d.value].list
	var have []uint64
	length, last := 0, uint64(0)
	list.Ascend(0, func(seq uint64) bool {
		if length > 0 && seq <= last {
			c.fault("%s: %d follows %d in the list", name, seq, last)
		}
		length, last = length+1, seq
		if ix.lists(seq, d) {
			have = append(have, seq)
		}
		return true
	})
	if !slices.Equal(have, want) || length != list.Len() {
		c.fault("%s: the list has %d of %d entries, and %d of %d numbers", name, len(have), len(want), length, list.Len())
	}
}

func (c *check) labelSets(name string, s *labelSets, want map[uint32]int32) {
	if used := len(s.slab) - 1 - len(s.free); used != len(want) || len(s.byKey) != used {
		c.fault("%s: %d label sets are in use, %d by key, %d by entries", name, used, len(s.byKey), len(want))
	}
	for n, held := range want {
		if set := &s.slab[n]; set.held != held || s.byKey[set.key] != n {
			c.fault("%s: label set %q is held %d times, recounted %d", name, set.key, set.held, held)
		}
	}
}
