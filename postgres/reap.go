package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// clockUS is the clock of the database in microseconds.
const clockUS = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

// holds tells whether the owner $2 is there, and has renewed in time.
const holds = `EXISTS (SELECT 1 FROM @owners w WHERE w.shard = $1 AND w.epoch = $2 AND w.until_us >= ` + clockUS + `)`

// registerAnew is register where the leases of an epoch are found to have ended, unless
// that was done meanwhile.
func (e *Engine) registerAnew(ctx context.Context, epoch uint64) error {
	e.registering.Lock()
	defer e.registering.Unlock()
	if e.epoch.Load() != epoch {
		return nil
	}
	return e.register(ctx)
}

// register makes this engine an owner of leases, by a new epoch.
func (e *Engine) register(ctx context.Context) error {
	epoch, began := newEpoch(), stopwatch()
	_, err := e.pool.Exec(ctx, e.sql(`INSERT INTO @owners (shard, epoch, until_us) VALUES ($1, $2, `+clockUS+` + $3)`),
		e.shard, epoch, e.opts.LeaseTime.Microseconds())
	if err == nil {
		e.renewed.Store(&began)
		e.epoch.Store(epoch)
		e.begun.clear() // those leases have ended
	}
	return err
}

// renew extends the leases of this engine. If it was late, they have ended, and it goes on
// with others. It does nothing beside that may take long, and does not wait for long: the
// next try follows after a third of Options.LeaseTime.
func (e *Engine) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.LeaseTime/3)
	defer cancel()
	epoch, began := e.epoch.Load(), stopwatch()
	tag, err := e.pool.Exec(ctx, e.sql(`UPDATE @owners SET until_us = `+clockUS+` + $3 WHERE shard = $1 AND epoch = $2 AND until_us >= `+clockUS),
		e.shard, epoch, e.opts.LeaseTime.Microseconds())
	switch {
	case err != nil:
	case tag.RowsAffected() == 0:
		_ = e.registerAnew(ctx, epoch) // or a claim does it
	default:
		e.renewed.Store(&began)
	}
}

// lateToRenew tells whether the leases of this engine may have ended, by its own clock: others may
// have taken back what was claimed while nothing was heard of the server.
func (e *Engine) lateToRenew() bool { return (*e.renewed.Load())() > e.opts.LeaseTime }

// endOthers ends the leases of engines that have not renewed theirs in time, and writes
// how calls have ended that could not.
func (e *Engine) endOthers(ctx context.Context) {
	e.endLate(ctx)
	if e.reap(ctx) == nil {
		hint(e.maintain)
	}
}

// reapPart is how many messages are taken back in one transaction.
const reapPart = 100

// reap makes pending what is in flight at an owner that is gone. The attempt counts;
// what has none left is a dead letter.
func (e *Engine) reap(ctx context.Context) error {
	_, err := e.pool.Exec(ctx, e.sql(`DELETE FROM @owners w USING (SELECT epoch FROM @owners WHERE shard = $1 AND until_us < `+clockUS+`
		FOR UPDATE SKIP LOCKED) l WHERE w.shard = $1 AND w.epoch = l.epoch`), e.shard)
	if err != nil {
		return err
	}
	gone, err := collectFrom(ctx, e.pool, e, pgx.RowTo[int64], goneOwners)
	if err != nil || len(gone) == 0 {
		return err
	}
	return e.takeAllBack(ctx, gone, recall.Dead)
}

// goneOwners are those of which there are leases although they are not there any more. An
// owner is there before its first lease, and never comes back. So these stay gone, while
// messages may change hands: a statement that locks messages and asks for owners sees the
// newest lease of a message, but of owners only those that were there when it began.
const goneOwners = `SELECT DISTINCT m.epoch FROM @messages m WHERE m.shard = $1 AND m.state = 1
	AND NOT EXISTS (SELECT 1 FROM @owners w WHERE w.shard = $1 AND w.epoch = m.epoch)`

// takeAllBack ends the leases of some owners.
func (e *Engine) takeAllBack(ctx context.Context, owners []int64, o recall.Outcome) error {
	for some := reapPart; some == reapPart; {
		err := e.do(ctx, func(u *unit) (err error) {
			some, err = u.takeBack(owners, o)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// giveBack ends the leases of this engine: their attempts did not happen.
func (e *Engine) giveBack(ctx context.Context) error {
	if err := e.takeAllBack(ctx, []int64{int64(e.epoch.Load())}, recall.Release); err != nil {
		return err
	}
	_, err := e.pool.Exec(ctx, e.sql(`DELETE FROM @owners WHERE shard = $1 AND epoch = $2`), e.shard, e.epoch.Load())
	return err
}

// takeBack ends some of the leases of owners. What was to be cancelled is cancelled.
func (u *unit) takeBack(owners []int64, o recall.Outcome) (n int, err error) {
	var ends []*ending
	dying := 0
	_, err = collect(u, func(row pgx.CollectableRow) (_ struct{}, err error) {
		n := &ending{f: recall.Finish{Outcome: o, Now: u.e.clock.Now(), Failure: recall.FailureCrash, Reason: "the process ended during the attempt"}}
		n.m, err = readMessage(row, &n.requested)
		n.id, _ = parseMessageID(n.m.ID)
		ends = append(ends, n)
		if n.dies() {
			dying++
		}
		return
	}, `SELECT m.requested, NULL::text, `+columns+` FROM @messages m JOIN @payloads p ON p.shard = m.shard AND p.id = m.id
		WHERE m.shard = $1 AND m.state = 1 AND m.epoch = ANY($3::bigint[]) ORDER BY m.id LIMIT $2 FOR UPDATE OF m SKIP LOCKED`, reapPart, owners)
	if u.idle = len(ends) == 0; err != nil || u.idle {
		return 0, err
	}
	out := newOutcomes(u)
	if dying > 0 {
		b := u.batch()
		out.takeNumbers(b, dying, toMS(u.e.clock.Now()))
		if err := b.send(); err != nil {
			return 0, err
		}
	}
	for _, n := range ends {
		if err := out.takeBack(n); err != nil {
			return 0, err
		}
		out.rooms.add(n.m.Queue, n.m.Blocks, n.m.FlowKey)
	}
	u.claim, u.wake = true, true
	out.write()
	out.rooms.open(out.out)
	return len(ends), out.out.sendLast()
}

// dies tells whether a message whose owner is gone has no attempt left.
func (n *ending) dies() bool {
	return !n.requested && n.f.Outcome == recall.Dead && n.m.Retries != nil && n.m.Attempts > *n.m.Retries
}

// takeBack notes what becomes of one message whose owner is gone.
func (o *outcomes) takeBack(n *ending) error {
	switch {
	case n.requested:
		o.log(n, recall.Event{State: recall.EventCancelled, Attempt: n.m.Attempts})
		o.u.ends.cancelled++
		o.remove(n)
	case n.dies():
		o.logOutcome(n)
		_, err := o.bury(n)
		return err
	case n.f.Outcome == recall.Dead:
		o.wait(n, toMS(n.m.DueAt))
	default:
		o.released = append(o.released, n.id)
	}
	return nil
}
