package egress_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/recallmq/recall/egress"
)

func TestAllows(t *testing.T) {
	none := &egress.Policy{}
	private := &egress.Policy{AllowPrivate: true}
	ranges := &egress.Policy{Allow: []netip.Prefix{
		netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::ffff:192.168.7.0/120"),
		netip.MustParsePrefix("fd00:1::/32"), netip.MustParsePrefix("169.254.169.254/32"),
	}}
	for _, test := range []struct {
		addr                  string
		none, private, ranges bool
	}{
		{"8.8.8.8", true, true, true},
		{"::ffff:8.8.8.8", true, true, true},
		{"2606:4700::1111", true, true, true},
		{"64:ff9b::808:808", true, true, true},
		{"64:ff9b::a00:1", false, false, false}, // 10.0.0.1
		{"127.0.0.1", false, true, false},
		{"127.9.9.9", false, true, false},
		{"::1", false, true, false},
		{"::ffff:127.0.0.1", false, true, false},
		{"10.0.0.1", false, true, false},
		{"10.1.0.1", false, true, true},
		{"::ffff:10.1.0.1", false, true, true},
		{"172.31.255.255", false, true, false},
		{"172.32.0.0", true, true, true},
		{"192.168.7.9", false, true, true},
		{"192.168.8.9", false, true, false},
		{"100.64.0.1", false, true, false},
		{"fd00::1", false, true, false},
		{"fd00:1::1", false, true, true},
		{"169.254.169.254", false, false, true},
		{"169.254.169.253", false, false, false},
		{"fe80::1%eth0", false, false, false},
		{"0.0.0.0", false, false, false},
		{"::", false, false, false},
		{"::7f00:1", false, false, false}, // 127.0.0.1 in an old spelling
		{"192.0.2.1", false, false, false},
		{"198.18.0.1", false, false, false},
		{"224.0.0.1", false, false, false},
		{"255.255.255.255", false, false, false},
		{"ff02::1", false, false, false},
		{"2001:db8::1", false, false, false},
		{"2001::1", false, false, false},
		{"2002:7f00:1::", false, false, false},
		{"64:ff9b:1::1", false, false, false},
	} {
		a := netip.MustParseAddr(test.addr)
		for name, p := range map[string]struct {
			policy *egress.Policy
			want   bool
		}{"none": {none, test.none}, "private": {private, test.private}, "ranges": {ranges, test.ranges}} {
			if got := p.policy.Allows(a); got != p.want {
				t.Errorf("%s, %s: got %v, want %v", test.addr, name, got, p.want)
			}
		}
	}
}

func TestControl(t *testing.T) {
	p := &egress.Policy{}
	if err := p.Control("tcp4", "8.8.8.8:443", nil); err != nil {
		t.Error(err)
	}
	for _, address := range []string{"127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "somewhere:80", ""} {
		var refused *egress.RefusedError
		if err := p.Control("tcp", address, nil); !errors.As(err, &refused) {
			t.Errorf("%q: got %v", address, err)
		}
	}
}
