package recall

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter selects messages. Every field that is set must match (AND); within a
// field one value is enough (OR). A nil list or a zero time is no restriction;
// a list that is empty but not nil matches nothing. Dates are inclusive and
// compared in milliseconds with the time of publication.
//
// The zero Filter matches everything where that is harmless ([Broker.Count],
// [Broker.List], [Broker.Explain]) and is refused where it is not
// ([Broker.CancelMatching]).
type Filter struct {
	IDs       []MessageID `json:"ids,omitzero"`
	Queues    []string    `json:"queues,omitzero"`
	URLs      []string    `json:"urls,omitzero"`      // whole text, as published
	Hosts     []string    `json:"hosts,omitzero"`     // of the URL, in any letter case; without a port it matches every port
	Paths     []string    `json:"paths,omitzero"`     // of the URL, without the query
	Topics    []string    `json:"topics,omitzero"`    // URL groups
	Schedules []string    `json:"schedules,omitzero"` // schedule ids
	CallerIPs []string    `json:"callerIPs,omitzero"` // addresses, in any spelling
	Labels    []string    `json:"labels,omitzero"`    // a message matches with any of its labels
	FlowKeys  []string    `json:"flowKeys,omitzero"`  // flow-control keys
	From      time.Time   `json:"from,omitzero"`
	To        time.Time   `json:"to,omitzero"`
}

// IsZero reports whether f restricts nothing.
func (f Filter) IsZero() bool {
	return f.IDs == nil && f.Queues == nil && f.URLs == nil && f.Hosts == nil && f.Paths == nil &&
		f.Topics == nil && f.Schedules == nil && f.CallerIPs == nil && f.Labels == nil &&
		f.FlowKeys == nil && f.From.IsZero() && f.To.IsZero()
}

// Validate returns an *[InvalidError] for a From after To, an id or an address
// that is none. Names that no message could have are not errors: they match
// nothing.
func (f Filter) Validate() error {
	if !f.From.IsZero() && !f.To.IsZero() && f.From.UnixMilli() > f.To.UnixMilli() {
		return invalid("Filter.From", "%s is after To, %s", f.From.UTC().Format(time.RFC3339Nano), f.To.UTC().Format(time.RFC3339Nano))
	}
	for _, id := range f.IDs {
		if _, err := id.ulid(); err != nil {
			return invalid("Filter.IDs", "%q is not a message id", clip(string(id)))
		}
	}
	for _, ip := range f.CallerIPs {
		if err := checkIP(ip); err != nil || ip == "" {
			return invalid("Filter.CallerIPs", "%q is not an IP address", clip(ip))
		}
	}
	return nil
}

// normalise returns a copy of f in the spelling that indexes use. The caller's
// lists are not written to.
func (f Filter) normalise() Filter {
	f.Hosts = mapped(f.Hosts, strings.ToLower)
	f.CallerIPs = mapped(f.CallerIPs, canonicalIP)
	return f
}

func mapped(in []string, fn func(string) string) []string {
	if in == nil {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = fn(s)
	}
	return out
}

// String returns f in a readable and stable form, such as
// `label=a|b queue=q from=2026-01-02T03:04:05Z`; values are sorted and quoted
// where needed. The zero Filter is "everything".
func (f Filter) String() string {
	var parts []string
	add := func(name string, values []string) {
		if values == nil {
			return
		}
		sorted := slices.Clone(values)
		slices.Sort(sorted)
		for i, v := range sorted {
			if v == "" || strings.ContainsAny(v, " |=\"\\") || strconv.Quote(v) != `"`+v+`"` {
				sorted[i] = strconv.Quote(v)
			}
		}
		parts = append(parts, name+"="+strings.Join(sorted, "|"))
	}
	if f.IDs != nil {
		add("id", asStrings(f.IDs))
	}
	add("queue", f.Queues)
	add("url", f.URLs)
	add("host", f.Hosts)
	add("path", f.Paths)
	add("topic", f.Topics)
	add("schedule", f.Schedules)
	add("ip", f.CallerIPs)
	add("label", f.Labels)
	add("flow", f.FlowKeys)
	if !f.From.IsZero() {
		parts = append(parts, "from="+f.From.UTC().Format(time.RFC3339Nano))
	}
	if !f.To.IsZero() {
		parts = append(parts, "to="+f.To.UTC().Format(time.RFC3339Nano))
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, " ")
}

func asStrings[S ~string](in []S) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

// Matches tells whether a message has the attributes that f asks for. It is
// the plain reading of a Filter, for reference engines and tests; indexes come
// to the same answer faster.
func (f Filter) Matches(m *Message) bool {
	f = f.normalise()
	created := m.CreatedAt.UnixMilli()
	host := hostOf(m.URL)
	return (f.IDs == nil || slices.Contains(f.IDs, m.ID)) &&
		oneOf(f.Queues, m.Queue) && oneOf(f.URLs, m.URL) &&
		(oneOf(f.Hosts, host) || oneOf(f.Hosts, withoutPort(host))) &&
		oneOf(f.Paths, pathOf(m.URL)) && oneOf(f.Topics, m.Topic) && oneOf(f.Schedules, m.ScheduleID) &&
		oneOf(f.CallerIPs, canonicalIP(m.CallerIP)) && oneOf(f.FlowKeys, m.FlowKey) &&
		(f.Labels == nil || slices.ContainsFunc(m.Labels, func(l string) bool { return slices.Contains(f.Labels, l) })) &&
		(f.From.IsZero() || created >= f.From.UnixMilli()) &&
		(f.To.IsZero() || created <= f.To.UnixMilli())
}

// oneOf is the rule of every list: nil restricts nothing. An attribute that a
// message does not have is never matched, not even by an empty string.
func oneOf(values []string, have string) bool {
	return values == nil || have != "" && slices.Contains(values, have)
}

// withoutPort cuts the port off a host: "[::1]:80" becomes "[::1]".
func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}
