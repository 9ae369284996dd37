package recall

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/google/btree"
)

// addresses keeps the values of the field of caller IPs in the order of
// addresses, in which a CIDR range is contiguous. What is no address is in no
// range, and not kept.
type addresses struct{ tree *btree.BTreeG[addressValue] }

type addressValue struct {
	addr netip.Addr
	n    uint32 // value number
}

func newAddresses() *addresses {
	return &addresses{btree.NewG(32, func(a, b addressValue) bool {
		c := a.addr.Compare(b.addr)
		return c < 0 || c == 0 && a.n < b.n
	})}
}

func (s *addresses) add(name string, n uint32) {
	if a, err := netip.ParseAddr(name); err == nil {
		s.tree.ReplaceOrInsert(addressValue{a.Unmap(), n})
	}
}

func (s *addresses) remove(name string, n uint32) {
	if a, err := netip.ParseAddr(name); err == nil {
		s.tree.Delete(addressValue{a.Unmap(), n})
	}
}

// within returns the values in the ranges, which do not overlap, unless there
// are more than most of either.
func (s *addresses) within(ranges []netip.Prefix, most int) (set numbers, ok bool) {
	if len(ranges) > most {
		return nil, false
	}
	for _, p := range ranges {
		s.tree.AscendGreaterOrEqual(addressValue{addr: p.Addr()}, func(v addressValue) bool {
			if !p.Contains(v.addr) || len(set) > most {
				return false
			}
			set = append(set, v.n)
			return true
		})
	}
	return set, len(set) <= most
}

// splitSources parts addresses from ranges. Ranges come back ascending and
// without those that others contain, so that they do not overlap; nil if there
// are none.
func splitSources(sources []string) (addrs []string, ranges []netip.Prefix) {
	if sources == nil {
		return nil, nil
	}
	addrs = []string{}
	for _, s := range sources {
		if p, ok := parsePrefix(s); ok {
			ranges = append(ranges, p)
		} else {
			addrs = append(addrs, s)
		}
	}
	slices.SortFunc(ranges, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits())
	})
	var outer netip.Prefix
	return addrs, slices.DeleteFunc(ranges, func(p netip.Prefix) bool {
		if outer.Contains(p.Addr()) {
			return true
		}
		outer = p
		return false
	})
}

// covers tells whether one of the ranges, ascending and without overlap, has
// the address.
func covers(ranges []netip.Prefix, a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(ranges, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return found || i > 0 && ranges[i-1].Contains(a)
}
