package recall

import (
	"context"
	"errors"
	"time"
)

// NextDue is when a broker will have something to do again, as far as that is
// known; a zero time means that it waits for nothing of the kind.
type NextDue struct {
	Delivery time.Time // the next attempt, unless all slots are taken
	Schedule time.Time // the next time of a schedule
	Lease    time.Time // the next end of a lease of [Broker.Receive]
}

// DispatchDue does at once what the clock of the broker says is due: it publishes
// what schedules are due, ends leases that have expired, and starts attempts, as
// long as there are free slots. It returns when all of that is done and the
// attempts are under way, and says when there is more. It is for tests and
// simulations that move the time by an Options.Clock of their own: the broker
// does all of this by itself, only not before anybody looks. What follows from
// an attempt is there when it has ended; with Options.WaitFinish Stats.Busy says
// when that is.
//
// Errors: that of a storage that failed, after which the rest has been done all
// the same, and a later call tries again; [ErrInvalid] with Options.NoDispatch;
// [ErrClosed], also
// when the storage has failed for good; that of ctx. Safe for concurrent use.
func (b *Broker) DispatchDue(ctx context.Context) (next NextDue, err error) {
	if err := b.begin(ctx); err != nil {
		return next, err
	}
	defer b.end()
	if b.dispatch == nil {
		return next, invalid("Options.NoDispatch", "nothing is dispatched")
	}
	var errs [3]error
	if s := b.scheduler; s != nil { // before the dispatcher: what it publishes may be due
		next.Schedule, errs[0] = s.lookout.inquire(ctx, s.done)
	}
	next.Lease, errs[1] = b.consumers.lookout.inquire(ctx, b.consumers.done)
	next.Delivery, errs[2] = b.dispatch.lookout.inquire(ctx, b.dispatch.done)
	return next, errors.Join(errs[:]...)
}

// lookout lets others ask a goroutine to look for what is due now, and to answer
// when it has found no more. All but inquire is for that goroutine. Nobody asks the
// zero lookout.
type lookout struct {
	questions chan chan<- sight
	asked     []chan<- sight
}

// sight is an answer.
type sight struct {
	next time.Time
	err  error
}

func newLookout() lookout { return lookout{questions: make(chan chan<- sight)} }

// inquire returns when the goroutine has looked, or is done.
func (l *lookout) inquire(ctx context.Context, done <-chan struct{}) (time.Time, error) {
	reply := make(chan sight, 1)
	select {
	case l.questions <- reply:
	case <-done:
		return time.Time{}, ErrClosed
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	select {
	case s := <-reply:
		return s.next, s.err
	case <-done:
		return time.Time{}, ErrClosed
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// note remembers who asked. The goroutine looks again, and then answers.
func (l *lookout) note(question chan<- sight) { l.asked = append(l.asked, question) }

// reply tells all who have asked.
func (l *lookout) reply(next time.Time, err error) {
	for _, to := range l.asked {
		to <- sight{next, err}
	}
	l.asked = nil
}
