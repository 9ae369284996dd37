package recall

import (
	"strings"

	"github.com/recallmq/recall/internal/names"
	"github.com/recallmq/recall/internal/posting"
)

// field is an attribute with an index of its own.
type field uint8

const (
	fieldQueue field = iota
	fieldURL
	fieldTopic
	fieldSchedule
	fieldIP
	fieldFlow
	plainFields // the fields before have one value per message, kept in its entry

	fieldHost  = plainFields     // derived from the URL
	fieldLabel = plainFields + 1 // several per message
	allFields  = plainFields + 2
)

var fieldNames = [allFields]string{"queue", "url", "topic", "schedule", "ip", "flow", "host", "label"}

// value is one interned value of a field and its posting list.
type value struct {
	name string
	list posting.List // every entry that was held when the list was last cleaned, and all newer ones
}

// usage is what unlinking an entry changes of a value.
type usage struct {
	held int32  // entries that are not unlinked yet; the number is free when it is 0
	gone uint16 // entries unlinked since somebody looked at the list
	due  bool   // the list is to be cleaned
}

// lookEvery is how many entries of a value are unlinked between two looks at its
// list, which is far away in memory.
const lookEvery = 16

// valueTable interns the values of one field. Number 0 stands for "none". What
// every marked entry touches has arrays of its own: those of ten thousand values
// fit the first cache of a processor, their slab does not.
type valueTable struct {
	byName *names.Table
	slab   []value
	live   []int32  // of each value, entries that can still match: pending or in flight
	uses   []usage  // of each value
	hosts  []uint32 // of each URL, its value number in the field host
	free   []uint32
	addrs  *addresses // of caller IPs only
}

func newValueTable() valueTable {
	return valueTable{byName: names.New(), slab: make([]value, 1), live: make([]int32, 1), uses: make([]usage, 1)}
}

// lookup returns the number of a name, 0 if nothing held has it.
func (t *valueTable) lookup(name string) uint32 { return t.byName.Find([]byte(name), t.nameOf) }

func (t *valueTable) nameOf(n uint32) string { return t.slab[n].name }

// intern returns the number of a name that is not empty and whether it is new.
// The name may be a view into a buffer: a new value keeps a copy.
func (t *valueTable) intern(name []byte) (n uint32, fresh bool) {
	if n := t.byName.Find(name, t.nameOf); n != 0 {
		return n, false
	}
	own := string(name)
	if last := len(t.free) - 1; last >= 0 {
		n = t.free[last]
		t.free = t.free[:last]
		t.slab[n], t.live[n], t.uses[n] = value{name: own}, 0, usage{}
	} else {
		n = uint32(len(t.slab))
		t.slab, t.live, t.uses = append(t.slab, value{name: own}), append(t.live, 0), append(t.uses, usage{})
	}
	t.byName.Add(own, n)
	if t.addrs != nil {
		t.addrs.add(own, n)
	}
	return n, true
}

// all returns the names of all values, nil if they are more than most.
func (t *valueTable) all(most int) []string {
	if t.byName.Len() > most {
		return nil
	}
	list := make([]string, 0, t.byName.Len())
	for n := range t.byName.All() {
		list = append(list, t.nameOf(n))
	}
	return list
}

// add links an entry to value n.
func (t *valueTable) add(n uint32, seq uint64) {
	t.slab[n].list.Append(seq)
	t.uses[n].held++
	t.live[n]++
}

// release unlinks one entry from value n, and forgets the value with its last.
// Otherwise it reports, once, that the list is mostly made of entries that are
// gone, so that cleaning it pays.
func (t *valueTable) release(n uint32) (dirty bool) {
	of := &t.uses[n]
	of.held--
	of.gone++
	switch {
	case of.held == 0:
		t.forget(n)
		return false
	case of.gone < lookEvery:
		return false
	}
	of.gone = 0
	const smallest = 64
	length := t.slab[n].list.Len()
	dirty = !of.due && length >= smallest && int(of.held)*5 < length*2
	of.due = of.due || dirty
	return dirty
}

// forget frees the number of a value that no entry has.
func (t *valueTable) forget(n uint32) {
	v := &t.slab[n]
	t.byName.Remove(v.name, n)
	if t.addrs != nil {
		t.addrs.remove(v.name, n)
	}
	*v = value{}
	t.free = append(t.free, n)
}

// labelSet is one interned combination of labels.
type labelSet struct {
	key    string
	labels []uint32 // value numbers, without duplicates
	held   int32
}

// labelSets interns combinations: most messages share a few.
type labelSets struct {
	byKey map[string]uint32
	slab  []labelSet
	free  []uint32
}

func newLabelSets() labelSets {
	return labelSets{byKey: map[string]uint32{}, slab: make([]labelSet, 1)}
}

// labelSeparator cannot occur in a label: control characters are refused.
const labelSeparator = 0

// intern returns the number of the set that key spells, creating it, and its
// labels, on first use. The caller counts the entry with held.
func (s *labelSets) intern(key []byte, labels *valueTable) uint32 {
	if n, ok := s.byKey[string(key)]; ok {
		return n
	}
	set := labelSet{key: string(key)}
	for name := range strings.SplitSeq(set.key, string(rune(labelSeparator))) {
		n, _ := labels.intern([]byte(name))
		if !containsNumber(set.labels, n) {
			set.labels = append(set.labels, n)
		}
	}
	n := uint32(len(s.slab))
	if last := len(s.free) - 1; last >= 0 {
		n = s.free[last]
		s.free = s.free[:last]
		s.slab[n] = set
	} else {
		s.slab = append(s.slab, set)
	}
	s.byKey[set.key] = n
	return n
}

func (s *labelSets) release(n uint32) {
	set := &s.slab[n]
	set.held--
	if set.held == 0 {
		delete(s.byKey, set.key)
		*set = labelSet{}
		s.free = append(s.free, n)
	}
}

func containsNumber(list []uint32, n uint32) bool {
	for _, have := range list {
		if have == n {
			return true
		}
	}
	return false
}
