package postgres

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// deadColumns are what readDead reads.
const deadColumns = `m.n, m.died_ms, m.reason, m.response, m.id, m.due_ms, m.created_ms, m.attempts, m.priority, m.queue, m.url, m.topic,
	m.schedule, m.ip, m.flow_key, m.labels, m.spec, m.body`

func scanDead(row pgx.CollectableRow) (d recall.DeadLetter, err error) {
	var n, died, due, created int64
	var answer, text []byte
	var id [16]byte
	m := &d.Message
	err = row.Scan(&n, &died, &d.Reason, &answer, &id, &due, &created, &m.Attempts, &m.Priority, &m.Queue, &m.URL, &m.Topic,
		&m.ScheduleID, &m.CallerIP, &m.FlowKey, &m.Labels, &text, &m.Body)
	if err != nil {
		return d, err
	}
	var s spec
	if err := json.Unmarshal(text, &s); err != nil {
		return d, corrupt("a dead letter", err)
	}
	s.addTo(m)
	m.ID, m.DueAt, m.CreatedAt = messageID(id), fromMS(due), fromMS(created)
	if len(m.Labels) == 0 {
		m.Labels = nil
	}
	d.ID, d.DiedAt, d.Attempts = deadID(died, n), fromMS(died), m.Attempts
	d.Response, err = readResponse(answer)
	return d, err
}

// takeNumbers queues that numbers for dead letters are taken, at a time.
func (o *outcomes) takeNumbers(b *batch, n int, ms int64) {
	numbers := o.u.e.numbers
	step, first := numbers.deadStep(o.u.e.shard, ms)
	o.step = step
	b.read(func(rows pgx.Rows) error {
		err := rows.Scan(&o.died)
		numbers.sawDead(o.died)
		o.died -= step * int64(n)
		return err
	}, `UPDATE @counters SET n = GREATEST(n + $2, $3) WHERE shard = $1 AND name = '`+counterDead+`' RETURNING n`,
		step*int64(n), first+step*int64(n-1))
}

// bury queues that the message is a dead letter, and returns the id of that. A number
// was taken for it.
func (o *outcomes) bury(n *ending) (recall.DeadLetterID, error) {
	o.died += o.step
	if err := insertDead(o.out, o.died, n.id, &n.m, &n.f); err != nil {
		return "", err
	}
	o.remove(n)
	o.u.ends.died++
	o.u.maintain = true
	return deadID(toMS(n.f.Now), o.died), nil
}

// insertDead queues the row of a dead letter.
func insertDead(out *batch, number int64, id [16]byte, m *recall.Message, f *recall.Finish) error {
	text, err := specOf(m)
	if err != nil {
		return err
	}
	answer, err := responseOf(f.Response)
	if err != nil {
		return err
	}
	size := sizeOf(m)
	if r := f.Response; r != nil {
		size += len(r.Body) + sizeOfHeader(r.Header)
	}
	out.add(`INSERT INTO @dead (shard, n, died_ms, id, due_ms, created_ms, attempts, priority, `+attributeColumns+`, spec, body, reason, response, size)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)`,
		append(append([]any{number, toMS(f.Now), id, toMS(m.DueAt), toMS(m.CreatedAt), m.Attempts, m.Priority}, attributesOf(m)...),
			text, bytesOf(m.Body), storableText(f.Reason), answer, size)...)
	return nil
}

// deadMatches are the dead letters that f finds behind a number. A dead letter has no
// state, and no attempt of it is due: nil says that nothing can match.
func deadMatches(f *recall.Filter, after int64) *where {
	if f.States != nil || !f.DueAfter.IsZero() || !f.DueBefore.IsZero() {
		return nil
	}
	w := &where{dead: true}
	w.also("m.shard = $1")
	w.constant(f)
	if f.MinAttempts > 0 {
		w.and("m.attempts >= ?", min(f.MinAttempts, math.MaxInt32))
	}
	if after > 0 {
		w.and("m.n > ?", after)
	}
	return w
}

// ListDead implements [recall.Engine].
func (e *Engine) ListDead(ctx context.Context, f recall.Filter, after recall.DeadLetterID, limit int) ([]recall.DeadLetter, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	from, err := afterDead(after)
	if err != nil {
		return nil, err
	}
	w := deadMatches(&f, from)
	if w == nil || limit <= 0 {
		return nil, nil
	}
	return readDead(ctx, e.pool, e, w, limit)
}

// readDead reads the first dead letters that match, up to a page of bytes.
func readDead(ctx context.Context, q querier, e *Engine, w *where, limit int) ([]recall.DeadLetter, error) {
	most, page := w.with(limit), w.with(recall.PageBytes)
	return collectFrom(ctx, q, e, scanDead, `WITH found AS MATERIALIZED (
			SELECT m.shard, m.n, sum(m.size) OVER (ORDER BY m.n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - m.size AS before
			FROM (SELECT m.shard, m.n, m.size FROM @dead m WHERE `+w.String()+` ORDER BY m.n LIMIT `+most+`) m)
		SELECT `+deadColumns+` FROM found JOIN @dead m ON m.shard = found.shard AND m.n = found.n
		WHERE found.before < `+page+` ORDER BY m.n`, w.args...)
}

// DeadIDs implements [recall.Engine].
func (e *Engine) DeadIDs(ctx context.Context, f recall.Filter, after recall.DeadLetterID, limit int) ([]recall.DeadLetterID, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	from, err := afterDead(after)
	if err != nil {
		return nil, err
	}
	w := deadMatches(&f, from)
	if w == nil || limit <= 0 {
		return nil, nil
	}
	return collectFrom(ctx, e.pool, e, func(row pgx.CollectableRow) (recall.DeadLetterID, error) {
		var died, n int64
		err := row.Scan(&died, &n)
		return deadID(died, n), err
	}, `SELECT m.died_ms, m.n FROM @dead m WHERE `+w.String()+` ORDER BY m.n LIMIT `+w.with(limit), w.args...)
}

// DeleteDead implements [recall.Engine].
func (e *Engine) DeleteDead(ctx context.Context, ids []recall.DeadLetterID) (n int, err error) {
	if err := e.enter(ctx); err != nil {
		return 0, err
	}
	defer e.leave()
	err = e.do(ctx, func(u *unit) error {
		list, err := u.unbury(ids)
		n = len(list)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// RetryDead implements [recall.Engine].
func (e *Engine) RetryDead(ctx context.Context, ids []recall.DeadLetterID, now time.Time) ([]recall.Receipt, error) {
	return e.RetryDeadWith(ctx, ids, now, nil)
}

// RetryDeadWith implements [recall.Redriver]. The dead letters are read first, changed
// while no lock is held, and then taken out of the queue with what they have become
// put into the other; those that are gone by then are passed over.
func (e *Engine) RetryDeadWith(
	ctx context.Context, ids []recall.DeadLetterID, now time.Time, change func(*recall.Message) error,
) (receipts []recall.Receipt, err error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	changed, err := e.redriven(ctx, ids, now, change)
	if err != nil {
		return nil, err
	}
	_, receipts, err = e.redrive(ctx, ids, changed, now)
	return receipts, err
}

// redrive publishes dead letters as what they were changed to. It returns which, and the
// receipts in the same order.
func (e *Engine) redrive(
	ctx context.Context, ids []recall.DeadLetterID, changed map[recall.DeadLetterID]recall.Message, now time.Time,
) (taken []recall.DeadLetterID, receipts []recall.Receipt, err error) {
	err = e.do(ctx, func(u *unit) error {
		if err := u.lockPublishing(now); err != nil {
			return err
		}
		// Only what was read, or nothing would come of the others.
		known := slices.DeleteFunc(slices.Clone(ids), func(id recall.DeadLetterID) bool {
			_, ok := changed[id]
			return !ok
		})
		if taken, err = u.unbury(known); err != nil {
			return err
		}
		var msgs []recall.Message
		for _, id := range taken {
			msgs = append(msgs, changed[id])
		}
		receipts, err = u.insert(msgs, now)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return taken, receipts, nil
}

// redriven returns what dead letters are to be published as.
func (e *Engine) redriven(
	ctx context.Context, ids []recall.DeadLetterID, now time.Time, change func(*recall.Message) error,
) (map[recall.DeadLetterID]recall.Message, error) {
	list, err := collectFrom(ctx, e.pool, e, scanDead, `SELECT `+deadColumns+` FROM @dead m WHERE m.shard = $1 AND m.n = ANY($2::bigint[])`, deadNumbers(ids))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b recall.DeadLetter) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	out := map[recall.DeadLetterID]recall.Message{}
	for _, d := range list {
		m := anew(&d, now)
		if change != nil && slices.Contains(ids, d.ID) {
			if err := change(&m); err != nil {
				return nil, err
			}
		}
		out[d.ID] = m
	}
	return out, nil
}

// anew is a dead letter as it is published again.
func anew(d *recall.DeadLetter, now time.Time) recall.Message {
	m := d.Message
	m.CreatedAt, m.DueAt = now, now
	m.Delay, m.NotBefore, m.Blocks, m.Root, m.Attempts = 0, time.Time{}, "", "", 0
	return m
}

// deadNumbers are the numbers of dead letters.
func deadNumbers(ids []recall.DeadLetterID) []int64 {
	numbers := make([]int64, 0, len(ids))
	for _, id := range ids {
		if _, n := parseDeadID(id); n > 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// unbury takes dead letters out of the queue and returns those that were there, in
// the order of ids.
func (u *unit) unbury(ids []recall.DeadLetterID) ([]recall.DeadLetterID, error) {
	numbers, times := []int64{}, []int64{}
	for _, id := range ids {
		if ms, n := parseDeadID(id); n > 0 {
			numbers, times = append(numbers, n), append(times, ms)
		}
	}
	gone := map[recall.DeadLetterID]bool{}
	_, err := collect(u, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var died, n int64
		err = row.Scan(&died, &n)
		gone[deadID(died, n)] = true
		return
	}, `DELETE FROM @dead d USING (SELECT d.n FROM @dead d JOIN unnest($2::bigint[], $3::bigint[]) AS i (n, ms) ON d.n = i.n AND d.died_ms = i.ms
			WHERE d.shard = $1 ORDER BY d.n FOR UPDATE OF d) l
		WHERE d.shard = $1 AND d.n = l.n RETURNING d.died_ms, d.n`, numbers, times)
	var taken []recall.DeadLetterID
	for _, id := range ids {
		if gone[id] {
			gone[id] = false
			taken = append(taken, id)
		}
	}
	return taken, err
}
