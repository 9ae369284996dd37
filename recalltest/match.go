package recalltest

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/recallmq/recall"
)

// checkable refuses filters that ask for what changes in the life of a message.
func checkable(f recall.Filter) error {
	if !f.DueAfter.IsZero() || !f.DueBefore.IsZero() || f.States != nil || f.MinAttempts != 0 {
		return errors.New("a filter by due time, state or attempts says nothing about messages that are gone")
	}
	return f.Validate()
}

// matches tells whether a filter matches a message, by its attributes.
func matches(f *recall.Filter, m *recall.Message) bool {
	u, err := url.Parse(m.URL)
	if err != nil || !isHTTP(m.URL) {
		u = &url.URL{}
	}
	created := m.CreatedAt.UnixMilli()
	return (f.IDs == nil || slices.Contains(f.IDs, m.ID)) &&
		anyOf(f.Queues, m.Queue) && anyOf(f.URLs, m.URL) && anyOf(f.Paths, pathOf(m.URL)) &&
		anyOf(f.Topics, m.Topic) && anyOf(f.Schedules, m.ScheduleID) && anyOf(f.FlowKeys, m.FlowKey) &&
		(f.Labels == nil || slices.ContainsFunc(m.Labels, func(l string) bool { return slices.Contains(f.Labels, l) })) &&
		(f.Hosts == nil || slices.ContainsFunc(f.Hosts, func(h string) bool { return isHost(h, u) })) &&
		(f.CallerIPs == nil || slices.ContainsFunc(f.CallerIPs, func(ip string) bool { return covers(ip, m.CallerIP) })) &&
		(f.From.IsZero() || created >= f.From.UnixMilli()) && (f.To.IsZero() || created <= f.To.UnixMilli())
}

// anyOf: no list is no restriction, and a message without a value matches none.
func anyOf(list []string, value string) bool {
	return list == nil || value != "" && slices.Contains(list, value)
}

func isHost(host string, u *url.URL) bool {
	return u.Host != "" && (strings.EqualFold(host, u.Host) || strings.EqualFold(host, u.Hostname()))
}

// pathOf is the path of a destination as it was written, without the query.
func pathOf(dest string) string {
	if !isHTTP(dest) {
		return ""
	}
	path, _, _ := strings.Cut(dest[hostEnd(dest):], "#")
	path, _, _ = strings.Cut(path, "?")
	return path
}

// covers tells whether an address, or a range of them, has another one in it.
func covers(text, ip string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Contains(addr) || p.Contains(addr.Unmap())
	}
	other, err := netip.ParseAddr(text)
	return err == nil && other.Unmap() == addr.Unmap()
}
