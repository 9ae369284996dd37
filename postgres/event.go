package postgres

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// maxReason is how much of a reason the log keeps, in bytes.
const maxReason = 256

// eventStates are numbered by their place.
var eventStates = []recall.EventState{
	"", recall.EventCreated, recall.EventActive, recall.EventError, recall.EventRetry, recall.EventDelivered,
	recall.EventFailed, recall.EventCancelRequested, recall.EventCancelled,
}

// eventRow is what is kept of an event beside its columns.
type eventRow struct {
	URL       string   `json:"u,omitempty"`
	Queue     string   `json:"q,omitempty"`
	Topic     string   `json:"t,omitempty"`
	Schedule  string   `json:"s,omitempty"`
	CallerIP  string   `json:"ip,omitempty"`
	FlowKey   string   `json:"f,omitempty"`
	Labels    []string `json:"l,omitempty"`
	Attempt   int      `json:"a,omitempty"`
	Status    int      `json:"st,omitempty"`
	Reason    string   `json:"r,omitempty"`
	Due       *int64   `json:"d,omitempty"`
	Operation string   `json:"op,omitempty"`
	Count     int      `json:"c,omitempty"`
	Requested int      `json:"rq,omitempty"`
}

// events are rows of the log, column by column.
type events struct {
	ords   []int32
	ties   []int64
	times  []int64
	states []int16
	ids    []*[16]byte
	rows   [][]byte
}

// log queues an event about a message, nil: about an operation. Its place in
// the log is given when the log is read: numbers that were given out here would keep
// everything that happens in one line. What happens to one message in one
// transaction is told apart by ord, and across transactions by the clock of the
// server, as they wait for each other.
func (b *batch) log(m *recall.Message, id *[16]byte, ev recall.Event, ord int) {
	if b.u.e.opts.NoEvents {
		return
	}
	row := eventRow{
		Attempt: ev.Attempt, Status: ev.Status, Reason: ev.Reason, Due: toNullMS(ev.Due), Operation: string(ev.Operation),
		Count: ev.Count, Requested: ev.Requested,
	}
	if m != nil {
		row.URL, row.Queue, row.Topic, row.Schedule = m.URL, m.Queue, m.Topic, m.ScheduleID
		row.CallerIP, row.FlowKey, row.Labels = m.CallerIP, m.FlowKey, m.Labels
	}
	text, err := json.Marshal(row)
	if err != nil {
		b.fail(err)
		return
	}
	v := &b.events
	v.ords, v.ties, v.times = append(v.ords, int32(ord)), append(v.ties, rand.Int64()), append(v.times, toMS(ev.At))
	v.states, v.ids, v.rows = append(v.states, int16(slices.Index(eventStates, ev.State))), append(v.ids, id), append(v.rows, text)
}

// writeEvents queues the events of a batch as one statement.
func (b *batch) writeEvents() {
	v := b.events
	if v.ords == nil {
		return
	}
	b.events = events{}
	b.add(`INSERT INTO @events (shard, stamp, ord, tie, at_ms, state, id, row)
		SELECT $1, `+clockUS+`, x.* FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::smallint[], $6::uuid[], $7::bytea[]) AS x`,
		v.ords, v.ties, v.times, v.states, v.ids, v.rows)
}

// shortReason is a reason as the log keeps it.
func shortReason(s string) string {
	return storableText(s[:min(len(s), maxReason)])
}

// storableText is s without what no text column can hold.
func storableText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
}

// Events implements [recall.EventLog].
func (e *Engine) Events(ctx context.Context, f recall.EventFilter, after recall.EventID, limit int) (page recall.EventPage, err error) {
	if err := e.enter(ctx); err != nil {
		return page, err
	}
	defer e.leave()
	from, err := afterEvent(after)
	if err != nil {
		return page, err
	}
	if err := e.numberEvents(ctx); err != nil || limit <= 0 {
		return page, err
	}
	for {
		part, last, err := e.readEvents(ctx, &f, from)
		if err != nil {
			return recall.EventPage{}, err
		}
		for i := range part {
			if !f.Matches(&part[i]) {
				continue
			}
			if len(page.Events) == limit {
				page.Next = page.Events[limit-1].ID
				return page, nil
			}
			page.Events = append(page.Events, part[i])
		}
		if last == 0 {
			return page, nil
		}
		from = last
	}
}

// eventPart is how many events are read at once.
const eventPart = 1000

// readEvents returns a part of the log behind a number, 0 for all, and the number to
// go on behind; 0: there is nothing more.
func (e *Engine) readEvents(ctx context.Context, f *recall.EventFilter, from int64) (part []recall.Event, last int64, err error) {
	return e.readEventsTo(ctx, f, from, math.MaxInt64, eventPart)
}

// readEventsTo returns up to limit of them, of those that have no larger number than to.
func (e *Engine) readEventsTo(
	ctx context.Context, f *recall.EventFilter, from, to int64, limit int,
) (part []recall.Event, last int64, err error) {
	w := &where{}
	w.also("v.shard = $1 AND v.n IS NOT NULL")
	w.and("v.n <= ?", to)
	order, behind := "DESC", "v.n < ?"
	if f.OldestFirst {
		order, behind = "ASC", "v.n > ?"
	}
	if from != 0 {
		w.and(behind, from)
	}
	if f.Filter.IDs != nil {
		w.and("v.id = ANY(?::uuid[])", uuids(f.Filter.IDs))
	}
	w.conds = append(w.conds, w.eventTimes(f)...)
	part, err = collectFrom(ctx, e.pool, e, scanEvent, `SELECT v.n, v.at_ms, v.state, v.id, v.row FROM @events v
		WHERE `+w.String()+` ORDER BY v.n `+order+` LIMIT `+w.with(limit), w.args...)
	if len(part) == limit {
		last = eventNumber(part[limit-1].ID)
	}
	return part, last, err
}

func (w *where) eventTimes(f *recall.EventFilter) (conds []string) {
	if !f.From.IsZero() {
		conds = append(conds, "v.at_ms >= "+w.with(toMS(f.From)))
	}
	if !f.To.IsZero() {
		conds = append(conds, "v.at_ms <= "+w.with(toMS(f.To)))
	}
	return conds
}

func scanEvent(row pgx.CollectableRow) (ev recall.Event, err error) {
	var n, at int64
	var state int
	var id *[16]byte
	var text []byte
	if err := row.Scan(&n, &at, &state, &id, &text); err != nil {
		return ev, err
	}
	var r eventRow
	if err := json.Unmarshal(text, &r); err != nil {
		return ev, corrupt("an event", err)
	}
	ev = recall.Event{
		ID: eventID(at, n), At: fromMS(at), State: eventStates[state],
		URL: r.URL, Queue: r.Queue, Topic: r.Topic, ScheduleID: r.Schedule, CallerIP: r.CallerIP, FlowKey: r.FlowKey, Labels: r.Labels,
		Attempt: r.Attempt, Status: r.Status, Reason: r.Reason, Due: fromNullMS(r.Due),
		Operation: recall.OperationID(r.Operation), Count: r.Count, Requested: r.Requested,
	}
	if id != nil {
		ev.Message = messageID(*id)
	}
	return ev, nil
}

// numberEvents gives the newest events their places in the log. From then on these
// stay: who reads on behind one misses nothing.
func (e *Engine) numberEvents(ctx context.Context) error {
	var waiting bool
	err := e.pool.QueryRow(ctx, e.sql(`SELECT EXISTS (SELECT 1 FROM @events WHERE shard = $1 AND n IS NULL)`), e.shard).Scan(&waiting)
	for n := e.numbered; err == nil && waiting && n == e.numbered; {
		err = e.do(ctx, func(u *unit) (err error) {
			n, err = u.numberOldest()
			return err
		})
	}
	return err
}

// numberedPart is how many events get their places in one transaction: who gives places
// out has others wait who read the log.
const numberedPart = 100 * eventPart

// oldestEvents are up to $2 events without a place up to the time $3, the oldest, with k as
// their order.
const oldestEvents = `waiting AS MATERIALIZED (SELECT shard, stamp, ord, tie FROM @events WHERE shard = $1 AND n IS NULL AND stamp <= $3),
			fresh AS MATERIALIZED (SELECT w.*, row_number() OVER (ORDER BY stamp, ord, tie) AS k
				FROM (SELECT * FROM waiting ORDER BY stamp, ord, tie LIMIT $2) w)`

// numberOldest gives the oldest events without a place theirs, and returns how many.
func (u *unit) numberOldest() (n int, err error) {
	if _, err := u.exec(`SELECT FROM @counters WHERE shard = $1 AND name = '` + counterEvent + `' FOR UPDATE`); err != nil {
		return 0, err
	}
	_, err = u.get(`WITH `+oldestEvents+`,
			numbered AS (UPDATE @events v SET n = c.n + fresh.k FROM fresh, @counters c
				WHERE c.shard = $1 AND c.name = '`+counterEvent+`' AND v.shard = $1
					AND v.stamp = fresh.stamp AND v.ord = fresh.ord AND v.tie = fresh.tie RETURNING 1),
			counted AS (UPDATE @counters SET n = n + (SELECT count(*) FROM numbered) WHERE shard = $1 AND name = '`+counterEvent+`')
		SELECT count(*) FROM numbered`, []any{u.e.numbered, int64(math.MaxInt64)}, &n)
	return n, err
}

// eventNumber returns the counting part of an event's id.
func eventNumber(id recall.EventID) int64 {
	n, _ := parseEventID(id)
	return n
}

// parseEventID reads the counting part of an id, which is never 0.
func parseEventID(id recall.EventID) (n int64, ok bool) {
	mark, number, _ := strings.Cut(string(id), "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 {
		return 0, false
	}
	ms, err := strconv.ParseUint(mark, 10, 63)
	return n, err == nil && eventID(int64(ms), n) == id
}

func eventID(ms, n int64) recall.EventID {
	return recall.EventID(strconv.FormatInt(ms, 10) + "-" + strconv.FormatInt(n, 10))
}

// unreadEvents is how many events may be without a place in the log, which only those
// with one leave. Where nobody reads the log the background work gives the places out.
const unreadEvents = 4 * eventPart

// unread tells whether too many events have no place, or one of them is old enough to go.
func (e *Engine) unread(ctx context.Context, now time.Time) (some bool, err error) {
	if e.opts.NoEvents {
		return false, nil
	}
	err = e.pool.QueryRow(ctx, e.sql(`SELECT count(*) > $2 OR COALESCE(min(at_ms) < $3, false)
		FROM (SELECT at_ms FROM @events WHERE shard = $1 AND n IS NULL LIMIT $2::bigint + 1) v`),
		e.shard, min(e.opts.MaxEvents, unreadEvents), toMS(now.Add(-e.opts.EventRetention))).Scan(&some)
	return some, err
}

// dropEvents removes, of the oldest events, what is older than is kept, and what is too
// much. It reports whether there may be more.
func (u *unit) dropEvents(now time.Time) (more bool, err error) {
	tooMany := `(SELECT max(l.n) FROM @events l WHERE l.shard = $1) - $3`
	if u.e.numbers.many() { // numbers have gaps
		tooMany = `(SELECT l.n FROM @events l WHERE l.shard = $1 AND l.n IS NOT NULL ORDER BY l.n DESC OFFSET $3 LIMIT 1)`
	}
	n, err := u.exec(`DELETE FROM @events v WHERE v.shard = $1 AND v.n IN (SELECT o.n FROM (SELECT l.n, l.at_ms FROM @events l
			WHERE l.shard = $1 AND l.n IS NOT NULL ORDER BY l.n LIMIT $4) o WHERE o.at_ms < $2 OR o.n <= `+tooMany+`)`,
		toMS(now.Add(-u.e.opts.EventRetention)), u.e.opts.MaxEvents, eventPart)
	return n > eventPart/2, err
}
