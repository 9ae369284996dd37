package recall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/recallmq/recall/store"
)

func init() {
	onMove = func(from, to phase) {
		if !slices.Contains(moves[from], to) {
			panic(fmt.Sprintf("recall: a message moved from phase %d to %d", from, to))
		}
	}
}

// CheckInvariants holds what an embedded engine has in memory against itself
// and against its file at path. No call to the engine may be under way but
// that of a broker's background. In a closed engine there is nothing to check.
func CheckInvariants(engine Engine, path string) error {
	e := engine.(*embedded)
	// Everything queued is applied first; then the check runs in the committer's
	// place, so the file stands still.
	err := e.submit(context.Background(), flushWork{})
	if err == nil {
		w := &checkWork{path: path}
		if err = e.submit(context.Background(), w); err == nil {
			return w.found
		}
	}
	switch {
	case errors.Is(err, ErrClosed):
		return nil
	case !errors.Is(err, ErrFailed):
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &check{e: e}
	c.memory() // what is in the file is not known
	return errors.Join(c.faults...)
}

// checkWork is a check in the place of a commit.
type checkWork struct {
	path  string
	found error
}

func (*checkWork) bound() store.Bound { return store.Bound{Essential: true} }
func (*checkWork) write(*turn) error  { return nil }

func (w *checkWork) apply(e *embedded) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &check{e: e}
	c.memory()
	c.file(w.path)
	w.found = errors.Join(c.faults...)
}

// willCount tells whether an entry that was marked waits to be counted.
func willCount(ix *index, seq uint64) bool {
	return slices.ContainsFunc(ix.late, func(u *uncounted) bool { return slices.Contains(u.seqs[u.at:], seq) })
}

// check collects what is wrong.
type check struct {
	e      *embedded
	faults []error
}

func (c *check) fault(format string, args ...any) {
	if len(c.faults) < 20 { // they tend to be many
		c.faults = append(c.faults, fmt.Errorf(format, args...))
	}
}

func (c *check) memory() {
	c.index("live", c.e.live)
	c.index("dead", c.e.dead)
	c.lanes()
	c.leases()
	c.undo()
	c.marks()
}

// index recounts everything that an index counts.
func (c *check) index(name string, ix *index) {
	var seen [allFields]map[uint32]*recounted
	for f := range seen {
		seen[f] = map[uint32]*recounted{}
	}
	sets := map[uint32]int32{}
	live := 0
	for i, p := range ix.pages {
		if p != nil {
			live += c.page(name, ix, p, ix.firstPage+uint64(i))
		} else if ix.lives[i] != 0 {
			c.fault("%s: page %d is gone and counts %d live", name, ix.firstPage+uint64(i), ix.lives[i])
		}
	}
	ix.eachEntry(func(_ *page, en entry, seq uint64) {
		ix.valuesOf(en, func(f field, n uint32) {
			r := seen[f][n]
			if r == nil {
				r = &recounted{}
				seen[f][n] = r
			}
			r.seqs = append(r.seqs, seq)
			if en.countable() || en.flags&flagUncounted != 0 {
				r.live++
			}
		})
		if en.flags&flagUncounted != 0 && (en.phase != phaseMarked || !willCount(ix, seq)) {
			c.fault("%s: %d is in phase %d, and nothing will count it", name, seq, en.phase)
		}
		if en.labels != 0 {
			sets[en.labels]++
		}
	})
	if live != ix.live {
		c.fault("%s: %d live, %d are counted", name, live, ix.live)
	}
	for f := range seen {
		c.values(name+" "+fieldNames[f], ix, field(f), seen[f])
	}
	c.labelSets(name, &ix.sets, sets)
	if pages := ix.timeline.Len(); pages != len(ix.pages)-countNil(ix.pages) {
		c.fault("%s: %d pages in the timeline, %d in the table", name, pages, len(ix.pages)-countNil(ix.pages))
	}
}

// recounted is what the entries say about one value.
type recounted struct {
	seqs []uint64 // ascending
	live int32
}

func countNil(pages []*page) (n int) {
	for _, p := range pages {
		if p == nil {
			n++
		}
	}
	return n
}

func (ix *index) eachEntry(visit func(*page, entry, uint64)) {
	for _, p := range ix.pages {
		if p == nil {
			continue
		}
		for seq := p.base; seq < p.base+pageSize; seq++ {
			if en := p.at(seq); en.phase != phaseNone {
				visit(p, en, seq)
			}
		}
	}
}

func (c *check) page(name string, ix *index, p *page, number uint64) (live int) {
	held, wide := 0, 0
	for seq := p.base; seq < p.base+pageSize; seq++ {
		en := p.at(seq)
		if en.phase == phaseNone {
			continue
		}
		held++
		if en.countable() {
			live++
		}
		if _, ok := p.wide[seq]; ok != (en.flags&flagWide != 0) {
			c.fault("%s %d: wide times %v, flags %b", name, seq, ok, en.flags)
		}
		wide += int(en.flags & flagWide)
		if en.phase == phaseGone || en.mark != 0 && en.phase != phaseMarked || seq > ix.last {
			c.fault("%s %d: phase %d, mark %d, the last number is %d", name, seq, en.phase, en.mark, ix.last)
		}
	}
	if p.base != number<<pageBits || int(p.held) != held || int(ix.lives[number-ix.firstPage]) != live || len(p.wide) != wide {
		c.fault("%s: page %d at %d counts %d held, %d live, %d wide; recounted %d, %d, %d",
			name, p.base, number<<pageBits, p.held, ix.lives[number-ix.firstPage], len(p.wide), held, live, wide)
	}
	if held == 0 && number != ix.last>>pageBits {
		c.fault("%s: page %d is empty and kept", name, number)
	}
	if found, ok := ix.timeline.Get(p); !ok || found != p {
		c.fault("%s: page %d is not in the timeline", name, p.base)
	}
	return live
}

// values compares the interned values of a field with what entries say.
func (c *check) values(name string, ix *index, f field, seen map[uint32]*recounted) {
	t := &ix.fields[f]
	if used := len(t.slab) - 1 - len(t.free); used != len(seen) || len(t.byName) != used {
		c.fault("%s: %d values are in use, %d by name, %d by entries", name, used, len(t.byName), len(seen))
	}
	for n, r := range seen {
		v := &t.slab[n]
		if t.byName[v.name] != n || v.name == "" || slices.Contains(t.free, n) {
			c.fault("%s %q: number %d is %d by name, or free", name, v.name, n, t.byName[v.name])
		}
		if int(t.uses[n].held) != len(r.seqs) || t.live[n] != r.live {
			c.fault("%s %q: counts %d held, %d live; recounted %d, %d", name, v.name, t.uses[n].held, t.live[n], len(r.seqs), r.live)
		}
		if f == fieldURL && t.hosts[n] != ix.fields[fieldHost].lookup(withoutPort(hostOf(v.name))) {
			c.fault("%s %q: its host is number %d", name, v.name, t.hosts[n])
		}
		c.list(name+" "+v.name, ix, dirtyList{f, n}, r.seqs)
	}
}

// list: a posting list holds every entry of its value, and beside them only
// what is not held any more, or under another value.
func (c *check) list(name string, ix *index, d dirtyList, want []uint64) {
	list := &ix.fields[d.field].slab[d.value].list
	var have []uint64
	length, last := 0, uint64(0)
	list.Ascend(0, func(seq uint64) bool {
		if length > 0 && seq <= last {
			c.fault("%s: %d follows %d in the list", name, seq, last)
		}
		length, last = length+1, seq
		if ix.lists(seq, d) {
			have = append(have, seq)
		}
		return true
	})
	if !slices.Equal(have, want) || length != list.Len() {
		c.fault("%s: the list has %d of %d entries, and %d of %d numbers", name, len(have), len(want), length, list.Len())
	}
}

func (c *check) labelSets(name string, s *labelSets, want map[uint32]int32) {
	if used := len(s.slab) - 1 - len(s.free); used != len(want) || len(s.byKey) != used {
		c.fault("%s: %d label sets are in use, %d by key, %d by entries", name, used, len(s.byKey), len(want))
	}
	for n, held := range want {
		if set := &s.slab[n]; set.held != held || s.byKey[set.key] != n {
			c.fault("%s: label set %q is held %d times, recounted %d", name, set.key, set.held, held)
		}
	}
}

// lanes: whatever is pending, visible and readable waits in its lane.
func (c *check) lanes() {
	live := c.e.live
	live.eachEntry(func(_ *page, en entry, seq uint64) {
		if en.phase == phaseMarked && en.flags&flagQueued != 0 && !c.e.laneOf(en).items.Has(dueItem{en.due, seq}) {
			c.fault("%d is marked, and its item is gone", seq)
		}
		if en.phase == phasePending && en.flags&flagHeld != 0 && en.flags&flagQueued != 0 {
			c.fault("%d is held, and in a lane", seq)
		}
		if en.phase == phasePending && seq <= live.visible && en.flags&(flagHeld|flagDamaged) == 0 && !c.e.blockedLocked(en, seq) {
			if !c.e.laneOf(en).items.Has(dueItem{en.due, seq}) || en.flags&flagQueued == 0 {
				c.fault("%d is pending, and in no lane", seq)
			}
		}
	})
	for key, ln := range c.e.lanes.byKey {
		ln.items.Ascend(func(it dueItem) bool {
			if _, en := live.lookup(it.seq); en.exists() && en.phase == phasePending && c.e.laneOf(en) != ln {
				c.fault("%d is in the lane of %+v", it.seq, key)
			}
			return true
		})
	}
}

// leases: exactly what is in flight is leased.
func (c *check) leases() {
	inFlight, counted := 0, 0
	c.e.live.eachEntry(func(_ *page, en entry, seq uint64) {
		counted += en.running()
		if en.phase != phaseInFlight {
			return
		}
		inFlight++
		if l := c.e.leases[seq]; l == nil || l.seq != seq || int(l.attempt) != en.attempts() {
			c.fault("%d is in flight, its lease is %+v", seq, l)
		}
	})
	if counted != c.e.live.inFlight {
		c.fault("%d count as in flight, the index says %d", counted, c.e.live.inFlight)
	}
	if inFlight != len(c.e.leases) {
		c.fault("%d are in flight, %d are leased", inFlight, len(c.e.leases))
	}
}

// undo: what can be undone adds up, and every message of a burial is marked as
// its own.
func (c *check) undo() {
	u := &c.e.undo
	undoable, bytes := 0, int64(0)
	for _, b := range u.buried {
		if b.state == burialUndoable && u.window >= 0 {
			undoable, bytes = undoable+1, bytes+b.bytes
		}
		if b.state == burialRestoring || b.state == burialUnlinked && len(b.seqs) > 0 || b.state == burialUndoable && len(b.seqs) != b.size {
			c.fault("a burial in state %d has %d of %d messages", b.state, len(b.seqs), b.size)
		}
		if !slices.IsSorted(b.seqs) || len(slices.Compact(slices.Clone(b.seqs))) != len(b.seqs) {
			c.fault("the messages of a burial are not ascending")
		}
		for _, seq := range b.seqs {
			if _, en := c.e.live.lookup(seq); !en.exists() || en.phase != phaseMarked || en.mark != b.mark {
				c.fault("%d is buried with mark %d: its entry is %+v", seq, b.mark, en)
			}
		}
	}
	if undoable != u.undoable || bytes != u.bytes {
		c.fault("%d burials with %d bytes can be undone, %d with %d are counted", undoable, bytes, u.undoable, u.bytes)
	}
	if bytes > u.most || len(u.running) > 0 {
		c.fault("%d bytes can be undone, at most %d should; %d calls seem to run", bytes, u.most, len(u.running))
	}
}

// marks: when nothing is under way, only burials bear marks, each of them one of
// its own that is settled, and only what they have taken is marked.
func (c *check) marks() {
	if c.e.store.Err() != nil {
		return // marks of a commit that has failed stay
	}
	bearers := map[uint16]int{}
	for _, b := range c.e.undo.buried {
		if len(b.seqs) > 0 {
			bearers[b.mark] += len(b.seqs)
			if m := c.e.marks[b.mark]; m == nil || !m.settled || m.number != b.mark {
				c.fault("the mark %d of a burial is %+v", b.mark, m)
			}
		}
	}
	if len(bearers) != len(c.e.marks) {
		c.fault("%d marks are registered, burials bear %d", len(c.e.marks), len(bearers))
	}
	c.e.live.eachEntry(func(_ *page, en entry, seq uint64) {
		if en.phase != phaseMarked {
			return
		}
		if bearers[en.mark]--; en.mark == 0 || bearers[en.mark] < 0 {
			c.fault("%d is marked with %d, and no burial has it", seq, en.mark)
		}
	})
}

// file compares memory with what an open of the file would find.
func (c *check) file(path string) {
	copied, err := copyOf(path)
	if err != nil {
		c.fault("copy: %w", err)
		return
	}
	defer os.RemoveAll(filepath.Dir(copied))
	s, err := store.Open(copied, &store.Options{NoSync: true})
	if err != nil {
		c.fault("open: %w", err)
		return
	}
	defer s.Close()
	rows := map[uint64]bool{}
	dead := 0
	buried := c.buried()
	ops := c.undoables()
	standing := &standingCheck{check: c}
	reserved, reserve := reservedFile()
	err = s.Load(store.LoadFuncs{
		Reserved: reserve,
		Row: func(tab store.Table, seq uint64, row []byte, st store.State) error {
			var rec store.Record
			if err := store.DecodeRecord(seq, row, &rec); err != nil {
				return err
			}
			if tab == store.Dead {
				dead++
				c.deadRow(seq, &rec)
				return nil
			}
			if st.Cancelled {
				c.cancelledRow(seq, &rec, st, ops)
				return nil
			}
			rows[seq] = true
			if buried[seq] {
				c.fault("%d is cancelled for good, and lives by the file", seq)
			}
			c.liveRow(seq, &rec, st)
			return nil
		},
		Tombstone: func(op store.Operation, _ store.Progress) error { return standing.see(op) },
		Undoable:  func(op store.Operation) bool { return ops[op.ID] != nil },
	})
	standing.compare()
	c.reserved(reserved)
	for op, left := range ops {
		if len(left) > 0 {
			c.fault("%d messages of operation %x can be undone, and not by the file", len(left), op)
		}
	}
	if err != nil {
		c.fault("load: %w", err)
	}
	c.e.live.eachEntry(func(_ *page, en entry, seq uint64) {
		if !rows[seq] && !buried[seq] {
			c.fault("%d is in phase %d, and does not live by the file", seq, en.phase)
		}
	})
	held := 0
	c.e.dead.eachEntry(func(*page, entry, uint64) { held++ })
	if held != dead {
		c.fault("%d dead letters in memory, %d in the file", held, dead)
	}
}

func copyOf(path string) (string, error) {
	image, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "check")
	if err != nil {
		return "", err
	}
	copied := filepath.Join(dir, "q.db")
	return copied, os.WriteFile(copied, image, 0o600)
}

// buried returns what is cancelled durably and not unlinked.
func (c *check) buried() map[uint64]bool {
	set := map[uint64]bool{}
	for _, b := range c.e.undo.buried {
		for _, seq := range b.seqs {
			set[seq] = true
		}
	}
	return set
}

// undoables returns the messages of each operation that can be undone.
func (c *check) undoables() map[[16]byte]map[uint64]uint16 {
	ops := map[[16]byte]map[uint64]uint16{}
	for _, b := range c.e.undo.buried {
		if b.state != burialUndoable {
			continue
		}
		if ops[b.op] == nil {
			ops[b.op] = map[uint64]uint16{}
		}
		for _, seq := range b.seqs {
			ops[b.op][seq] = b.mark
		}
	}
	return ops
}

// cancelledRow: what the file could bring back is what memory could.
func (c *check) cancelledRow(seq uint64, rec *store.Record, st store.State, ops map[[16]byte]map[uint64]uint16) {
	mark, ok := ops[st.Operation][seq]
	delete(ops[st.Operation], seq)
	_, en := c.e.live.lookup(seq)
	if !ok || !en.exists() {
		c.fault("%d can be undone by the file: its entry is %+v, its burial has it: %v", seq, en, ok)
		return
	}
	c.sameValues(c.e.live, en, seq, rec)
	due := rec.Due
	if st.HasRetry || st.HasDue {
		due = st.Due
	}
	if held := en.flags&flagHeld != 0; en.mark != mark || en.due != due || held != st.Held {
		c.fault("%d would come back with mark %d, due at %d, held %v; by the file %d, %d, %v", seq, en.mark, en.due, held, mark, due, st.Held)
	}
}

// standingCheck compares the standing cancellations in memory with the file.
type standingCheck struct {
	*check
	file []store.Operation
}

func (c *standingCheck) see(op store.Operation) error {
	if verb(op.Kind) == verbStanding && op.Lifted == 0 {
		c.file = append(c.file, op)
	}
	return nil
}

// compare: memory has what is not lifted, in the order of the records.
func (c *standingCheck) compare() {
	have := c.e.standing
	for _, op := range c.file {
		switch s, err := loadStanding(op); {
		case err != nil:
			c.fault("%w", err)
		case len(have) > 0 && have[0].op.ID == op.ID:
			if m := have[0]; m.op.Until != op.Until || m.op.Lifted != 0 || m.filter.String() != s.filter.String() {
				c.fault("the standing cancellation of %s until %d is of %s until %d by the file", m.filter, m.op.Until, s.filter, op.Until)
			}
			have = have[1:]
		default:
			c.fault("a standing cancellation of %s is in the file, and not in memory", s.filter)
		}
	}
	if len(have) > 0 {
		c.fault("%d standing cancellations are not in the file, or out of order", len(have))
	}
}

func (c *check) liveRow(seq uint64, rec *store.Record, st store.State) {
	p, en := c.e.live.lookup(seq)
	if !en.exists() {
		c.fault("%d lives by the file, and is not in memory", seq)
		return
	}
	c.sameValues(c.e.live, en, seq, rec)
	if en.phase != phasePending && en.phase != phaseInFlight {
		return
	}
	due := rec.Due
	if st.HasRetry || st.HasDue {
		due = st.Due
	}
	if held := en.flags&flagHeld != 0; held != st.Held {
		c.fault("%d: held %v, by the file %v", seq, held, st.Held)
	}
	if _, wall := p.timesOf(seq, en); due != en.due || wall != rec.Wall {
		c.fault("%d: due at %d, wall %d; by the file %d, %d", seq, en.due, wall, due, rec.Wall)
	}
	if requested := en.flags&flagRequested != 0; requested != st.Requested {
		c.fault("%d: its cancellation is requested: %v; by the file: %v", seq, requested, st.Requested)
	}
}

func (c *check) deadRow(seq uint64, rec *store.Record) {
	if _, en := c.e.dead.lookup(seq); en.exists() {
		c.sameValues(c.e.dead, en, seq, rec)
		return
	}
	c.fault("dead letter %d is in the file, and not in memory", seq)
}

func (c *check) sameValues(ix *index, en entry, seq uint64, rec *store.Record) {
	for f, want := range [plainFields][]byte{rec.Queue, rec.URL, rec.Topic, rec.Schedule, rec.CallerIP, rec.FlowKey} {
		if have := ix.fields[f].slab[en.values[f]].name; have != string(want) {
			c.fault("%d: its %s is %q, by the file %q", seq, fieldNames[f], have, want)
		}
	}
	labels := map[string]bool{}
	for _, l := range rec.Labels {
		labels[string(l)] = true
	}
	have := ix.sets.slab[en.labels].labels
	for _, n := range have {
		if !labels[ix.fields[fieldLabel].slab[n].name] {
			c.fault("%d has the label %q, by the file it has not", seq, ix.fields[fieldLabel].slab[n].name)
		}
	}
	if len(have) != len(labels) {
		c.fault("%d has %d labels, by the file %d", seq, len(have), len(labels))
	}
}
