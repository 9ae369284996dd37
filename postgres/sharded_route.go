package postgres

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/recallmq/recall"
)

// What a name is that decides about the shard.
const (
	byQueue = 'q'
	byFlow  = 'f'
	byDedup = 'd'
)

// anywhere is a shard of no message yet.
const anywhere = -1

// shardOf is the shard of a name. It is fixed for ever.
func (s *Sharded) shardOf(kind byte, name string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte{kind}) // never fails
	_, _ = h.Write([]byte(name)) // as above
	n := h.Sum64()
	n ^= n >> 32 // the low bits of names that differ in their end are alike
	return int(n % uint64(s.opts.Shards))
}

// route is the shard that a new message has to be in, or anywhere.
func (s *Sharded) route(m *recall.Message) (int, error) {
	queue := cmp.Or(m.Queue, m.Blocks)
	switch {
	case queue != "" && m.FlowKey != "" && s.numbers.many():
		return 0, errQueueAndKey
	case queue != "":
		return s.shardOf(byQueue, queue), nil
	case m.FlowKey != "":
		return s.shardOf(byFlow, m.FlowKey), nil
	case m.DeduplicationID != "":
		return s.shardOf(byDedup, m.DeduplicationID), nil
	}
	return anywhere, nil
}

// errQueueAndKey is both: a broker that cannot publish for a schedule because of it goes
// on with the others.
var errQueueAndKey = fmt.Errorf("%w: %w", recall.ErrUnsupported,
	&recall.InvalidError{Field: "FlowKey", Reason: "a message with a queue has no flow-control key where there are several shards: its limit would hold in each of them"})

// parcel are messages of one call that go to one shard.
type parcel struct {
	shard int
	msgs  []recall.Message
	at    []int // their places in the call
}

// parcels divides messages, in the order of shards. Those that may be anywhere are in the
// first of the parcels, whose shard is free if nothing else is in it, or in a given one.
func (s *Sharded) parcels(msgs []recall.Message, free int) ([]*parcel, error) {
	byShard := map[int]*parcel{}
	shards := make([]int, len(msgs))
	for i := range msgs {
		shard, err := s.route(&msgs[i])
		if err != nil {
			return nil, err
		}
		if shards[i] = shard; free == anywhere {
			free = shard
		}
	}
	var all []*parcel
	for i, shard := range shards {
		if shard == anywhere {
			shard = free
		}
		p := byShard[shard]
		if p == nil {
			p = &parcel{shard: shard}
			byShard[shard], all = p, append(all, p)
		}
		p.msgs, p.at = append(p.msgs, msgs[i]), append(p.at, i)
	}
	slices.SortFunc(all, func(a, b *parcel) int { return a.shard - b.shard })
	return all, nil
}

// put puts what the messages of a parcel became in the places of the call.
func (p *parcel) put(all, part []recall.Receipt) {
	for i, at := range p.at {
		all[at] = part[i]
	}
}

// of returns the shard that the id of a message names, nil for what is none. The message
// is there, unless it is a stray.
func (s *Sharded) of(id recall.MessageID) *Engine {
	u, ok := parseMessageID(id)
	if !ok {
		return nil
	}
	return s.homeOfID(u)
}

// homeOfID is of for an id that was read. One of another engine has some number in the
// place of the shard.
func (s *Sharded) homeOfID(id [16]byte) *Engine { return s.shards[s.numbers.shardOf(id)%len(s.shards)] }

// ofDead returns the shard of a dead letter, nil if it can be none of this queue.
func (s *Sharded) ofDead(id recall.DeadLetterID) *Engine {
	_, n := parseDeadID(id)
	shard := 0
	if s.numbers.many() {
		shard = int(n & (1<<shardBits - 1))
	}
	if n <= 0 || shard >= len(s.shards) {
		return nil
	}
	return s.shards[shard]
}

// reach returns the shards in which something may match f, in their order.
func (s *Sharded) reach(ctx context.Context, f *recall.Filter) ([]*Engine, error) {
	places, err := s.strays(ctx, f.IDs)
	if err != nil {
		return nil, err
	}
	return s.reachOf(f, func(id [16]byte) []*Engine { return append(places[id], s.homeOfID(id)) }), nil
}

// reachOf is reach where it is known in which shards an id may be.
func (s *Sharded) reachOf(f *recall.Filter, places func(id [16]byte) []*Engine) (which []*Engine) {
	var byID, byName []*Engine
	for _, id := range f.IDs {
		if u, ok := parseMessageID(id); ok {
			byID = append(byID, places(u)...)
		}
	}
	for _, q := range f.Queues {
		byName = append(byName, s.shards[s.shardOf(byQueue, q)])
	}
	for _, e := range s.shards {
		if (f.IDs == nil || slices.Contains(byID, e)) && (f.Queues == nil || slices.Contains(byName, e)) {
			which = append(which, e)
		}
	}
	if which == nil { // somebody has to say that there is nothing
		which = s.shards[:1]
	}
	return which
}
