package recall

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// scheduler is the goroutine that publishes what schedules are due. It sleeps
// until the earliest of their times or a change.
type scheduler struct {
	broker  *Broker
	keeper  Keeper
	cancel  context.CancelFunc
	wake    chan struct{} // one hint: a schedule was changed
	done    chan struct{}
	lookout lookout
	alarm   *alarm            // owned by run
	reads   int               // how often the schedules were read when told was made
	told    map[string]string // what people know of the schedules that cannot be followed
}

// startScheduler returns nil if the engine keeps no objects.
func startScheduler(b *Broker) *scheduler {
	k, ok := b.engine.(Keeper)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &scheduler{
		broker: b, keeper: k, cancel: cancel,
		wake: make(chan struct{}, 1), lookout: newLookout(), done: make(chan struct{}), alarm: newAlarm(b.clock),
	}
	go s.run(ctx)
	return s
}

// stop returns when nothing more is published; what is being published is waited
// for.
func (s *scheduler) stop() {
	s.cancel()
	<-s.done
}

func (s *scheduler) hint() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *scheduler) run(ctx context.Context) {
	defer close(s.done)
	defer s.alarm.off()
	for faults := 0; ctx.Err() == nil; {
		next, err := s.publishDue(ctx)
		switch {
		case err == nil:
			faults = 0
			s.alarm.set(next)
			s.lookout.reply(next, nil)
			s.sleep(ctx)
		case ctx.Err() != nil:
		case lost(err):
			s.broker.log.Error("recall: schedules have stopped until the next open", "error", err)
			return
		default:
			if faults == 0 {
				s.broker.log.Error("recall: what a schedule is due was not published, trying again later", "error", err)
			}
			s.lookout.reply(time.Time{}, err)
			s.lookout.pause(ctx, s.alarm, faults)
			faults++
		}
	}
}

func (s *scheduler) sleep(ctx context.Context) {
	for rang := false; !rang; {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			return
		case q := <-s.lookout.questions:
			s.lookout.note(q)
			return
		case <-s.alarm.C:
			rang = s.alarm.rang()
		}
	}
}

// publishDue publishes all that is due, in the order of the times, and returns
// when the next is. One that fails does not keep the others back.
func (s *scheduler) publishDue(ctx context.Context) (next time.Time, err error) {
	for ctx.Err() == nil {
		if err := s.fill(ctx); err != nil {
			return next, err
		}
		var due []*schedule
		due, next = s.look()
		if len(due) == 0 {
			return next, nil
		}
		var errs []error
		for _, one := range due {
			errs = append(errs, s.publish(ctx, one.id))
		}
		if err := errors.Join(errs...); err != nil {
			return next, err
		}
	}
	return next, ctx.Err()
}

// fill reads the schedules when they are not known, and tells people about those that
// this machine cannot follow.
func (s *scheduler) fill(ctx context.Context) error {
	b := s.broker
	if err := b.fillTopics(ctx, s.keeper); err != nil {
		return err
	}
	if err := b.fillSchedules(ctx, s.keeper); err != nil {
		return err
	}
	if reads := b.schedules.timesRead(); reads != s.reads {
		s.reads = reads
		s.tell()
	}
	return nil
}

func (s *scheduler) tell() {
	told := map[string]string{}
	s.broker.schedules.each(func(name string, _ *schedule, fault error) {
		if fault == nil {
			return
		}
		if told[name] = fault.Error(); s.told[name] != told[name] {
			s.broker.log.Error("recall: a schedule cannot be followed", "error", fault)
		}
	})
	s.told = told
}

// look returns the schedules that are due, earliest first, and the next time
// of the others.
func (s *scheduler) look() (due []*schedule, next time.Time) {
	now := s.broker.clock.Now()
	s.broker.schedules.each(func(_ string, one *schedule, fault error) {
		switch {
		case fault != nil || one.next.IsZero():
		case !one.next.After(now):
			due = append(due, one)
		case next.IsZero() || one.next.Before(next):
			next = one.next
		}
	})
	slices.SortFunc(due, func(a, b *schedule) int {
		return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.id, b.id))
	})
	return due, next
}

// publish meets one time of a schedule, if it is still due: the messages and the
// next time are one change.
func (s *scheduler) publish(ctx context.Context, id string) error {
	b := s.broker
	b.schedules.turn.Lock()
	defer b.schedules.turn.Unlock()
	now, reads := milliseconds(b.clock.Now()), b.schedules.timesRead()
	one := b.dueSchedule(id, now)
	if one == nil { // changed meanwhile
		return nil
	}
	then := *one
	publish := then.meet(now)
	if !publish {
		b.log.Info("recall: a schedule has missed its time", "schedule", id, "due", then.last)
		return s.unlessChanged(ctx, id, b.storeTime(ctx, s.keeper, &then, reads, now))
	}
	b.topics.turn.RLock()
	defer b.topics.turn.RUnlock()
	whole, err := one.whole()
	if err != nil {
		return err
	}
	msgs, err := b.scheduled(&whole, now)
	if err == nil {
		err = b.storeTime(ctx, s.keeper, &then, reads, now, msgs...)
	}
	if err = s.unlessChanged(ctx, id, err); err == nil {
		return nil
	}
	if !unpublishable(err) {
		owing := *one
		owing.limited, owing.owed = then.limited, then.last
		b.schedules.remember(id, &owing, reads)
		return err
	}
	b.log.Warn("recall: a schedule is passed over, its message cannot be published",
		"schedule", id, "due", then.last, "error", err)
	then.reason = err.Error()
	return s.unlessChanged(ctx, id, b.storeTime(ctx, s.keeper, &then, reads, now))
}

// unlessChanged has a schedule read again, in place of an error, if somebody else has
// changed it: another process on the same queue.
func (s *scheduler) unlessChanged(ctx context.Context, id string, err error) error {
	if !errors.Is(err, ErrObjectChanged) {
		return err
	}
	return s.broker.readAgain(ctx, id)
}

// dueSchedule returns a schedule if it is due, else nil.
func (b *Broker) dueSchedule(id string, now time.Time) *schedule {
	one, found, fault := b.schedules.find(id)
	if !found || fault != nil || one.next.IsZero() || one.next.After(now) {
		return nil
	}
	return one
}

// meet moves s on behind the time that is met at now, and tells whether there is
// something to publish.
func (s *schedule) meet(now time.Time) bool {
	met, owed := s.next, !s.owed.IsZero()
	switch {
	case owed:
		met = s.owed
	case s.stored.CatchUp != CatchUpAll:
		met = s.lastTimes(now, 1)[0]
	case met.After(s.limited):
		met, s.limited = s.lastTimes(now, MaxCatchUp)[0], now
	}
	s.last, s.reason, s.owed = met, "", time.Time{}
	s.next = s.line.Next(met, time.UnixMilli(s.stored.Since))
	if s.stored.CatchUp == CatchUpNone && !owed && now.Sub(met) > CatchUpGrace {
		s.reason = "missed"
		return false
	}
	return true
}

// lastTimes returns the last times up to now, oldest first, beginning with
// s.next at the earliest: at most so many, and one at least. It looks back ever
// further, so that a long absence costs no more than what there is to return.
func (s *schedule) lastTimes(now time.Time, most int) []time.Time {
	since := time.UnixMilli(s.stored.Since)
	for back := time.Duration(most) * time.Minute; ; back *= 2 {
		var times []time.Time
		from := s.next
		if past := now.Add(-back); past.After(s.next) && back > 0 {
			from = s.line.Next(past, since)
		}
		for t := from; !t.IsZero() && !t.After(now); t = s.line.Next(t, since) {
			times = append(times, t)
		}
		if len(times) >= most || from.Equal(s.next) {
			return times[max(0, len(times)-most):]
		}
	}
}
