package qstash_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/recallmq/recall/qstash"
)

func TestCallerIP(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	for _, test := range []struct {
		name, remote string
		forwarded    []string
		trusted      []netip.Prefix
		want         string
	}{
		{"connection", "192.0.2.1:1234", nil, nil, "192.0.2.1"},
		{"version 6", "[2001:db8::1]:80", nil, nil, "2001:db8::1"},
		{"zone", "[fe80::1%eth0]:80", nil, nil, "fe80::1"},
		{"mapped", "[::ffff:192.0.2.1]:80", nil, nil, "192.0.2.1"},
		{"socket of the machine", "@", []string{"192.0.2.1"}, proxies, ""},
		{"none", "", nil, nil, ""},
		{"name", "host:80", nil, nil, ""},

		{"nobody is trusted", "10.0.0.1:80", []string{"192.0.2.1"}, nil, "10.0.0.1"},
		{"not a proxy of ours", "192.0.2.9:80", []string{"192.0.2.1"}, proxies, "192.0.2.9"},
		{"proxy", "10.0.0.1:80", []string{"192.0.2.1"}, proxies, "192.0.2.1"},
		{"mapped proxy", "[::ffff:10.0.0.1]:80", []string{"192.0.2.1"}, proxies, "192.0.2.1"},
		{"two proxies", "10.0.0.1:80", []string{"192.0.2.1, 10.0.0.2"}, proxies, "192.0.2.1"},
		{"two lines", "10.0.0.1:80", []string{"192.0.2.1", "2001:db8:1::2"}, proxies, "192.0.2.1"},
		{"made up in front", "10.0.0.1:80", []string{"10.7.7.7, 198.51.100.1,192.0.2.1, 10.0.0.2"}, proxies, "192.0.2.1"},
		{"all are trusted", "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, proxies, "10.0.0.3"},
		{"ports", "10.0.0.1:80", []string{"192.0.2.1:4711, [2001:db8:1::2]:80"}, proxies, "192.0.2.1"},
		{"brackets and a zone", "10.0.0.1:80", []string{"[fe80::1%eth0]"}, proxies, "fe80::1"},
		{"mapped client", "10.0.0.1:80", []string{"::ffff:192.0.2.1"}, proxies, "192.0.2.1"},
		{"no address", "10.0.0.1:80", []string{"192.0.2.1, unknown, 10.0.0.2"}, proxies, "10.0.0.2"},
		{"empty", "10.0.0.1:80", []string{""}, proxies, "10.0.0.1"},
		{"missing", "10.0.0.1:80", nil, proxies, "10.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, &qstash.Options{TrustedProxies: test.trusted})
			r := request("POST", "/v2/publish/https://example.com", "")
			r.RemoteAddr = test.remote
			for _, line := range test.forwarded {
				r.Header.Add("X-Forwarded-For", line)
			}
			checkStatus(t, s.do(r), 200)
			if got := s.only().CallerIP; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if test.want == "" {
				return
			}
			checkBody(t, s.call("DELETE", "/v2/messages?callerIP=::ffff:192.0.2.77", ""), `{"cancelled":0}`)
			checkBody(t, s.call("DELETE", "/v2/messages?callerIP="+test.want, ""), `{"cancelled":1}`)
		})
	}
}

// TestCallerInLog has the log name the client behind the proxy.
func TestCallerInLog(t *testing.T) {
	s := newServer(t, &qstash.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	checkStatus(t, s.call("DELETE", "/v2/messages?all=true", "", "X-Forwarded-For", "198.51.100.7"), 202)
	if !strings.Contains(s.log.String(), "from=198.51.100.7 ") {
		t.Errorf("log: %s", s.log)
	}
}
