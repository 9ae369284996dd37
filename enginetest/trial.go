package enginetest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/recallmq/recall"
)

// newTrial puts the lines of processes together.
func newTrial(lines []Deed) *trial {
	t := &trial{messages: map[string]*tried{}, byID: map[recall.MessageID]*tried{}, ops: map[recall.OperationID]*Deed{}, kept: map[uint64]bool{}}
	calls := map[int64]*Deed{}
	for i := range lines {
		d := &lines[i]
		t.last = max(t.last, d.Began+1, d.Ended+1)
		if was, ok := calls[d.Began]; !ok || was.Ended == 0 {
			calls[d.Began] = d
		}
	}
	for _, began := range slices.Sorted(maps.Keys(calls)) {
		t.deeds = append(t.deeds, calls[began])
	}
	for _, d := range t.deeds { // a message is seen for what it is by those who publish it
		if d.Verb == DeedPublish {
			t.published(d)
		}
	}
	for _, d := range t.deeds {
		t.read(d)
	}
	return t
}

func (t *trial) published(d *Deed) {
	for i, name := range d.Names {
		t.messages[name] = &tried{name: name, label: d.Labels[i], queue: d.Queues[i], publish: d}
		if d.Answer == AnswerDone {
			t.sees(name, d.IDs[i])
		}
	}
}

// sees notes that a message exists, and its id.
func (t *trial) sees(name string, id recall.MessageID) *tried {
	m := t.messages[name]
	if m == nil {
		t.fault("nobody has published %q, which has the id %s", name, id)
		m = &tried{name: name, publish: &Deed{Verb: DeedPublish}}
		t.messages[name] = m
	}
	switch {
	case m.id == "":
		m.id = id
		t.byID[id] = m
	case m.id != id:
		t.fault("%s is there twice, as %s and as %s", name, m.id, id)
	}
	if m.publish.Answer == AnswerFailed && !m.seen {
		t.fault("%s is there, and its publication has failed: %s", name, m.publish)
	}
	m.seen = true
	return m
}

// read notes what a call says about messages.
func (t *trial) read(d *Deed) {
	switch d.Verb {
	case DeedClaim:
		for i, name := range d.Names {
			m := t.sees(name, d.IDs[i])
			m.deeds = append(m.deeds, d)
		}
	case DeedFinish, DeedCancel:
		m := t.sees(d.Names[0], d.IDs[0])
		m.deeds = append(m.deeds, d)
		t.ends(m, d)
	case DeedBulk:
		if d.Operation != "" {
			t.ops[d.Operation] = d
		}
	case DeedEnd:
		t.kept[d.Epoch] = true
	}
}

// ends notes that a call has ended a message, or may have.
func (t *trial) ends(m *tried, d *Deed) {
	if d.Verb == DeedFinish && d.Outcome != recall.Delivered && d.Outcome != recall.Dead {
		return
	}
	switch d.Answer {
	case AnswerDone:
		m.ends = append(m.ends, d)
	case AnswerNothing:
		m.perhaps = append(m.perhaps, d)
	}
}

// find reads what is there.
func (t *trial) find(all []Found) {
	for i := range all {
		f := &all[i]
		m := t.sees(f.Name, f.ID)
		if m.found != nil {
			t.fault("%s is found twice: %+v and %+v", m.name, *m.found, *f)
		}
		m.found = f
		if f.Place != FoundCancelled {
			continue
		}
		op := t.ops[f.Operation]
		if op == nil {
			t.fault("nobody has made the cancellation that has taken %s: %+v", m.name, *f)
			continue
		}
		m.ends = append(m.ends, op)
		t.taken(op, m)
	}
}

// taken checks that a call may have taken a message.
func (t *trial) taken(op *Deed, m *tried) {
	switch {
	case m.label != op.Labels[0]:
		t.fault("%s was cancelled, and does not match: %s", m.name, op)
	case op.Blocker != "" && m.id > op.Blocker:
		t.fault("%s was cancelled, and is behind the blocker: %s", m.name, op)
	case m.publish.Began > op.end():
		t.fault("%s was cancelled before it was published: %s", m.name, op)
	}
}

// count compares how many messages calls have taken with what they and their records say.
func (t *trial) count(records map[recall.OperationID]int) {
	took := map[recall.OperationID]int{}
	for _, m := range t.messages {
		if m.found != nil && m.found.Place == FoundCancelled {
			took[m.found.Operation]++
		}
	}
	for id, op := range t.ops {
		n := took[id]
		if op.Answer != AnswerNothing && op.Count != n || op.Limit > 0 && n > op.Limit {
			t.fault("%d messages were cancelled by %s", n, op)
		}
		if records[id] != n {
			t.fault("%d messages were cancelled by what is on record with %d: %s", n, records[id], op)
		}
	}
	for id, n := range records {
		if t.ops[id] == nil {
			t.fault("nobody has made the cancellation %s of %d", id, n)
		}
	}
}

// fates finds what was lost, and what has ended more than once.
func (t *trial) fates() {
	for _, name := range slices.Sorted(maps.Keys(t.messages)) {
		m := t.messages[name]
		there := m.found != nil && (m.found.Place == FoundPending || m.found.Place == FoundInFlight)
		dead := slices.ContainsFunc(m.ends, isDead)
		mayBeDead := dead || slices.ContainsFunc(m.perhaps, isDead)
		switch is := m.found != nil && m.found.Place == FoundDead; {
		case !m.seen:
		case m.found == nil && len(m.ends)+len(m.perhaps) == 0:
			t.fault("%s is lost: %s", m.name, m.publish)
		case there && len(m.ends) > 0:
			t.fault("%s is there, and has ended: %s", m.name, m.ends[0])
		case len(m.ends) > 1:
			t.fault("%s has ended more than once: %s and %s", m.name, m.ends[0], m.ends[1])
		case is && !mayBeDead || !is && dead:
			t.fault("%s: dead %v, found dead %v", m.name, dead, is)
		}
	}
}

func isDead(d *Deed) bool { return d.Verb == DeedFinish && d.Outcome == recall.Dead }

// goneBy tells whether a message may have been gone when a call was over.
func (m *tried) goneBy(d *Deed) bool {
	before := func(e *Deed) bool { return e == d || e.Began < d.end() }
	return slices.ContainsFunc(m.ends, before) || slices.ContainsFunc(m.perhaps, before)
}

// goneFor tells whether it was gone for certain when a call began.
func (m *tried) goneFor(d *Deed) bool {
	return slices.ContainsFunc(m.ends, func(e *Deed) bool { return e.end() < d.Began })
}

// present are the messages that were published for certain, and are not gone for certain,
// as time goes on: few, however many there are in all.
type present struct {
	coming []*tried // in the order of the answers
	now    []*tried
}

// groups are the messages that were published for certain, by a key.
func (t *trial) groups(key func(*tried) string) map[string]*present {
	all := map[string]*present{}
	for _, m := range t.messages {
		if k := key(m); k != "" && m.publish.Answer == AnswerDone {
			if all[k] == nil {
				all[k] = &present{}
			}
			all[k].coming = append(all[k].coming, m)
		}
	}
	for _, p := range all {
		slices.SortFunc(p.coming, func(a, b *tried) int {
			return cmp.Or(cmp.Compare(a.publish.Ended, b.publish.Ended), cmp.Compare(a.id, b.id))
		})
	}
	return all
}

// at moves on to a call.
func (p *present) at(d *Deed) []*tried {
	if p == nil {
		return nil
	}
	for len(p.coming) > 0 && p.coming[0].publish.Ended < d.Began {
		p.now, p.coming = append(p.now, p.coming[0]), p.coming[1:]
	}
	p.now = slices.DeleteFunc(p.now, func(m *tried) bool { return m.goneFor(d) })
	return p.now
}

// sweeps checks that bulk cancellations have passed over nothing.
func (t *trial) sweeps() {
	labels := t.groups(func(m *tried) string { return m.label })
	newest := map[recall.OperationID]recall.MessageID{} // that it has taken
	for id, m := range t.byID {
		if m.found != nil && m.found.Place == FoundCancelled {
			newest[m.found.Operation] = max(newest[m.found.Operation], id)
		}
	}
	for _, d := range t.deeds {
		if d.Verb != DeedBulk {
			continue
		}
		to := endOfIDs // up to there it has come
		if d.Blocker != "" {
			to = d.Blocker
		} else if !d.told() || d.Limit > 0 && d.Count >= d.Limit {
			to = newest[d.Operation]
		}
		for _, m := range labels[d.Labels[0]].at(d) {
			if m.id < to && !slices.Contains(d.IDs, m.id) && !m.goneBy(d) {
				t.fault("%s was there before, and after it: %s", m.name, d)
			}
		}
	}
}

// endOfIDs is behind every id.
const endOfIDs = recall.MessageID("\xff")

// order checks that queues have kept theirs.
func (t *trial) order() {
	queues := t.groups(func(m *tried) string { return m.queue })
	for _, d := range t.deeds {
		if d.Verb != DeedClaim {
			continue
		}
		for _, name := range d.Names {
			m := t.messages[name]
			if m.queue == "" {
				continue
			}
			for _, first := range queues[m.queue].at(d) {
				if first.id < m.id && !first.goneBy(d) {
					t.fault("%s was claimed while %s was before it in its queue: %s", m.name, first.name, d)
				}
			}
		}
	}
}
