package recall

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// QueueInfo is a queue as it is.
type QueueInfo struct {
	Name string
	QueueSettings
	Lag      int // messages that wait in it
	InFlight int // messages that are out
}

// ErrQueueNotEmpty is what [Broker.DeleteQueue] returns while messages wait.
var ErrQueueNotEmpty = errors.New("recall: messages wait in the queue")

// SetQueue sets how many messages of a queue may be out at a time, at least 1 and
// at most [MaxParallelism], and creates the queue if there is none. A queue that
// nobody has set has a parallelism of 1 and comes into being with its first
// message; the semantics are those of QStash's queues.
//
// Messages of a queue are handed out in the order of publication, whatever their
// due times and priorities: the first ones that are not gone, as many as the
// parallelism says, are out or may go; all others wait. So the first message keeps
// the next one waiting until it is delivered, dead or cancelled: while it is not
// due, while it waits for a retry or is held, and then while its callbacks are
// not gone. A lower parallelism takes nothing back that is out.
//
// The change is durable when SetQueue returns. Errors: [ErrInvalid], [ErrFull],
// [ErrFailed], [ErrClosed]. Safe for concurrent use.
func (b *Broker) SetQueue(ctx context.Context, name string, parallelism int) error {
	if parallelism < 1 || parallelism > MaxParallelism {
		return invalid("Parallelism", "%d is not between 1 and %d", parallelism, MaxParallelism)
	}
	return b.UpdateQueue(ctx, name, QueueUpdate{Parallelism: parallelism})
}

// QueueUpdate says what [Broker.UpdateQueue] changes.
type QueueUpdate struct {
	Parallelism int   // as in [Broker.SetQueue]; 0: it stays as it is
	Paused      *bool // nil: it stays as it is
}

// UpdateQueue is [Broker.SetQueue], [Broker.PauseQueue] and [Broker.ResumeQueue] as
// one change: a queue that it creates paused has never been anything else.
func (b *Broker) UpdateQueue(ctx context.Context, name string, u QueueUpdate) error {
	if u.Parallelism < 0 || u.Parallelism > MaxParallelism {
		return invalid("Parallelism", "%d is not between 1 and %d", u.Parallelism, MaxParallelism)
	}
	return b.changeQueue(ctx, name, true, func(s *QueueSettings) {
		if u.Parallelism > 0 {
			s.Parallelism = u.Parallelism
		}
		if u.Paused != nil {
			s.Paused = *u.Paused
		}
	})
}

// PauseQueue keeps messages of a queue from going out until [Broker.ResumeQueue].
// Attempts that run go on. It is durable when it returns. A queue that does not
// exist is [ErrNotFound].
func (b *Broker) PauseQueue(ctx context.Context, name string) error {
	return b.changeQueue(ctx, name, false, func(s *QueueSettings) { s.Paused = true })
}

// ResumeQueue undoes [Broker.PauseQueue].
func (b *Broker) ResumeQueue(ctx context.Context, name string) error {
	return b.changeQueue(ctx, name, false, func(s *QueueSettings) { s.Paused = false })
}

// changeQueue reads, changes and writes the settings of a queue.
func (b *Broker) changeQueue(ctx context.Context, name string, create bool, change func(*QueueSettings)) error {
	if err := checkQueueName(name); err != nil {
		return err
	}
	return b.changeSettings(ctx, ObjectQueue, name, func(value []byte, now time.Time) ([]byte, error) {
		s := QueueSettings{Parallelism: 1, CreatedAt: now}
		switch {
		case value != nil:
			s = queueSettings(value)
		case !create:
			return nil, fmt.Errorf("%w: queue %q", ErrNotFound, name)
		}
		change(&s)
		s.UpdatedAt = now
		return encodeJSON(s), nil
	})
}

func checkQueueName(name string) error {
	if name == "" {
		return invalid("Queue", "it is empty")
	}
	return checkName("Queue", name)
}

// Queue returns a queue, or [ErrNotFound]. Lag and InFlight are as exact as
// [Broker.Count].
func (b *Broker) Queue(ctx context.Context, name string) (QueueInfo, error) {
	k, err := asEngine[Keeper](b, ctx)
	if err != nil {
		return QueueInfo{}, err
	}
	defer b.end()
	value, err := objectValue(ctx, k, ObjectQueue, name)
	switch {
	case err != nil:
		return QueueInfo{}, err
	case value == nil:
		return QueueInfo{}, fmt.Errorf("%w: queue %q", ErrNotFound, name)
	}
	return b.queueInfo(ctx, name, queueSettings(value))
}

func (b *Broker) queueInfo(ctx context.Context, name string, s QueueSettings) (QueueInfo, error) {
	n, err := b.engine.Count(ctx, Filter{Queues: []string{name}}, b.clock.Now())
	return QueueInfo{Name: name, QueueSettings: s, Lag: n.Pending, InFlight: n.InFlight}, err
}

// Queues returns all queues in the order of their names.
func (b *Broker) Queues(ctx context.Context) ([]QueueInfo, error) {
	k, err := asEngine[Keeper](b, ctx)
	if err != nil {
		return nil, err
	}
	defer b.end()
	objects, err := k.Objects(ctx, ObjectQueue)
	if err != nil {
		return nil, err
	}
	list := make([]QueueInfo, 0, len(objects))
	for _, o := range objects {
		info, err := b.queueInfo(ctx, o.Name, queueSettings(o.Value))
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

// DeleteQueue deletes a queue in which no message waits and of which none is out;
// otherwise it is [ErrQueueNotEmpty], and nothing has changed. A message that is
// published to it later creates it anew, and so does one that is restored. It is
// durable when it returns; a queue that does not exist is [ErrNotFound].
func (b *Broker) DeleteQueue(ctx context.Context, name string) error {
	info, err := b.Queue(ctx, name)
	if err != nil {
		return err
	}
	if info.Lag+info.InFlight > 0 {
		return fmt.Errorf("%w: %d in %q, and %d in flight", ErrQueueNotEmpty, info.Lag, name, info.InFlight)
	}
	return b.forgetQueue(ctx, name)
}

// forgetQueue deletes what is set of a queue.
func (b *Broker) forgetQueue(ctx context.Context, name string) error {
	return b.changeSettings(ctx, ObjectQueue, name, func([]byte, time.Time) ([]byte, error) { return nil, nil })
}

// CancelQueue cancels all messages of a queue, by the rules and with the options of
// [Broker.CancelMatching], and then deletes it: the operation can be undone with
// [Broker.Restore], which brings the messages back, and with them a queue with the
// settings of a new one. With [DryRun] nothing happens. If the cancellation stops at
// a message in flight, or is refused, the queue stays, and so it does while
// messages that [Skip] has left alone are in flight. With [Sticky] and [Abort] it is
// deleted although their last attempts still run. What is published meanwhile goes
// to the queue as it is then, which stays if that is found in it.
func (b *Broker) CancelQueue(ctx context.Context, name string, opts ...CancelOption) (CancelResult, error) {
	if _, err := b.Queue(ctx, name); err != nil {
		return CancelResult{}, err
	}
	o, err := collectCancel(opts)
	if err != nil {
		return CancelResult{}, err
	}
	res, err := b.CancelMatching(ctx, Filter{Queues: []string{name}}, opts...)
	if err != nil {
		return res, err
	}
	info, err := b.Queue(ctx, name)
	if err != nil || o.dryRun || info.Lag > 0 || info.InFlight > 0 && !o.policy.asks() {
		return res, err
	}
	return res, b.forgetQueue(ctx, name)
}
