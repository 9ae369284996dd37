package qstash

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// dialect is what a request may say: about the messages that it means, and
// about the call.
type dialect struct {
	// own is for Recall's own endpoints. They know newer fields than QStash,
	// ids are a field like any other, and an empty list of them is refused.
	own     bool
	bare    bool     // takes no filter
	all     bool     // knows "all", for every message
	sdk     bool     // knows what SDKs send unasked
	only    []string // if not nil, the fields that it knows
	lenient bool     // passes over what it does not know: for reads alone
	options []string // names that are about the call
}

// The dialects.
var (
	wire       = dialect{all: true, sdk: true} // DELETE /v2/messages
	looking    = dialect{own: true, all: true, sdk: true}
	cancelling = dialect{own: true, all: true, options: append(guards, "wait")}
	changing   = dialect{own: true, options: guards}
	moving     = dialect{own: true, options: append(guards, "due")}
	standing   = dialect{own: true, options: []string{"until", "reason"}}
	restoring  = dialect{own: true, bare: true, options: []string{"operation"}}
	paging     = dialect{own: true, bare: true, options: []string{"after", "limit"}}
)

// guards are the options of every bulk call.
var guards = slices.Clip([]string{"policy", "expectAtMost", "expectExactly", "limit", "dryRun", "reason"})

// ownNames are the fields of a filter that only Recall's own endpoints know.
var ownNames = []string{"dueAfter", "dueBefore", "minAttempts", "states"}

// knows tells whether a name is about messages.
func (d *dialect) knows(name string) bool {
	if d.only != nil {
		return slices.Contains(d.only, name)
	}
	switch name {
	case "messageIds", "fromDate", "toDate":
		return !d.bare
	case "all":
		return d.all
	case "count", "async":
		return d.sdk
	}
	_, field := filterNames[name]
	return !d.bare && (field || d.own && slices.Contains(ownNames, name))
}

// isOption tells whether a name is about the call.
func (d *dialect) isOption(name string) bool { return slices.Contains(d.options, name) }

// checkAddresses refuses what is no address, or, in the own dialect, no range
// of them.
func (d *dialect) checkAddresses(name string, values []string) error {
	for _, v := range values {
		_, err := netip.ParseAddr(v)
		if err != nil && d.own {
			_, err = netip.ParsePrefix(v)
		}
		switch {
		case err == nil:
		case d.own:
			return badRequest("filter %q: %q is neither an IP address nor a range of them", name, v)
		default:
			return badRequest("filter %q: %q is not an IP address", name, v)
		}
	}
	return nil
}

// setOption takes one name that is about the call.
func (c *criteria) setOption(name string, values []string) error {
	if len(values) != 1 {
		return badRequest("%s must be one value", name)
	}
	if c.options == nil {
		c.options = map[string]string{}
	}
	c.options[name] = values[0]
	return nil
}

// mergeOptions refuses what body and query both say: which of the two is meant?
func (c *criteria) mergeOptions(a, b map[string]string) error {
	c.options = map[string]string{}
	for name, value := range a {
		c.options[name] = value
	}
	for name, value := range b {
		if _, both := a[name]; both {
			return badRequest("%q is given twice", name)
		}
		c.options[name] = value
	}
	return nil
}

var policies = map[string]recall.Policy{
	"stop": recall.Stop, "skip": recall.Skip, "sticky": recall.Sticky, "abort": recall.Abort,
}

// cancelOptions reads what a bulk call takes besides a filter.
func (c *criteria) cancelOptions() (opts []recall.CancelOption, err error) {
	add := func(o recall.CancelOption) { opts = append(opts, o) }
	for _, option := range []struct {
		name string
		read func(text string) error
	}{
		{"policy", func(text string) error {
			p, ok := policies[text]
			if !ok {
				return badRequest("policy: %.100q is none of stop, skip, sticky and abort", text)
			}
			if c.options["wait"] == "" || p != recall.Stop { // waiting is stop with patience
				add(p)
			}
			return nil
		}},
		{"wait", func(text string) error {
			d, err := parseWait(text)
			add(recall.Wait(d))
			return err
		}},
		{"limit", func(text string) error {
			var n int
			err := setNumber(&n, "limit", []string{text})
			add(recall.Limit(n))
			return err
		}},
		{"expectAtMost", func(text string) error {
			n, err := parseExpected("expectAtMost", text)
			add(recall.ExpectAtMost(n))
			return err
		}},
		{"expectExactly", func(text string) error {
			n, err := parseExpected("expectExactly", text)
			add(recall.ExpectExactly(n))
			return err
		}},
		{"dryRun", func(text string) error {
			dry, err := parseBool("dryRun", []string{text})
			if dry {
				add(recall.DryRun())
			}
			return err
		}},
		{"reason", func(text string) error {
			add(recall.Reason(text))
			return nil
		}},
	} {
		if text, given := c.options[option.name]; given {
			if err := option.read(text); err != nil {
				return nil, err
			}
		}
	}
	return opts, nil
}

func parseExpected(name, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, badRequest("%s must be a number of at least 0", name)
	}
	return n, nil
}

// maxWait is the longest that a request waits for attempts.
const maxWait = 24 * time.Hour

// parseWait reads a number of milliseconds, or a text such as 300ms or 1m30s.
func parseWait(text string) (time.Duration, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	d := time.Duration(min(ms, maxWait.Milliseconds()+1)) * time.Millisecond
	if err != nil {
		d, err = time.ParseDuration(strings.TrimSpace(text))
	}
	if err != nil || d < 0 || d > maxWait {
		return 0, badRequest("wait: %.100q is neither milliseconds nor a duration such as 2s, at most 24h", text)
	}
	return d, nil
}

// time reads an option that is a time in milliseconds and must be given.
func (c *criteria) time(name string) (time.Time, error) {
	text, given := c.options[name]
	if !given {
		return time.Time{}, badRequest("%s is missing: a time in milliseconds", name)
	}
	var ms *int64
	err := setDate(&ms, name, []string{text})
	return timeOf(ms), err
}
