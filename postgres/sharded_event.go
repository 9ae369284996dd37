package postgres

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// Events implements [recall.EventLog]. The logs of all shards are one, in the order in
// which their databases have noted things. Where it is first looked into, events get
// numbers that have one order over all shards: whoever reads on behind one misses
// nothing. Of Options.MaxEvents each shard keeps its part.
func (s *Sharded) Events(ctx context.Context, f recall.EventFilter, after recall.EventID, limit int) (page recall.EventPage, err error) {
	if !s.numbers.many() {
		return s.shards[0].Events(ctx, f, after, limit)
	}
	from, err := afterEvent(after)
	if err != nil {
		return page, err
	}
	leave, err := s.enter(ctx, s.shards)
	if err != nil {
		return page, err
	}
	defer leave()
	newest, err := s.numberEvents(ctx)
	if err != nil || limit <= 0 {
		return page, err
	}
	for {
		part, last, err := s.readEvents(ctx, &f, from, newest)
		if err != nil {
			return recall.EventPage{}, err
		}
		for i := range part {
			if !f.Matches(&part[i]) {
				continue
			}
			if len(page.Events) == limit {
				page.Next = page.Events[limit-1].ID
				return page, nil
			}
			page.Events = append(page.Events, part[i])
		}
		if last == 0 {
			return page, nil
		}
		from = last
	}
}

// readEvents returns a part of the log behind a number, 0 for all, and the number to go
// on behind; 0: there is nothing more.
func (s *Sharded) readEvents(ctx context.Context, f *recall.EventFilter, from, newest int64) (part []recall.Event, last int64, err error) {
	type answer struct {
		events []recall.Event
		last   int64
	}
	limit := max(100, eventPart/len(s.shards))
	parts, err := gather(s, s.shards, func(e *Engine) (a answer, err error) {
		a.events, a.last, err = e.readEventsTo(ctx, f, from, newest, limit)
		return a, err
	})
	if err != nil {
		return nil, 0, err
	}
	// Behind the first of their ends it is not known what the others have.
	ahead := func(a, b int64) bool { return f.OldestFirst == (a < b) && a != b }
	for _, a := range parts {
		part = append(part, a.events...)
		if a.last != 0 && (last == 0 || ahead(a.last, last)) {
			last = a.last
		}
	}
	slices.SortFunc(part, func(a, b recall.Event) int {
		if ahead(eventNumber(a.ID), eventNumber(b.ID)) {
			return -1
		}
		return 1
	})
	if last != 0 {
		part = slices.DeleteFunc(part, func(ev recall.Event) bool { return ahead(last, eventNumber(ev.ID)) })
	}
	return part, last, nil
}

// numberEvents gives the newest events of all shards their places in the log, and
// returns the newest place: up to there nothing will be added.
//
// An event's place is its time by the clock of its database, or behind all places that
// there were, and the shard. Whoever gives places out has the counters of all shards
// locked, and commits one database after the other. Whoever looks at them in that order,
// and finds no event without a place, will find all events up to the newest place that it
// has met: they were there before that was given out.
func (s *Sharded) numberEvents(ctx context.Context) (newest int64, err error) {
	newest, waiting, err := s.lookForEvents(ctx)
	for err == nil && waiting {
		newest, waiting, err = s.numberOldest(ctx)
	}
	return newest, err
}

// numberOldest gives the oldest events of all shards their places, and returns whether
// there may be more.
func (s *Sharded) numberOldest(ctx context.Context) (newest int64, more bool, err error) {
	err = s.together(ctx, s.shards, func(units map[*Engine]*unit) error {
		newest, more = 0, false
		for _, e := range s.shards {
			var n int64
			_, err := units[e].get(`SELECT n FROM @counters WHERE shard = $1 AND name = '`+counterEvent+`' FOR UPDATE`, nil, &n)
			if err != nil {
				return s.at(s.homeOf(e), err)
			}
			newest = max(newest, n)
		}
		floor, until := newest>>shardBits, int64(math.MaxInt64)
		for _, e := range s.shards {
			if err := units[e].oldestPart(&until); err != nil {
				return s.at(s.homeOf(e), err)
			}
		}
		for _, e := range s.shards {
			n, last, err := units[e].numberBehind(floor, until)
			if err != nil {
				return s.at(s.homeOf(e), err)
			}
			newest, more = max(newest, last), more || n == e.numbered
		}
		return nil
	}, func(*Engine) {})
	return newest, more, err
}

// numberUnread gives events their places where nobody reads them, as only those with one
// are removed in the end.
func (s *Sharded) numberUnread(ctx context.Context, now time.Time) error {
	if !s.numbers.many() {
		return nil
	}
	leave, err := s.enter(ctx, s.shards)
	if err != nil {
		return err
	}
	defer leave()
	for _, e := range s.shards {
		some, err := e.unread(ctx, now)
		if err == nil && some {
			_, err = s.numberEvents(ctx)
			return err
		}
		if err != nil {
			return s.at(s.homeOf(e), err)
		}
	}
	return nil
}

// lookForEvents returns the newest place, and whether there are events without one.
func (s *Sharded) lookForEvents(ctx context.Context) (newest int64, waiting bool, err error) {
	byDatabase := slices.Clone(s.shards)
	slices.SortStableFunc(byDatabase, func(a, b *Engine) int { return s.homeOf(a).place - s.homeOf(b).place })
	for _, e := range byDatabase {
		var n int64
		var some bool
		err := e.pool.QueryRow(ctx, e.sql(`SELECT (SELECT n FROM @counters WHERE shard = $1 AND name = '`+counterEvent+`'),
			EXISTS (SELECT 1 FROM @events WHERE shard = $1 AND n IS NULL)`), e.shard).Scan(&n, &some)
		if err != nil {
			return 0, false, s.at(s.homeOf(e), err)
		}
		newest, waiting = max(newest, n), waiting || some
	}
	return newest, waiting, nil
}

// oldestPart brings until down to the time of the last event of a part, if there are more
// without a place than that: what is later in the other shards comes behind them, too.
func (u *unit) oldestPart(until *int64) error {
	_, err := u.get(`WITH w AS MATERIALIZED (SELECT stamp FROM @events WHERE shard = $1 AND n IS NULL)
		SELECT LEAST($2, (SELECT stamp FROM w ORDER BY stamp OFFSET $3 LIMIT 1))`,
		[]any{*until, u.e.numbered - 1}, until)
	return err
}

// numberBehind gives places behind floor to the oldest events of one shard, and returns
// how many, and the newest place of the shard.
func (u *unit) numberBehind(floor, until int64) (n int, newest int64, err error) {
	_, err = u.get(`WITH `+oldestEvents+`,
		placed AS MATERIALIZED (SELECT shard, stamp, ord, tie,
			(k + max(GREATEST(stamp, $4) - k + 1) OVER (ORDER BY k)) * $5 + $1 AS n FROM fresh),
		numbered AS (UPDATE @events v SET n = p.n FROM placed p WHERE v.shard = $1
			AND v.stamp = p.stamp AND v.ord = p.ord AND v.tie = p.tie RETURNING v.n)
		UPDATE @counters SET n = GREATEST(n, $4 * $5 + $1, (SELECT max(n) FROM numbered)) WHERE shard = $1 AND name = '`+counterEvent+`'
			RETURNING n, (SELECT count(*) FROM numbered)`,
		[]any{u.e.numbered, until, floor, int64(1) << shardBits}, &newest, &n)
	return n, newest, err
}
