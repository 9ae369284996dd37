package recall

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter selects messages. Every field that is set must match (AND); within a
// field one value is enough (OR), and a value given twice counts once. Ids are
// a field like any other: the order they are given in says nothing.
//
// A nil list, a zero time and a zero MinAttempts are no restriction; a list
// that is empty but not nil matches nothing. JSON keeps the two apart: see
// [Filter.UnmarshalJSON].
//
// Times are inclusive and compared in milliseconds. Due time, state and
// attempts change while a message lives: they are judged when a call comes to
// the message, by the clock as it was when the call began.
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
	CallerIPs []string    `json:"callerIPs,omitzero"` // addresses in any spelling, and CIDR ranges such as "10.0.0.0/8"
	Labels    []string    `json:"labels,omitzero"`    // a message matches with any of its labels
	FlowKeys  []string    `json:"flowKeys,omitzero"`  // flow-control keys

	// From and To bound the time of publication.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// DueAfter and DueBefore bound the time at which the next attempt is due;
	// of a message in flight, the time at which the running one was.
	DueAfter  time.Time `json:"dueAfter,omitzero"`
	DueBefore time.Time `json:"dueBefore,omitzero"`
	// States are where messages are in their lives. A cancellation that asks
	// for StateInFlight meets nothing but messages that it cannot cancel.
	States []State `json:"states,omitzero"`
	// MinAttempts is how many attempts must have been started, the running one
	// included.
	MinAttempts int `json:"minAttempts,omitzero"`
}

// IsZero reports whether f restricts nothing.
func (f Filter) IsZero() bool {
	return f.IDs == nil && f.Queues == nil && f.URLs == nil && f.Hosts == nil && f.Paths == nil &&
		f.Topics == nil && f.Schedules == nil && f.CallerIPs == nil && f.Labels == nil &&
		f.FlowKeys == nil && f.From.IsZero() && f.To.IsZero() && f.States == nil && f.MinAttempts == 0 && !f.dueBounded()
}

// dueBounded tells whether f restricts the due time.
func (f *Filter) dueBounded() bool { return !f.DueAfter.IsZero() || !f.DueBefore.IsZero() }

// Validate returns an *[InvalidError] for an id, an address, a range of
// addresses or a state that is none, for a From after To or a DueAfter after
// DueBefore, and for a negative MinAttempts. Names that no message could have
// are not errors: they match nothing.
func (f Filter) Validate() error {
	for _, id := range f.IDs {
		if _, err := id.ulid(); err != nil {
			return invalid("Filter.IDs", "%q is not a message id", clip(string(id)))
		}
	}
	for _, s := range f.CallerIPs {
		if _, ok := parsePrefix(s); !ok && (s == "" || checkIP(s) != nil) {
			return invalid("Filter.CallerIPs", "%q is neither an IP address nor a range of them", clip(s))
		}
	}
	for _, s := range f.States {
		if !slices.Contains(allStates, s) {
			return invalid("Filter.States", "%q is not a state", clip(string(s)))
		}
	}
	if f.MinAttempts < 0 {
		return invalid("Filter.MinAttempts", "%d is negative", f.MinAttempts)
	}
	return cmp.Or(checkOrder("From", f.From, "To", f.To), checkOrder("DueAfter", f.DueAfter, "DueBefore", f.DueBefore))
}

func checkOrder(low string, from time.Time, high string, to time.Time) error {
	if from.IsZero() || to.IsZero() || from.UnixMilli() <= to.UnixMilli() {
		return nil
	}
	return invalid("Filter."+low, "%s is after %s, %s", from.UTC().Format(time.RFC3339Nano), high, to.UTC().Format(time.RFC3339Nano))
}

// normalise returns a copy of f in the spelling that indexes use. The caller's
// lists are not written to.
func (f Filter) normalise() Filter {
	f.Hosts = mapped(f.Hosts, strings.ToLower)
	f.CallerIPs = mapped(f.CallerIPs, canonicalSource)
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

// canonicalSource is canonicalIP for what may be a range of addresses too.
func canonicalSource(s string) string {
	if p, ok := parsePrefix(s); ok {
		return p.String()
	}
	return canonicalIP(s)
}

// parsePrefix reads a range of addresses. Bits beyond its length are cleared,
// and IPv4 in the clothes of IPv6 is IPv4, as it is in the index.
func parsePrefix(s string) (p netip.Prefix, ok bool) {
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

// String returns f in a readable and stable form, such as
// `queue=q label=a|b from=2026-01-02T03:04:05Z`: fields in one order, values
// sorted, without duplicates, and quoted where needed. The zero Filter is
// "everything".
func (f Filter) String() string {
	var parts []string
	add := func(name, text string) { parts = append(parts, name+"="+text) }
	list := func(name string, values []string) {
		if values != nil {
			add(name, listText(values))
		}
	}
	date := func(name string, t time.Time) {
		if !t.IsZero() {
			add(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	list("id", asStrings(f.IDs))
	list("queue", f.Queues)
	list("url", f.URLs)
	list("host", f.Hosts)
	list("path", f.Paths)
	list("topic", f.Topics)
	list("schedule", f.Schedules)
	list("ip", f.CallerIPs)
	list("label", f.Labels)
	list("flow", f.FlowKeys)
	date("from", f.From)
	date("to", f.To)
	date("due-after", f.DueAfter)
	date("due-before", f.DueBefore)
	list("state", asStrings(f.States))
	if f.MinAttempts != 0 {
		add("min-attempts", strconv.Itoa(f.MinAttempts))
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, " ")
}

// listText writes a list of values without moving the caller's.
func listText(values []string) string {
	sorted := distinct(values)
	for i, v := range sorted {
		if v == "" || strings.ContainsAny(v, " |=\"\\") || strconv.Quote(v) != `"`+v+`"` {
			sorted[i] = strconv.Quote(v)
		}
	}
	return strings.Join(sorted, "|")
}

// distinct returns a sorted copy without duplicates; nil stays nil.
func distinct(values []string) []string {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

func asStrings[S ~string](in []S) []string {
	if in == nil {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

// Matches tells whether a message has what f asks for; its State is to be that
// of the moment. It is the plain reading of a Filter, for reference engines
// and tests; indexes come to the same answer faster.
func (f Filter) Matches(m *Message) bool {
	f = f.normalise()
	return f.takes(m)
}

// takes is Matches of a filter in its normal form.
func (f *Filter) takes(m *Message) bool {
	host := hostOf(m.URL)
	return (f.IDs == nil || slices.Contains(f.IDs, m.ID)) &&
		oneOf(f.Queues, m.Queue) && oneOf(f.URLs, m.URL) &&
		(oneOf(f.Hosts, host) || oneOf(f.Hosts, withoutPort(host))) &&
		oneOf(f.Paths, pathOf(m.URL)) && oneOf(f.Topics, m.Topic) && oneOf(f.Schedules, m.ScheduleID) &&
		(oneOf(f.CallerIPs, canonicalIP(m.CallerIP)) || inOneOf(f.CallerIPs, m.CallerIP)) && oneOf(f.FlowKeys, m.FlowKey) &&
		(f.Labels == nil || slices.ContainsFunc(m.Labels, func(l string) bool { return slices.Contains(f.Labels, l) })) &&
		within(f.From, m.CreatedAt, f.To) && within(f.DueAfter, m.DueAt, f.DueBefore) &&
		(f.States == nil || slices.Contains(f.States, m.State)) && m.Attempts >= f.MinAttempts
}

// oneOf is the rule of every list: nil restricts nothing. An attribute that a
// message does not have is never matched, not even by an empty string.
func oneOf(values []string, have string) bool {
	return values == nil || have != "" && slices.Contains(values, have)
}

// inOneOf tells whether an address is in one of the ranges among sources.
func inOneOf(sources []string, ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && slices.ContainsFunc(sources, func(s string) bool {
		p, ok := parsePrefix(s)
		return ok && p.Contains(a.Unmap())
	})
}

// within compares in milliseconds; a zero bound is none.
func within(from, t, to time.Time) bool {
	return (from.IsZero() || t.UnixMilli() >= from.UnixMilli()) && (to.IsZero() || t.UnixMilli() <= to.UnixMilli())
}

// withoutPort cuts the port off a host: "[::1]:80" becomes "[::1]".
func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}
