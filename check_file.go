package recall

import "github.com/recallmq/recall/store"

// file compares memory with what an open of the file finds.
func (c *check) file(s *store.Store) {
	rows := map[uint64]bool{}
	dead := 0
	buried := c.buried()
	ops := c.undoables()
	standing := &standingCheck{check: c}
	reserved, reserve := reservedFile()
	var rec store.Record
	err := s.Load(store.LoadFuncs{
		Reserved: reserve,
		Row: func(tab store.Table, seq uint64, row []byte, st store.State) error {
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
	p, en := c.e.live.lookup(seq)
	if !ok || !en.exists() {
		c.fault("%d can be undone by the file: its entry is %+v, its burial has it: %v", seq, en, ok)
		return
	}
	c.id(p, en, seq, rec)
	c.sameValues(c.e.live, en, seq, rec)
	due := rec.Due
	if st.HasRetry || st.HasDue {
		due = st.Due
	}
	if held := en.flags&flagHeld != 0; en.mark != mark || en.due() != due || held != st.Held {
		c.fault("%d would come back with mark %d, due at %d, held %v; by the file %d, %d, %v", seq, en.mark, en.due(), held, mark, due, st.Held)
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
	c.id(p, en, seq, rec)
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
	if _, wall := p.timesOf(seq, en); due != en.due() || wall != rec.Wall {
		c.fault("%d: due at %d, wall %d; by the file %d, %d", seq, en.due(), wall, due, rec.Wall)
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
