package postgres

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// where is a condition over the columns of messages or dead letters, by the name m,
// with its parameters. The first parameter is the shard.
type where struct {
	conds  []string
	args   []any     // without the shard
	cursor *[16]byte // the message behind which a walk goes on; nil: it is no walk
	dead   bool      // it is about dead letters
}

// with adds a parameter and returns its name.
func (w *where) with(arg any) string {
	w.args = append(w.args, arg)
	return w.name()
}

// name is that of the parameter that was added last.
func (w *where) name() string { return fmt.Sprintf("$%d", len(w.args)+1) }

// and adds a condition, in which ? stands for arg.
func (w *where) and(cond string, arg any) {
	w.conds = append(w.conds, strings.ReplaceAll(cond, "?", w.with(arg)))
}

func (w *where) also(cond string) { w.conds = append(w.conds, cond) }

func (w *where) String() string {
	if len(w.conds) == 0 {
		return "true"
	}
	return strings.Join(w.conds, " AND ")
}

// liveMatches are the live messages that f finds at a time. What is to be cancelled
// when its attempt ends is out of every match.
func liveMatches(f *recall.Filter, now time.Time) *where { return walkMatches(f, now, nil) }

// behind adds that a message comes after one, if that is not zero.
func (w *where) behind(from [16]byte) {
	if from != [16]byte{} {
		w.and("m.id > ?", from)
	}
}

// walkMatches are those behind a message.
func walkMatches(f *recall.Filter, now time.Time, cursor *[16]byte) *where {
	w := &where{cursor: cursor}
	if cursor != nil {
		w.and("m.id > ?", *cursor)
	}
	w.also("m.shard = $1 AND m.state < 2 AND NOT m.requested")
	w.constant(f)
	w.changing(f, now)
	return w
}

// constant adds what does not change in the life of a message.
func (w *where) constant(f *recall.Filter) {
	if f.IDs != nil {
		w.and("m.id = ANY(?::uuid[])", uuids(f.IDs))
	}
	w.values("queue", f.Queues)
	w.values("url", f.URLs)
	w.hosts(f.Hosts)
	w.values("path", f.Paths)
	w.values("topic", f.Topics)
	w.values("schedule", f.Schedules)
	w.sources(f.CallerIPs)
	w.values("flow_key", f.FlowKeys)
	w.labels(f.Labels)
	w.within("created_ms", f.From, f.To)
}

// changing adds what a walk judges when it comes to a message.
func (w *where) changing(f *recall.Filter, now time.Time) {
	w.within("due_ms", f.DueAfter, f.DueBefore)
	if f.MinAttempts > 0 {
		w.and("m.attempts >= ?", min(f.MinAttempts, math.MaxInt32))
	}
	if f.States != nil {
		at := w.with(toMS(now)) + "::bigint"
		w.and(stateAt(at)+" = ANY(?::text[])", storable(f.States))
	}
}

// values: an attribute that a message does not have is never matched.
func (w *where) values(column string, values []string) {
	if values != nil {
		w.and("m."+column+" = ANY(?::text[]) AND m."+column+" <> ''", storable(values))
	}
}

// labels are looked up where they are listed in the order of the messages, so that a
// walk by a label reads those with the label only, from its place on.
func (w *where) labels(labels []string) {
	if labels == nil {
		return
	}
	names := storable(labels)
	if w.dead {
		w.and("m.labels && ?::text[]", names)
		return
	}
	cond := "l.label = ANY(" + w.with(names) + "::text[])"
	if len(names) == 1 {
		w.args[len(w.args)-1] = names[0]
		cond = "l.label = " + w.name()
	}
	if w.cursor != nil {
		cond += " AND l.id > " + w.with(*w.cursor)
	}
	w.also("m.id IN (SELECT l.id FROM @labels l WHERE l.shard = $1 AND " + cond + ")")
}

func (w *where) hosts(hosts []string) {
	if hosts == nil {
		return
	}
	lower := make([]string, len(hosts))
	for i, h := range hosts {
		lower[i] = strings.ToLower(h)
	}
	w.and("(m.host = ANY(?::text[]) OR m.hostname = ANY(?::text[])) AND m.host <> ''", storable(lower))
}

func (w *where) sources(sources []string) {
	if sources == nil {
		return
	}
	single, ranges := []string{}, []netip.Prefix{}
	for _, s := range storable(sources) {
		if p, ok := parsePrefix(s); ok {
			ranges = append(ranges, p)
		}
		single = append(single, canonicalIP(s))
	}
	if len(ranges) == 0 {
		w.values("ip", single)
		return
	}
	a, b := w.with(single), w.with(ranges)
	w.also("(m.ip = ANY(" + a + "::text[]) OR m.addr <<= ANY(" + b + "::inet[])) AND m.ip <> ''")
}

// within compares in milliseconds; a zero bound is none.
func (w *where) within(column string, from, to time.Time) {
	if !from.IsZero() {
		w.and("m."+column+" >= ?", toMS(from))
	}
	if !to.IsZero() {
		w.and("m."+column+" <= ?", toMS(to))
	}
}

// storable leaves out what no column can hold: no message has it.
func storable[T ~string](values []T) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		if isText(string(v)) {
			out = append(out, string(v))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// uuids are the ids that can be those of messages.
func uuids(ids []recall.MessageID) [][16]byte {
	out := make([][16]byte, 0, len(ids))
	for _, id := range ids {
		if u, ok := parseMessageID(id); ok {
			out = append(out, u)
		}
	}
	return out
}
