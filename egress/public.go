package egress

import (
	"net/netip"
	"slices"
)

// notPublic are the ranges of IPv4 that the registry of special-purpose
// addresses does not call global, and multicast.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)

// Of IPv6 only globalUnicast is given out, and of that notGlobal is for
// protocols, documentation and tunnels, whose far end nobody can judge.
var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	notGlobal     = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	translated    = netip.MustParsePrefix("64:ff9b::/96") // ends in an address of IPv4
)

// private are the ranges that AllowPrivate is about.
var private = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128")

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

// IsPublic tells whether a is an address of the public internet, by the
// registries of special-purpose addresses. An address of IPv4 may be in the
// spelling of IPv6, and one that is translated by NAT64 (64:ff9b::/96) is judged
// by the one inside. Tunnels (6to4, Teredo) are not public.
func IsPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	switch {
	case a.Is4():
		return !inAny(notPublic, a)
	case translated.Contains(a):
		return IsPublic(embedded(a))
	}
	return globalUnicast.Contains(a) && !inAny(notGlobal, a)
}

// embedded is the address of IPv4 in the last bytes of one of IPv6.
func embedded(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

func isPrivate(a netip.Addr) bool { return inAny(private, a) }

func inAny(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
