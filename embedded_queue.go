package recall

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/recallmq/recall/store"
)

// A queue hands out its messages in the order of publication. Its window are the
// first of them that are not gone, as many as may be out at a time: only those are
// in lanes, whatever the state of the others. Who is in the window occupies a place
// until it is gone for good – durably delivered, dead or cancelled – and so does a
// message that is gone while callbacks of it are not.
//
// The queue's posting list is its waiting room: nothing is kept for each message.

// fifo is one queue.
type fifo struct {
	name   string
	set    QueueSettings
	window []uint64          // ascending
	next   uint64            // numbers before it are gone, or in the window
	calls  map[uint64]uint64 // callbacks that it waits for: the number of each, and that of the message whose place it keeps
	upTo   uint64            // the last number that may be claimed; 0: none
	out    int               // in flight: a restored message must not go beside younger ones that are
	dirty  bool              // window and upTo are to be brought up to date
}

// queues are the queues that have, or had, messages.
type queues struct {
	byName map[string]*fifo
	list   []*fifo
	dirty  []*fifo
	all    int // queues of list from here on are to be looked at; len(list): none
	calls  map[uint64]*fifo
	last   *fifo // that was asked for: messages in a row are often of one queue
}

func newQueues() queues {
	return queues{byName: map[string]*fifo{}, calls: map[uint64]*fifo{}}
}

// fifoLocked returns the queue of a name, which exists from then on.
func (e *embedded) fifoLocked(name string) *fifo {
	if q := e.queues.last; q != nil && q.name == name {
		return q
	}
	q := e.queues.byName[name]
	if q == nil {
		q = &fifo{name: name, set: QueueSettings{Parallelism: 1}, next: 1}
		if value := e.objects[ObjectQueue][name]; value != nil {
			q.set = queueSettings(value)
		}
		e.queues.byName[name] = q
		e.changedLocked(q)
		if e.queues.all == len(e.queues.list) {
			e.queues.all++
		}
		e.queues.list = append(e.queues.list, q)
	}
	e.queues.last = q
	return q
}

// setQueueLocked takes up the settings of a queue. One that is deleted is forgotten,
// with the lane of its consumers, unless it has messages.
func (e *embedded) setQueueLocked(name string, value []byte) {
	q := e.queues.byName[name]
	if q == nil {
		return
	}
	q.set = queueSettings(value)
	e.changedLocked(q)
	if value != nil || e.live.fields[fieldQueue].lookup(name) != 0 || len(q.calls) > 0 {
		return
	}
	delete(e.queues.byName, name)
	e.queues.last = nil
	e.queues.list = slices.DeleteFunc(e.queues.list, func(have *fifo) bool { return have == q })
	e.queues.dirty = slices.DeleteFunc(e.queues.dirty, func(have *fifo) bool { return have == q })
	e.allChangedLocked()
	e.lanes.dropEmpty(pullScheme + name)
}

// queueSettings reads the value of an object; what cannot be read is the default.
func queueSettings(value []byte) QueueSettings {
	var s QueueSettings
	_ = json.Unmarshal(value, &s)
	s.Parallelism = min(max(s.Parallelism, 1), MaxParallelism)
	return s
}

// queueOf returns the queue of an entry, nil if it is in none.
func (e *embedded) queueOf(en entry) *fifo {
	n := en.values[fieldQueue]
	if n == 0 {
		return nil
	}
	return e.fifoLocked(e.live.fields[fieldQueue].slab[n].name)
}

// changedLocked has a queue looked at before the next claim.
func (e *embedded) changedLocked(q *fifo) {
	if q != nil {
		e.opened = true
		e.queues.lookAt(q)
	}
}

// allChangedLocked does that with every queue.
func (e *embedded) allChangedLocked() { e.queues.all, e.opened = 0, true }

// openedLocked tells whether a claim may find more than before. Who asks gives the
// hint if so.
func (e *embedded) openedLocked() bool {
	was := e.opened
	e.opened = false
	return was
}

func (s *queues) lookAt(q *fifo) {
	if !q.dirty {
		q.dirty = true
		s.dirty = append(s.dirty, q)
	}
}

// refillAllLocked brings queues up to date, and reports whether some are left:
// budget is how many entries it looks at.
func (e *embedded) refillAllLocked(budget int) (more bool) {
	for s := &e.queues; s.all < len(s.list) && budget > 0; s.all++ {
		s.lookAt(s.list[s.all])
		budget--
	}
	for budget > 0 && len(e.queues.dirty) > 0 {
		last := len(e.queues.dirty) - 1
		q := e.queues.dirty[last]
		if e.refillLocked(q, &budget) {
			e.queues.dirty = e.queues.dirty[:last]
		}
	}
	return len(e.queues.dirty) > 0 || e.queues.all < len(e.queues.list)
}

// refillLocked brings one queue up to date; false means that the budget was not
// enough, and it goes on where it stopped the next time.
func (e *embedded) refillLocked(q *fifo, budget *int) (done bool) {
	q.window = slices.DeleteFunc(q.window, e.goneLocked)
	*budget -= 1 + len(q.window)
	places := e.placesLocked(q)
	if done = e.extendLocked(q, places, budget); !done {
		return false
	}
	q.dirty = false
	if q.upTo = 0; !q.set.Paused && places > 0 && len(q.window) > 0 {
		q.upTo = q.window[min(places, len(q.window))-1]
	}
	for _, seq := range q.window {
		if _, en := e.live.lookup(seq); seq <= q.upTo && en.phase == phasePending {
			e.laneLocked(en, seq)
		}
	}
	return true
}

// extendLocked takes messages into the window until it has no place left, or the
// queue no message.
func (e *embedded) extendLocked(q *fifo, places int, budget *int) (done bool) {
	n := e.live.fields[fieldQueue].lookup(q.name)
	var room [64]uint64
	for n != 0 && len(q.window) < places {
		seqs := e.live.fields[fieldQueue].slab[n].list.Collect(room[:0], q.next, len(room))
		if len(seqs) == 0 || seqs[0] > e.live.visible {
			return true
		}
		for _, seq := range seqs {
			if seq > e.live.visible || len(q.window) == places {
				return true
			}
			if *budget--; *budget < 0 {
				return false
			}
			q.next = seq + 1
			if !e.goneLocked(seq) {
				q.window = append(q.window, seq)
			}
		}
	}
	return true
}

// placesLocked is how many messages the queue may have out beside those whose
// callbacks it waits for.
func (e *embedded) placesLocked(q *fifo) int {
	var waiting []uint64 // messages that are gone
	for call, place := range q.calls {
		if e.goneLocked(call) {
			if _, en := e.live.lookup(call); !en.exists() {
				delete(q.calls, call)
				delete(e.queues.calls, call)
			}
			continue
		}
		if place != call && !e.goneLocked(place) || slices.Contains(waiting, place) {
			continue // it has a place of its own
		}
		waiting = append(waiting, place)
	}
	return max(0, q.set.Parallelism-len(waiting))
}

// goneLocked tells whether a message is gone for good, as far as that is durable.
func (e *embedded) goneLocked(seq uint64) bool {
	_, en := e.live.lookup(seq)
	if !en.exists() {
		return true
	}
	if en.phase != phaseMarked || en.mark == 0 {
		return en.phase == phaseGone
	}
	m := e.marks[en.mark]
	return m != nil && m.settled
}

// joinLocked notes that a message of a queue waits: it is new, or it is back.
func (e *embedded) joinLocked(q *fifo, seq uint64) {
	if seq < q.next {
		at, found := slices.BinarySearch(q.window, seq)
		if !found { // it was taken to be gone: look again from here on
			q.window, q.next = q.window[:at], seq
		}
	}
	e.changedLocked(q)
}

// refillBudget is how many entries one look at queues goes through.
const refillBudget = 1024

// leftQueueLocked notes that a message is gone.
func (e *embedded) leftQueueLocked(en entry, seq uint64) {
	if en.values[fieldQueue] != 0 {
		e.changedLocked(e.queueOf(en))
	}
	if len(e.queues.calls) > 0 {
		e.changedLocked(e.queues.calls[seq])
	}
}

// mayGoLocked tells whether the queue of an entry lets it be claimed, by what is
// known: claims bring that up to date first.
func (e *embedded) mayGoLocked(en entry, seq uint64) bool {
	q := e.queueOf(en)
	return q == nil || seq <= q.upTo && q.out < q.set.Parallelism
}

// blockedLocked tells whether an entry waits for others of its queue, as of now.
func (e *embedded) blockedLocked(en entry, seq uint64) bool {
	if en.values[fieldQueue] == 0 {
		return false
	}
	for e.refillAllLocked(refillBudget) {
		continue
	}
	return !e.mayGoLocked(en, seq)
}

// blocksLocked notes a callback that a queue waits for.
func (e *embedded) blocksLocked(rec *store.Record, seq uint64) {
	var m Message
	m.setBlocks(rec.Blocks)
	q := e.fifoLocked(m.Blocks)
	if q.calls == nil {
		q.calls = map[uint64]uint64{}
	}
	place := seq // one of its own, if what it is about is unknown
	if r, ok := e.ids.resolve(cmp.Or(m.Root, m.Source)); ok {
		place = r.seq
	}
	q.calls[seq] = place
	e.queues.calls[seq] = q
	e.changedLocked(q)
}
