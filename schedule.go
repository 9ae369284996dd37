package recall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/internal/cron"
)

// Limits of schedules.
const (
	// MaxSchedules is how many schedules there may be.
	MaxSchedules = 10_000
	// MaxCatchUp is how many missed times CatchUpAll makes up for.
	MaxCatchUp = 1000
	// CatchUpGrace is how late a time may be and still count as met.
	CatchUpGrace = 2 * time.Minute
)

const schedulePrefix = "scd_"

// CatchUp says what becomes of the times that a schedule has missed, because no
// broker had the file open or the clock was set forward.
type CatchUp uint8

const (
	// CatchUpOne publishes once for all that was missed.
	CatchUpOne CatchUp = iota
	// CatchUpNone publishes nothing for times that are more than [CatchUpGrace]
	// ago.
	CatchUpNone
	// CatchUpAll publishes once for each, oldest first, the last [MaxCatchUp] of
	// them.
	CatchUpAll
)

// String implements fmt.Stringer.
func (c CatchUp) String() string {
	names := []string{"one", "none", "all"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("CatchUp(%d)", uint8(c))
}

// Schedule publishes a message again and again. The first group of fields is the
// program's; the second is set by Recall on schedules that it returns, and
// ignored by SetSchedule.
type Schedule struct {
	// ID names the schedule, and is Message.ScheduleID of what it publishes. At
	// most MaxName bytes; if it is empty, SetSchedule makes one up.
	ID string
	// Cron says when: five fields – minute, hour, day of month, month, day of
	// week – or one of @yearly, @annually, @monthly, @weekly, @daily, @midnight,
	// @hourly, and "@every 90m", which counts from the call of SetSchedule and is
	// in whole seconds, a minute at least. Fields are lists of *, values, ranges
	// and steps ("*/15", "1-5", "MON,FRI"); a range may begin anew ("22-2",
	// "FRI-MON") if it has no step. If day of month and day of week are both
	// restricted, either is enough. "CRON_TZ=Europe/Berlin " in front (or "TZ=")
	// is the zone that it goes by; else it is UTC. At most 256 bytes.
	//
	// When clocks change: if every hour is named ("*"), it goes by the clock on
	// the wall, in both of two equal hours, and not at local times that are
	// skipped. If only some hours are, each local time counts once: what is
	// skipped is made up for in the moment after the gap, once for all that falls
	// into it, and of a time that comes twice the first counts.
	Cron string
	// Message is what is published: to its URL, or to the endpoints of its Topic
	// if the URL is empty, as in [Broker.PublishTopic]. Its Delay counts from each
	// time; NotBefore must be zero, and ScheduleID is ignored. What of it is not to be
	// shown is redacted in schedules that are read, see [Redaction], and refused in
	// those that are set: who changes a schedule has to give the real thing again.
	Message Message
	// CatchUp says what becomes of times that were missed.
	CatchUp CatchUp
	// Paused: nothing is published, and what is missed meanwhile is not made up
	// for.
	Paused bool

	// CreatedAt is when the schedule was made, UpdatedAt when SetSchedule,
	// PauseSchedule or ResumeSchedule last changed it.
	CreatedAt, UpdatedAt time.Time
	// Next is the time that comes next; zero while it is paused.
	Next time.Time
	// Last is the last time that was met, caught up with or skipped; zero: none.
	Last time.Time
	// Error is why nothing was published at Last, if nothing was.
	Error string
}

// SetSchedule stores a schedule, replacing the one of the same ID, and returns it
// as it is then, with its ID and its next time. A program may do that at each
// start: as long as the line is the same and neither of the two is paused, the
// next time stays what it is, so nothing is missed and nothing repeated.
// Otherwise the first time is the next one after now, and after the last one
// that was met.
//
// Each time is met once, also across crashes and restarts: publishing the
// messages and moving on to the next time is one durable change, and the clock
// of the machine set back does not repeat it. The messages are those of
// [Broker.Publish] and [Broker.PublishTopic]: standing cancellations take them
// on arrival, and [Filter.Schedules] finds them. When there is no room
// ([ErrFull]) they are published later. When the message can no longer be
// published, because its topic is gone, that time is passed over, and the
// schedule says so as Error.
//
// It is durable when it returns. Errors: [ErrInvalid] (of a Cron that is
// malformed, with the byte at which it is), [ErrNoTopic], [ErrUnsupported],
// [ErrFull], [ErrFailed] (unknown), [ErrCorrupt], [ErrClosed], or that of ctx if
// it was done before anything was changed. Safe for concurrent use. The
// semantics are those of QStash's schedules; CatchUp is Recall's.
func (b *Broker) SetSchedule(ctx context.Context, s Schedule) (Schedule, error) {
	line, err := s.check()
	if err != nil {
		return Schedule{}, err
	}
	k, err := b.beginSchedules(ctx)
	if err != nil {
		return Schedule{}, err
	}
	defer b.end()
	b.schedules.turn.Lock()
	defer b.schedules.turn.Unlock()
	if s.ID == "" {
		if s.ID, err = newScheduleID(b.clock.Now(), b.opts.Random); err != nil {
			return Schedule{}, err
		}
	}
	var out Schedule
	err = b.untilUnchanged(ctx, func() error {
		out, err = b.trySchedule(ctx, k, s, line)
		return err
	})
	return out, err
}

func (b *Broker) trySchedule(ctx context.Context, k Keeper, s Schedule, line *cron.Line) (Schedule, error) {
	now := milliseconds(b.clock.Now())
	if _, err := b.scheduled(&s, now); err != nil {
		return Schedule{}, inMessage(err)
	}
	old, err := b.currentSchedule(ctx, s.ID)
	if err != nil {
		return Schedule{}, err
	}
	if !old.found && b.schedules.size() >= MaxSchedules {
		return Schedule{}, invalid("Schedule", "there are %d schedules already", MaxSchedules)
	}
	if old.fault != nil {
		old.value = nil
	}
	return b.storeSchedule(ctx, k, newSchedule(s, line, old.value, now), old, now)
}

// Schedule returns a schedule. Errors: [ErrNoSchedule], [ErrInvalid],
// [ErrUnsupported], [ErrCorrupt], [ErrClosed], that of ctx.
func (b *Broker) Schedule(ctx context.Context, id string) (Schedule, error) {
	if err := checkScheduleID(id); err != nil {
		return Schedule{}, err
	}
	if _, err := b.beginSchedules(ctx); err != nil {
		return Schedule{}, err
	}
	defer b.end()
	s, err := b.findSchedule(ctx, id)
	if err != nil {
		return Schedule{}, err
	}
	return s.value.shown()
}

// Schedules returns all schedules in the order of their ids. Those that cannot be
// used here, because they are damaged or this machine does not know their zone,
// are left out; the error is about them then. Errors: [ErrUnsupported],
// [ErrCorrupt], [ErrInvalid], [ErrClosed], that of ctx.
func (b *Broker) Schedules(ctx context.Context) ([]Schedule, error) {
	_, err := b.beginSchedules(ctx)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if b.shared != nil { // the times change without a revision
		b.schedules.outdate()
		if err := b.fillSchedules(ctx, b.shared); err != nil {
			return nil, err
		}
	}
	list, fault := b.schedules.all()
	out := make([]Schedule, len(list))
	for i, s := range list {
		if out[i], err = s.shown(); err != nil {
			return nil, err
		}
	}
	return out, fault
}

// DeleteSchedule deletes a schedule: it publishes nothing after the call has
// returned. What it has published stays; [Broker.CancelMatching] with
// [Filter.Schedules] takes that back. It is durable when it returns. Errors:
// [ErrNoSchedule], and those of [Broker.SetSchedule]. Safe for concurrent use.
func (b *Broker) DeleteSchedule(ctx context.Context, id string) error {
	return b.changeSchedule(ctx, id, func(k Keeper) error {
		have, err := b.currentSchedule(ctx, id)
		if err != nil {
			return err
		}
		if !have.found {
			return noSchedule(id)
		}
		_, err = k.Apply(ctx, Change{
			Objects: []Object{{Kind: ObjectSchedule, Name: id}, {Kind: ObjectScheduleTime, Name: id}}, Now: b.clock.Now(),
		})
		if err == nil {
			b.schedules.forget(id, have.reads)
		}
		return err
	})
}

// PauseSchedule stops a schedule from publishing until it is resumed; to pause
// again changes nothing. It is durable when it returns. Errors: [ErrNoSchedule],
// and those of [Broker.SetSchedule]. Safe for concurrent use.
func (b *Broker) PauseSchedule(ctx context.Context, id string) error {
	return b.pauseSchedule(ctx, id, true)
}

// ResumeSchedule lets a paused schedule go on with the next time after now: what
// it has missed is not made up for. Otherwise it is like [Broker.PauseSchedule].
func (b *Broker) ResumeSchedule(ctx context.Context, id string) error {
	return b.pauseSchedule(ctx, id, false)
}

func (b *Broker) pauseSchedule(ctx context.Context, id string, paused bool) error {
	return b.changeSchedule(ctx, id, func(k Keeper) error {
		old, err := b.findSchedule(ctx, id)
		if err != nil || old.value.stored.Paused == paused {
			return err
		}
		now := milliseconds(b.clock.Now())
		s := *old.value
		s.stored.Paused, s.stored.Updated = paused, s.updated(now)
		s.next, s.owed = time.Time{}, time.Time{}
		if !paused {
			s.next = s.after(now)
		}
		_, err = b.storeSchedule(ctx, k, &s, old, now)
		return err
	})
}

// changeSchedule calls change while nothing else here changes a schedule, again when
// another process has.
func (b *Broker) changeSchedule(ctx context.Context, id string, change func(Keeper) error) error {
	if err := checkScheduleID(id); err != nil {
		return err
	}
	k, err := b.beginSchedules(ctx)
	if err != nil {
		return err
	}
	defer b.end()
	b.schedules.turn.Lock()
	defer b.schedules.turn.Unlock()
	return b.untilUnchanged(ctx, func() error { return change(k) })
}

// check checks what the program set, but for the message.
func (s *Schedule) check() (*cron.Line, error) {
	if err := checkName("ID", s.ID); err != nil {
		return nil, err
	}
	line, err := cron.Parse(s.Cron)
	if err != nil {
		return nil, invalid("Cron", "%v", err)
	}
	if s.CatchUp > CatchUpAll {
		return nil, invalid("CatchUp", "%d is unknown", uint8(s.CatchUp))
	}
	if !s.Message.NotBefore.IsZero() {
		return nil, inMessage(invalid("NotBefore", "a schedule has times of its own; use Delay"))
	}
	if err := checkNotRedacted(&s.Message); err != nil {
		return nil, inMessage(err)
	}
	return line, nil
}

// inMessage says that an error is about the message.
func inMessage(err error) error { return fmt.Errorf("%s: %w", "Message", err) }

func checkScheduleID(id string) error {
	if id == "" {
		return invalid("ID", "it is empty")
	}
	return checkName("ID", id)
}

func newScheduleID(now time.Time, random io.Reader) (string, error) {
	u, err := ulid.New(ulid.Timestamp(now), random)
	return schedulePrefix + u.String(), err
}

func noSchedule(id string) error { return fmt.Errorf("%w: %q", ErrNoSchedule, clip(id)) }

// unpublishable tells errors that trying again later would not mend.
func unpublishable(err error) bool { return errors.Is(err, ErrInvalid) || errors.Is(err, ErrNoTopic) }

// scheduled returns the messages of one time. For a topic the caller must see to
// it that it does not change.
func (b *Broker) scheduled(s *Schedule, now time.Time) ([]Message, error) {
	m := s.Message
	m.ScheduleID = s.ID
	if m.URL != "" || m.Topic == "" {
		m, err := m.resolve(b.opts, now)
		return []Message{m}, err
	}
	if err := checkTopic(m.Topic); err != nil {
		return nil, err
	}
	t, err := b.findTopic(m.Topic)
	if err != nil {
		return nil, err
	}
	return t.fan(m, b.opts, now)
}

// beginSchedules begins a call that needs the schedules, and the topics that they
// publish to; it is ended unless that fails.
func (b *Broker) beginSchedules(ctx context.Context) (Keeper, error) {
	k, err := b.beginTopics(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.fillSchedules(ctx, k); err != nil {
		b.end()
		return nil, err
	}
	return k, nil
}

// findSchedule returns a schedule as it is now, if it can be used.
func (b *Broker) findSchedule(ctx context.Context, id string) (current[*schedule], error) {
	s, err := b.currentSchedule(ctx, id)
	switch {
	case err != nil:
		return s, err
	case s.fault != nil:
		return s, s.fault
	case !s.found:
		return s, noSchedule(id)
	}
	return s, nil
}
