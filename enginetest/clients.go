package enginetest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// recorder lets random clients loose on an engine and writes down what they
// ask and are told.
type recorder struct {
	x    *fixture
	name string // that no message of another history on the engine has
	tick atomic.Int64
	most int // messages

	mu     sync.Mutex
	h      history
	leases []heldLease // by number: all that were given out, stale ones too
	known  []int       // messages whose ids are known
	waits  waits
}

type heldLease struct {
	message int
	lease   recall.Lease
}

// partEnd says how a part of a history comes to its end.
type partEnd uint8

const (
	stay      partEnd = iota // the engine goes on
	closing                  // Close, and the next engine on what it left
	quietHalt                // a crash, after the last answer
	halt                     // a crash in the middle
	endings
)

// record runs clients in parts, each with its end, and returns the history.
func record(x *fixture, rng *rand.Rand, name string, parts []partEnd) *history {
	r := &recorder{x: x, name: name, most: 5 + rng.IntN(8)}
	r.h.walk = x.h.Walk
	for _, end := range parts {
		r.part(rng, end)
		r.look()
	}
	r.h.order()
	r.sweep()
	return &r.h
}

// sweep ends all that is left, for the next history on the engine.
func (r *recorder) sweep() {
	for _, l := range r.leases {
		err := r.x.e.Finish(r.x.ctx, l.lease, r.x.ending(recall.Delivered))
		if !errors.Is(err, recall.ErrLeaseLost) {
			r.x.check(err, "Finish")
		}
	}
	_, err := r.x.e.CancelMatching(r.x.ctx, recall.CancelMatchingRequest{All: true, Now: r.x.now})
	r.x.check(err, "CancelMatching of all")
	r.x.settle()
}

// part runs some clients, until all are done or the engine is taken away.
func (r *recorder) part(rng *rand.Rand, end partEnd) {
	clients := make([]*client, 3+rng.IntN(3))
	for i := range clients {
		clients[i] = &client{
			recorder: r, e: r.x.e, number: i, calls: 8 + rng.IntN(13),
			rng: rand.New(rand.NewPCG(rng.Uint64(), uint64(i))),
		}
	}
	r.waits.open(len(clients))
	var cut atomic.Int64 // when the engine is taken away
	cut.Store(1 << 62)
	if end != halt {
		r.x.together(len(clients), func(i int) { clients[i].run(&cut) })
		if end != stay {
			r.cut(&cut, end, nil)
		}
		return
	}
	after, more := r.tick.Load()+int64(10+rng.IntN(60)), int64(rng.IntN(20))
	var done sync.WaitGroup
	done.Add(len(clients))
	r.x.together(len(clients)+1, func(i int) {
		if i < len(clients) {
			defer done.Done()
			clients[i].run(&cut)
			return
		}
		r.linger(after, math.MaxInt)
		if r.x.h.Stall != nil {
			r.x.h.Stall()
			r.linger(r.tick.Load()+more, 1000)
		}
		r.cut(&cut, halt, &done)
	})
}

// linger lets the clients go on for a while, at most as often as it has yielded.
func (r *recorder) linger(until int64, yields int) {
	for n := 0; n < yields && r.tick.Load() < until && !r.waits.over(); n++ {
		yield()
	}
}

// cut takes the engine away and opens the next one. What was not answered
// before is as good as never answered.
func (r *recorder) cut(cut *atomic.Int64, end partEnd, clients *sync.WaitGroup) {
	began := r.tick.Add(1)
	cut.Store(began)
	reopen := r.x.h.Reopen
	if end != closing && r.x.h.Crash != nil {
		reopen = func(_ bool, now time.Time) (recall.Engine, error) { return r.x.h.Crash(now) }
	}
	e, err := reopen(end != closing, r.x.now)
	r.waits.end()
	if err != nil {
		r.x.Errorf("Reopen: %v", err)
	}
	if clients != nil {
		clients.Wait()
	}
	r.x.e = e
	opened := &call{began: r.tick.Add(1), client: -1, verb: verbReopen, crash: end != closing}
	for _, c := range r.h.calls {
		if c.ended > began && c.began < opened.began {
			c.said, c.ended = saidNothing, opened.began
		}
	}
	opened.ended = r.tick.Add(1)
	r.h.calls = append(r.h.calls, opened)
	r.forget()
}

// forget takes back what was learned from answers that count for nothing. What
// they say was published may not be there, and its id may be given out again.
func (r *recorder) forget() {
	for _, c := range r.h.calls {
		if c.verb != verbInsert || c.said != saidNothing {
			continue
		}
		for _, m := range c.messages {
			r.h.messages[m].id = ""
		}
	}
	r.known = slices.DeleteFunc(r.known, func(m int) bool { return r.h.messages[m].id == "" })
}

// look asks, while nothing else happens, what there is. A durable change goes
// before it: it puts all earlier ones behind it, and letters to the dead among
// them.
func (r *recorder) look() {
	x := r.x
	x.check(x.cancel(x.publish()), "Cancel")
	c := &call{began: r.tick.Add(1), client: -1, verb: verbLook}
	msgs, err := x.e.List(x.ctx, recall.Filter{}, "", 1<<30, x.now)
	x.check(err, "List")
	for _, m := range msgs {
		if n := r.numberOf(&m); n >= 0 {
			c.messages, c.states = append(c.messages, n), append(c.states, m.State)
		}
	}
	for _, d := range x.listDead(recall.Filter{}) {
		if n := r.numberOf(&d.Message); n >= 0 {
			c.dead = append(c.dead, n)
		}
	}
	r.add(c)
}

// add writes a call down, at its end.
func (r *recorder) add(c *call) {
	c.ended = r.tick.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.calls = append(r.h.calls, c)
}

// numberOf reads the number of a message in its body, and notes its id. A
// message of an earlier history has none.
func (r *recorder) numberOf(m *recall.Message) int {
	n := -1
	if text, ok := strings.CutPrefix(string(m.Body), r.name+" "); ok {
		if _, err := fmt.Sscan(text, &n); err != nil {
			r.x.Errorf("message %s has the body %q", m.ID, m.Body)
			return -1
		}
		r.learn(n, m.ID)
	}
	return n
}

// learn notes the id of a message.
func (r *recorder) learn(n int, id recall.MessageID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &r.h.messages[n]
	switch m.id {
	case id:
	case "":
		m.id = id
		r.known = append(r.known, n)
	default:
		r.x.Errorf("message %d has two ids: %s and %s", n, m.id, id)
	}
}

// client makes random calls, one after the other.
type client struct {
	*recorder
	e      recall.Engine
	number int
	rng    *rand.Rand
	calls  int
}

// run ends early when the engine was taken away.
func (c *client) run(cut *atomic.Int64) {
	defer c.waits.leave()
	for range c.calls {
		if c.tick.Load() > cut.Load() {
			return
		}
		c.one()
		c.waits.pass(c.tick.Load())
		if c.rng.IntN(3) == 0 {
			yield()
		}
	}
}

// one makes a call. The weights keep messages moving, and enough of them
// pending for cancellations to find.
func (c *client) one() {
	switch n := c.rng.IntN(100); {
	case n < 18:
		c.insert()
	case n < 34:
		c.claim()
	case n < 59:
		c.finish()
	case n < 67:
		c.cancel()
	case n < 77:
		c.get()
	case n < 82:
		c.count()
	case n < 86:
		c.restore()
	case n < 97:
		c.bulk()
	default:
		_, err := c.e.Maintain(c.x.ctx, c.x.now)
		c.told(&call{}, err)
	}
}

func (c *client) begin(v verb) *call {
	return &call{began: c.tick.Add(1), client: c.number, verb: v}
}

// told writes into a call what its error says.
func (c *client) told(op *call, err error) {
	switch {
	case err == nil:
	case errors.Is(err, recall.ErrNotFound):
		op.said = saidNotFound
	case errors.Is(err, recall.ErrNotCancellable):
		op.said = saidInFlight
	case errors.Is(err, recall.ErrUndoExpired):
		op.said = saidExpired
	case errors.Is(err, recall.ErrLeaseLost):
		op.said = saidLeaseLost
	case errors.Is(err, recall.ErrClosed):
		op.said = saidNothing
	default:
		c.x.Errorf("unexpected error: %v", err)
		op.said = saidNothing
	}
}

var clientLabels = []string{"a", "b", "c"}

func (c *client) insert() {
	msgs, numbers := c.newMessages(max(1, c.rng.IntN(4)))
	if len(msgs) == 0 {
		c.get()
		return
	}
	op := c.begin(verbInsert)
	op.messages = numbers
	receipts, err := c.e.Insert(c.x.ctx, msgs, c.x.now)
	c.told(op, err)
	c.add(op)
	for i, r := range receipts {
		c.learn(numbers[i], r.ID)
	}
}

// newMessages returns up to n messages that bear their numbers.
func (c *client) newMessages(n int) (msgs []recall.Message, numbers []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range min(n, c.most-len(c.h.messages)) {
		number := len(c.h.messages)
		labels := []string{clientLabels[c.rng.IntN(len(clientLabels))]}
		if c.rng.IntN(3) == 0 {
			labels = clientLabels[:2]
		}
		m := c.x.message(label(labels...), due(c.soonOrNever()))
		m.Retries, m.Body = recall.Retries(recall.MaxRetries), fmt.Append(nil, c.name, " ", number)
		c.h.messages = append(c.h.messages, sent{labels: labels})
		msgs, numbers = append(msgs, m), append(numbers, number)
	}
	return msgs, numbers
}

// soonOrNever is a due time: one that has come, or one that does not come within
// the history.
func (c *client) soonOrNever() time.Time {
	if c.rng.IntN(4) == 0 {
		return far
	}
	return c.x.now
}

func (c *client) claim() {
	op := c.begin(verbClaim)
	res, err := c.e.Claim(c.x.ctx, recall.ClaimRequest{Now: c.x.now, Max: 1 + c.rng.IntN(2)})
	c.told(op, err)
	for _, l := range res.Leases {
		n := c.numberOf(&l.Message)
		if n < 0 {
			c.x.Errorf("Claim: got %s, which is not of this history", l.Message.ID)
			continue
		}
		op.messages, op.leases = append(op.messages, n), append(op.leases, c.keep(n, l))
	}
	c.add(op)
}

// keep numbers a lease.
func (c *client) keep(message int, l recall.Lease) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leases = append(c.leases, heldLease{message, l})
	return len(c.leases) - 1
}

// outcomes are those of the clients, as often as they are here.
var outcomes = []recall.Outcome{recall.Retry, recall.Retry, recall.Release, recall.Release, recall.Delivered, recall.Dead}

// finish ends an attempt, mostly one of the newest: of the others most are over.
func (c *client) finish() {
	n, held, ok := c.someLease()
	if !ok {
		return
	}
	op := c.begin(verbFinish)
	op.messages, op.leases = []int{held.message}, []int{n}
	op.durable = c.rng.IntN(2) == 0
	op.outcome = outcomes[c.rng.IntN(len(outcomes))]
	c.told(op, c.e.Finish(c.x.ctx, held.lease, recall.Finish{
		Outcome: op.outcome, Now: c.x.now, Due: c.soonOrNever(), Reason: "status 500", Durable: op.durable,
	}))
	c.add(op)
}

func (c *client) someLease() (n int, held heldLease, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := len(c.leases)
	if all == 0 {
		return 0, held, false
	}
	n = all - 1 - c.rng.IntN(min(all, 3))
	return n, c.leases[n], true
}

// someMessage returns a message whose id is known.
func (c *client) someMessage() (n int, id recall.MessageID, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) == 0 {
		return 0, "", false
	}
	n = c.known[c.rng.IntN(len(c.known))]
	return n, c.h.messages[n].id, true
}

func (c *client) cancel() {
	n, id, ok := c.someMessage()
	if !ok {
		return
	}
	op := c.begin(verbCancel)
	op.messages, op.sticky = []int{n}, c.rng.IntN(2) == 0
	c.told(op, c.e.Cancel(c.x.ctx, recall.CancelRequest{ID: id, Sticky: op.sticky, Now: c.x.now}))
	c.add(op)
}

func (c *client) get() {
	n, id, ok := c.someMessage()
	if !ok {
		return
	}
	op := c.begin(verbGet)
	m, err := c.e.Get(c.x.ctx, id, c.x.now)
	c.told(op, err)
	op.messages, op.states = []int{n}, []recall.State{m.State}
	c.add(op)
}

// someLabel returns a label, or "" for everything.
func (c *client) someLabel() string {
	if c.rng.IntN(10) == 0 {
		return ""
	}
	return clientLabels[c.rng.IntN(len(clientLabels))]
}

func filterOf(label string) recall.Filter {
	if label == "" {
		return recall.Filter{}
	}
	return recall.Filter{Labels: []string{label}}
}

func (c *client) count() {
	op := c.begin(verbCount)
	op.label = c.someLabel()
	n, err := c.e.Count(c.x.ctx, filterOf(op.label), c.x.now)
	c.told(op, err)
	op.number = n.Pending + n.InFlight
	c.add(op)
}

func (c *client) bulk() {
	op := c.begin(verbBulk)
	op.label, op.policy = c.someLabel(), bulkPolicies[c.rng.IntN(len(bulkPolicies))]
	req := recall.CancelMatchingRequest{Filter: filterOf(op.label), All: op.label == "", Policy: op.policy.policy, Now: c.x.now}
	if op.policy.waits {
		req.Expired = c.waits.begin(op.began + int64(4+c.rng.IntN(20)))
		defer c.waits.done(req.Expired)
	}
	req.Asked = func(ids []recall.MessageID) { op.askedIDs = append(op.askedIDs, ids...) }
	res, err := c.e.CancelMatching(c.x.ctx, req)
	op.number, op.skippedIDs, op.operation = res.Cancelled, res.Skipped, res.Operation
	if len(op.askedIDs) != res.Requested && err == nil {
		c.x.Errorf("CancelMatching: %d requested, and %v were asked to go", res.Requested, op.askedIDs)
	}
	c.told(op, err)
	var stop *recall.NotCancellableError
	if errors.As(err, &stop) {
		op.stop = stop.ID
		if stop.Cancelled != res.Cancelled {
			c.x.Errorf("CancelMatching: got %+v with %+v", *stop, res)
		}
	}
	c.add(op)
}

// restore undoes a bulk cancellation, if the engine can.
func (c *client) restore() {
	e, ok := c.e.(recall.Restorer)
	if !ok {
		return
	}
	undoes := c.someBulk()
	if undoes == nil {
		return
	}
	op := c.begin(verbRestore)
	op.undoes = undoes
	res, err := e.Restore(c.x.ctx, undoes.operation, c.x.now)
	op.number = res.Restored
	c.told(op, err)
	c.add(op)
}

// someBulk returns a bulk cancellation that has done something, mostly a late one.
func (c *client) someBulk() (bulk *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.h.calls {
		if o.verb == verbBulk && o.operation != "" && o.said != saidNothing && (bulk == nil || c.rng.IntN(2) == 0) {
			bulk = o
		}
	}
	return bulk
}

// waits ends the patience of bulk cancellations without a clock: after some
// calls of others, and at once when nobody is left to let an attempt end.
type waits struct {
	mu      sync.Mutex
	clients int
	all     map[<-chan struct{}]*oneWait
}

type oneWait struct {
	until   int64
	expired chan struct{}
	over    bool
}

func (w *waits) open(clients int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients, w.all = clients, map[<-chan struct{}]*oneWait{}
}

func (w *waits) begin(until int64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &oneWait{until: until, expired: make(chan struct{})}
	w.all[p.expired] = p
	w.stuckLocked()
	return p.expired
}

func (w *waits) done(c <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, c)
}

// leave says that a client makes no more calls.
func (w *waits) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients--
	w.stuckLocked()
}

// pass ends what has waited until now.
func (w *waits) pass(now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.all {
		if p.until <= now {
			p.expire()
		}
	}
}

// end ends all waiting.
func (w *waits) end() { w.pass(1 << 62) }

// over tells whether no client makes calls any more.
func (w *waits) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clients == 0
}

// stuckLocked lets those go on that wait for each other.
func (w *waits) stuckLocked() {
	if len(w.all) < w.clients {
		return
	}
	for _, p := range w.all {
		p.expire()
	}
}

func (p *oneWait) expire() {
	if !p.over {
		p.over = true
		close(p.expired)
	}
}
