package dashboard

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/recallmq/recall"
)

// verb is what a bulk call does to its matches.
type verb struct {
	Name, Label, Past string
	Help              string
}

// rescheduleVerb is the name of the verb that needs a time.
const rescheduleVerb = "reschedule"

var verbs = []verb{
	{"cancel", "Cancel", "cancelled", "take the messages back"},
	{"hold", "Hold", "held", "not delivered until released"},
	{"release", "Release", "released", "end a hold"},
	{rescheduleVerb, "Reschedule", "rescheduled", "give them a new due time"},
	{"retry", "Retry now", "made due", "what waits for a retry is due at once"},
}

// manner is what a bulk call does about messages in flight.
type manner struct {
	Name, Label, Short, Help string
	cancelOnly               bool
}

var manners = []manner{
	{"stop", "Stop", "end at the first", "end at the first one; what came before it is done", false},
	{"skip", "Skip", "pass over", "pass over them; they go on as if nothing had happened", false},
	{"wait", "Wait", "let them end", "let them end, and stop if that takes too long", true},
	{"sticky", "Sticky", "last attempt", "let the running attempt end, and never try again", true},
	{"abort", "Abort", "cut short", "cut the running attempt short, and never try again", true},
}

// bulkCall is a call as a form says it.
type bulkCall struct {
	Verb   verb
	Due    time.Time // of Reschedule; zero: it is missing
	Filter recall.Filter
	All    bool // everything, with an empty filter
	Manner manner
	Wait   time.Duration
	Limit  int
	Guard  string // "", "most" or "exact"
	Number int    // of the guard
	Reason string
	Expect int // pending matches that the visitor has confirmed
}

func (c *bulkCall) asks() bool { return c.Manner.Name == "sticky" || c.Manner.Name == "abort" }

// callOf reads a form.
func callOf(q url.Values) (*bulkCall, error) {
	c := &bulkCall{Verb: verbs[0], Manner: manners[0], All: q.Get("all") != "", Guard: q.Get("guard"), Reason: q.Get("reason")}
	var err error
	if c.Filter, err = filterOf(q); err != nil {
		return nil, err
	}
	if c.All && !c.Filter.IsZero() {
		return nil, badInput("Everything, or a filter: not both.")
	}
	if c.Verb, err = pick("Action", verbs, q.Get("verb"), func(v verb) string { return v.Name }); err != nil {
		return nil, err
	}
	if c.Manner, err = pick("Policy", manners, q.Get("policy"), func(m manner) string { return m.Name }); err != nil {
		return nil, err
	}
	if c.Manner.cancelOnly && c.Verb.Name != "cancel" {
		return nil, badInput(c.Manner.Label + " is for cancellations; here it is Stop or Skip.")
	}
	if c.All && c.Verb.Name != "cancel" {
		return nil, badInput("Only a cancellation can be about everything.")
	}
	if c.Verb.Name == rescheduleVerb {
		if c.Due, err = parseTime("New due time", q.Get("due")); err != nil {
			return nil, err
		}
	}
	return c, c.readNumbers(q)
}

// lacks says what has to be filled in before the call can be made.
func (c *bulkCall) lacks() string {
	if c.Verb.Name == rescheduleVerb && c.Due.IsZero() {
		return "Fill in the new due time."
	}
	return ""
}

func (c *bulkCall) readNumbers(q url.Values) (err error) {
	if c.Limit, err = wholeNumber("Only the oldest", q.Get("limit")); err != nil {
		return err
	}
	if c.Number, err = wholeNumber("Expected number", q.Get("number")); err != nil {
		return err
	}
	if !slices.Contains([]string{"", "most", "exact"}, c.Guard) {
		return badInput("The guard is none of those that there are.")
	}
	if c.Manner.Name == "wait" {
		seconds, err := wholeNumber("Seconds to wait", q.Get("wait"))
		if err != nil {
			return err
		}
		if c.Wait = time.Duration(seconds) * time.Second; seconds > int(maxWait/time.Second) {
			return badInput("Seconds to wait: an hour at most.")
		}
	}
	return nil
}

// pick finds a choice by its name; nothing is the first.
func pick[C any](what string, choices []C, name string, nameOf func(C) string) (C, error) {
	if name == "" {
		return choices[0], nil
	}
	for _, c := range choices {
		if nameOf(c) == name {
			return c, nil
		}
	}
	return choices[0], badInput(fmt.Sprintf("%s: there is no %q.", what, short(name, 40)))
}

// values is the form that callOf reads as c.
func (c *bulkCall) values() url.Values {
	q := valuesOf(c.Filter)
	set := func(name, value string, on bool) {
		if on {
			q.Set(name, value)
		}
	}
	set("all", "1", c.All)
	set("verb", c.Verb.Name, true)
	set("due", formTime(c.Due), !c.Due.IsZero())
	set("policy", c.Manner.Name, true)
	set("wait", strconv.Itoa(int(c.Wait/time.Second)), c.Manner.Name == "wait")
	set("limit", strconv.Itoa(c.Limit), c.Limit > 0)
	set("guard", c.Guard, c.Guard != "")
	set("number", strconv.Itoa(c.Number), c.Guard != "")
	return q
}

// unmet says how a number of pending matches is not what was expected.
func (c *bulkCall) unmet(pending int) string {
	switch {
	case c.Guard == "most" && pending > c.Number:
		return fmt.Sprintf("The guard holds the call back: %s messages match, and at most %s were expected.", number(pending), number(c.Number))
	case c.Guard == "exact" && pending != c.Number:
		return fmt.Sprintf("The guard holds the call back: %s messages match, and exactly %s were expected.", number(pending), number(c.Number))
	}
	return ""
}

// options are those of the call; ExpectExactly is the number that was confirmed.
func (c *bulkCall) options() (list []recall.CancelOption) {
	switch c.Manner.Name {
	case "stop":
		list = append(list, recall.Stop)
	case "skip":
		list = append(list, recall.Skip)
	case "wait":
		list = append(list, recall.Wait(c.Wait))
	case "sticky":
		list = append(list, recall.Sticky)
	case "abort":
		list = append(list, recall.Abort)
	}
	if c.Limit > 0 {
		list = append(list, recall.Limit(c.Limit))
	}
	if c.Reason != "" {
		list = append(list, recall.Reason(c.Reason))
	}
	return list
}

// outcome is the result of any verb.
type outcome struct {
	Taken, Requested int
	Skipped          []recall.MessageID
	Operation        recall.OperationID
	Index            string
	Scanned          int
}

// do makes the call.
func (c *bulkCall) do(ctx context.Context, b *recall.Broker, more ...recall.CancelOption) (outcome, error) {
	opts := append(c.options(), more...)
	if c.Verb.Name == "cancel" {
		cancel := b.CancelMatching
		if c.All {
			cancel = func(ctx context.Context, _ recall.Filter, opts ...recall.CancelOption) (recall.CancelResult, error) {
				return b.CancelAll(ctx, opts...)
			}
		}
		r, err := cancel(ctx, c.Filter, opts...)
		return outcome{r.Cancelled, r.Requested, r.Skipped, r.Operation, r.Index, r.Scanned}, err
	}
	change := map[string]func(context.Context, recall.Filter, ...recall.CancelOption) (recall.ChangeResult, error){
		"hold": b.Hold, "release": b.Release, "retry": b.RetryNow,
		rescheduleVerb: func(ctx context.Context, f recall.Filter, opts ...recall.CancelOption) (recall.ChangeResult, error) {
			return b.Reschedule(ctx, f, c.Due, opts...)
		},
	}[c.Verb.Name]
	r, err := change(ctx, c.Filter, opts...)
	return outcome{r.Changed, 0, r.Skipped, r.Operation, r.Index, r.Scanned}, err
}

// bulkForm is a call as the inputs of a page.
type bulkForm struct {
	Filter                       filterForm
	Verbs                        []verb
	Manners                      []manner
	Verb, Manner                 string
	All                          bool
	Wait, Limit, Guard, Expected string
	Due                          string
}

func bulkFormOf(q url.Values) bulkForm {
	or := func(name, otherwise string) string {
		if text := q.Get(name); text != "" {
			return text
		}
		return otherwise
	}
	return bulkForm{
		Filter: formOf(q), Verbs: verbs, Manners: manners, Verb: or("verb", verbs[0].Name), Manner: or("policy", manners[0].Name),
		All: q.Get("all") != "", Wait: or("wait", "30"), Limit: q.Get("limit"), Guard: q.Get("guard"), Expected: q.Get("number"),
		Due: q.Get("due"),
	}
}

func sortedKeys(q url.Values) []string { return slices.Sorted(maps.Keys(q)) }
