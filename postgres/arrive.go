package postgres

import (
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// arrivals are the publications of one transaction. From the first statement on until
// its end nobody else publishes in this shard: ids are in the order of commits, and
// duplicates and standing cancellations are judged one by one.
type arrivals struct {
	u        *unit
	list     []*publication
	messages int
	created  int64  // ms, in the ids
	seq      uint64 // of the newest
	standing []*standing
	first    reservations
	limits   map[string]recall.FlowSettings // of the keys that messages bring a limit for
	stored   []*arrival
	out      *batch
	rooms    *rooms
	ord      int // of events
}

// publish takes two round trips: one for what has to be known, one for all rows.
func (u *unit) publish(list []*publication) error { return u.publishWith(list, u.batch(), newRooms()) }

// publishWith publishes together with what is queued already, and has claims look at
// more rooms.
func (u *unit) publishWith(list []*publication, out *batch, r *rooms) error {
	a := &arrivals{u: u, list: list, out: out, rooms: r}
	for _, p := range list {
		p.refused, p.receipts = nil, make([]recall.Receipt, 0, len(p.arrivals))
		a.messages += len(p.arrivals)
	}
	if err := a.read(); err != nil {
		return err
	}
	for _, p := range list {
		if p.refused = a.first.room(p, u.e.opts.MaxDeduplicationIDs); p.refused != nil {
			u.maintain = true
			continue
		}
		for _, v := range p.arrivals {
			p.receipts = append(p.receipts, a.arrive(v, p.now))
		}
	}
	storeMessages(a.out, a.stored)
	if u.apart {
		a.first.keep(a.out)
		if err := a.leaveErrands(); err != nil {
			return err
		}
		return a.out.send()
	}
	a.first.keepSoon(a.out)
	countStanding(a.out, a.standing)
	if err := a.settings(); err != nil {
		return err
	}
	u.claim = true
	return a.out.sendLast()
}

// read takes the lock, and the numbers, and reads what decides about the messages.
func (a *arrivals) read() error {
	earliest, latest := a.list[0].now, a.list[0].now
	for _, p := range a.list[1:] {
		if p.now.Before(earliest) {
			earliest = p.now
		}
		if p.now.After(latest) {
			latest = p.now
		}
	}
	b := a.u.batch()
	var last int64
	if a.u.apart {
		a.first.lock(b, a.list)
	} else {
		b.read(func(rows pgx.Rows) error { return rows.Scan(&last, &a.created) }, takeNumbers, a.u.numbersFor(a.messages, latest, earliest)...)
		a.readLimits(b, a.arriving())
	}
	b.read(scanStanding(&a.standing), activeStanding, toMS(earliest))
	a.first.read(b, a.list, a.u.e.opts.DeduplicationWindow)
	err := b.send()
	a.seq = uint64(last) - uint64(a.messages)
	a.u.e.numbers.sawMessage(last, a.created)
	return err
}

// arriving are all messages.
func (a *arrivals) arriving() []*arrival {
	all := make([]*arrival, 0, a.messages)
	for _, p := range a.list {
		all = append(all, p.arrivals...)
	}
	return all
}

// name gives a message its id, and its number, which is 0 apart from others.
func (a *arrivals) name(v *arrival, now time.Time) {
	if a.u.apart {
		v.seq, v.id = 0, a.u.e.newApartID(now)
	} else {
		a.seq++
		v.seq, v.id = a.seq, a.u.e.numbers.newMessageID(a.u.e.shard, a.created, a.seq)
	}
	v.m.ID = messageID(v.id)
}

// arrive decides what becomes of one message.
func (a *arrivals) arrive(v *arrival, now time.Time) recall.Receipt {
	if first, ok := a.first.of(v, now); ok {
		a.u.ends.duplicates++
		return recall.Receipt{ID: messageID(first.id), CreatedAt: fromMS(first.created), Deduplicated: true}
	}
	a.name(v, now)
	a.first.reserve(v, now)
	a.u.ends.published++
	r := recall.Receipt{ID: v.m.ID, CreatedAt: v.m.CreatedAt}
	a.log(v, recall.Event{State: recall.EventCreated, At: now})
	if s := takes(a.standing, &v.m, now); s != nil {
		s.take(a.out, v.id)
		a.u.ends.cancelled++
		r.CancelledBy = operationID(s.id)
		a.log(v, recall.Event{State: recall.EventCancelled, At: now, Operation: r.CancelledBy})
		return r
	}
	a.stored = append(a.stored, v)
	return r
}

func (a *arrivals) log(v *arrival, ev recall.Event) {
	a.ord++
	a.out.log(&v.m, &v.id, ev, a.ord)
}

// storeMessages queues the rows of messages, a statement for each table.
func storeMessages(b *batch, list []*arrival) {
	if len(list) == 0 {
		return
	}
	var c messageColumns
	var labels []string
	var labelled [][16]byte
	specs, bodies := make([][]byte, 0, len(list)), make([][]byte, 0, len(list))
	for _, v := range list {
		c.add(v)
		specs, bodies = append(specs, v.spec), append(bodies, bytesOf(v.m.Body))
		for _, l := range v.m.Labels {
			labels, labelled = append(labels, l), append(labelled, v.id)
		}
	}
	b.add(insertMessages, c.args()...)
	b.add(`INSERT INTO @payloads (shard, id, spec, body) SELECT $1, x.* FROM unnest($2::uuid[], $3::bytea[], $4::bytea[]) AS x`, c.ids, specs, bodies)
	if labels != nil {
		b.add(`INSERT INTO @labels (shard, label, id) SELECT $1, x.* FROM unnest($2::text[], $3::uuid[]) AS x ON CONFLICT DO NOTHING`, labels, labelled)
	}
}

// bytesOf is a value that is not NULL.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// undeduplicated returns messages that are published whatever was before.
func undeduplicated(msgs []recall.Message) []recall.Message {
	out := slices.Clone(msgs)
	for i := range out {
		out[i].DeduplicationID = ""
	}
	return out
}
