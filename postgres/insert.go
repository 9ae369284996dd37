package postgres

import (
	"context"
	"time"

	"github.com/recallmq/recall"
)

// Insert implements [recall.Engine].
func (e *Engine) Insert(ctx context.Context, msgs []recall.Message, now time.Time) (receipts []recall.Receipt, err error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	err = e.do(ctx, func(u *unit) error {
		receipts, err = u.insert(msgs, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return receipts, nil
}

// arrivals is one publication under way.
type arrivals struct {
	u        *unit
	now      time.Time
	created  int64  // ms, in the ids
	seq      uint64 // of the newest
	standing []*standing
	first    *reservations
	stored   []*arrival
	out      *batch
	ord      int // of events
}

// arrival is a message that is to be stored.
type arrival struct {
	m   recall.Message
	id  [16]byte
	seq uint64
}

// insert publishes messages. From the first statement on until the end of the
// transaction nobody else publishes in this shard: ids are in the order of commits,
// and duplicates and standing cancellations are judged one by one.
func (u *unit) insert(msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	a := &arrivals{u: u, now: now, out: u.batch()}
	if err := a.begin(msgs); err != nil {
		return nil, err
	}
	receipts := make([]recall.Receipt, 0, len(msgs))
	for i := range msgs {
		receipts = append(receipts, a.arrive(msgs[i]))
	}
	if err := a.settings(); err != nil {
		return nil, err
	}
	a.store()
	a.first.keep(a.out)
	countStanding(a.out, a.standing)
	u.claim = true
	return receipts, a.out.send()
}

// lockPublishing makes this transaction the one that publishes, and takes n numbers.
func (u *unit) lockPublishing(n int, now time.Time) (newest uint64, ms int64, err error) {
	var last int64
	seen, latest := u.e.numbers.messageFloor()
	_, err = u.get(`UPDATE @counters SET n = GREATEST(n, $4) + $2, ms = GREATEST(ms, $3, $5), clamp = GREATEST(clamp, ms - $3)
		WHERE shard = $1 AND name = '`+counterMessage+`' RETURNING n, ms`, []any{n, toMS(now), seen, latest}, &last, &ms)
	u.e.numbers.sawMessage(last, ms)
	return uint64(last), ms, err
}

func (a *arrivals) begin(msgs []recall.Message) error {
	last, ms, err := a.u.lockPublishing(len(msgs), a.now)
	if err != nil {
		return err
	}
	a.created, a.seq = ms, last-uint64(len(msgs))
	if a.first, err = a.u.readReservations(msgs, a.now); err != nil {
		return err
	}
	a.standing, err = a.u.readStanding(a.now)
	return err
}

// arrive decides what becomes of one message.
func (a *arrivals) arrive(m recall.Message) recall.Receipt {
	if first, ok := a.first.of(&m); ok {
		a.u.ends.duplicates++
		return recall.Receipt{ID: messageID(first.id), CreatedAt: fromMS(first.created), Deduplicated: true}
	}
	a.seq++
	v := &arrival{m: m, seq: a.seq, id: a.u.e.numbers.newMessageID(a.u.e.shard, a.created, a.seq)}
	v.m.ID, v.m.Attempts, v.m.State = messageID(v.id), 0, ""
	v.m.CreatedAt, v.m.DueAt = fromMS(toMS(m.CreatedAt)), fromMS(toMS(m.DueAt))
	a.first.reserve(&v.m, v.id)
	v.m.DeduplicationID, v.m.DeduplicateContent = "", false
	a.u.ends.published++
	r := recall.Receipt{ID: v.m.ID, CreatedAt: v.m.CreatedAt}
	a.log(&v.m, v.id, recall.Event{State: recall.EventCreated, At: a.now})
	if s := takes(a.standing, &v.m, a.now); s != nil {
		s.take(a.out, v.id)
		a.u.ends.cancelled++
		r.CancelledBy = operationID(s.id)
		a.log(&v.m, v.id, recall.Event{State: recall.EventCancelled, At: a.now, Operation: r.CancelledBy})
		return r
	}
	a.stored = append(a.stored, v)
	return r
}

func (a *arrivals) log(m *recall.Message, id [16]byte, ev recall.Event) {
	a.ord++
	logEvent(a.out, m, &id, ev, a.ord)
}

// store queues the rows of what is stored.
func (a *arrivals) store() {
	for _, v := range a.stored {
		insertMessage(a.out, v)
	}
}

func insertMessage(b *batch, v *arrival) {
	m := &v.m
	text, err := specOf(m)
	if err != nil { // of values that JSON cannot say: a time of year 10,000, perhaps
		b.fail(invalid("Message", "it cannot be kept: %v", err))
		return
	}
	body := m.Body
	if body == nil {
		body = []byte{}
	}
	place, placeID := placeOf(m)
	b.add(`INSERT INTO @messages (shard, id, seq, state, held, requested, due_ms, created_ms, attempts, priority, handler,
			`+attributeColumns+`, blocks, place, place_id, epoch, number, op, size)
		VALUES ($1, $2, $3, 0, false, false, $4, $5, 0, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 0, 0, NULL, $22)`,
		append(append([]any{v.id, v.seq, toMS(m.DueAt), toMS(m.CreatedAt), m.Priority, handlerOf(m.URL)}, attributesOf(m)...),
			m.Blocks, place, placeID, sizeOf(m))...)
	b.add(`INSERT INTO @payloads (shard, id, spec, body) VALUES ($1, $2, $3, $4)`, v.id, text, body)
	if len(m.Labels) > 0 {
		b.add(`INSERT INTO @labels (shard, label, id) SELECT $1, unnest($2::text[]), $3 ON CONFLICT DO NOTHING`, m.Labels, v.id)
	}
}
