package postgres

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// plainReady is what waits in no room.
const plainReady = `m.shard = $1 AND m.state = 0 AND NOT m.held AND m.queue = '' AND m.flow_key = ''`

// levelsOf are the handlers, rows (h) of the text list, and priorities that have something
// in no room, with the first due time. It goes from one priority to the next that there
// is.
func levelsOf(list string) string {
	return `WITH RECURSIVE v (h, p) AS (
		SELECT h, (SELECT m.priority FROM @messages m WHERE ` + plainReady + ` AND m.handler = h ORDER BY m.priority DESC LIMIT 1)
			FROM ` + list + `
		UNION ALL SELECT v.h, (SELECT m.priority FROM @messages m WHERE ` + plainReady + ` AND m.handler = v.h AND m.priority < v.p
			ORDER BY m.priority DESC LIMIT 1) FROM v WHERE v.p IS NOT NULL)
	SELECT v.h, v.p, (SELECT m.due_ms FROM @messages m WHERE ` + plainReady + ` AND m.handler = v.h AND m.priority = v.p
		ORDER BY m.due_ms LIMIT 1) AS first FROM v WHERE v.p IS NOT NULL`
}

// fewHandlers are so many that each is a parameter of its own. PostgreSQL then expects
// as many rows of its plan for any parameters, and keeps that plan; of an array it
// expects ten.
const fewHandlers = 8

// listHandlers is the text of the list of handlers whose first parameter is that, and
// the parameters.
func listHandlers(handlers []string, first int) (text string, args []any) {
	if len(handlers) > fewHandlers {
		return `unnest($` + strconv.Itoa(first) + `::text[]) h`, []any{handlers}
	}
	var rows []string
	for i, h := range handlers {
		rows = append(rows, `($`+strconv.Itoa(first+i)+`::text)`)
		args = append(args, h)
	}
	return `(VALUES ` + strings.Join(rows, ", ") + `) AS h (h)`, args
}

// readLevels reads what is left in no room at the time $3, and in front whether there
// are rooms to look into, and errands, and whether the owner $2 may give out leases.
func readLevels(list string) string {
	return `SELECT NULL::text AS h, NULL::smallint AS p, ` + roomsToLook + ` AS rooms, ` + hasErrands + ` AS errands, ` + holds + ` AS holds,
			NULL::bigint AS first, NULL::bigint AS later
		UNION ALL SELECT l.h, l.p, NULL, NULL, NULL, l.first, (SELECT m.due_ms FROM @messages m WHERE ` + plainReady + `
			AND m.handler = l.h AND m.priority = l.p AND m.due_ms > $3 ORDER BY m.due_ms LIMIT 1)
		FROM (` + levelsOf(list) + `) l WHERE l.first IS NOT NULL`
}

// roomsToLook tells whether there is a room in which something may be, now or later.
const roomsToLook = `(EXISTS (SELECT 1 FROM @queues WHERE shard = $1 AND look_ms < ` + neverText + ` AND NOT paused)
	OR EXISTS (SELECT 1 FROM @flows WHERE shard = $1 AND look_ms < ` + neverText + `))`

// leased makes what c names in flight, in the order of c.k, and logs that. Its
// parameters are those of leaseArgs.
const leased = `l AS (UPDATE @messages m SET state = 1, epoch = $2, number = $3 + c.k, attempts = m.attempts + 1
		FROM c WHERE m.shard = $1 AND m.id = c.id RETURNING m.*),
	logged AS (INSERT INTO @events (shard, stamp, ord, tie, at_ms, state, id, row)
		SELECT $1, ` + clockUS + `, m.number - $3, $4 + m.number - $3, $5, $6, m.id, convert_to(json_strip_nulls(json_build_object(
			'u', NULLIF(m.url, ''), 'q', NULLIF(m.queue, ''), 't', NULLIF(m.topic, ''), 's', NULLIF(m.schedule, ''),
			'ip', CASE WHEN m.ip <> '' THEN convert_from(p.spec, 'UTF8')::json->>'ip' END, 'f', NULLIF(m.flow_key, ''),
			'l', CASE WHEN m.labels <> '{}' THEN to_json(m.labels) END, 'a', m.attempts))::text, 'UTF8')
		FROM l m JOIN @payloads p ON p.shard = $1 AND p.id = m.id WHERE $7 ORDER BY m.number)
	SELECT m.number, 'in flight', ` + columns + ` FROM l m JOIN @payloads p ON p.shard = $1 AND p.id = m.id`

// leaseChosen leases messages $8 that this transaction has locked.
const leaseChosen = `WITH c AS (SELECT x.id, x.k FROM unnest($8::uuid[]) WITH ORDINALITY AS x (id, k) WHERE ` + holds + `), ` + leased

// leasePlain is the text that leases what is first in no room: of the highest level that
// has something due, for a list of handlers at the time $8, at most as many as n; nothing as
// long as there is a room to look into. The key of the commit, $9, is written with it. The
// number is in the text, so that the plan for any parameters is one for so few.
func leasePlain(list string, n int) string {
	most := strconv.Itoa(n)
	return `WITH v AS MATERIALIZED (SELECT l.* FROM (` + levelsOf(list) + `) l WHERE l.first <= $8 AND ` + holds + ` AND NOT ` + roomsToLook + `),
		c AS MATERIALIZED (SELECT x.id, row_number() OVER (ORDER BY x.due_ms, x.id) AS k FROM (SELECT w.id, w.due_ms FROM v CROSS JOIN LATERAL (
			SELECT m.id, m.due_ms FROM @messages m WHERE ` + plainReady + ` AND m.handler = v.h AND m.priority = v.p AND m.due_ms <= $8
			ORDER BY m.due_ms, m.id LIMIT ` + most + ` FOR UPDATE SKIP LOCKED) w
			WHERE v.p = (SELECT max(p) FROM v) ORDER BY w.due_ms, w.id LIMIT ` + most + `) x),
		called AS (INSERT INTO @calls (shard, call, at_us) SELECT $1, $9, ` + clockUS + ` FROM c LIMIT 1), ` + leased
}

// begin leases what is in no room if there is no room to look into, and reads what is
// left.
func (c *claim) begin() error {
	if len(c.wanted) == 0 {
		return nil
	}
	call := newCall()
	b := c.u.batch()
	if c.most > 0 {
		list, args := listHandlers(c.wanted, 10)
		b.read(c.scanLease, leasePlain(list, c.most), slices.Concat(c.leaseArgs(c.most), []any{c.now, *call}, args)...)
	}
	list, args := listHandlers(c.wanted, 4)
	b.read(c.scanLevel, readLevels(list), slices.Concat([]any{c.epoch, c.now}, args)...)
	if err := b.send(); err != nil {
		return err
	}
	slices.SortStableFunc(c.levels, func(a, b level) int { return b.priority - a.priority })
	if len(c.leases) > 0 {
		c.u.call = call
	}
	c.most -= len(c.leases)
	return nil
}

func (c *claim) scanLevel(row pgx.Rows) error {
	var handler *string
	var priority *int
	var rooms, errands, holds *bool
	var first, later *int64
	err := row.Scan(&handler, &priority, &rooms, &errands, &holds, &first, &later)
	switch {
	case err != nil:
	case handler == nil:
		c.rooms, c.errands, c.lapsed = *rooms, *errands, !*holds
	default:
		c.levels = append(c.levels, level{handler: *handler, priority: *priority, first: *first, later: later})
	}
	return err
}

// leaseArgs are the parameters of leased, with n numbers of leases.
func (c *claim) leaseArgs(n int) []any {
	last := c.u.e.number.Add(uint64(n))
	return []any{
		c.epoch, last - uint64(n), rand.Int64N(1 << 62), c.now, slices.Index(eventStates, recall.EventActive), !c.u.e.opts.NoEvents,
	}
}

func (c *claim) scanLease(row pgx.Rows) error {
	var l recall.Lease
	var err error
	l.Token.Epoch = c.epoch
	l.Message, err = readMessage(row, &l.Token.Number)
	c.leases = append(c.leases, l)
	return err
}

// byNumber is the order in which leases were given.
func byNumber(a, b recall.Lease) int { return cmp.Compare(a.Token.Number, b.Token.Number) }
