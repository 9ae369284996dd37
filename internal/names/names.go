// Package names finds the number of an interned name. The names themselves lie
// with whoever numbers them: a table has eight bytes and a little room for each,
// no pointers for the garbage collector to follow, and no growth that makes
// everybody wait.
package names

import (
	"hash/maphash"
	"iter"
)

const (
	partBits = 6
	parts    = 1 << partBits

	smallest = 8 // slots of a part that has any
)

// Table finds numbers by name. Number 0 is no number. The zero Table is not
// ready: see New. It is not safe for concurrent use.
type Table struct {
	seed  maphash.Seed
	parts [parts]part // by the highest bits of the hash: each grows by itself, which takes microseconds
	held  int
}

// part is a hash table with linear probing.
type part struct {
	slots []slot // a power of two
	held  int
}

// slot is the lower half of a hash above a number; 0 is free. With its hash at
// hand, a slot moves without a look at its name.
type slot uint64

func slotOf(hash uint64, n uint32) slot { return slot(hash<<32 | uint64(n)) }

func (s slot) number() uint32 { return uint32(s) }
func (s slot) hash() uint32   { return uint32(s >> 32) }

// New returns an empty table. Its hashes have a seed of their own, so nobody can
// choose names that meet.
func New() *Table { return &Table{seed: maphash.MakeSeed()} }

// Len returns how many names the table has.
func (t *Table) Len() int { return t.held }

// All ranges over the numbers of all names, in no order. The table must not change
// meanwhile.
func (t *Table) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i := range t.parts {
			for _, s := range t.parts[i].slots {
				if s != 0 && !yield(s.number()) {
					return
				}
			}
		}
	}
}

// Find returns the number of a name, 0 if it has none. nameOf says the name of
// each number that was added.
func (t *Table) Find(name []byte, nameOf func(n uint32) string) uint32 {
	hash := maphash.Bytes(t.seed, name)
	p := t.partOf(hash)
	if len(p.slots) == 0 {
		return 0
	}
	for i := p.home(uint32(hash)); p.slots[i] != 0; i = p.after(i) {
		if s := p.slots[i]; s.hash() == uint32(hash) && nameOf(s.number()) == string(name) {
			return s.number()
		}
	}
	return 0
}

// Add gives a number to a name that has none.
func (t *Table) Add(name string, n uint32) {
	hash := maphash.String(t.seed, name)
	p := t.partOf(hash)
	if (p.held+1)*4 > len(p.slots)*3 {
		p.resize(max(smallest, len(p.slots)*2))
	}
	p.put(slotOf(hash, n))
	p.held++
	t.held++
}

// Remove forgets a name that has the number n.
func (t *Table) Remove(name string, n uint32) {
	hash := maphash.String(t.seed, name)
	p := t.partOf(hash)
	i := p.home(uint32(hash))
	for p.slots[i] != slotOf(hash, n) {
		i = p.after(i)
	}
	p.free(i)
	p.held--
	t.held--
	if len(p.slots) > smallest && p.held*8 < len(p.slots) {
		p.resize(len(p.slots) / 2)
	}
}

func (t *Table) partOf(hash uint64) *part { return &t.parts[hash>>(64-partBits)] }

// home is where the search for a hash begins.
func (p *part) home(hash uint32) int { return int(hash) & (len(p.slots) - 1) }

func (p *part) after(i int) int { return (i + 1) & (len(p.slots) - 1) }

func (p *part) put(s slot) {
	i := p.home(s.hash())
	for p.slots[i] != 0 {
		i = p.after(i)
	}
	p.slots[i] = s
}

// free empties a slot. Whoever was put behind it because it was taken moves up,
// so that a search never meets a gap before what it looks for.
func (p *part) free(gap int) {
	mask := len(p.slots) - 1
	for i := p.after(gap); p.slots[i] != 0; i = p.after(i) {
		if way := (i - p.home(p.slots[i].hash())) & mask; way >= (i-gap)&mask {
			p.slots[gap], gap = p.slots[i], i
		}
	}
	p.slots[gap] = 0
}

func (p *part) resize(size int) {
	old := p.slots
	p.slots = make([]slot, size)
	for _, s := range old {
		if s != 0 {
			p.put(s)
		}
	}
}
