package postgres

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

const indexTime = "time"

// Explain implements [recall.Engine]. The counts are exact when they are made, so it
// looks at what each index holds for the filter. Which of its indexes PostgreSQL follows
// is decided by its own statistics: Plan.Steps is what it says about the first chunk of
// the walk.
func (e *Engine) Explain(ctx context.Context, f recall.Filter, now time.Time) (recall.Plan, error) {
	if err := e.enter(ctx); err != nil {
		return recall.Plan{}, err
	}
	defer e.leave()
	p, err := e.countParts(ctx, e.pool, f, candidatesOf(&f), 0)
	if err == nil {
		p.Steps, err = e.steps(ctx, f, now)
	}
	return p, err
}

// steps is the plan of PostgreSQL for what a walk begins with.
func (e *Engine) steps(ctx context.Context, f recall.Filter, now time.Time) ([]string, error) {
	b := &bulk{e: e, req: recall.CancelMatchingRequest{Filter: f, Now: now, DryRun: true}, kind: recall.OperationCancel, asOf: math.MaxInt64, late: math.MaxInt64}
	text, args := b.lockText(e.opts.ChunkSize)
	return collectFrom(ctx, e.pool, e, pgx.RowTo[string], `EXPLAIN `+text, args...)
}

// decisive is how many messages of an index are counted at most to find the narrowest
// one for a walk. Beyond that it does not matter which it is called.
const decisive = 10_000

// fieldAndTime are how many candidates a filter with one field has.
const fieldAndTime = 2

// narrowest is the name of the index of a walk. Where the filter has one field it is
// that one, as what has a value is never more than all.
func (e *Engine) narrowest(ctx context.Context, q querier, f recall.Filter) (string, error) {
	parts := candidatesOf(&f)
	if len(parts) <= fieldAndTime {
		return parts[0].name, nil
	}
	p, err := e.countParts(ctx, q, f, parts, decisive)
	return p.Index, err
}

// countParts counts, in one statement, what each index holds for a filter; up to a limit,
// unless that is 0.
func (e *Engine) countParts(ctx context.Context, q querier, f recall.Filter, parts []part, limit int) (recall.Plan, error) {
	whole := &where{} // its parameters are those of all candidates
	var texts []string
	for _, c := range parts {
		w := &where{args: whole.args}
		w.also("m.shard = $1 AND m.state < 2 AND NOT m.requested")
		c.filter.From, c.filter.To = f.From, f.To
		w.constant(&c.filter)
		whole.args = w.args
		text := `SELECT 1 FROM @messages m WHERE ` + w.String()
		if limit > 0 {
			text += ` LIMIT ` + strconv.Itoa(limit)
		}
		texts = append(texts, `SELECT `+strconv.Itoa(len(texts))+` AS i, count(*) FROM (`+text+`) m`)
	}
	counts := make([]int, len(texts))
	_, err := collectFrom(ctx, q, e, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var i, n int
		err = row.Scan(&i, &n)
		counts[i] = n
		return
	}, strings.Join(texts, " UNION ALL "), whole.args...)
	if err != nil {
		return recall.Plan{}, err
	}
	p := recall.Plan{Filter: f}
	for i := range parts {
		p.Candidates = append(p.Candidates, recall.Candidate{Index: parts[i].name, Count: counts[i], Exact: true})
	}
	slices.SortStableFunc(p.Candidates, func(a, b recall.Candidate) int { return a.Count - b.Count })
	p.Index, p.Scan = p.Candidates[0].Index, p.Candidates[0].Count
	return p, nil
}

// part is the part of a filter that one index answers.
type part struct {
	name   string
	filter recall.Filter
}

func candidatesOf(f *recall.Filter) []part {
	var parts []part
	add := func(name string, asked bool, p recall.Filter) {
		if asked {
			parts = append(parts, part{name, p})
		}
	}
	add("id", f.IDs != nil, recall.Filter{IDs: f.IDs})
	add("queue", f.Queues != nil, recall.Filter{Queues: f.Queues})
	add("url", f.URLs != nil, recall.Filter{URLs: f.URLs})
	add("topic", f.Topics != nil, recall.Filter{Topics: f.Topics})
	add("schedule", f.Schedules != nil, recall.Filter{Schedules: f.Schedules})
	add("ip", f.CallerIPs != nil, recall.Filter{CallerIPs: f.CallerIPs})
	add("flow", f.FlowKeys != nil, recall.Filter{FlowKeys: f.FlowKeys})
	add("host", f.Hosts != nil, recall.Filter{Hosts: portless(f.Hosts)})
	add("label", f.Labels != nil, recall.Filter{Labels: f.Labels})
	return append(parts, part{name: indexTime})
}

// portless are hosts as the index has them.
func portless(hosts []string) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = withoutPort(h)
	}
	return out
}
