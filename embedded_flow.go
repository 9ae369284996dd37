package recall

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/google/btree"
	"github.com/recallmq/recall/store"
)

// A flow-control key bounds how many attempts of its messages begin in a period
// and run at a time. What is due and finds its key closed is parked in a lane of
// the key, so that it is in nobody's way, and comes back when an attempt ends, a
// period begins or the limit changes.
//
// A limit holds across restarts. An orderly end writes what was used. After any
// other a key with a period of up to shortPeriod waits for one, and one with a
// longer period goes by what was reserved: before tokens are used, they are, a
// sixteenth of the rate at a time, durably.

const (
	shortPeriod  = 10 * time.Second
	reserveParts = 16
)

// flowKey is one key that has a limit or is paused.
type flowKey struct {
	name     string
	set      FlowSettings
	inFlight int
	start    int64 // ms: of the period; 0: none has begun
	used     int   // tokens of the period
	reserved int   // of those that may be used without being reserved first, as far as a long period goes
	growing  bool  // a commit is under way that makes the period a long one: it is reserved already
	timer    int64 // ms: when it is looked at again; 0: not by time
	dirty    bool  // what is parked may have room

	// urls are those of the lanes in which messages are parked, as in a laneKey. Each
	// is given the room of the key: what nobody asks for must not keep it from the
	// others.
	urls []string
}

type flows struct {
	byName map[string]*flowKey
	timers *btree.BTreeG[flowTimer]
	wrong  *btree.BTreeG[flowTimer] // timers of before the clock was set back
	seen   int64                    // ms: the time of the last claim
	dirty  []*flowKey
}

type flowTimer struct {
	at   int64
	name string
}

func newFlows() flows {
	return flows{byName: map[string]*flowKey{}, timers: newFlowTimers(), wrong: newFlowTimers()}
}

func newFlowTimers() *btree.BTreeG[flowTimer] {
	return btree.NewG(32, func(a, b flowTimer) bool {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name)) < 0
	})
}

// mostBack is how far the clock may go back, in ms, before anybody looks at what
// waits for it.
const mostBack = 1000

// notice is told the time of each claim. When the clock was set back all keys that
// wait for the end of a period are looked at again: it seems to begin in the future
// then, and is to end within one period from now.
func (f *flows) notice(now int64) {
	if now < f.seen-mostBack {
		f.wrong, f.timers = f.timers, f.wrong
	}
	f.seen = now
}

// setFlowLocked takes up the settings of a key; nil removes them.
func (e *embedded) setFlowLocked(name string, value []byte) {
	k := e.flows.byName[name]
	if k == nil {
		k = &flowKey{name: name}
		e.flows.byName[name] = k
		e.countFlowLocked(k)
	}
	k.set, k.growing = flowSettings(value), false
	e.flowChangedLocked(k)
}

// countFlowLocked counts what is out of a key that was not bounded before.
func (e *embedded) countFlowLocked(k *flowKey) {
	n := e.live.fields[fieldFlow].lookup(k.name)
	for seq, l := range e.leases {
		if _, en := e.live.lookup(seq); en.exists() && n != 0 && en.values[fieldFlow] == n {
			l.flow = k
			k.inFlight++
		}
	}
}

func (e *embedded) flowChangedLocked(k *flowKey) {
	if k == nil {
		return
	}
	e.opened = true
	if !k.dirty {
		k.dirty = true
		e.flows.dirty = append(e.flows.dirty, k)
	}
}

// flowOf returns the key of an entry, nil if it has none that bounds it.
func (e *embedded) flowOf(en entry) *flowKey {
	n := en.values[fieldFlow]
	if n == 0 || len(e.flows.byName) == 0 {
		return nil
	}
	return e.flows.byName[e.live.fields[fieldFlow].slab[n].name]
}

// room is how many more attempts may begin now.
func (k *flowKey) room(now int64) int {
	if k.set.Paused {
		return 0
	}
	l, most := k.set.Limit, int(^uint(0)>>1)
	if l.Parallelism > 0 {
		most = max(0, l.Parallelism-k.inFlight)
	}
	if l.Rate > 0 {
		used := k.used
		if k.over(now) {
			used = 0
		}
		most = min(most, max(0, l.Rate-used))
	}
	return most
}

// over tells whether the period has ended. One that seems to begin in the future,
// because the clock went back, lasts at most one period from now.
func (k *flowKey) over(now int64) bool {
	return k.start == 0 || now >= k.start+k.set.Limit.period()
}

// tally counts an attempt that begins.
func (k *flowKey) tally(now int64) (mustReserve bool) {
	k.inFlight++
	l := k.set.Limit
	if l.Rate == 0 {
		return false
	}
	if k.over(now) {
		k.start, k.used, k.reserved = now, 0, 0
	}
	k.used++
	return (k.growing || l.reserves()) && k.used > k.reserved
}

// reserves tells whether what is used has to be made durable first.
func (l FlowLimit) reserves() bool { return l.Rate > 0 && l.period() > shortPeriod.Milliseconds() }

// unuse undoes tally for an attempt that did not happen.
func (k *flowKey) unuse(claimed int64) {
	if k.start != 0 && claimed >= k.start {
		k.used = max(0, k.used-1)
	}
}

// parkLocked moves a due entry, which is no longer in its lane, to the lane of its
// key.
func (e *embedded) parkLocked(k *flowKey, en entry, seq uint64, now int64) {
	en.tries |= parkedBit
	en.flags |= flagAside | flagQueued
	key := e.laneKeyOf(en)
	e.lanes.at(key).items.ReplaceOrInsert(dueItem{en.due(), seq})
	if !slices.Contains(k.urls, key.url) {
		k.urls = append(k.urls, key.url)
	}
	e.timeFlowLocked(k, now)
}

// timeFlowLocked has a key looked at when its period ends, if it waits for that. The
// period may have become another one since the last time.
func (e *embedded) timeFlowLocked(k *flowKey, now int64) {
	if k.set.Limit.Rate == 0 || k.over(now) {
		return
	}
	k.start = min(k.start, now)
	at := k.start + k.set.Limit.period()
	if at == k.timer {
		return
	}
	e.flows.timers.Delete(flowTimer{k.timer, k.name})
	k.timer = at
	e.flows.timers.ReplaceOrInsert(flowTimer{at, k.name})
}

// unparkEntryLocked says that an entry does not wait for its key.
func (e *embedded) unparkEntryLocked(en entry) {
	if !en.parked() {
		return
	}
	en.tries &^= parkedBit
	if url := e.live.fields[fieldURL].slab[en.values[fieldURL]].name; en.priority() == 0 && !isLocal(url) {
		en.flags &^= flagAside
	}
}

// takeParkedLocked takes an entry out of the lane of its key, if it is there: its item
// must not be found there once it waits in another lane.
func (e *embedded) takeParkedLocked(en entry, seq uint64) {
	if !en.parked() {
		return
	}
	if en.flags&flagQueued != 0 {
		ln := e.laneOf(en)
		if _, there := ln.items.Delete(dueItem{en.due(), seq}); there {
			ln.dead = max(0, ln.dead-1) // it was marked
		}
	}
	e.unparkEntryLocked(en)
}

// unparkAllLocked gives back to their lanes what keys have room for, and reports
// whether some is left to do: budget is how many entries it looks at.
func (e *embedded) unparkAllLocked(now int64, budget int) (more bool) {
	e.flows.notice(now)
	budget = e.ringFlowsLocked(e.flows.wrong, math.MaxInt64, budget)
	budget = e.ringFlowsLocked(e.flows.timers, now, budget)
	for budget > 0 && len(e.flows.dirty) > 0 {
		last := len(e.flows.dirty) - 1
		k := e.flows.dirty[last]
		if e.unparkLocked(k, now, &budget) {
			k.dirty = false
			e.flows.dirty = e.flows.dirty[:last]
		}
	}
	return e.flows.wrong.Len()+len(e.flows.dirty) > 0
}

// ringFlowsLocked has the keys looked at whose timers have rung by now, and returns
// what is left of the budget.
func (e *embedded) ringFlowsLocked(timers *btree.BTreeG[flowTimer], now int64, budget int) int {
	for ; budget > 0; budget-- {
		t, ok := timers.Min()
		if !ok || t.at > now {
			break
		}
		timers.DeleteMin()
		k := e.flows.byName[t.name]
		if k.timer == t.at {
			k.timer = 0
		}
		e.flowChangedLocked(k)
	}
	return budget
}

// unparkLocked does that for one key; false means that the budget was not enough.
func (e *embedded) unparkLocked(k *flowKey, now int64, budget *int) (done bool) {
	for _, url := range k.urls {
		if !e.unparkLanesLocked(k, url, now, budget) {
			return false
		}
	}
	k.urls = slices.DeleteFunc(k.urls, func(url string) bool { return !e.anyParked(k, url) })
	if len(k.urls) > 0 {
		e.timeFlowLocked(k, now)
	}
	return true
}

// unparkLanesLocked does that for the lanes of one URL.
func (e *embedded) unparkLanesLocked(k *flowKey, url string, now int64, budget *int) (done bool) {
	room := k.room(now)
	for _, priority := range e.lanes.priorities {
		ln := e.lanes.byKey[laneKey{url: url, flow: k.name, priority: priority}]
		for ln != nil && room > 0 {
			it, ok := ln.items.DeleteMin()
			if !ok {
				break
			}
			if *budget--; *budget < 0 {
				ln.items.ReplaceOrInsert(it)
				return false
			}
			_, en := e.live.lookup(it.seq)
			if !en.exists() || !en.waits(it.due) {
				e.leftLaneLocked(en, it.due)
				ln.dead = max(0, ln.dead-1)
				continue
			}
			e.leftLaneLocked(en, it.due)
			if !e.mayGoLocked(en, it.seq) {
				continue // it would take the room and not use it; its queue brings it back
			}
			e.laneLocked(en, it.seq)
			room--
		}
	}
	return true
}

func (e *embedded) anyParked(k *flowKey, url string) bool {
	return slices.ContainsFunc(e.lanes.priorities, func(p int8) bool {
		ln := e.lanes.byKey[laneKey{url: url, flow: k.name, priority: p}]
		return ln != nil && ln.items.Len() > 0
	})
}

// nextFlowLocked is when the first key is to be looked at again, or zero.
func (e *embedded) nextFlowLocked() time.Time {
	t, ok := e.flows.timers.Min()
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(t.at)
}

// flowUse is what the file keeps of the use of a key.
type flowUse struct {
	Start int64 `json:"start"`
	Used  int   `json:"used"`
}

// growsLocked returns what a commit has to write beside new settings of a key, if
// they make its period a long one: what was used of the short one, which no file
// knows, counts in it.
func (e *embedded) growsLocked(name string, value []byte) (use Object, ok bool) {
	k := e.flows.byName[name]
	if k == nil || k.start == 0 || k.set.Limit.reserves() || !flowSettings(value).Limit.reserves() {
		return Object{}, false
	}
	k.growing, k.reserved = true, k.used
	return useOf(name, k.start, k.used), true
}

// reserveWork makes durable what keys are about to use. Until it is, nobody may use
// it: another claim of such a key reserves for itself.
type reserveWork struct {
	keys []*flowKey
	more []reserved
}

// reserved is what is reserved of one period of a key.
type reserved struct {
	key    *flowKey
	start  int64
	tokens int
}

// newReserveWork is for keys of which some may be there twice.
func newReserveWork(keys []*flowKey) *reserveWork {
	slices.SortFunc(keys, func(a, b *flowKey) int { return cmp.Compare(a.name, b.name) })
	return &reserveWork{keys: slices.Compact(keys)}
}

func (w *reserveWork) bound() store.Bound {
	b := store.Bound{Rows: 2 * len(w.keys), Essential: true} // deliveries cannot go on without it
	for _, k := range w.keys {
		b.Bytes += int64(len(k.name)) + settingsRoom
	}
	return b
}

// write says how much it is: commits come one after the other, claims do not.
func (w *reserveWork) write(t *turn) error {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	w.more = w.more[:0]
	for _, k := range w.keys {
		rate := k.set.Limit.Rate
		w.more = append(w.more, reserved{k, k.start, max(k.used, min(rate, k.used+rate/reserveParts))})
	}
	for _, r := range w.more {
		t.noteObjectLocked(r.object())
	}
	return nil
}

func (r *reserved) object() Object { return useOf(r.key.name, r.start, r.tokens) }

// apply lets the keys use it, unless the period is over.
func (w *reserveWork) apply(e *embedded) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range w.more {
		if r.key.start == r.start {
			r.key.reserved = max(r.key.reserved, r.tokens)
		}
	}
}

func useOf(key string, start int64, used int) Object {
	return Object{Kind: objectFlowUse, Name: key, Value: encodeJSON(flowUse{start, used})}
}

// saveFlows writes what was used, for an orderly end.
func (e *embedded) saveFlows() error {
	e.mu.Lock()
	w := &objectWork{needed: true}
	for _, name := range slices.Sorted(maps.Keys(e.flows.byName)) {
		if k := e.flows.byName[name]; k.start != 0 && k.set.Limit.Rate > 0 {
			w.objects = append(w.objects, useOf(name, k.start, k.used))
		}
	}
	e.mu.Unlock()
	if len(w.objects) == 0 {
		return nil
	}
	return e.submit(context.Background(), w)
}

// loadFlows begins where the last process ended.
func (e *embedded) loadFlows(now int64, clean bool) {
	for name, k := range e.flows.byName {
		var use flowUse
		if value := e.objects[objectFlowUse][name]; value != nil {
			_ = json.Unmarshal(value, &use)
		}
		l := k.set.Limit
		switch {
		case l.Rate == 0:
		case !clean && l.period() <= shortPeriod.Milliseconds():
			k.start, k.used = now, l.Rate
		case use.Start != 0:
			k.start, k.used = min(use.Start, now), use.Used
		}
		k.reserved = k.used
	}
}

// FlowStates implements [FlowController].
func (e *embedded) FlowStates(ctx context.Context, now time.Time) ([]FlowState, error) {
	if err := e.checkOpen(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]FlowState, 0, len(e.flows.byName))
	for _, name := range slices.Sorted(maps.Keys(e.flows.byName)) {
		k := e.flows.byName[name]
		if e.objects[ObjectFlow][name] == nil {
			continue
		}
		s := FlowState{Key: name, FlowSettings: k.set, InFlight: k.inFlight}
		if !k.over(now.UnixMilli()) {
			s.PeriodStart, s.Used = time.UnixMilli(k.start), k.used
		}
		list = append(list, s)
	}
	return list, nil
}

// ResetFlow implements [FlowController].
func (e *embedded) ResetFlow(ctx context.Context, key string, now time.Time) error {
	if err := e.checkOpen(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	k := e.flows.byName[key]
	if k == nil || e.objects[ObjectFlow][key] == nil {
		e.mu.Unlock()
		return ErrNotFound
	}
	k.start, k.used, k.reserved = 0, 0, 0
	e.flowChangedLocked(k)
	w := &objectWork{objects: []Object{{Kind: objectFlowUse, Name: key}}}
	e.mu.Unlock()
	hint(e.claimHint)
	return e.submit(ctx, w)
}
