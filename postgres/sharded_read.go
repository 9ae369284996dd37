package postgres

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Get implements [recall.Engine].
func (s *Sharded) Get(ctx context.Context, id recall.MessageID, now time.Time) (m recall.Message, err error) {
	err = s.seek(ctx, id, recall.ErrNotFound, func(e *Engine) (err error) {
		m, err = e.Get(ctx, id, now)
		return err
	})
	return m, err
}

// found is a row of a list to come: what orders it, and its size.
type found[K any] struct {
	key  K
	size int64
	e    *Engine
}

// page merges what shards have found and cuts off what is too much: behind so many rows,
// and behind the one that brings the page to its bytes.
func page[K any](parts [][]found[K], compare func(a, b K) int, limit int) []found[K] {
	all := slices.Concat(parts...)
	slices.SortFunc(all, func(a, b found[K]) int { return compare(a.key, b.key) })
	all = all[:min(limit, len(all))]
	bytes := int64(0)
	for i := range all {
		if bytes += all[i].size; bytes >= recall.PageBytes {
			return all[:i+1]
		}
	}
	return all
}

// byShard are the keys of a page that are in one shard.
func byShard[K any](list []found[K], e *Engine) (keys []K) {
	for i := range list {
		if list[i].e == e {
			keys = append(keys, list[i].key)
		}
	}
	return keys
}

func compareIDs(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }

// List implements [recall.Engine]. It merges the lists of all shards in the order of ids.
// What one call has published in one shard appears whole.
func (s *Sharded) List(ctx context.Context, f recall.Filter, after recall.MessageID, limit int, now time.Time) ([]recall.Message, error) {
	from, err := afterMessage(after)
	if err != nil {
		return nil, err
	}
	which, err := s.reach(ctx, &f)
	if err != nil {
		return nil, err
	}
	leave, err := s.enter(ctx, which)
	if err != nil {
		return nil, err
	}
	defer leave()
	if limit <= 0 {
		return nil, nil
	}
	for {
		parts, err := gather(s, which, func(e *Engine) ([]found[[16]byte], error) { return e.findMessages(ctx, f, from, limit, now) })
		if err != nil {
			return nil, err
		}
		list := page(parts, compareIDs, limit)
		read, err := gather(s, which, func(e *Engine) ([]recall.Message, error) {
			return e.readMessages(ctx, f, byShard(list, e), now)
		})
		if err != nil {
			return nil, err
		}
		msgs := slices.Concat(read...)
		if len(msgs) == 0 && len(list) > 0 { // all of them went meanwhile: that is not the end
			from = list[len(list)-1].key
			continue
		}
		slices.SortFunc(msgs, func(a, b recall.Message) int { return strings.Compare(string(a.ID), string(b.ID)) })
		return msgs, nil
	}
}

// findMessages returns the first ids that match behind one.
func (e *Engine) findMessages(ctx context.Context, f recall.Filter, from [16]byte, limit int, now time.Time) ([]found[[16]byte], error) {
	w := liveMatches(&f, now)
	w.behind(from)
	return collectFrom(ctx, e.pool, e, func(row pgx.CollectableRow) (found[[16]byte], error) {
		r := found[[16]byte]{e: e}
		return r, row.Scan(&r.key, &r.size)
	}, `SELECT m.id, m.size FROM @messages m WHERE `+w.String()+` ORDER BY m.id LIMIT `+w.with(limit), w.args...)
}

// readMessages reads those of some ids that still match.
func (e *Engine) readMessages(ctx context.Context, f recall.Filter, ids [][16]byte, now time.Time) ([]recall.Message, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	w := liveMatches(&f, now)
	w.and("m.id = ANY(?::uuid[])", ids)
	at := w.with(toMS(now)) + "::bigint"
	return collectFrom(ctx, e.pool, e, scanMessage, `SELECT `+stateAt(at)+`, `+columns+`
		FROM @messages m JOIN @payloads p ON p.shard = m.shard AND p.id = m.id WHERE `+w.String(), w.args...)
}

// Count implements [recall.Engine]. The shards are counted one after the other.
func (s *Sharded) Count(ctx context.Context, f recall.Filter, now time.Time) (c recall.Count, err error) {
	which, err := s.reach(ctx, &f)
	if err != nil {
		return c, err
	}
	parts, err := gather(s, which, func(e *Engine) (recall.Count, error) { return e.Count(ctx, f, now) })
	for _, p := range parts {
		c.Pending += p.Pending
		c.InFlight += p.InFlight
	}
	return c, err
}

// Explain implements [recall.Engine]. The counts are those of all shards together; the
// steps are those of the first shard.
func (s *Sharded) Explain(ctx context.Context, f recall.Filter, now time.Time) (recall.Plan, error) {
	parts, err := gather(s, s.shards, func(e *Engine) (recall.Plan, error) { return e.Explain(ctx, f, now) })
	if err != nil {
		return recall.Plan{}, err
	}
	return joinPlans(parts), nil
}

// narrowest is the name of the index of a walk through some shards.
func (s *Sharded) narrowest(ctx context.Context, which []*Engine, f recall.Filter) (string, error) {
	candidates := candidatesOf(&f)
	if len(candidates) <= fieldAndTime {
		return candidates[0].name, nil
	}
	parts, err := gather(s, which, func(e *Engine) (recall.Plan, error) { return e.countParts(ctx, e.pool, f, candidates, decisive) })
	if err != nil {
		return "", err
	}
	return joinPlans(parts).Index, nil
}

// joinPlans adds up what shards have counted.
func joinPlans(parts []recall.Plan) recall.Plan {
	p := parts[0]
	for _, other := range parts[1:] {
		p.Candidates = addCandidates(p.Candidates, other.Candidates)
	}
	slices.SortStableFunc(p.Candidates, func(a, b recall.Candidate) int { return a.Count - b.Count })
	p.Index, p.Scan = p.Candidates[0].Index, p.Candidates[0].Count
	return p
}

func addCandidates(all, more []recall.Candidate) []recall.Candidate {
	for _, c := range more {
		i := slices.IndexFunc(all, func(a recall.Candidate) bool { return a.Index == c.Index })
		if i < 0 {
			all = append(all, c)
			continue
		}
		all[i].Count += c.Count
		all[i].Exact = all[i].Exact && c.Exact
	}
	return all
}

// CountStates implements [recall.StateCounter].
func (s *Sharded) CountStates(ctx context.Context, now time.Time) (recall.StateCounts, error) {
	parts, err := gather(s, s.shards, func(e *Engine) (recall.StateCounts, error) { return e.CountStates(ctx, now) })
	if err != nil {
		return recall.StateCounts{}, err
	}
	all := parts[0]
	for _, p := range parts[1:] {
		for state, n := range p.Counts {
			all.Counts[state] += n
		}
		all.ReadySince = earlier(all.ReadySince, p.ReadySince)
	}
	return all, nil
}

// Stats implements [recall.Engine]: the sums of [Engine.Stats] over the shards. Those of
// a database that does not answer stay as they were.
func (s *Sharded) Stats() recall.EngineStats {
	parts, _ := gather(s, s.shards, func(e *Engine) (recall.EngineStats, error) { return e.Stats(), nil })
	var all recall.EngineStats
	for i := range parts {
		if i >= len(s.targets) {
			parts[i].FileBytes = 0 // that of the database, which was counted
		}
		addStats(&all, &parts[i])
	}
	return all
}

func addStats(all, p *recall.EngineStats) {
	all.Pending += p.Pending
	all.InFlight += p.InFlight
	all.DeadLetters += p.DeadLetters
	all.Commits += p.Commits
	all.FileBytes += p.FileBytes
	all.FreeBytes += p.FreeBytes
	all.Backlog += p.Backlog
	all.Segments += p.Segments
	all.Undoable += p.Undoable
	all.UndoBytes += p.UndoBytes
	all.DeduplicationIDs += p.DeduplicationIDs
	all.Events += p.Events
	all.ClockClamp = max(all.ClockClamp, p.ClockClamp)
	all.Broken = all.Broken || p.Broken
	all.Published += p.Published
	all.Duplicates += p.Duplicates
	all.Cancelled += p.Cancelled
	all.Restored += p.Restored
	all.Died += p.Died
	all.Waiting += p.Waiting
}
