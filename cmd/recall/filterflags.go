package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// filterFlags are a flag for each field of a Filter, and one for all of it.
type filterFlags struct {
	text        string
	ids, states []string
	plain       recall.Filter
	changed     func(flag string) bool
}

// filterFields says which member of a Filter's JSON a flag is for.
var filterFields = map[string]string{
	"id": "ids", "queue": "queues", "destination": "urls", "host": "hosts", "path": "paths", "topic": "topics", "schedule": "schedules",
	"caller-ip": "callerIPs", "label": "labels", "flow-key": "flowKeys", "from": "from", "to": "to",
	"due-after": "dueAfter", "due-before": "dueBefore", "state": "states", "min-attempts": "minAttempts",
}

func (f *filterFlags) addFlags(cmd *cobra.Command) {
	fs, p := cmd.Flags(), &f.plain
	f.changed = fs.Changed
	list := func(into *[]string, name, usage string) {
		fs.StringArrayVar(into, name, nil, usage+" (repeatable: one is enough)")
	}
	list(&f.ids, "id", "that have this id")
	list(&p.Queues, "queue", "of this queue")
	list(&p.URLs, "destination", "to this URL, whole as published")
	list(&p.Hosts, "host", "to this host")
	list(&p.Paths, "path", "to this path")
	list(&p.Topics, "topic", "of this topic (URL group)")
	list(&p.Schedules, "schedule", "of this schedule")
	list(&p.CallerIPs, "caller-ip", "published from this address, or range such as 10.0.0.0/8")
	list(&p.Labels, "label", "with this label")
	list(&p.FlowKeys, "flow-key", "with this flow-control key")
	list(&f.states, "state", "in this state: delayed, ready, retrying, held, \"queue blocked\", \"flow waiting\", \"in flight\"")
	fs.Var(timeFlag{&p.From}, "from", "published at this time or later: "+timeHelp)
	fs.Var(timeFlag{&p.To}, "to", "published at this time or before")
	fs.Var(timeFlag{&p.DueAfter}, "due-after", "next due at this time or later")
	fs.Var(timeFlag{&p.DueBefore}, "due-before", "next due at this time or before")
	fs.IntVar(&p.MinAttempts, "min-attempts", 0, "of which so many attempts have been started, or more")
	completing(cmd, "state", stateNames...)
	fs.StringVar(&f.text, "filter", "", "filter as JSON, beside the flags: '{\"labels\":[\"x\"]}'")
}

// filter is what the flags and the JSON say together.
func (f *filterFlags) filter() (recall.Filter, error) {
	all := f.plain
	for _, id := range f.ids {
		all.IDs = append(all.IDs, recall.MessageID(id))
	}
	for _, s := range f.states {
		all.States = append(all.States, recall.State(s))
	}
	if f.text != "" {
		var err error
		if all, err = f.merge(all); err != nil {
			return all, err
		}
	}
	if err := all.Validate(); err != nil {
		return all, usageError{err}
	}
	return all, nil
}

// merge puts the members of the JSON beside the flags. None may be in both: what
// was meant would be unclear.
func (f *filterFlags) merge(flags recall.Filter) (out recall.Filter, err error) {
	var read recall.Filter
	if err := json.Unmarshal([]byte(f.text), &read); err != nil {
		return out, usagef("--filter: %w", err)
	}
	members, err := membersOf(read)
	if err != nil {
		return out, err
	}
	given, err := membersOf(flags)
	if err != nil {
		return out, err
	}
	for flag, name := range filterFields {
		if _, both := members[name]; both && f.changed(flag) {
			return out, usagef("--filter has %q, and there is --%s", name, flag)
		}
	}
	for name, value := range given {
		members[name] = value
	}
	text, err := json.Marshal(members)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(text, &out)
}

func membersOf(f recall.Filter) (members map[string]json.RawMessage, err error) {
	text, err := json.Marshal(f)
	if err != nil {
		return nil, usageError{err}
	}
	return members, json.Unmarshal(text, &members)
}
