package recall

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Plan says how a bulk cancellation would go about its filter.
type Plan struct {
	Filter     Filter
	Index      string      // the chosen candidate's Index
	Scan       int         // and its Count: entries to look at
	Candidates []Candidate // every index that could be walked, narrowest first
	// Steps is how the database of an engine that has one would find the messages, in
	// its own words, a line for each step; nil otherwise.
	Steps []string
}

// Candidate is one index that a walk could follow.
type Candidate struct {
	Index string // "label", "queue", …, "id"; "time" walks all messages
	// Count is how many live messages the walk would look at: those with one of
	// the filter's values, clipped to its dates.
	Count int
	// Exact is false if it may be fewer: for labels, which overlap; for the
	// index of a field under dates, which may still list what is gone; for ids,
	// whose messages may be gone; and while a publish is coming in.
	Exact bool
}

// Explain returns the plan that [Broker.CancelMatching] would follow for f,
// with every index that it could walk. A field with hundreds of values that
// messages have is not walked but checked, and so are due times, states and
// attempts. Explain changes nothing and keeps no writer waiting.
func (b *Broker) Explain(ctx context.Context, f Filter) (Plan, error) {
	if err := b.checkRead(ctx, f); err != nil {
		return Plan{}, err
	}
	defer b.end()
	return b.engine.Explain(ctx, f.normalise(), b.clock.Now())
}

// String returns the plan as a small table for a person: the filter, each
// candidate with its entries, the chosen one marked, what is to be scanned, and the
// steps of the database if there is one.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.Filter)
	names, counts := 0, 0
	for _, c := range p.Candidates {
		names, counts = max(names, len(c.Index)), max(counts, len(strconv.Itoa(c.Count)))
	}
	for _, c := range p.Candidates {
		mark, bound := " ", " "
		if c.Index == p.Index {
			mark = ">"
		}
		if !c.Exact {
			bound = "≤"
		}
		fmt.Fprintf(&b, "%s %-*s  %s %*d\n", mark, names, c.Index, bound, counts, c.Count)
	}
	fmt.Fprintf(&b, "%d entries to scan\n", p.Scan)
	for _, step := range p.Steps {
		fmt.Fprintf(&b, "  %s\n", step)
	}
	return b.String()
}
