package postgres

import (
	"net/netip"
	"strings"
)

const (
	localScheme = "local:"
	pullScheme  = "pull:"
)

// handlerOf is the URL of a message for a handler of a process, or for consumers;
// else "".
func handlerOf(dest string) string {
	if strings.HasPrefix(dest, localScheme) || strings.HasPrefix(dest, pullScheme) {
		return dest
	}
	return ""
}

// hostOf returns the host of a destination in lower case, with its port if it names
// one, or "".
func hostOf(dest string) string {
	_, rest, ok := strings.Cut(dest, "://")
	if !ok || strings.HasPrefix(dest, pullScheme) {
		return ""
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	return strings.ToLower(rest)
}

func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}

// pathOf returns the path of a destination without its query, as written.
func pathOf(dest string) string {
	_, rest, ok := strings.Cut(dest, "://")
	if !ok || strings.HasPrefix(dest, pullScheme) {
		return ""
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return ""
}

func canonicalIP(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return s
	}
	return a.Unmap().String()
}

// addressOf is an address as a range can contain it: nil for what is none, or has a
// zone, which no range contains.
func addressOf(s string) *netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return nil
	}
	a = a.Unmap()
	return &a
}

// parsePrefix reads a range of addresses; IPv4 in the clothes of IPv6 is IPv4.
func parsePrefix(s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, false
	}
	const mappedBits = 96
	if p.Addr().Is4In6() && p.Bits() >= mappedBits {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
	}
	return p.Masked(), true
}
