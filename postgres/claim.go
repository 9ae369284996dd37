package postgres

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Claim implements [recall.Engine]. It locks what it looks at and passes over what
// others have locked, so it waits for nobody. Where no room has anything to offer it is
// two round trips: what is in no queue and under no flow-control key is found in the
// order of an index and leased in the same statement. Rooms are locked first, and
// looked into then, so that their limits hold for all processes.
func (e *Engine) Claim(ctx context.Context, req recall.ClaimRequest) (res recall.ClaimResult, err error) {
	if err := e.enter(ctx); err != nil {
		return res, err
	}
	defer e.leave()
	for settled := false; ; {
		var errands, lapsed bool
		epoch := e.epoch.Load()
		err := e.do(ctx, func(u *unit) error {
			u.claims = true
			c := &claim{u: u, settled: settled, now: toMS(req.Now), most: min(max(0, req.Max), math.MaxInt32), wanted: wantedOf(&req), epoch: epoch, next: never}
			res, err = c.run()
			errands, lapsed = c.errands && !settled, c.lapsed
			return err
		})
		if err != nil {
			return recall.ClaimResult{}, err
		}
		switch {
		case lapsed, len(res.Leases) > 0 && e.lateToRenew():
			err = e.registerAnew(ctx, epoch)
		case errands:
			err, settled = e.runErrands(ctx), true
		default:
			e.begun.note(res.Leases, toMS(req.Now))
			return res, nil
		}
		if err != nil {
			return recall.ClaimResult{}, err
		}
	}
}

// wantedOf are the handlers to claim for; "" is HTTP.
func wantedOf(req *recall.ClaimRequest) []string {
	wanted := slices.Clone(req.Handlers)
	if !req.Only {
		wanted = append(wanted, "")
	}
	return storable(wanted)
}

// claim is one call.
type claim struct {
	u      *unit
	now    int64
	most   int      // that may still be claimed
	wanted []string // handlers; "" is HTTP
	epoch  uint64
	// errands: there are some, which may change what can be claimed; settled: they were run.
	errands, settled bool
	rooms            bool // there are some to look into
	lapsed           bool // this engine has not renewed its leases in time

	levels  []level
	queues  []*queue
	flows   map[string]*flow
	waiting []*candidate
	next    int64
	leases  []recall.Lease
}

// candidate is a message that may be claimed, or is not due.
type candidate struct {
	id       [16]byte
	due      int64
	priority int
	queue    string
	flow     string
	handler  string
	locked   bool // nobody else has it
	taken    bool
}

func (c *claim) run() (res recall.ClaimResult, err error) {
	if err := c.begin(); err != nil {
		return res, err
	}
	if c.lapsed || c.errands && !c.settled {
		c.u.nothing = true
		return res, nil
	}
	if c.rooms || c.most > 0 && c.anyDue() {
		if err := c.rest(); err != nil {
			return res, err
		}
	} else if len(c.levels) > 0 {
		c.nextPlain()
	}
	if c.lapsed {
		c.u.nothing = true
		return res, nil
	}
	slices.SortFunc(c.leases, byNumber)
	res.Leases = c.leases
	if c.next != never {
		res.Next = fromMS(c.next)
	}
	c.u.nothing = c.u.call == nil
	return res, nil
}

// rest claims what the first statements have not: of lower levels, and in rooms.
func (c *claim) rest() error {
	for _, step := range []func() error{c.lockRooms, c.plain, c.lookIntoQueues, c.lockFlowsOfQueued, c.lookIntoFlows, c.lockWaiting} {
		if err := step(); err != nil {
			return err
		}
	}
	c.choose()
	if err := c.lease(); err != nil || c.lapsed {
		return err
	}
	return c.closeRooms()
}

// nextPlain finds out when there will be more, if no more is to be claimed now. What is
// due and was not claimed although it might have been is in the hands of others.
func (c *claim) nextPlain() {
	for _, l := range c.levels {
		if c.most == 0 {
			c.next = min(c.next, l.first)
		} else if l.later != nil {
			c.next = min(c.next, *l.later)
		}
	}
}

// anyDue tells whether something in no room is due.
func (c *claim) anyDue() bool {
	return slices.ContainsFunc(c.levels, func(l level) bool { return c.isDue(l.first) })
}

// isDue tells whether a time has come.
func (c *claim) isDue(ms int64) bool { return ms <= c.now }

func (c *claim) wants(handler string) bool { return slices.Contains(c.wanted, handler) }

// level is one handler and priority among what is in no room.
type level struct {
	handler  string
	priority int
	first    int64  // the earliest due time
	later    *int64 // the earliest that has not come
}

// plain collects what is in no room: of each level that has something due as much as
// may be claimed, and one more.
func (c *claim) plain() error {
	for i, l := range c.levels {
		if l.later != nil {
			c.waiting = append(c.waiting, &candidate{due: *l.later, handler: l.handler})
		}
		if !c.isDue(l.first) || i > 0 && l.priority < c.levels[i-1].priority && c.enough() {
			continue
		}
		if err := c.lockLevel(&l); err != nil {
			return err
		}
	}
	return nil
}

// enough tells whether more is locked than may be claimed.
func (c *claim) enough() bool {
	n := 0
	for _, w := range c.waiting {
		if w.locked {
			n++
		}
	}
	return n > c.most
}

func (c *claim) lockLevel(l *level) error {
	list, err := collect(c.u, func(row pgx.CollectableRow) (*candidate, error) {
		w := &candidate{priority: l.priority, locked: true, handler: l.handler}
		return w, row.Scan(&w.id, &w.due)
	}, `SELECT m.id, m.due_ms FROM @messages m WHERE `+plainReady+` AND m.handler = $2 AND m.priority = $3 AND m.due_ms <= $4
		ORDER BY m.due_ms, m.id LIMIT $5 FOR UPDATE SKIP LOCKED`, l.handler, l.priority, c.now, c.most+1)
	c.waiting = append(c.waiting, list...)
	return err
}

// maxRooms is how many queues, and how many keys, one claim looks into, and soonRooms
// how many of those in which something will be due later: so that Next is exact while
// there are not many.
const (
	maxRooms  = 1000
	soonRooms = 20
)

// lockRooms locks the queues and keys in which there may be something.
func (c *claim) lockRooms() error {
	c.flows = map[string]*flow{}
	b := c.u.batch()
	b.read(func(row pgx.Rows) error {
		q := &queue{look: never}
		c.queues = append(c.queues, q)
		return row.Scan(&q.name, &q.places, &q.had)
	}, firstQueues, c.now, maxRooms, soonRooms)
	b.read(func(row pgx.Rows) error {
		f, err := scanFlow(row)
		c.flows[f.key] = f
		return err
	}, firstFlows, c.now, maxRooms, soonRooms)
	b.read(func(row pgx.Rows) error {
		var nextQueue, nextFlow *int64
		err := row.Scan(&nextQueue, &nextFlow)
		for _, ms := range []*int64{nextQueue, nextFlow} {
			if ms != nil {
				c.next = min(c.next, *ms)
			}
		}
		return err
	}, laterRooms, c.now, soonRooms, int64(never))
	return b.send()
}

var (
	firstQueues = firstRooms("queue, parallelism, look_ms", "@queues", "AND NOT paused")
	firstFlows  = firstRooms(flowColumns, "@flows", "")
	laterRooms  = `SELECT ` + laterRoom("@queues", "AND NOT paused") + `, ` + laterRoom("@flows", "")
)

func firstRooms(columns, table, cond string) string {
	return `SELECT * FROM (SELECT ` + columns + ` FROM ` + table + ` WHERE shard = $1 AND look_ms <= $2 ` + cond + `
			ORDER BY look_ms LIMIT $3 FOR UPDATE SKIP LOCKED) now
		UNION ALL SELECT * FROM (SELECT ` + columns + ` FROM ` + table + ` WHERE shard = $1 AND look_ms > $2 AND look_ms < ` + neverText + ` ` + cond + `
			ORDER BY look_ms LIMIT $4 FOR UPDATE SKIP LOCKED) soon`
}

// laterRoom is when the first room is to be looked into of those that were left out.
func laterRoom(table, cond string) string {
	return `(SELECT look_ms FROM ` + table + ` WHERE shard = $1 AND look_ms > $2 AND look_ms < $4 ` + cond + ` ORDER BY look_ms OFFSET $3 LIMIT 1)`
}

const neverText = "9223372036854775807"

// queue is one that a claim has locked.
type queue struct {
	name   string
	places int
	out    int
	kept   int   // places of what is gone
	had    int64 // when it was to be looked into
	look   int64 // and is, after the claim
}

// lookIntoQueues reads, in one statement, the first messages of the queues and how
// many are out.
func (c *claim) lookIntoQueues() error {
	if len(c.queues) == 0 {
		return nil
	}
	byName := map[string]*queue{}
	names, places := make([]string, len(c.queues)), make([]int, len(c.queues))
	for i, q := range c.queues {
		names[i], places[i], byName[q.name] = q.name, q.places, q
	}
	_, err := collect(c.u, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var w candidate
		var id *[16]byte
		var rank, out, kept int
		var state *int
		var held *bool
		var due *int64
		var priority *int
		var flow, handler *string
		if err = row.Scan(&w.queue, &out, &kept, &rank, &id, &state, &held, &due, &priority, &flow, &handler); err != nil {
			return
		}
		q := byName[w.queue]
		q.out, q.kept = out, kept
		if id == nil || *state != 0 || *held || out >= q.places || rank > q.places-kept {
			return
		}
		w.id, w.due, w.priority, w.flow, w.handler = *id, *due, *priority, *flow, *handler
		c.waiting = append(c.waiting, &w)
		return
	}, `SELECT s.queue, (SELECT count(*) FROM (SELECT 1 FROM @messages o WHERE o.shard = $1 AND o.queue = s.queue AND o.queue <> ''
				AND o.state = 1 LIMIT s.places) x),
			`+placesKept+`, COALESCE(w.rank, 0), w.id, w.state, w.held, w.due_ms, w.priority, w.flow_key, w.handler
		FROM unnest($2::text[], $3::int[]) AS s (queue, places)
		LEFT JOIN LATERAL (SELECT row_number() OVER (ORDER BY f.id) AS rank, f.* FROM (SELECT m.* FROM @messages m WHERE m.shard = $1
			AND m.queue = s.queue AND m.queue <> '' AND m.state < 2 ORDER BY m.id LIMIT s.places) f) w ON true`, names, places)
	return err
}

// lockFlowsOfQueued locks the keys of what is first in its queue. What cannot be
// locked is being claimed from: such messages have to wait for the next call.
func (c *claim) lockFlowsOfQueued() error {
	var keys []string
	for _, w := range c.waiting {
		if w.flow != "" && c.flows[w.flow] == nil {
			keys = append(keys, w.flow)
		}
	}
	if keys == nil {
		return nil
	}
	list, err := collect(c.u, func(row pgx.CollectableRow) (*flow, error) { return scanFlow(row) }, `SELECT `+flowColumns+` FROM @flows f WHERE f.shard = $1 AND f.flow_key = ANY($2::text[])
		ORDER BY f.flow_key FOR UPDATE SKIP LOCKED`, storable(keys))
	for _, f := range list {
		c.flows[f.key] = f
	}
	return err
}

// lookIntoFlows reads how many attempts of the keys run, and of each that is not shut
// what is due in no queue, as much as may be claimed and one more.
func (c *claim) lookIntoFlows() error {
	if len(c.flows) == 0 {
		return nil
	}
	var keys []string
	for key := range c.flows {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b := c.u.batch()
	b.read(func(row pgx.Rows) error {
		var key string
		var n int
		err := row.Scan(&key, &n)
		c.flows[key].inFlight = n
		return err
	}, `SELECT k, (SELECT count(*) FROM @messages o WHERE o.shard = $1 AND o.flow_key = k AND o.flow_key <> '' AND o.state = 1)
		FROM unnest($2::text[]) k`, keys)
	b.read(c.scanKeyed, keyedReady, keys, c.now, c.wanted, c.most+1)
	b.read(c.scanKeyed, keyedLater, keys, c.now, c.wanted)
	return b.send()
}

// keyedReady is the first of what is due and asked for under each key, by priority;
// keyedLater the first that is not due, and the first that is not asked for.
const (
	keyedColumns = `m.id, m.due_ms, m.priority, m.flow_key, m.handler`
	keyedFrom    = `(SELECT ` + keyedColumns + ` FROM @messages m WHERE m.shard = $1 AND m.flow_key = k AND m.flow_key <> '' AND m.queue = ''
			AND m.state = 0 AND NOT m.held`
	keyedReady = `SELECT w.* FROM unnest($2::text[]) k CROSS JOIN LATERAL ` + keyedFrom + ` AND m.due_ms <= $3 AND m.handler = ANY($4::text[])
			ORDER BY m.priority DESC, m.due_ms, m.id LIMIT $5) w`
	keyedLater = `SELECT w.* FROM unnest($2::text[]) k CROSS JOIN LATERAL (` +
		keyedFrom + ` AND m.due_ms > $3 AND m.handler = ANY($4::text[]) ORDER BY m.due_ms, m.id LIMIT 1) UNION ALL ` +
		keyedFrom + ` AND NOT m.handler = ANY($4::text[]) ORDER BY m.due_ms, m.id LIMIT 1)) w`
)

func (c *claim) scanKeyed(row pgx.Rows) error {
	w := &candidate{}
	c.waiting = append(c.waiting, w)
	return row.Scan(&w.id, &w.due, &w.priority, &w.flow, &w.handler)
}

// lockWaiting locks what is due in rooms. What another transaction has locked, or has
// changed, is passed over, and its room looked into again; so is what has come with a
// limit for its key that is an errand yet.
func (c *claim) lockWaiting() error {
	var ids [][16]byte
	for _, w := range c.waiting {
		if !w.locked && c.isDue(w.due) && c.wants(w.handler) {
			ids = append(ids, w.id)
		}
	}
	if ids == nil {
		return nil
	}
	locked := map[[16]byte]bool{}
	_, err := collect(c.u, func(row pgx.CollectableRow) (_ struct{}, err error) {
		var id [16]byte
		err = row.Scan(&id)
		locked[id] = true
		return
	}, `SELECT m.id FROM @messages m WHERE m.shard = $1 AND m.id = ANY($2::uuid[]) AND m.state = 0 AND NOT m.held AND m.due_ms <= $3
			AND NOT EXISTS (SELECT 1 FROM @errands r WHERE r.shard = $1 AND r.kind = 2 AND r.value <> '' AND r.name = m.flow_key)
		ORDER BY m.id FOR UPDATE SKIP LOCKED`, ids, c.now)
	for _, w := range c.waiting {
		w.locked = w.locked || locked[w.id]
	}
	return err
}

// choose takes what is due in the order of claims, as long as there is room, and
// finds out when there will be more.
func (c *claim) choose() {
	slices.SortStableFunc(c.waiting, c.order)
	taken := 0
	for _, w := range c.waiting {
		if !c.wants(w.handler) {
			continue
		}
		f := c.flows[w.flow]
		switch due := c.isDue(w.due); {
		case due && (!w.locked || w.flow != "" && f == nil):
			c.next = min(c.next, c.now+lockedPause) // somebody else has it now
		case due && f != nil && f.shut(c.now):
			if at, ok := f.nextPeriod(c.now); ok {
				c.next = min(c.next, at)
			}
		case !due || taken >= c.most:
			c.next = min(c.next, w.due)
			return
		default:
			if f != nil {
				f.begins(c.now)
			}
			w.taken = true
			taken++
		}
	}
}

// lockedPause is when a claim is to look again, in ms, at what somebody has locked: an
// instant, or for as long as a transaction of a program is open.
const lockedPause = 20

// order: what is due by priority and then by its time, and behind that what is not.
func (c *claim) order(a, b *candidate) int {
	if due := c.isDue(a.due); due != c.isDue(b.due) {
		if due {
			return -1
		}
		return 1
	} else if due && a.priority != b.priority {
		return b.priority - a.priority
	}
	return cmp.Or(cmp.Compare(a.due, b.due), slices.Compare(a.id[:], b.id[:]))
}

// lease marks what was chosen as in flight.
func (c *claim) lease() error {
	var ids [][16]byte
	for _, w := range c.waiting {
		if w.taken {
			ids = append(ids, w.id)
		}
	}
	if ids == nil {
		return nil
	}
	b, before := c.u.batch(), len(c.leases)
	b.read(c.scanLease, leaseChosen, append(c.leaseArgs(len(ids)), ids)...)
	err := b.send()
	c.lapsed = err == nil && len(c.leases) == before
	return err
}

// closeRooms notes when the rooms that were looked into are worth a look again.
func (c *claim) closeRooms() error {
	b := c.u.batch()
	allQueues, allFlows := c.all()
	queues := map[string]*queue{}
	for _, q := range c.queues {
		queues[q.name] = q
	}
	for _, w := range c.waiting {
		switch q, f := queues[w.queue], c.flows[w.flow]; {
		case w.taken:
		case q != nil:
			q.look = min(q.look, c.behind(w.due, allQueues)) // its key may be opened from elsewhere
		case f != nil:
			f.look = min(f.look, c.behind(c.lookAgain(w), allFlows))
		}
	}
	for _, q := range c.queues {
		if q.look != q.had {
			b.add(`UPDATE @queues SET look_ms = $3 WHERE shard = $1 AND queue = $2`, q.name, q.look)
		}
	}
	for _, f := range c.flows {
		if f.look != f.had || f.begun > 0 {
			b.add(`UPDATE @flows SET look_ms = $3, start_ms = $4, used = $5 WHERE shard = $1 AND flow_key = $2`, f.key, f.look, f.start, f.used)
		}
	}
	if b.b.Len() == 0 && len(c.leases) == 0 {
		return nil
	}
	return b.sendLast()
}

// all tells whether all queues, and all keys, in which there may be something were looked
// into, and not only as many as one claim does.
func (c *claim) all() (queues, flows bool) {
	now := 0
	for _, q := range c.queues {
		if c.isDue(q.had) {
			now++
		}
	}
	queues, now = now < maxRooms, 0
	for _, f := range c.flows {
		if c.isDue(f.had) {
			now++
		}
	}
	return queues, now < maxRooms
}

// behind is when a room is to be looked into again in which something may be taken at a
// time. Where not all were looked into it goes behind the others: if it is for handlers of
// other processes it would be in the way at every claim.
func (c *claim) behind(ms int64, all bool) int64 {
	if all {
		return ms
	}
	return max(ms, c.now)
}

// lookAgain is when a message that was not taken may be. A key that is shut is opened
// by the end of an attempt, which has it looked into, or by its next period.
func (c *claim) lookAgain(w *candidate) int64 {
	f := c.flows[w.flow]
	if f == nil || !c.isDue(w.due) || !f.shut(c.now) {
		return w.due
	}
	if at, ok := f.nextPeriod(c.now); ok {
		return at
	}
	return never
}
