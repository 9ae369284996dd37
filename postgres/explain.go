package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

const indexTime = "time"

// Explain implements [recall.Engine]. The counts are exact when they are made; which
// of its indexes PostgreSQL follows is decided by its own statistics.
func (e *Engine) Explain(ctx context.Context, f recall.Filter, _ time.Time) (recall.Plan, error) {
	if err := e.enter(ctx); err != nil {
		return recall.Plan{}, err
	}
	defer e.leave()
	return e.explain(ctx, e.pool, f)
}

// explain counts, in one statement, what each index holds for a filter.
func (e *Engine) explain(ctx context.Context, q querier, f recall.Filter) (recall.Plan, error) {
	whole := &where{} // its parameters are those of all candidates
	var texts []string
	var names []string
	for _, c := range candidatesOf(&f) {
		w := &where{args: whole.args}
		w.also("m.shard = $1 AND m.state < 2 AND NOT m.requested")
		c.filter.From, c.filter.To = f.From, f.To
		w.constant(&c.filter)
		whole.args = w.args
		names = append(names, c.name)
		texts = append(texts, `SELECT `+strconv.Itoa(len(texts))+` AS i, count(*) FROM @messages m WHERE `+w.String())
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
	for i, name := range names {
		p.Candidates = append(p.Candidates, recall.Candidate{Index: name, Count: counts[i], Exact: true})
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
