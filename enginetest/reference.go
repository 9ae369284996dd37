package enginetest

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/recallmq/recall"
)

// Reference is an engine that is meant to be obviously correct, and nothing
// else: one mutex, a slice in the order of publication, and every filter
// answered by [recall.Filter.Matches]. It keeps everything in memory, where a
// change counts as durable at once; [Reference.Reopen] stands for a restart.
//
// Its cost grows with the square of the number of messages: it is for tests.
type Reference struct {
	mu     sync.Mutex
	closed bool
	live   []*entry // in the order of publication
	byID   map[recall.MessageID]*entry
	dead   []recall.DeadLetter // in the order of arrival

	seq     uint64    // of the newest message
	created time.Time // largest time of publication so far; ids never go back
	clamp   time.Duration
	deaths  uint64    // number of the newest dead letter
	ops     uint64    // number of the newest operation
	opTime  time.Time // largest time of one so far; their ids never go back
	token   recall.LeaseToken
	commits int64
	ended   ends

	operations []*operation // oldest first
	objects    map[objectName][]byte
	revisions  map[recall.ObjectKind]uint64
	flows      map[string]*flowUse
	reserved   map[string]reservation // by deduplication id
	events     []recall.Event         // in the order in which they were logged

	changed  chan struct{} // closed, and made anew, when a lease ends
	claim    chan struct{}
	maintain chan struct{}
}

// entry is a live message. It is pending while its lease is zero.
type entry struct {
	m         recall.Message
	seq       uint64
	lease     recall.LeaseToken
	requested bool // to be cancelled when its attempt ends
	held      bool
}

func (e *entry) inFlight() bool { return e.lease != recall.LeaseToken{} }

// matches tells whether f finds the message at the given time. What is to be
// cancelled when its attempt ends is out of every match.
func (r *Reference) matches(e *entry, f recall.Filter, now time.Time) bool {
	m := e.m
	m.State = r.state(e, now)
	return !e.requested && f.Matches(&m)
}

// NewReference returns an empty reference engine.
func NewReference() *Reference {
	return &Reference{
		byID:      map[recall.MessageID]*entry{},
		objects:   map[objectName][]byte{},
		revisions: map[recall.ObjectKind]uint64{},
		flows:     map[string]*flowUse{},
		reserved:  map[string]reservation{},
		token:     recall.LeaseToken{Epoch: rand.Uint64()},
		changed:   make(chan struct{}),
		claim:     make(chan struct{}, 1),
		maintain:  make(chan struct{}, 1),
	}
}

// Reopen returns an engine with what a restart would find, whether or not r
// was closed before: what was in flight is pending, its attempt not counted;
// what was to be cancelled is cancelled; leases of r are stale. Afterwards r
// is closed.
func (r *Reference) Reopen() *Reference {
	_ = r.Close() // a second Close only says so
	r.mu.Lock()
	defer r.mu.Unlock()
	n := NewReference()
	for _, e := range r.live {
		if e.requested {
			r.log(&e.m, recall.EventCancelled, r.created, recall.Event{})
			continue
		}
		e := &entry{m: clone(e.m), seq: e.seq, lease: e.lease, held: e.held}
		if e.inFlight() {
			e.m.Attempts--
			e.lease = recall.LeaseToken{}
		}
		n.live = append(n.live, e)
		n.byID[e.m.ID] = e
	}
	n.dead = slices.Clone(r.dead)
	for key, use := range r.flows {
		n.flows[key] = &flowUse{start: use.start, used: use.used}
	}
	n.revisions = maps.Clone(r.revisions)
	n.objects, n.reserved = maps.Clone(r.objects), maps.Clone(r.reserved)
	n.events = r.events
	n.seq, n.created, n.deaths, n.ops, n.opTime = r.seq, r.created, r.deaths, r.ops, r.opTime
	n.restart(r)
	hint(n.claim)
	return n
}

// ends counts what has become of messages since the engine was opened.
type ends struct{ published, duplicates, cancelled, restored, died int64 }

// begin locks r for one call, unless the call is not to happen.
func (r *Reference) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return recall.ErrClosed
	}
	return nil
}

// Insert implements [recall.Engine].
func (r *Reference) Insert(ctx context.Context, msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	return r.insert(msgs, now), nil
}

func (r *Reference) insert(msgs []recall.Message, now time.Time) []recall.Receipt {
	var receipts []recall.Receipt
	for _, m := range msgs {
		if first, ok := r.firstWith(&m, now); ok {
			receipts = append(receipts, recall.Receipt{ID: first.id, CreatedAt: first.at, Deduplicated: true})
			r.ended.duplicates++
			continue
		}
		m = clone(m)
		m.CreatedAt, m.DueAt = millis(m.CreatedAt), millis(m.DueAt)
		m.ID, m.State, m.Attempts = r.nextID(now), "", 0
		r.reserve(&m, now)
		m.DeduplicationID, m.DeduplicateContent = "", false // for publishing only
		e := &entry{m: m, seq: r.seq}
		receipt := recall.Receipt{ID: m.ID, CreatedAt: m.CreatedAt}
		r.ended.published++
		shown := arriving(e, now)
		r.log(&m, recall.EventCreated, now, recall.Event{})
		if receipt.CancelledBy = r.arrive(&shown, now); receipt.CancelledBy == "" {
			r.live = append(r.live, e)
			r.byID[m.ID] = e
			r.arriveSettings(&m, now)
		} else {
			r.log(&m, recall.EventCancelled, now, recall.Event{Operation: receipt.CancelledBy})
			r.ended.cancelled++
		}
		receipts = append(receipts, receipt)
	}
	if len(msgs) > 0 {
		r.commits++
		hint(r.claim)
	}
	return receipts
}

// nextID numbers the next message. The time in its id is that of the clock, or
// of the message before if the clock has gone back.
func (r *Reference) nextID(now time.Time) recall.MessageID {
	if now = millis(now); now.After(r.created) {
		r.created = now
	}
	r.clamp = max(r.clamp, r.created.Sub(now))
	r.seq++
	var u ulid.ULID
	_ = u.SetTime(uint64(r.created.UnixMilli())) // fails only after the year 10889
	binary.BigEndian.PutUint64(u[6:14], r.seq)
	return recall.MessageID("msg_" + u.String())
}

// Get implements [recall.Engine].
func (r *Reference) Get(ctx context.Context, id recall.MessageID, now time.Time) (recall.Message, error) {
	if err := r.begin(ctx); err != nil {
		return recall.Message{}, err
	}
	defer r.mu.Unlock()
	e, ok := r.byID[id]
	if !ok {
		return recall.Message{}, recall.ErrNotFound
	}
	return r.show(e, now), nil
}

// show returns the message as others see it at the given time.
func (r *Reference) show(e *entry, now time.Time) recall.Message {
	m := clone(e.m)
	m.State = r.state(e, now)
	return m
}

// arriving returns a message as standing cancellations see it: whether it will
// wait for others is not said yet.
func arriving(e *entry, now time.Time) recall.Message {
	m := clone(e.m)
	m.State = stateByTime(e, now)
	return m
}

func stateByTime(e *entry, now time.Time) recall.State {
	switch {
	case !e.m.DueAt.After(millis(now)):
		return recall.StateReady
	case e.m.Attempts > 0:
		return recall.StateRetrying
	}
	return recall.StateDelayed
}

func (r *Reference) state(e *entry, now time.Time) recall.State {
	switch {
	case e.inFlight():
		return recall.StateInFlight
	case e.held:
		return recall.StateHeld
	case r.blocked(e):
		return recall.StateQueueBlocked
	case !e.m.DueAt.After(millis(now)) && r.shut(&e.m, now):
		return recall.StateFlowWaiting
	}
	return stateByTime(e, now)
}

// List implements [recall.Engine].
func (r *Reference) List(ctx context.Context, f recall.Filter, after recall.MessageID, limit int, now time.Time) ([]recall.Message, error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	if err := checkAfter(after, "msg_"); err != nil {
		return nil, err
	}
	var page []recall.Message
	size := 0
	for _, e := range r.live {
		if e.m.ID > after && r.matches(e, f, now) && len(page) < limit && size < recall.PageBytes {
			page = append(page, r.show(e, now))
			size += sizeOf(&e.m)
		}
	}
	return page, nil
}

// Count implements [recall.Engine].
func (r *Reference) Count(ctx context.Context, f recall.Filter, now time.Time) (c recall.Count, err error) {
	if err := r.begin(ctx); err != nil {
		return c, err
	}
	defer r.mu.Unlock()
	return r.count(f, now), nil
}

func (r *Reference) count(f recall.Filter, now time.Time) (c recall.Count) {
	for _, e := range r.live {
		switch {
		case !r.matches(e, f, now):
		case e.inFlight():
			c.InFlight++
		default:
			c.Pending++
		}
	}
	return c
}

// Explain implements [recall.Engine]. The only index there is holds all
// messages in the order of publication.
func (r *Reference) Explain(ctx context.Context, f recall.Filter, now time.Time) (recall.Plan, error) {
	if err := r.begin(ctx); err != nil {
		return recall.Plan{}, err
	}
	defer r.mu.Unlock()
	c := r.count(recall.Filter{From: f.From, To: f.To}, now)
	n := c.Pending + c.InFlight
	return recall.Plan{
		Filter: f, Index: indexName, Scan: n,
		Candidates: []recall.Candidate{{Index: indexName, Count: n, Exact: true}},
	}, nil
}

const indexName = "time"

// Claim implements [recall.Engine].
func (r *Reference) Claim(ctx context.Context, req recall.ClaimRequest) (res recall.ClaimResult, err error) {
	if err := r.begin(ctx); err != nil {
		return res, err
	}
	defer r.mu.Unlock()
	for _, e := range r.claimable(req) {
		if due := !e.m.DueAt.After(millis(req.Now)); due && r.shut(&e.m, req.Now) {
			res.Next = earliest(res.Next, r.nextPeriod(e.m.FlowKey, req.Now))
			continue
		} else if !due || len(res.Leases) >= req.Max {
			res.Next = earliest(res.Next, e.m.DueAt)
			break
		}
		r.begins(&e.m, req.Now)
		r.token.Number++
		e.lease = r.token
		e.m.Attempts++
		r.log(&e.m, recall.EventActive, req.Now, recall.Event{Attempt: e.m.Attempts})
		res.Leases = append(res.Leases, recall.Lease{Message: r.show(e, req.Now), Token: e.lease})
	}
	return res, nil
}

// wanted tells whether a claim asks for messages with a URL.
func wanted(url string, req recall.ClaimRequest) bool {
	if strings.HasPrefix(url, "local:") || strings.HasPrefix(url, "pull:") {
		return slices.Contains(req.Handlers, url)
	}
	return !req.Only
}

// Finish implements [recall.Engine].
func (r *Reference) Finish(ctx context.Context, l recall.Lease, f recall.Finish) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	defer r.mu.Unlock()
	e, ok := r.byID[l.Message.ID]
	if !ok || !e.inFlight() || e.lease != l.Token {
		return recall.ErrLeaseLost
	}
	for _, n := range f.FollowDead {
		if n.IDAt < 0 || n.IDAt > len(n.Message.Body) {
			return &recall.InvalidError{Field: "FollowDead", Reason: "an id has no place there"}
		}
	}
	r.logOutcome(e, f)
	if f.Outcome <= recall.Release {
		r.ends(&e.m, f.Outcome == recall.Release)
	}
	switch {
	case f.Outcome == recall.Delivered || e.requested:
		r.remove(e)
	case f.Outcome == recall.Dead:
		r.remove(e)
		f.Follow = append(slices.Clip(f.Follow), named(f.FollowDead, r.bury(e, f))...)
	case f.Outcome == recall.Retry:
		e.lease = recall.LeaseToken{}
		e.m.DueAt = millis(f.Due)
		m := arriving(e, f.Now)
		if op := r.arrive(&m, f.Now); op != "" {
			r.log(&e.m, recall.EventCancelled, f.Now, recall.Event{Attempt: e.m.Attempts, Operation: op})
			r.ended.cancelled++
			r.remove(e)
		}
	case f.Outcome == recall.Release:
		e.lease = recall.LeaseToken{}
		e.m.Attempts--
	default:
		return fmt.Errorf("enginetest: outcome %d is unknown", f.Outcome)
	}
	r.insert(undeduplicated(f.Follow), f.Now)
	r.commits++
	hint(r.claim)
	r.wake()
	return nil
}

// earliest is the first of two times; the zero time stands for never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (r *Reference) remove(e *entry) {
	delete(r.byID, e.m.ID)
	r.live = slices.DeleteFunc(r.live, func(o *entry) bool { return o == e })
}

func (r *Reference) bury(e *entry, f recall.Finish) recall.DeadLetterID {
	r.deaths++
	r.ended.died++
	died := millis(f.Now)
	id := recall.DeadLetterID(fmt.Sprintf("%d-%d", died.UnixMilli(), r.deaths))
	r.dead = append(r.dead, recall.DeadLetter{
		ID:       id,
		Message:  clone(e.m),
		DiedAt:   died,
		Attempts: e.m.Attempts,
		Reason:   f.Reason,
		Response: cloneResponse(f.Response),
	})
	hint(r.maintain)
	return id
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

// Cancel implements [recall.Engine].
func (r *Reference) Cancel(ctx context.Context, req recall.CancelRequest) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	defer r.mu.Unlock()
	e, ok := r.byID[req.ID]
	switch {
	case !ok:
		return recall.ErrNotFound
	case e.inFlight() && !req.Sticky:
		return &recall.NotCancellableError{ID: e.m.ID, State: recall.StateInFlight}
	case e.inFlight():
		f := recall.Filter{IDs: []recall.MessageID{req.ID}}
		op := r.newOperation(r.nextOperation(req.Now), recall.OperationCancel, req.Now, req.Reason, f.String())
		op.Policy, op.Requested, op.asked = recall.Sticky, 1, []*entry{e}
		r.log(&e.m, recall.EventCancelRequested, req.Now, recall.Event{Attempt: e.m.Attempts, Operation: op.ID})
		r.ask(e)
	default:
		r.log(&e.m, recall.EventCancelled, req.Now, recall.Event{})
		r.ended.cancelled++
		r.remove(e)
	}
	r.commits++
	return nil
}

// operationID numbers operations: ids are in the order of the calls, whatever the
// clock does.
func operationID(number uint64, at time.Time) recall.OperationID {
	var u ulid.ULID
	_ = u.SetTime(uint64(max(0, at.UnixMilli())))
	binary.BigEndian.PutUint64(u[6:14], number)
	return recall.OperationID("op_" + u.String())
}

// ListDead implements [recall.Engine]. A dead letter has no state, and no
// attempt of it is due.
func (r *Reference) ListDead(ctx context.Context, f recall.Filter, after recall.DeadLetterID, limit int) ([]recall.DeadLetter, error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	if err := checkAfter(after, ""); err != nil {
		return nil, err
	}
	var page []recall.DeadLetter
	if f.States != nil || !f.DueAfter.IsZero() || !f.DueBefore.IsZero() {
		return nil, nil
	}
	size := 0
	for _, d := range r.dead {
		if deathNumber(d.ID) > deathNumber(after) && f.Matches(&d.Message) && len(page) < limit && size < recall.PageBytes {
			page = append(page, cloneDead(d))
			size += sizeOfDead(&d)
		}
	}
	return page, nil
}

// sizeOf and sizeOfDead are what counts for [recall.PageBytes].
func sizeOf(m *recall.Message) int { return len(m.Body) + sizeOfHeader(m.Header) }

func sizeOfDead(d *recall.DeadLetter) int {
	n := sizeOf(&d.Message)
	if d.Response != nil {
		n += len(d.Response.Body) + sizeOfHeader(d.Response.Header)
	}
	return n
}

func sizeOfHeader(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// DeadIDs implements [recall.Engine]. It takes several pages.
func (r *Reference) DeadIDs(ctx context.Context, f recall.Filter, after recall.DeadLetterID, limit int) (ids []recall.DeadLetterID, err error) {
	for len(ids) < limit {
		page, err := r.ListDead(ctx, f, after, limit-len(ids))
		if err != nil || len(page) == 0 {
			return ids, err
		}
		for _, d := range page {
			ids = append(ids, d.ID)
		}
		after = ids[len(ids)-1]
	}
	return ids, nil
}

// DeleteDead implements [recall.Engine].
func (r *Reference) DeleteDead(ctx context.Context, ids []recall.DeadLetterID) (int, error) {
	if err := r.begin(ctx); err != nil {
		return 0, err
	}
	defer r.mu.Unlock()
	return len(r.unbury(ids)), nil
}

// RetryDead implements [recall.Engine].
func (r *Reference) RetryDead(ctx context.Context, ids []recall.DeadLetterID, now time.Time) ([]recall.Receipt, error) {
	return r.RetryDeadWith(ctx, ids, now, nil)
}

// RetryDeadWith implements [recall.Redriver]. It calls change while it holds its
// lock: it is no model of that.
func (r *Reference) RetryDeadWith(
	ctx context.Context, ids []recall.DeadLetterID, now time.Time, change func(*recall.Message) error,
) ([]recall.Receipt, error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	return r.retryDead(ids, now, change)
}

func (r *Reference) retryDead(ids []recall.DeadLetterID, now time.Time, change func(*recall.Message) error) ([]recall.Receipt, error) {
	before := slices.Clone(r.dead)
	var again []recall.Message
	for _, d := range r.unbury(ids) {
		m := d.Message
		m.CreatedAt, m.DueAt = now, now
		m.Delay, m.NotBefore, m.Blocks, m.Root, m.Attempts = 0, time.Time{}, "", "", 0
		again = append(again, m)
	}
	for i := range again {
		if change == nil {
			break
		}
		if err := change(&again[i]); err != nil {
			r.dead = before
			return nil, err
		}
	}
	return r.insert(again, now), nil
}

// unbury takes dead letters out of the queue and returns them in the order of
// ids.
func (r *Reference) unbury(ids []recall.DeadLetterID) (taken []recall.DeadLetter) {
	for _, id := range ids {
		at := slices.IndexFunc(r.dead, func(d recall.DeadLetter) bool { return d.ID == id })
		if at >= 0 {
			taken = append(taken, r.dead[at])
			r.dead = slices.Delete(r.dead, at, at+1)
		}
	}
	if len(taken) > 0 {
		r.commits++
	}
	return taken
}

// Hints implements [recall.Engine].
func (r *Reference) Hints() recall.Hints {
	return recall.Hints{Claim: r.claim, Maintain: r.maintain}
}

func hint(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Maintain implements [recall.Engine]: what can be undone expires.
func (r *Reference) Maintain(ctx context.Context, now time.Time) (next time.Time, err error) {
	if err := r.begin(ctx); err != nil {
		return next, err
	}
	defer r.mu.Unlock()
	r.expire(now)
	for _, op := range r.operations {
		if op.RestoredAt.IsZero() && !op.until.IsZero() && (next.IsZero() || op.until.Before(next)) {
			next = op.until
		}
	}
	return next, nil
}

// Stats implements [recall.Engine].
func (r *Reference) Stats() recall.EngineStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	pending := 0
	for _, e := range r.live {
		if !e.inFlight() {
			pending++
		}
	}
	return recall.EngineStats{
		Pending:     pending,
		InFlight:    len(r.live) - pending,
		DeadLetters: len(r.dead),
		Commits:     r.commits,
		ClockClamp:  r.clamp,

		DeduplicationIDs: len(r.reserved),
		Events:           len(r.events),

		Published: r.ended.published, Duplicates: r.ended.duplicates, Cancelled: r.ended.cancelled,
		Restored: r.ended.restored, Died: r.ended.died,
	}
}

// Close implements [recall.Engine].
func (r *Reference) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return recall.ErrClosed
	}
	r.closed = true
	close(r.changed) // waiting walks give up
	return nil
}

// Check returns what is wrong with the engine's own bookkeeping, or nil.
func (r *Reference) Check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.live) != len(r.byID) {
		return fmt.Errorf("enginetest: %d messages in order, %d by id", len(r.live), len(r.byID))
	}
	for i, e := range r.live {
		switch {
		case r.byID[e.m.ID] != e:
			return fmt.Errorf("enginetest: %s is not found by its id", e.m.ID)
		case i > 0 && (r.live[i-1].seq >= e.seq || r.live[i-1].m.ID >= e.m.ID):
			return fmt.Errorf("enginetest: %s is out of order", e.m.ID)
		case e.requested && !e.inFlight():
			return fmt.Errorf("enginetest: %s was to be cancelled and is pending", e.m.ID)
		case e.inFlight() && e.m.Attempts < 1 || e.m.Attempts < 0:
			return fmt.Errorf("enginetest: %s has had %d attempts", e.m.ID, e.m.Attempts)
		}
	}
	for i := 1; i < len(r.dead); i++ {
		if cmp.Compare(deathNumber(r.dead[i-1].ID), deathNumber(r.dead[i].ID)) >= 0 {
			return fmt.Errorf("enginetest: dead letter %s is out of order", r.dead[i].ID)
		}
	}
	return nil
}

// deathNumber returns the counting part of a dead letter's id, 0 for "".
func deathNumber(id recall.DeadLetterID) uint64 {
	_, number, _ := strings.Cut(string(id), "-")
	n, _ := strconv.ParseUint(number, 10, 64)
	return n
}

// millis cuts t to the resolution of the contract.
func millis(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli())
}

// clone keeps callers and engine from sharing memory.
func clone(m recall.Message) recall.Message {
	m.Header = m.Header.Clone()
	m.Body = slices.Clone(m.Body)
	m.Labels = slices.Clone(m.Labels)
	if m.Retries != nil {
		m.Retries = recall.Retries(*m.Retries)
	}
	return m
}

func cloneResponse(r *recall.HTTPResponse) *recall.HTTPResponse {
	if r == nil {
		return nil
	}
	return &recall.HTTPResponse{Status: r.Status, Header: r.Header.Clone(), Body: slices.Clone(r.Body)}
}

func cloneDead(d recall.DeadLetter) recall.DeadLetter {
	d.Message, d.Response = clone(d.Message), cloneResponse(d.Response)
	return d
}
