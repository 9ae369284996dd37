package qstash

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// CallerIP returns the address of the client that made the request: that of the
// connection, or, if it is one of the trusted proxies, the last address in
// X-Forwarded-For that is not. Each proxy appends the address that it was
// connected from, so what stands before an address that is not trusted may be
// made up. If all of them are trusted it is the first, and where one cannot be
// read it is the one behind it.
//
// The address has neither port nor zone, and one of IPv4 is not in the spelling
// of IPv6. It is the zero Addr if the connection has none.
func CallerIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	caller := addrOf(r.RemoteAddr)
	hops := forwardedFor(r)
	for i := len(hops) - 1; i >= 0 && isTrusted(caller, trusted); i-- {
		next := addrOf(hops[i])
		if !next.IsValid() {
			break
		}
		caller = next
	}
	return caller
}

// forwardedFor is the list of the header, whose lines make one.
func forwardedFor(r *http.Request) (hops []string) {
	for _, line := range r.Header.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(line, ",")...)
	}
	return hops
}

// addrOf reads an address with or without a port, and returns the zero Addr for
// what is none.
func addrOf(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if at, err := netip.ParseAddrPort(text); err == nil {
		return plain(at.Addr())
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return plain(a)
}

// plain is an address as filters compare it. A zone means nothing elsewhere.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	return a.IsValid() && slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// callerIP is what a message keeps of its publisher; "" if it is not known.
func (h *handler) callerIP(r *http.Request) string {
	if a := CallerIP(r, h.o.TrustedProxies); a.IsValid() {
		return a.String()
	}
	return ""
}

// from is where a request came from, for the log.
func (h *handler) from(r *http.Request) string {
	if a := CallerIP(r, h.o.TrustedProxies); a.IsValid() && len(h.o.TrustedProxies) > 0 {
		return a.String()
	}
	return r.RemoteAddr
}
