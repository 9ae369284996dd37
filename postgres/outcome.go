package postgres

import (
	"slices"

	"github.com/recallmq/recall"
)

// outcomes are what becomes of messages whose attempts have ended, in one transaction:
// a statement for each kind.
type outcomes struct {
	u        *unit
	out      *batch
	rooms    *rooms
	standing []*standing
	died     int64 // the number of the newest dead letter
	step     int64 // from one of these numbers to the next
	ord      int   // of events

	removed  [][16]byte
	labels   []string // of what is removed
	labelled [][16]byte
	waiting  [][16]byte // for another attempt
	dues     []int64
	released [][16]byte
	rates    map[string][]int64 // when attempts began that did not happen, of keys
}

func newOutcomes(u *unit) *outcomes {
	return &outcomes{u: u, out: u.batch(), rooms: newRooms(), rates: map[string][]int64{}}
}

// decide notes what becomes of a message, and returns what follows.
func (o *outcomes) decide(n *ending) (follow []recall.Message, err error) {
	o.logOutcome(n)
	o.rooms.add(n.m.Queue, n.m.Blocks, n.m.FlowKey)
	o.u.claim, o.u.wake = true, true
	if n.f.Outcome == recall.Release && n.m.FlowKey != "" && n.begun > 0 {
		o.rates[n.m.FlowKey] = append(o.rates[n.m.FlowKey], n.begun)
	}
	follow = n.f.Follow
	switch {
	case n.f.Outcome == recall.Delivered || n.requested:
		o.remove(n)
	case n.f.Outcome == recall.Dead:
		id, err := o.bury(n)
		if err != nil {
			return nil, err
		}
		follow = append(slices.Clip(follow), named(n.f.FollowDead, id)...)
	case n.f.Outcome == recall.Retry:
		o.retry(n)
	case n.f.Outcome == recall.Release:
		o.released = append(o.released, n.id)
	}
	return follow, nil
}

// remove notes that nothing is left of a message.
func (o *outcomes) remove(n *ending) {
	o.removed = append(o.removed, n.id)
	for _, l := range n.m.Labels {
		o.labels, o.labelled = append(o.labels, l), append(o.labelled, n.id)
	}
}

// retry notes that the message waits for another attempt, unless a standing
// cancellation takes it: that the attempt has failed is an arrival.
func (o *outcomes) retry(n *ending) {
	n.m.DueAt = fromMS(toMS(n.f.Due))
	if s := takes(o.standing, &n.m, n.f.Now); s != nil {
		s.take(o.out, n.id)
		o.u.ends.cancelled++
		o.log(n, recall.Event{State: recall.EventCancelled, Operation: operationID(s.id), Attempt: n.m.Attempts})
		o.remove(n)
		return
	}
	o.wait(n, toMS(n.f.Due))
}

func (o *outcomes) wait(n *ending, due int64) {
	o.waiting, o.dues = append(o.waiting, n.id), append(o.dues, due)
}

// write queues the statements.
func (o *outcomes) write() {
	b := o.out
	if o.labels != nil {
		b.add(`DELETE FROM @labels l USING unnest($2::text[], $3::uuid[]) AS x (label, id) WHERE l.shard = $1 AND l.label = x.label AND l.id = x.id`,
			o.labels, o.labelled)
	}
	if o.removed != nil {
		b.add(`DELETE FROM @payloads WHERE shard = $1 AND id = ANY($2::uuid[])`, o.removed)
		b.add(`DELETE FROM @messages WHERE shard = $1 AND id = ANY($2::uuid[])`, o.removed)
	}
	if o.waiting != nil {
		b.add(`UPDATE @messages m SET state = 0, epoch = 0, number = 0, due_ms = x.due FROM unnest($2::uuid[], $3::bigint[]) AS x (id, due)
			WHERE m.shard = $1 AND m.id = x.id`, o.waiting, o.dues)
	}
	if o.released != nil {
		b.add(`UPDATE @messages SET state = 0, epoch = 0, number = 0, attempts = attempts - 1 WHERE shard = $1 AND id = ANY($2::uuid[])`, o.released)
	}
	countStanding(b, o.standing)
	o.giveBackRates()
}

// giveBackRates queues that attempts that did not happen are not counted, if they began in
// the period that is counted. Their keys
// are among the rooms, which are locked in order: here, and not before.
func (o *outcomes) giveBackRates() {
	if len(o.rates) == 0 {
		return
	}
	o.rooms.openQueues(o.out)
	o.rooms.makeFlows(o.out)
	for key, began := range o.rates {
		o.out.add(`UPDATE @flows SET used = GREATEST(0, used - (SELECT count(*) FROM unnest($3::bigint[]) AS began WHERE began >= start_ms))
			WHERE shard = $1 AND flow_key = $2`, key, began)
	}
}

func (o *outcomes) log(n *ending, ev recall.Event) {
	o.ord++
	ev.At = n.f.Now
	o.out.log(&n.m, &n.id, ev, o.ord)
}

// logOutcome notes how the attempt has ended.
func (o *outcomes) logOutcome(n *ending) {
	plain := recall.Event{Attempt: n.m.Attempts}
	failed := plain
	if n.f.Response != nil {
		failed.Status = n.f.Response.Status
	}
	delivered := failed
	failed.Reason = shortReason(n.f.Reason)
	switch n.f.Outcome {
	case recall.Delivered:
		delivered.State = recall.EventDelivered
		o.log(n, delivered)
		return
	case recall.Retry, recall.Dead:
		failed.State = recall.EventError
		o.log(n, failed)
	}
	switch {
	case n.requested:
		plain.State = recall.EventCancelled
		o.log(n, plain)
		o.u.ends.cancelled++
	case n.f.Outcome == recall.Retry:
		plain.State, plain.Due = recall.EventRetry, n.f.Due
		o.log(n, plain)
	case n.f.Outcome == recall.Dead:
		failed.State = recall.EventFailed
		o.log(n, failed)
	}
}
