package names

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// keeper numbers names as those who use a table do.
type keeper struct {
	table *Table
	names map[uint32]string
}

func (k *keeper) nameOf(n uint32) string { return k.names[n] }

func (k *keeper) find(name string) uint32 { return k.table.Find([]byte(name), k.nameOf) }

// check holds the table against a map of names.
func (k *keeper) check(t interface{ Fatalf(string, ...any) }, want map[string]uint32) {
	for name, n := range want {
		if got := k.find(name); got != n {
			t.Fatalf("%q is number %d, not %d", name, got, n)
		}
	}
	all := map[uint32]bool{}
	for n := range k.table.All() {
		all[n] = true
	}
	if k.table.Len() != len(want) || len(all) != len(want) {
		t.Fatalf("%d names, %d in all, not %d", k.table.Len(), len(all), len(want))
	}
}

func TestTableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := &keeper{New(), map[uint32]string{}}
		want := map[string]uint32{}
		next := uint32(1)
		// Few names, so that they come and go; one part's worth of slots meets.
		name := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprint(rapid.IntRange(0, 999).Draw(t, "name"))
		})
		for range rapid.IntRange(0, 3000).Draw(t, "steps") {
			name := name.Draw(t, "of")
			switch n := k.find(name); {
			case n != want[name]:
				t.Fatalf("%q is number %d, not %d", name, n, want[name])
			case n != 0:
				k.table.Remove(name, n)
				delete(want, name)
				delete(k.names, n)
			default:
				k.names[next] = name
				k.table.Add(name, next)
				want[name] = next
				next++
			}
		}
		k.check(t, want)
	})
}

// TestPartShrinks adds many names and removes nearly all: searches stay right
// around every gap, and the room is given back.
func TestPartShrinks(t *testing.T) {
	k := &keeper{New(), map[uint32]string{}}
	want := map[string]uint32{}
	for n := uint32(1); n <= 100_000; n++ {
		name := fmt.Sprintf("https://host.example/%d", n)
		k.names[n], want[name] = name, n
		k.table.Add(name, n)
	}
	k.check(t, want)
	full := slots(k.table)
	for name, n := range want {
		if n%50 != 0 {
			k.table.Remove(name, n)
			delete(want, name)
			delete(k.names, n)
		}
	}
	k.check(t, want)
	if left := slots(k.table); left*8 > full {
		t.Errorf("%d slots are left of %d", left, full)
	}
	if k.find("https://host.example/1") != 0 || k.find("") != 0 {
		t.Error("a name that is gone has a number")
	}
}

func slots(t *Table) (n int) {
	for i := range t.parts {
		n += len(t.parts[i].slots)
	}
	return n
}

// TestHashesThatMeet has many names in one run of slots, around the end of the
// part, and removes them in different orders.
func TestHashesThatMeet(t *testing.T) {
	for first := range 8 {
		p := &part{}
		p.resize(16)
		homes := []uint32{14, 14, 15, 14, 0, 15, 1, 1}
		for i, h := range homes {
			p.put(slotOf(uint64(h)|uint64(i)<<8, uint32(i+1)))
		}
		gone := map[uint32]bool{}
		for step := range homes {
			n := uint32((first+step*3)%len(homes) + 1)
			p.free(p.indexOf(n))
			gone[n] = true
			for i, h := range homes {
				if m := uint32(i + 1); !gone[m] && !p.reaches(h|uint32(i)<<8, m) {
					t.Fatalf("beginning with %d, after %d steps: %d is not found", first, step+1, m)
				}
			}
		}
	}
}

func (p *part) indexOf(n uint32) int {
	for i, s := range p.slots {
		if s.number() == n {
			return i
		}
	}
	return -1
}

func (p *part) reaches(hash, n uint32) bool {
	for i := p.home(hash); p.slots[i] != 0; i = p.after(i) {
		if p.slots[i] == slotOf(uint64(hash), n) {
			return true
		}
	}
	return false
}
