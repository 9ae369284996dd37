package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Finish implements [recall.Engine]. It is durable when it returns, with or without
// f.Durable. Calls that come while others are being committed share the next
// transaction; those with messages that follow share one of their own, as they take
// their place among publications.
func (e *Engine) Finish(ctx context.Context, l recall.Lease, f recall.Finish) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	n, err := newEnding(&l, f)
	if err != nil {
		return err
	}
	n.begun = e.begun.forget(l.Token)
	lane := &e.finishing
	if n.followed() {
		lane = &e.following
	}
	c := &call[*ending]{req: n, rows: 1, size: n.size()}
	return lane.do(ctx, c)
}

// ending is the end of one attempt.
type ending struct {
	id        [16]byte
	token     recall.LeaseToken
	begun     int64  // when its claim said that it was; 0: that is not known
	ip        string // where the message came from, as the owner knows it
	f         recall.Finish
	m         recall.Message // as it is
	found     bool
	requested bool
}

// newEnding refuses what cannot be an end.
func newEnding(l *recall.Lease, f recall.Finish) (*ending, error) {
	n := &ending{token: l.Token, ip: l.Message.CallerIP, f: f}
	var ok bool
	n.id, ok = parseMessageID(l.Message.ID)
	// A token is a pair of numbers that the database has only as signed ones.
	if !ok || int64(l.Token.Epoch) <= 0 || int64(l.Token.Number) <= 0 {
		return nil, recall.ErrLeaseLost
	}
	if f.Outcome < recall.Delivered || f.Outcome > recall.Release {
		return nil, fmt.Errorf("postgres: outcome %d is unknown", f.Outcome)
	}
	for _, d := range f.FollowDead {
		if d.IDAt < 0 || d.IDAt > len(d.Message.Body) {
			return nil, invalid("FollowDead", "an id has no place there")
		}
	}
	_, err := newPublication(append(slices.Clip(f.Follow), named(f.FollowDead, "")...), f.Now)
	return n, err
}

// followed tells whether messages may follow.
func (n *ending) followed() bool {
	return len(n.f.Follow) > 0 || n.f.Outcome == recall.Dead && len(n.f.FollowDead) > 0
}

// size is about how many bytes are written.
func (n *ending) size() (size int) {
	for i := range n.f.Follow {
		size += len(n.f.Follow[i].Body)
	}
	for i := range n.f.FollowDead {
		size += len(n.f.FollowDead[i].Message.Body)
	}
	if n.f.Response != nil {
		size += len(n.f.Response.Body)
	}
	return size
}

// otherMessage keeps two calls for one message apart: the second has lost its lease by
// the first.
func otherMessage(calls []*call[*ending], next *call[*ending]) bool {
	return !slices.ContainsFunc(calls, func(c *call[*ending]) bool { return c.req.id == next.req.id })
}

// endAll ends the attempts of several calls in one transaction. It waits for no row of
// a message: a call whose row is locked by somebody else is made again alone.
func (e *Engine) endAll(u *unit, calls []*call[*ending]) error {
	list := make([]*ending, len(calls))
	for i, c := range calls {
		list[i] = c.req
	}
	if err := u.end(list, !calls[0].alone); err != nil {
		return err
	}
	valid, err := u.validLeases(list)
	if err != nil {
		return err
	}
	for _, c := range calls {
		switch {
		case c.req.found:
		case valid[c.req.id] && !c.alone:
			c.again = true
		case c.alone:
			return recall.ErrLeaseLost
		default:
			c.err = recall.ErrLeaseLost
		}
	}
	return nil
}

// validLeases returns those messages that were not locked although their leases are valid.
// What is lost stays lost.
func (u *unit) validLeases(list []*ending) (valid map[[16]byte]bool, err error) {
	var ids [][16]byte
	var epochs, numbers []int64
	for _, n := range list {
		if !n.found {
			ids, epochs, numbers = append(ids, n.id), append(epochs, int64(n.token.Epoch)), append(numbers, int64(n.token.Number))
		}
	}
	if ids == nil {
		return nil, nil
	}
	valid = map[[16]byte]bool{}
	_, err = collect(u, func(row pgx.CollectableRow) (id [16]byte, err error) {
		err = row.Scan(&id)
		valid[id] = true
		return id, err
	}, leasesOf("m.id"), ids, epochs, numbers)
	return valid, err
}

// awaitMessage waits until nobody has locked the message of a call, so that it is not
// waited for while others cannot publish.
func (e *Engine) awaitMessage(c *call[*ending]) error {
	return e.do(context.Background(), func(u *unit) error {
		u.nothing = true
		_, err := u.exec(`SELECT FROM @messages WHERE shard = $1 AND id = $2 FOR UPDATE`, c.req.id)
		return err
	})
}

// end ends attempts in this transaction. skip passes over what is locked.
func (u *unit) end(list []*ending, skip bool) error {
	o := newOutcomes(u)
	if err := o.lock(list, skip); err != nil {
		return err
	}
	var follow []*publication
	for _, n := range list {
		if !n.found {
			continue
		}
		msgs, err := o.decide(n)
		if err != nil {
			return err
		}
		if len(msgs) > 0 {
			p, err := newPublication(undeduplicated(msgs), n.f.Now)
			if err != nil {
				return err
			}
			follow = append(follow, p)
		}
	}
	if u.idle = !u.wake; u.idle {
		return nil
	}
	o.write()
	if len(follow) > 0 {
		return u.publishWith(follow, o.out, o.rooms)
	}
	o.rooms.open(o.out)
	return o.out.sendLast()
}

// lock reads the messages whose leases are the valid ones. Who publishes takes that
// lock first.
func (o *outcomes) lock(list []*ending, skip bool) error {
	b := o.u.batch()
	byID := map[[16]byte]*ending{}
	var ids [][16]byte
	var epochs, numbers []int64
	var retried, dead *ending
	publishes := false
	for _, n := range list {
		n.found, byID[n.id] = false, n
		ids, epochs, numbers = append(ids, n.id), append(epochs, int64(n.token.Epoch)), append(numbers, int64(n.token.Number))
		publishes = publishes || n.followed()
		switch n.f.Outcome {
		case recall.Retry:
			if retried == nil || n.f.Now.Before(retried.f.Now) {
				retried = n
			}
		case recall.Dead:
			dead = n
		}
	}
	if publishes {
		b.add(takeNumbers, o.u.numbersFor(0, list[0].f.Now, list[0].f.Now)...)
	}
	locking := ` FOR UPDATE OF m`
	if skip {
		locking += ` SKIP LOCKED`
	}
	b.read(func(row pgx.Rows) error { return scanEnding(row, byID) }, lockLeased+locking, ids, epochs, numbers)
	if dead != nil {
		b.read(func(row pgx.Rows) error { return scanPayload(row, byID) }, readPayloads, deadOf(list))
		o.takeNumbers(b, len(deadOf(list)), toMS(dead.f.Now))
	}
	if retried != nil {
		b.read(scanStanding(&o.standing), activeStanding, toMS(retried.f.Now))
	}
	return b.send()
}

// leasesOf are messages whose leases are valid, in the order of all who lock several.
func leasesOf(columns string) string {
	return `SELECT ` + columns + ` FROM @messages m JOIN unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS x (id, epoch, number) ON m.id = x.id
		WHERE m.shard = $1 AND m.state = 1 AND m.epoch = x.epoch AND m.number = x.number ORDER BY m.id`
}

var lockLeased = leasesOf(`m.id, m.requested, m.due_ms, m.created_ms, m.attempts, m.priority, m.queue, m.url, m.topic, m.schedule, m.ip,
	m.flow_key, m.labels, m.blocks`)

// scanEnding reads what an end has to know of its message.
func scanEnding(row pgx.Rows, byID map[[16]byte]*ending) error {
	var id [16]byte
	var m recall.Message
	var requested bool
	var due, created int64
	err := row.Scan(&id, &requested, &due, &created, &m.Attempts, &m.Priority, &m.Queue, &m.URL, &m.Topic, &m.ScheduleID, &m.CallerIP,
		&m.FlowKey, &m.Labels, &m.Blocks)
	if err != nil {
		return err
	}
	m.ID, m.DueAt, m.CreatedAt = messageID(id), fromMS(due), fromMS(created)
	n := byID[id]
	if canonicalIP(n.ip) == m.CallerIP {
		m.CallerIP = n.ip
	}
	n.m, n.requested, n.found = m, requested, true
	return nil
}

const readPayloads = `SELECT p.id, p.spec, p.body FROM @payloads p WHERE p.shard = $1 AND p.id = ANY($2::uuid[])`

// scanPayload reads what a dead letter keeps beside.
func scanPayload(row pgx.Rows, byID map[[16]byte]*ending) error {
	var id [16]byte
	var text, body []byte
	if err := row.Scan(&id, &text, &body); err != nil {
		return err
	}
	n := byID[id]
	n.m.Body = body
	return readSpec(text, &n.m)
}

// deadOf are the messages that are to be dead letters.
func deadOf(list []*ending) (ids [][16]byte) {
	for _, n := range list {
		if n.f.Outcome == recall.Dead {
			ids = append(ids, n.id)
		}
	}
	return ids
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
