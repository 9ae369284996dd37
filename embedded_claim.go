package recall

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/recallmq/recall/store"
)

// claimSkips bounds how many cancelled items one lock hold steps over.
const claimSkips = 1024

// mostKept bounds the outcomes that wait for room in the file, and with them the
// memory that they take; fullPause is when to look again.
const (
	mostKept  = 1024
	fullPause = time.Second
)

// Claim implements [Engine]. Claims live in memory; the next commit notes
// them, so that a message that kills its process uses up its attempts.
func (e *embedded) Claim(ctx context.Context, req ClaimRequest) (ClaimResult, error) {
	if err := e.checkOpen(ctx); err != nil {
		return ClaimResult{}, err
	}
	if err := e.store.Err(); err != nil {
		return ClaimResult{}, err
	}
	if e.kept.Load() >= mostKept { // more outcomes would find no room either
		return ClaimResult{Next: req.Now.Add(fullPause)}, nil
	}
	c := &claimRun{e: e, now: req.Now, most: req.Max, urls: req.Handlers, only: req.Only}
	for c.slice() {
		runtime.Gosched()
	}
	if len(c.taken) == 0 {
		return ClaimResult{Next: c.next}, nil
	}
	hint(e.upkeepHint)
	if err := c.prepare(ctx); err != nil {
		e.returnLeases(c.taken)
		return ClaimResult{}, err
	}
	leases, err := e.readLeases(c.taken)
	return ClaimResult{Leases: leases, Next: c.next}, err
}

// claimRun is one Claim.
type claimRun struct {
	e    *embedded
	now  time.Time
	most int
	urls []string // of local handlers and consumers
	only bool     // nothing but those

	taken   []*lease
	next    time.Time  // when there is more
	careful bool       // the claims have to be durable first
	reserve []*flowKey // so has what they use of the rates of these
}

// slice takes what is due in one lock hold. It reports more when it has looked
// at too many entries to go on within the hold.
func (c *claimRun) slice() (more bool) {
	e, now := c.e, c.now.UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refillAllLocked(refillBudget) || e.unparkAllLocked(now, claimSkips) {
		return true
	}
	order := e.lanes.orderOf(c.urls, c.only)
	for skipped := 0; skipped < claimSkips; {
		ln, it := order.head(now)
		if ln == nil {
			c.next = e.nextFlowLocked()
			return false
		}
		p, en := e.live.lookup(it.seq)
		if !en.exists() || !en.waits(it.due) || !e.mayGoLocked(en, it.seq) {
			e.leftLaneLocked(en, it.due)
			order.pop(now)
			ln.dead = max(0, ln.dead-1)
			skipped++
			continue
		}
		if k := e.flowOf(en); it.due <= now && k != nil && k.room(now) == 0 {
			order.pop(now)
			e.parkLocked(k, en, it.seq, now)
			skipped++
			continue
		}
		if it.due > now || len(c.taken) >= c.most {
			c.next = earlier(time.UnixMilli(it.due), e.nextFlowLocked())
			return false
		}
		order.pop(now)
		if e.awaited[it.seq] > 0 {
			en.flags &^= flagQueued // letGo brings it back
			skipped++
			continue
		}
		c.claimLocked(p, en, it)
	}
	return true
}

// claimLocked takes an entry that was taken out of its lane.
func (c *claimRun) claimLocked(p *page, en entry, it dueItem) {
	l := c.e.leaseLocked(p, en, it.seq, c.now)
	c.taken = append(c.taken, l)
	c.careful = c.e.crash.carefulLocked(it, c.now.UnixMilli()) || c.careful
	if k := c.e.flowOf(en); k != nil {
		l.flow = k
		if k.tally(l.claimed) {
			c.reserve = append(c.reserve, k)
		}
	}
}

// prepare makes durable what has to be before an attempt starts.
func (c *claimRun) prepare(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if len(c.reserve) > 0 {
		return c.e.submit(ctx, newReserveWork(c.reserve)) // its commit notes the claims too
	}
	if c.careful {
		return c.e.submit(ctx, flushWork{})
	}
	return nil
}

// leaseLocked takes a pending entry for one attempt.
func (e *embedded) leaseLocked(p *page, en entry, seq uint64, now time.Time) *lease {
	e.number++
	l := &lease{seq: seq, number: e.number, dueBefore: en.due(), retried: en.flags&flagRetried != 0, claimed: now.UnixMilli()}
	en.setAttempts(en.attempts() + 1)
	l.attempt = uint16(en.attempts())
	en.flags &^= flagQueued
	e.live.move(p, en, phaseInFlight)
	e.leases[seq] = l
	if l.queue = e.queueOf(en); l.queue != nil {
		l.queue.out++
	}
	if len(e.notes) == 0 {
		e.noted = now
	}
	e.notes = append(e.notes, store.Claim{Seq: seq, Attempt: uint32(l.attempt)})
	return l
}

// readLeases reads the messages of all claims, and sets those aside that are
// damaged: back in their lane they would head every claim.
func (e *embedded) readLeases(taken []*lease) ([]Lease, error) {
	out, err := e.readTogether(taken)
	if errors.Is(err, ErrCorrupt) {
		out, err = e.readApart(taken)
	}
	if err != nil {
		e.returnLeases(taken)
		return nil, err
	}
	return out, nil
}

// readTogether reads the messages of claims in one read transaction.
func (e *embedded) readTogether(taken []*lease) ([]Lease, error) {
	out := make([]Lease, 0, len(taken))
	err := e.store.View(func(v *store.View) error {
		for _, l := range taken {
			m, err := e.readMessage(v, l.seq)
			if err != nil {
				return err
			}
			m.State, m.Attempts, m.DueAt = StateInFlight, int(l.attempt), time.UnixMilli(l.dueBefore)
			out = append(out, Lease{Message: m, Token: LeaseToken{Epoch: e.epoch, Number: l.number}})
		}
		return nil
	})
	return out, err
}

// readApart reads what can be read: a page that fails ends its transaction.
func (e *embedded) readApart(taken []*lease) (out []Lease, err error) {
	for _, l := range taken {
		one, err := e.readTogether([]*lease{l})
		if errors.Is(err, ErrCorrupt) {
			e.setAside(l, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, one...)
	}
	return out, nil
}

// setAside ends the claim of a message that is damaged. Until the next open it
// is pending, so that it can be cancelled, and in no lane.
func (e *embedded) setAside(l *lease, why error) {
	e.mu.Lock()
	var created int64
	if p, en := e.live.lookup(l.seq); en.exists() && e.leases[l.seq] == l {
		created, _ = p.timesOf(l.seq, en)
		en.setAttempts(en.attempts() - 1)
		l.unused()
		en.flags |= flagDamaged
		e.pendLocked(p, en, l, l.dueBefore)
	}
	e.mu.Unlock()
	e.log.Error("recall: a message is damaged and is not delivered",
		"message", messageID(e.idOf(l.seq, created)), "error", why)
}

// readMessage reads one live message, copied out of the file.
func (e *embedded) readMessage(v *store.View, seq uint64) (m Message, err error) {
	row, err := v.Record(store.Live, seq)
	if err != nil || row == nil {
		return m, missing(err, seq)
	}
	body, err := v.Body(store.Live, seq)
	if err != nil || body == nil {
		return m, missing(err, seq)
	}
	return decodeMessage(seq, row, body)
}

// missing explains a row that could not be read.
func missing(err error, seq uint64) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: message number %d has no row", ErrCorrupt, seq)
}

func decodeMessage(seq uint64, row, bodyRow []byte) (m Message, err error) {
	var rec store.Record
	var body store.Body
	if err := store.DecodeRecord(seq, row, &rec); err != nil {
		return m, store.CorruptRecord(store.Live, seq, err)
	}
	if err := store.DecodeBody(bodyRow, &body); err != nil {
		return m, store.CorruptBody(store.Live, seq, err)
	}
	m = messageOf(&rec)
	if err := m.setBody(&body); err != nil {
		return m, store.CorruptBody(store.Live, seq, err)
	}
	return m, nil
}

// setBody copies what is in the cold row.
func (m *Message) setBody(b *store.Body) error {
	m.Header, m.Body, m.RetryDelay = headerOf(b.Header), append([]byte(nil), b.Payload...), string(b.RetryDelay)
	return m.setMore(b.More)
}

// messageOf copies a record; what changes in a message's life is for the
// caller to set.
func messageOf(rec *store.Record) Message {
	m := Message{
		ID: messageID(rec.ID), URL: string(rec.URL), Method: string(rec.Method), Queue: string(rec.Queue),
		Topic: string(rec.Topic), ScheduleID: string(rec.Schedule), FlowKey: string(rec.FlowKey),
		CallerIP: string(rec.CallerIP), Retries: Retries(int(rec.Retries)),
		Timeout:   time.Duration(rec.TimeoutMs) * time.Millisecond,
		CreatedAt: time.UnixMilli(rec.Wall), DueAt: time.UnixMilli(rec.Due),
		Priority: int(rec.Priority),
	}
	m.setBlocks(rec.Blocks)
	for _, l := range rec.Labels {
		m.Labels = append(m.Labels, string(l))
	}
	return m
}

// returnLeases undoes claims whose messages could not be handed out.
func (e *embedded) returnLeases(taken []*lease) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range taken {
		if p, en := e.live.lookup(l.seq); en.exists() && e.leases[l.seq] == l {
			en.setAttempts(en.attempts() - 1)
			l.unused()
			e.pendLocked(p, en, l, l.dueBefore)
		}
	}
}

// unused undoes what a claim has used of a rate.
func (l *lease) unused() {
	if l.flow != nil {
		l.flow.unuse(l.claimed)
	}
}

// leftLaneLocked notes that the item of an entry that does not wait is gone. An
// item of another due time is not its.
func (e *embedded) leftLaneLocked(en entry, due int64) {
	if en.exists() && en.due() == due {
		en.flags &^= flagQueued
		e.unparkEntryLocked(en)
	}
}

// pendLocked makes a message in flight pending again.
func (e *embedded) pendLocked(p *page, en entry, l *lease, due int64) {
	e.endLeaseLocked(l.seq)
	en.setDue(due)
	e.live.move(p, en, phasePending)
	e.queueLocked(en, l.seq)
}
