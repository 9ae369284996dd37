package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Finish implements [recall.Engine]. It is durable when it returns, with or without
// f.Durable.
func (e *Engine) Finish(ctx context.Context, l recall.Lease, f recall.Finish) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	id, ok := parseMessageID(l.Message.ID)
	if !ok {
		return recall.ErrLeaseLost
	}
	return e.do(ctx, func(u *unit) error { return (&ending{u: u, id: id, l: &l, f: f}).run() })
}

// ending is the end of one attempt.
type ending struct {
	u         *unit
	id        [16]byte
	l         *recall.Lease
	f         recall.Finish
	m         recall.Message // as it is
	requested bool
	out       *batch
	ord       int // of events
}

func (n *ending) run() error {
	// Who publishes takes that lock first.
	if len(n.f.Follow) > 0 || n.f.Outcome == recall.Dead && len(n.f.FollowDead) > 0 {
		if _, _, err := n.u.lockPublishing(0, n.f.Now); err != nil {
			return err
		}
	}
	if err := n.lock(); err != nil {
		return err
	}
	for _, d := range n.f.FollowDead {
		if d.IDAt < 0 || d.IDAt > len(d.Message.Body) {
			return invalid("FollowDead", "an id has no place there")
		}
	}
	n.out = n.u.batch()
	n.logOutcome()
	follow, err := n.decide()
	if err != nil {
		return err
	}
	n.giveBackRate()
	r := newRooms()
	r.add(n.m.Queue, n.m.Blocks, n.m.FlowKey)
	r.open(n.out)
	if err := n.out.send(); err != nil {
		return err
	}
	n.u.claim, n.u.wake = true, true
	_, err = n.u.insert(undeduplicated(follow), n.f.Now)
	return err
}

// lock reads the message if the lease is the valid one.
func (n *ending) lock() error {
	// A token is a pair of numbers that the database has only as signed ones.
	if int64(n.l.Token.Epoch) <= 0 || int64(n.l.Token.Number) <= 0 {
		return recall.ErrLeaseLost
	}
	list, err := collect(n.u, func(row pgx.CollectableRow) (m recall.Message, err error) { return readMessage(row, &n.requested) },
		`SELECT m.requested, NULL::text, `+columns+` FROM @messages m JOIN @payloads p ON p.shard = m.shard AND p.id = m.id
		WHERE m.shard = $1 AND m.id = $2 AND m.state = 1 AND m.epoch = $3 AND m.number = $4 FOR UPDATE OF m`,
		n.id, n.l.Token.Epoch, n.l.Token.Number)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return recall.ErrLeaseLost
	}
	n.m = list[0]
	return nil
}

// decide queues what becomes of the message, and returns what follows.
func (n *ending) decide() (follow []recall.Message, err error) {
	follow = n.f.Follow
	switch {
	case n.f.Outcome == recall.Delivered || n.requested && n.f.Outcome <= recall.Release:
		n.remove()
	case n.f.Outcome == recall.Dead:
		id, err := n.bury()
		if err != nil {
			return nil, err
		}
		follow = append(slices.Clip(follow), named(n.f.FollowDead, id)...)
	case n.f.Outcome == recall.Retry:
		return follow, n.retry()
	case n.f.Outcome == recall.Release:
		n.out.add(`UPDATE @messages SET state = 0, epoch = 0, number = 0, attempts = attempts - 1 WHERE shard = $1 AND id = $2`, n.id)
	default:
		return nil, fmt.Errorf("postgres: outcome %d is unknown", n.f.Outcome)
	}
	return follow, nil
}

func (n *ending) remove() { removeMessages(n.out, [][16]byte{n.id}) }

// removeMessages queues that nothing is left of messages.
func removeMessages(b *batch, ids [][16]byte) {
	b.add(`DELETE FROM @labels l USING @messages m WHERE l.shard = $1 AND m.shard = $1 AND m.id = ANY($2::uuid[])
		AND l.id = m.id AND l.label = ANY(m.labels)`, ids)
	b.add(`DELETE FROM @payloads WHERE shard = $1 AND id = ANY($2::uuid[])`, ids)
	b.add(`DELETE FROM @messages WHERE shard = $1 AND id = ANY($2::uuid[])`, ids)
}

// retry queues that the message waits for another attempt, unless a standing
// cancellation takes it: that the attempt has failed is an arrival.
func (n *ending) retry() error {
	list, err := n.u.readStanding(n.f.Now)
	if err != nil {
		return err
	}
	n.m.DueAt = fromMS(toMS(n.f.Due))
	if s := takes(list, &n.m, n.f.Now); s != nil {
		s.take(n.out, n.id)
		countStanding(n.out, list)
		n.u.ends.cancelled++
		n.log(recall.Event{State: recall.EventCancelled, Operation: operationID(s.id), Attempt: n.m.Attempts})
		n.remove()
		return nil
	}
	n.out.add(`UPDATE @messages SET state = 0, epoch = 0, number = 0, due_ms = $3 WHERE shard = $1 AND id = $2`, n.id, toMS(n.f.Due))
	return nil
}

// giveBackRate queues that an attempt that did not happen is not counted.
func (n *ending) giveBackRate() {
	if n.f.Outcome == recall.Release && n.m.FlowKey != "" {
		n.out.add(`UPDATE @flows SET used = GREATEST(0, used - 1) WHERE shard = $1 AND flow_key = $2`, n.m.FlowKey)
	}
}

func (n *ending) log(ev recall.Event) {
	n.ord++
	ev.At = n.f.Now
	logEvent(n.out, &n.m, &n.id, ev, n.ord)
}

// logOutcome notes how the attempt has ended.
func (n *ending) logOutcome() {
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
		n.log(delivered)
		return
	case recall.Retry, recall.Dead:
		failed.State = recall.EventError
		n.log(failed)
	}
	switch {
	case n.requested:
		plain.State = recall.EventCancelled
		n.log(plain)
		n.u.ends.cancelled++
	case n.f.Outcome == recall.Retry:
		plain.State, plain.Due = recall.EventRetry, n.f.Due
		n.log(plain)
	case n.f.Outcome == recall.Dead:
		failed.State = recall.EventFailed
		n.log(failed)
	}
}

// undeduplicated returns messages that are published whatever was before.
func undeduplicated(msgs []recall.Message) []recall.Message {
	out := slices.Clone(msgs)
	for i := range out {
		out[i].DeduplicationID = ""
	}
	return out
}

// named returns the messages that follow a dead letter, with its id.
func named(follow []recall.DeadFollow, id recall.DeadLetterID) (msgs []recall.Message) {
	for _, n := range follow {
		if at := n.IDAt; at > 0 {
			n.Message.Body = slices.Concat(n.Message.Body[:at], []byte(id), n.Message.Body[at:])
		}
		msgs = append(msgs, n.Message)
	}
	return msgs
}
