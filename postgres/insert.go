package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

// Insert implements [recall.Engine]. Calls that come while others are being committed
// share the next transaction.
func (e *Engine) Insert(ctx context.Context, msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	if len(msgs) == 0 {
		return nil, nil
	}
	p, err := newPublication(msgs, now)
	if err != nil {
		return nil, err
	}
	for {
		err := e.publishing.do(ctx, &call[*publication]{req: p, rows: len(msgs), size: p.size})
		switch {
		case err == nil:
			return p.receipts, nil
		case !errors.Is(err, errReserved):
			return nil, err
		}
		if err := e.awaitReservations(ctx, p); err != nil {
			return nil, err
		}
	}
}

// publication is the messages of one call, and what has become of them.
type publication struct {
	now      time.Time
	arrivals []*arrival
	size     int // bytes
	receipts []recall.Receipt
	refused  error // it alone: nothing of it is stored
}

// arrival is a message on its way into the queue.
type arrival struct {
	m    recall.Message // as it is stored
	key  *[32]byte      // of its deduplication id
	spec []byte
	id   [16]byte
	seq  uint64
}

// newPublication does what needs no database, in the goroutine of the caller. An error
// is about a message that cannot be kept.
func newPublication(msgs []recall.Message, now time.Time) (*publication, error) {
	p := &publication{now: now, arrivals: make([]*arrival, len(msgs))}
	for i := range msgs {
		a, err := newArrival(&msgs[i])
		if err != nil {
			return nil, err
		}
		p.arrivals[i] = a
		p.size += len(a.spec) + len(a.m.Body) + len(a.m.URL)
	}
	return p, nil
}

func newArrival(m *recall.Message) (*arrival, error) {
	a := &arrival{m: *m}
	if m.DeduplicationID != "" {
		key := sha256.Sum256([]byte(m.DeduplicationID))
		a.key = &key
	}
	a.m.DeduplicationID, a.m.DeduplicateContent = "", false
	a.m.Attempts, a.m.State = 0, ""
	a.m.CreatedAt, a.m.DueAt = fromMS(toMS(m.CreatedAt)), fromMS(toMS(m.DueAt))
	var err error
	if a.spec, err = specOf(m); err != nil { // of values that JSON cannot say: a time of year 10,000, perhaps
		return nil, invalid("Message", "it cannot be kept: %v", err)
	}
	return a, keepable(m)
}

// keepable refuses what no text column can hold.
func keepable(m *recall.Message) error {
	for _, s := range append([]string{m.URL, m.Queue, m.Topic, m.ScheduleID, m.CallerIP, m.FlowKey, m.Blocks, string(m.Root), string(m.Source)}, m.Labels...) {
		if !isText(s) {
			return invalid("Message", "it cannot be kept: %q is no text", s)
		}
	}
	return nil
}

// isText tells whether a column can hold s.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// publish has the publications of several calls share a transaction.
func (e *Engine) publish(u *unit, calls []*call[*publication]) error {
	list := make([]*publication, len(calls))
	for i, c := range calls {
		list[i] = c.req
	}
	err := u.publish(list)
	if isLockTimeout(err) && keysOf(list) != nil { // those without ids need not wait
		u.nothing, u.ends = true, ends{}
		for _, c := range calls {
			c.again = true
			if keysOf([]*publication{c.req}) != nil {
				c.err, c.again = errReserved, false
			}
		}
		return nil
	}
	for _, c := range calls {
		c.err = c.req.refused
	}
	return err
}

// insert publishes messages in a transaction that does more than that.
func (u *unit) insert(msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	p, err := newPublication(msgs, now)
	if err != nil {
		return nil, err
	}
	if err := u.publish([]*publication{p}); err != nil {
		return nil, err
	}
	return p.receipts, p.refused
}

// lockPublishing makes this transaction the one that publishes.
func (u *unit) lockPublishing(now time.Time) error {
	_, err := u.exec(takeNumbers, u.numbersFor(0, now, now)...)
	return err
}

// takeNumbers makes a transaction the one that publishes, and takes $2 numbers behind $5.
// $3 is the latest time of a publication, and $4 the earliest; $6 is a time that was given
// out.
const takeNumbers = `UPDATE @counters SET n = GREATEST(n, $5) + $2, ms = GREATEST(ms, $3, $6), clamp = GREATEST(clamp, ms - $4)
	WHERE shard = $1 AND name = '` + counterMessage + `' RETURNING n, ms`

// numbersFor are the parameters of takeNumbers.
func (u *unit) numbersFor(n int, latest, earliest time.Time) []any {
	seen, ms := u.e.numbers.messageFloor()
	return []any{n, toMS(latest), toMS(earliest), seen, ms}
}
