package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// Objects implements [recall.Keeper]. Settings of queues and of flow-control keys are in
// the shards of their names, where claims need them; all else is in shard 0.
func (s *Sharded) Objects(ctx context.Context, kind recall.ObjectKind) ([]recall.Object, error) {
	which := s.shards
	if !spreads(kind) {
		which = s.shards[:1]
	}
	parts, err := gather(s, which, func(e *Engine) ([]recall.Object, error) { return e.Objects(ctx, kind) })
	if err != nil {
		return nil, err
	}
	all := slices.Concat(parts...)
	slices.SortFunc(all, func(a, b recall.Object) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func spreads(kind recall.ObjectKind) bool {
	return kind == recall.ObjectQueue || kind == recall.ObjectFlow
}

// shardOfObject is where an object is.
func (s *Sharded) shardOfObject(o *recall.Object) int {
	switch o.Kind {
	case recall.ObjectQueue:
		return s.shardOf(byQueue, o.Name)
	case recall.ObjectFlow:
		return s.shardOf(byFlow, o.Name)
	}
	return 0
}

// Apply implements [recall.Keeper]. Objects of one shard, and messages that may be
// anywhere, are one transaction in that shard.
//
// Messages that have to be in other shards – a schedule publishes to a queue – are
// published first, each under a deduplication id that says of which change it is, and
// only then the objects are changed. If that fails, or the process ends in between, and
// the same change is made again by this process or another within
// Options.DeduplicationWindow, nothing is published twice. Objects of several shards are
// [recall.ErrUnsupported].
func (s *Sharded) Apply(ctx context.Context, c recall.Change) ([]recall.Receipt, error) {
	home, err := s.homeOfChange(&c)
	if err != nil {
		return nil, err
	}
	parcels, err := s.parcels(c.Messages, home)
	if err != nil {
		return nil, err
	}
	e := s.shards[max(0, home)]
	receipts := make([]recall.Receipt, len(c.Messages))
	here := &parcel{shard: home}
	if len(parcels) > 0 && (len(parcels) > 1 || parcels[0].shard != home) {
		if err := s.expect(ctx, e, &c); err != nil {
			return nil, err
		}
	}
	for _, p := range parcels {
		if p.shard == home {
			here = p
			continue
		}
		nameAfter(&c, p.msgs)
		part, err := s.insertAt(ctx, s.shards[p.shard], p.msgs, c.Now)
		if err != nil {
			return nil, err
		}
		p.put(receipts, part)
	}
	c.Messages = here.msgs
	part, err := e.Apply(ctx, c)
	if err != nil {
		return nil, s.at(s.homeOf(e), err)
	}
	here.put(receipts, part)
	return receipts, nil
}

// homeOfChange is the shard of the objects of a change, or anywhere.
func (s *Sharded) homeOfChange(c *recall.Change) (int, error) {
	home := anywhere
	for _, o := range slices.Concat(c.Objects, c.If) {
		shard := s.shardOfObject(&o)
		if home != anywhere && shard != home {
			return 0, fmt.Errorf("%w: a change of objects in several shards", recall.ErrUnsupported)
		}
		home = shard
	}
	return home, nil
}

// expect returns ErrObjectChanged if the objects are not what the caller has read. What
// happens afterwards is seen when they are changed.
func (s *Sharded) expect(ctx context.Context, e *Engine, c *recall.Change) error {
	if len(c.If) == 0 {
		return nil
	}
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	err := e.do(ctx, func(u *unit) error {
		u.idle = true
		for i := range c.If {
			if err := u.expect(&c.If[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return s.at(s.homeOf(e), err)
}

// nameAfter gives messages that have none a deduplication id that is the same whenever
// the same change is made again.
func nameAfter(c *recall.Change, msgs []recall.Message) {
	times := map[string]int{}
	for i := range msgs {
		m := &msgs[i]
		if m.DeduplicationID != "" {
			continue
		}
		// By what it is, not by its place: a topic may have got an endpoint meanwhile.
		what := strings.Join([]string{m.URL, m.Queue, m.FlowKey, m.Topic}, "\x00")
		times[what]++
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", occasion(c), what, times[what]))
		m.DeduplicationID = "change\x00" + hex.EncodeToString(sum[:])
	}
}

// occasion says of which change a message is. For a schedule that is the time that it
// meets, which stays the same when somebody changes the schedule meanwhile.
func occasion(c *recall.Change) string {
	for i := range c.Objects {
		o := &c.Objects[i]
		var met struct{ Last int64 }
		if o.Kind == recall.ObjectScheduleTime && json.Unmarshal(o.Value, &met) == nil && met.Last != 0 {
			return fmt.Sprintf("schedule\x00%s\x00%d", o.Name, met.Last)
		}
	}
	var text []byte
	for _, o := range slices.Concat(c.Objects, c.If) {
		text = fmt.Appendf(text, "%d\x00%q\x00%q\x00", o.Kind, o.Name, o.Value)
	}
	return string(text)
}

// Object implements [recall.SharedKeeper].
func (s *Sharded) Object(ctx context.Context, kind recall.ObjectKind, name string) (recall.Object, error) {
	e := s.shards[s.shardOfObject(&recall.Object{Kind: kind, Name: name})]
	o, err := e.Object(ctx, kind, name)
	return o, s.at(s.homeOf(e), err)
}

// Revision implements [recall.SharedKeeper]. Topics and schedules are in shard 0.
func (s *Sharded) Revision(kind recall.ObjectKind) uint64 { return s.shards[0].Revision(kind) }

// Clock implements [recall.Clocked]: it returns the clock of the first database. Leases
// hold by that of their own.
func (s *Sharded) Clock() recall.Clock { return s.shards[0].Clock() }

// FlowStates implements [recall.FlowController].
func (s *Sharded) FlowStates(ctx context.Context, now time.Time) ([]recall.FlowState, error) {
	parts, err := gather(s, s.shards, func(e *Engine) ([]recall.FlowState, error) { return e.FlowStates(ctx, now) })
	if err != nil {
		return nil, err
	}
	all := slices.Concat(parts...)
	slices.SortFunc(all, func(a, b recall.FlowState) int { return strings.Compare(a.Key, b.Key) })
	return all, nil
}

// ResetFlow implements [recall.FlowController].
func (s *Sharded) ResetFlow(ctx context.Context, key string, now time.Time) error {
	e := s.shards[s.shardOf(byFlow, key)]
	return s.at(s.homeOf(e), e.ResetFlow(ctx, key, now))
}
