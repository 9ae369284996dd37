package postgres

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// A stray is an imported message, or the one of an imported dead letter, in another shard
// than its id names, as its queue or its flow-control key is there. The shard that the id
// names keeps where it is, in a row that is durable before the message is.

// stray is such a row.
type stray struct {
	id    [16]byte
	place int16
}

// straysOf returns the rows of one shard for some ids.
func straysOf(ctx context.Context, q querier, home *Engine, ids [][16]byte) ([]stray, error) {
	return collectFrom(ctx, q, home, func(row pgx.CollectableRow) (r stray, err error) {
		return r, row.Scan(&r.id, &r.place)
	}, `SELECT id, place FROM @strays WHERE shard = $1 AND id = ANY($2::uuid[])`, ids)
}

// byHome sorts ids by the shards that they name. What is no id names none.
func (s *Sharded) byHome(ids []recall.MessageID) map[*Engine][][16]byte {
	all := map[*Engine][][16]byte{}
	for _, id := range ids {
		if u, ok := parseMessageID(id); ok {
			e := s.homeOfID(u)
			all[e] = append(all[e], u)
		}
	}
	return all
}

// strays returns where some ids are beside the shards that they name.
func (s *Sharded) strays(ctx context.Context, ids []recall.MessageID) (map[[16]byte][]*Engine, error) {
	places := map[[16]byte][]*Engine{}
	if !s.numbers.many() {
		return places, nil
	}
	homes := s.byHome(ids)
	var which []*Engine
	for _, e := range s.shards {
		if homes[e] != nil {
			which = append(which, e)
		}
	}
	leave, err := s.enter(ctx, which)
	if err != nil {
		return nil, err
	}
	defer leave()
	parts, err := gather(s, which, func(e *Engine) ([]stray, error) { return straysOf(ctx, e.pool, e, homes[e]) })
	for _, r := range slices.Concat(parts...) {
		places[r.id] = append(places[r.id], s.shards[r.place])
	}
	return places, err
}

// seek calls f for the shard that an id names and, if that answers with an error that is
// none, for those that an import has put the message into.
func (s *Sharded) seek(ctx context.Context, id recall.MessageID, none error, f func(e *Engine) error) error {
	e := s.of(id)
	if e == nil {
		return none
	}
	if err := f(e); !errors.Is(err, none) {
		return s.at(s.homeOf(e), err)
	}
	return s.seekStray(ctx, id, none, f)
}

// seekStray is seek without the shard that the id names.
func (s *Sharded) seekStray(ctx context.Context, id recall.MessageID, none error, f func(e *Engine) error) error {
	places, err := s.strays(ctx, []recall.MessageID{id})
	if err != nil {
		return err
	}
	for _, others := range places {
		for _, e := range others {
			if err := f(e); !errors.Is(err, none) {
				return s.at(s.homeOf(e), err)
			}
		}
	}
	return none
}

// mayHaveStrayed tells by what a message says where to look first. A callback may be with
// the message that it follows, wherever its own names are.
func (s *Sharded) mayHaveStrayed(m *recall.Message, home *Engine) bool {
	shard, err := s.route(&recall.Message{Queue: m.Queue, Blocks: m.Blocks, FlowKey: m.FlowKey})
	return err == nil && shard != anywhere && shard != int(home.shard)
}

// keepStrays makes the rows of some strays durable.
func (e *Engine) keepStrays(ctx context.Context, list []stray, now time.Time) error {
	ids, places := make([][16]byte, len(list)), make([]int16, len(list))
	for i, r := range list {
		ids[i], places[i] = r.id, r.place
	}
	return e.do(ctx, func(u *unit) error {
		u.idle = true
		_, err := u.exec(`INSERT INTO @strays (shard, id, place, at_ms)
			SELECT DISTINCT $1::smallint, x.id, x.place, $4::bigint FROM unnest($2::uuid[], $3::smallint[]) AS x (id, place) ORDER BY 2, 3
			ON CONFLICT (shard, id, place) DO UPDATE SET at_ms = EXCLUDED.at_ms`, ids, places, toMS(now))
		return err
	})
}

// straysLast is how long the row of a stray stays after an import at least: the message
// may not be there yet. It is also how long there is between two looks at all of them.
const straysLast = time.Hour

// tidying is where the removal of rows is that are of no use any more.
type tidying struct {
	busy  atomic.Bool // whoever has set it may use what follows
	next  time.Time   // it begins anew
	shard int
	after [16]byte
}

// tidy removes the rows of strays of which nothing is known any more where they were:
// those of a page, and tells whether there may be more.
func (s *Sharded) tidy(ctx context.Context, now time.Time) (more bool, err error) {
	t := &s.tidying
	if !t.busy.CompareAndSwap(false, true) {
		return false, nil
	}
	defer t.busy.Store(false)
	if !s.numbers.many() || now.Before(t.next) && !t.next.After(now.Add(straysLast)) {
		return false, nil
	}
	leave, err := s.enter(ctx, s.shards)
	if err != nil {
		return false, err
	}
	defer leave()
	for ; t.shard < len(s.shards); t.shard, t.after = t.shard+1, [16]byte{} {
		home := s.shards[t.shard]
		n, err := s.tidyPage(ctx, home, now)
		if err != nil {
			return false, s.at(s.homeOf(home), err)
		}
		if n == purgePart {
			return true, nil
		}
	}
	t.shard, t.next = 0, now.Add(straysLast)
	return false, nil
}

// tidyPage returns how many rows it has looked at.
func (s *Sharded) tidyPage(ctx context.Context, home *Engine, now time.Time) (int, error) {
	old := toMS(now.Add(-straysLast))
	list, err := collectFrom(ctx, home.pool, home, func(row pgx.CollectableRow) (r stray, err error) {
		return r, row.Scan(&r.id, &r.place)
	}, `SELECT id, place FROM @strays WHERE shard = $1 AND id >= $2 AND at_ms <= $3 ORDER BY id, place LIMIT $4`, s.tidying.after, old, purgePart)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	byPlace := map[int16][][16]byte{}
	for _, r := range list {
		byPlace[r.place] = append(byPlace[r.place], r.id)
	}
	for place, ids := range byPlace {
		gone, err := s.shards[place].unknown(ctx, ids)
		if err != nil {
			return 0, s.at(s.home(int(place)), err)
		}
		if len(gone) == 0 {
			continue
		}
		err = home.do(ctx, func(u *unit) error {
			u.idle = true
			_, err := u.exec(`DELETE FROM @strays WHERE shard = $1 AND id = ANY($2::uuid[]) AND place = $3 AND at_ms <= $4`, gone, place, old)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	s.tidying.after = list[len(list)-1].id
	return len(list), nil
}

// unknown are those of some ids of which this shard knows nothing: neither a message nor
// a dead letter, nor who has cancelled it.
func (e *Engine) unknown(ctx context.Context, ids [][16]byte) ([][16]byte, error) {
	return collectFrom(ctx, e.pool, e, pgx.RowTo[[16]byte], `SELECT x.id FROM unnest($2::uuid[]) AS x (id)
		WHERE NOT EXISTS (SELECT FROM @messages m WHERE m.shard = $1 AND m.id = x.id)
		AND NOT EXISTS (SELECT FROM @dead d WHERE d.shard = $1 AND d.id = x.id)
		AND NOT EXISTS (SELECT FROM @members k WHERE k.shard = $1 AND k.id = x.id)
		AND NOT EXISTS (SELECT FROM @asks a WHERE a.shard = $1 AND a.id = x.id)`, ids)
}
