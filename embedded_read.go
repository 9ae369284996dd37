package recall

import (
	"context"
	"time"

	"github.com/recallmq/recall/store"
)

// Get implements [Engine]. A message whose end is decided but not durable may
// still come back, so its reader waits for the commit.
func (e *embedded) Get(ctx context.Context, id MessageID, now time.Time) (m Message, err error) {
	if err := e.checkOpen(ctx); err != nil {
		return m, err
	}
	r, ok := e.ids.resolve(id)
	if !ok {
		return m, ErrNotFound
	}
	phase, seen, wait := e.peek(r, now)
	for wait != nil { // what takes it may not be queued yet
		if err := wait(ctx); err != nil {
			return m, err
		}
		phase, seen, wait = e.peek(r, now)
	}
	if phase == phaseMarked && e.store.Err() != nil { // it may be there again after the next open
		return m, e.store.Err()
	}
	if phase != phasePending && phase != phaseInFlight {
		return m, ErrNotFound
	}
	found, err := e.readSnapshots([]snapshot{seen})
	if err != nil {
		return m, err
	}
	if len(found) == 0 || found[0].ID != id {
		return m, ErrNotFound
	}
	return found[0], nil
}

// peek looks at an entry, and returns how to wait until it is certain what becomes
// of it; nil if it is.
func (e *embedded) peek(r resolvedID, now time.Time) (is phase, seen snapshot, wait func(context.Context) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, have := e.findLocked(r)
	switch {
	case !have.exists():
		return phaseNone, seen, nil
	case have.phase == phaseMarked:
		wait = e.unsettledLocked(have)
	case have.phase == phaseFinishing:
		wait = e.flush
	}
	return have.phase, e.snapshotLocked(have, r.seq, now), wait
}

// stateLocked derives what people are told from what the index keeps.
func (e *embedded) stateLocked(en entry, seq uint64, now time.Time) State {
	switch {
	case en.phase == phaseInFlight:
		return StateInFlight
	case en.flags&flagHeld != 0:
		return StateHeld
	case e.blockedLocked(en, seq):
		return StateQueueBlocked
	case en.due() <= now.UnixMilli():
		if k := e.flowOf(en); k != nil && k.room(now.UnixMilli()) == 0 {
			return StateFlowWaiting
		}
		return StateReady
	case en.flags&flagRetried != 0:
		return StateRetrying
	}
	return StateDelayed
}

// describe returns the attributes of a message as its entry has them.
func (e *embedded) describe(p *page, en entry, seq uint64) Message {
	name := func(f field) string { return e.live.fields[f].slab[en.values[f]].name }
	created, wall := p.timesOf(seq, en)
	m := Message{
		ID: messageID(e.ids.make(seq, created)), CreatedAt: time.UnixMilli(wall), DueAt: time.UnixMilli(en.due()),
		Queue: name(fieldQueue), URL: name(fieldURL), Topic: name(fieldTopic), ScheduleID: name(fieldSchedule),
		CallerIP: name(fieldIP), FlowKey: name(fieldFlow), Attempts: en.attempts(),
	}
	for _, n := range e.live.sets.slab[en.labels].labels {
		m.Labels = append(m.Labels, e.live.fields[fieldLabel].slab[n].name)
	}
	return m
}

// snapshot is what changes in the life of a message, as it was under the lock.
type snapshot struct {
	seq      uint64
	state    State
	attempts int
	due      int64
}

func (e *embedded) snapshotLocked(en entry, seq uint64, now time.Time) snapshot {
	return snapshot{seq, e.stateLocked(en, seq, now), en.attempts(), en.due()}
}

// readSnapshots reads the messages of snapshots. Those that are gone from the file
// by now are left out, and those for which there is no room in a page.
func (e *embedded) readSnapshots(list []snapshot) ([]Message, error) {
	out := make([]Message, 0, len(list))
	size := 0
	err := e.store.View(func(v *store.View) error {
		for _, s := range list {
			seq := s.seq
			row, err := v.Record(store.Live, seq)
			if err != nil {
				return err
			}
			if row == nil {
				continue
			}
			body, err := v.Body(store.Live, seq)
			if err != nil || body == nil {
				return missing(err, seq)
			}
			m, err := decodeMessage(seq, row, body)
			if err != nil {
				return err
			}
			m.State, m.Attempts, m.DueAt = s.state, s.attempts, time.UnixMilli(s.due)
			out = append(out, m)
			if size += m.size(); size >= PageBytes {
				return nil
			}
		}
		return nil
	})
	return out, err
}

// List implements [Engine].
func (e *embedded) List(ctx context.Context, f Filter, after MessageID, limit int, now time.Time) ([]Message, error) {
	if err := e.checkOpen(ctx); err != nil {
		return nil, err
	}
	var from uint64
	if after != "" {
		r, ok := e.ids.resolve(after)
		if !ok {
			return nil, invalid("after", "%q is not an id of this file", clip(string(after)))
		}
		from = r.seq + 1
	}
	for {
		list := e.selectLive(f, from, limit, now)
		if len(list) == 0 {
			return nil, nil
		}
		found, err := e.readSnapshots(list)
		if err != nil || len(found) > 0 {
			return found, err
		}
		from = list[len(list)-1].seq + 1 // all of them went meanwhile
	}
}

// selectLive copies the next matches of f.
func (e *embedded) selectLive(f Filter, from uint64, limit int, now time.Time) (list []snapshot) {
	if limit <= 0 {
		return nil
	}
	w := e.readWalk(e.live, f, from, now)
	w.run(&e.mu, func(_ *page, en entry, seq uint64) verdict {
		if !en.countable() {
			return goOn
		}
		list = append(list, e.snapshotLocked(en, seq, now))
		if len(list) == limit {
			return stop
		}
		return goOn
	})
	return list
}

// readWalk walks the messages of at least from.
func (e *embedded) readWalk(ix *index, f Filter, from uint64, now time.Time) *walk {
	q := e.newQuery(ix, f, now)
	e.mu.Lock()
	defer e.mu.Unlock()
	ix.compile(q)
	q.lo = max(q.lo, from)
	return ix.newWalk(q)
}

// Count implements [Engine]. One value of one field is read off its index;
// anything else is counted by a walk.
func (e *embedded) Count(ctx context.Context, f Filter, now time.Time) (n Count, err error) {
	if err := e.checkOpen(ctx); err != nil {
		return n, err
	}
	n, w := e.countAtOnce(e.newQuery(e.live, f, now))
	if w == nil {
		return n, nil
	}
	w.run(&e.mu, func(_ *page, en entry, _ uint64) verdict {
		if en.countable() {
			if en.phase == phaseInFlight {
				n.InFlight++
			} else {
				n.Pending++
			}
		}
		return goOn
	})
	return n, nil
}

// countAtOnce answers from the live counts, or returns the walk that has to.
func (e *embedded) countAtOnce(q *query) (n Count, w *walk) {
	e.lockCounted()
	defer e.mu.Unlock()
	e.live.compile(q)
	total, ok := e.live.exact(q)
	if !ok {
		return n, e.live.newWalk(q)
	}
	n.InFlight = e.inFlightLocked(q)
	n.Pending = total - n.InFlight
	return n, nil
}

// Explain implements [Engine].
func (e *embedded) Explain(ctx context.Context, f Filter, now time.Time) (Plan, error) {
	if err := e.checkOpen(ctx); err != nil {
		return Plan{}, err
	}
	q := e.newQuery(e.live, f, now)
	p := Plan{Filter: f}
	for _, s := range e.sourcesOf(q) {
		p.Candidates = append(p.Candidates, Candidate{Index: s.name, Count: s.count, Exact: s.exact})
	}
	p.Index, p.Scan = p.Candidates[0].Index, p.Candidates[0].Count
	return p, nil
}

func (e *embedded) sourcesOf(q *query) []source {
	e.lockCounted()
	defer e.mu.Unlock()
	e.live.compile(q)
	return e.live.sources(q)
}
