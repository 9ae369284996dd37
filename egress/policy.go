package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/recallmq/recall"
)

// Policy says which addresses may be connected to. The zero value is public
// addresses only. A Policy must not be changed while it is in use; then it is
// safe for concurrent use.
type Policy struct {
	// AllowPrivate also allows private networks – those of RFC 1918 and RFC 4193
	// and the shared ones of RFC 6598 – and the loopback. What is neither public
	// nor private stays refused: link-local addresses, where clouds have their
	// metadata services, multicast, and what is reserved.
	AllowPrivate bool
	// Allow lists ranges that are allowed whatever they are. Those of IPv4 hold
	// for the same addresses as IPv6 writes them (::ffff:10.0.0.1), too.
	Allow []netip.Prefix
}

// RefusedError says that a policy does not allow an address.
type RefusedError struct {
	Addr netip.Addr // the zero Addr if it was none
}

func (e *RefusedError) Error() string {
	if !e.Addr.IsValid() {
		return "egress: the destination is no IP address"
	}
	return fmt.Sprintf("egress: the destination is %s, which is not allowed", e.Addr)
}

// Allows tells whether a may be connected to. The zone of an address is left
// aside.
func (p *Policy) Allows(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	switch {
	case slices.ContainsFunc(p.Allow, func(r netip.Prefix) bool { return contains(r, a) }):
		return true
	case p.AllowPrivate && isPrivate(a):
		return true
	}
	return IsPublic(a)
}

// contains is r.Contains, where r may be a range of IPv4 in the spelling of IPv6.
func contains(r netip.Prefix, a netip.Addr) bool {
	const mapped = 96 // bits before the address of IPv4
	if r.Addr().Is4In6() && r.Bits() >= mapped {
		r = netip.PrefixFrom(r.Addr().Unmap(), r.Bits()-mapped)
	}
	return r.Contains(a)
}

// Control is for [net.Dialer].Control: it refuses a connection to an address
// that is not allowed, before anything was sent. The error is a [*RefusedError]
// wrapped by [recall.Permanent].
func (p *Policy) Control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !p.Allows(at.Addr()) {
		return recall.Permanent(&RefusedError{Addr: at.Addr()})
	}
	return nil
}
