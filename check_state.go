package recall

import "slices"

// lanes: whatever is pending, visible and readable waits in its lane.
func (c *check) lanes() {
	live := c.e.live
	live.eachEntry(func(_ *page, en entry, seq uint64) {
		if en.phase == phaseMarked && en.flags&flagQueued != 0 && !c.e.laneOf(en).items.Has(dueItem{en.due(), seq}) {
			c.fault("%d is marked, and its item is gone", seq)
		}
		if en.phase == phasePending && en.flags&flagHeld != 0 && en.flags&flagQueued != 0 {
			c.fault("%d is held, and in a lane", seq)
		}
		if en.phase == phasePending && seq <= live.visible && en.flags&(flagHeld|flagDamaged) == 0 &&
			c.e.awaited[seq] == 0 && !c.e.blockedLocked(en, seq) {
			if !c.e.laneOf(en).items.Has(dueItem{en.due(), seq}) || en.flags&flagQueued == 0 {
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
	if inFlight != len(c.e.leases) {
		c.fault("%d are in flight, %d are leased", inFlight, len(c.e.leases))
	}
	if counted != c.e.live.inFlight {
		c.fault("%d can be asked for in flight, %d are counted", counted, c.e.live.inFlight)
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
		if len(b.seqs) > 0 || b.state == burialUndoable && b.mark != 0 { // what it took may all be lost
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
