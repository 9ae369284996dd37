package recall

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// logOptions say how much of the log is kept.
type logOptions struct {
	off       bool
	retention time.Duration
	most      int
}

func newLogOptions(o *Options) logOptions {
	return logOptions{o.NoEvents, o.EventRetention, o.MaxEvents}
}

// Kinds of events in the file: places in eventStates.
const (
	eventCreated = iota + 1
	eventActive
	eventError
	eventRetry
	eventDelivered
	eventFailed
	eventCancelRequested
	eventCancelled
)

// log adds events of one message to the commit.
func (t *turn) log(s *store.Subject, events ...store.Event) error {
	if t.e.logs.off || len(events) == 0 {
		return nil
	}
	return t.tx.LogEvents(s, events...)
}

// subjectOf is the message that events are about.
func subjectOf(m *Message, id ulid.ULID) store.Subject {
	return store.Subject{
		ID: id, URL: m.URL, Queue: m.Queue, Topic: m.Topic, Schedule: m.ScheduleID, CallerIP: m.CallerIP,
		FlowKey: m.FlowKey, Labels: m.Labels,
	}
}

// subjectLocked is that of an entry.
func (e *embedded) subjectLocked(p *page, en entry, seq uint64) store.Subject {
	name := func(f field) string { return e.live.fields[f].slab[en.values[f]].name }
	created, _ := p.timesOf(seq, en)
	s := store.Subject{
		ID: e.idOf(seq, created), URL: name(fieldURL), Queue: name(fieldQueue), Topic: name(fieldTopic),
		Schedule: name(fieldSchedule), CallerIP: name(fieldIP), FlowKey: name(fieldFlow),
	}
	for _, n := range e.live.sets.slab[en.labels].labels {
		s.Labels = append(s.Labels, e.live.fields[fieldLabel].slab[n].name)
	}
	return s
}

// subject is that of a message which is being published.
func (r *insertRow) subject() store.Subject {
	m := messageOf(&r.rec)
	return subjectOf(&m, r.id)
}

// eventBytes bounds what events of one message take in the file.
func eventBytes(s *store.Subject, events []store.Event) int64 {
	n := store.EventOverhead + len(s.URL) + len(s.Queue) + len(s.Topic) + len(s.Schedule) + len(s.CallerIP) + len(s.FlowKey)
	for _, l := range s.Labels {
		n += len(l)
	}
	for i := range events {
		n += len(events[i].Reason)
	}
	return int64(n)
}

// logCreated tells of a message that is being published, and what has taken it.
func (w *insertWork) logCreated(t *turn, i int) error {
	if t.e.logs.off {
		return nil
	}
	r := &w.rows[i]
	s := subjectOf(&w.msgs[i], r.id)
	created := store.Event{Kind: eventCreated, At: w.now}
	if r.taken == nil {
		return t.log(&s, created)
	}
	return t.log(&s, created, store.Event{Kind: eventCancelled, At: w.now, Operation: r.taken.op.ID})
}

// finishLog is what the end of an attempt has to tell.
type finishLog struct {
	subject store.Subject
	events  []store.Event
}

func (l *finishLog) size() int64 {
	if l == nil {
		return 0
	}
	return eventBytes(&l.subject, l.events)
}

// newFinishLog returns the events of the end of an attempt: its start, if the log
// does not have it, the outcome, and what follows from that. One that was given
// back leaves none.
func newFinishLog(d decision, l Lease, f *Finish) *finishLog {
	if f.Outcome == Release && d.end != endGone {
		return nil
	}
	u, _ := l.Message.ID.ulid() // the lease was checked
	log := &finishLog{subject: subjectOf(&l.Message, u), events: make([]store.Event, 0, 3)}
	add := func(kind uint8, at int64) *store.Event {
		log.events = append(log.events, store.Event{Kind: kind, At: at, Attempt: uint32(l.Message.Attempts)})
		return &log.events[len(log.events)-1]
	}
	if !d.logged {
		add(eventActive, d.claimed)
	}
	status := uint16(0)
	if f.Response != nil {
		status = uint16(f.Response.Status)
	}
	if f.Outcome == Delivered {
		add(eventDelivered, d.now).Status = status
		return log
	}
	if f.Outcome != Release {
		ev := add(eventError, d.now)
		ev.Status, ev.Reason = status, boundEventReason(f.Reason)
	}
	switch ev := add(0, d.now); d.end {
	case endRetry:
		ev.Kind, ev.Due = eventRetry, d.due
	case endDead:
		ev.Kind, ev.Status, ev.Reason = eventFailed, status, boundEventReason(f.Reason)
	default:
		ev.Kind = eventCancelled
	}
	return log
}

func boundEventReason(s string) string { return string(cutText([]byte(s), maxEventReason)) }

// takenLog tells that a standing cancellation has taken what would be tried again.
func takenLog(l Lease, now int64, op [16]byte) *finishLog {
	u, _ := l.Message.ID.ulid()
	return &finishLog{subjectOf(&l.Message, u), []store.Event{{
		Kind: eventCancelled, At: now, Attempt: uint32(l.Message.Attempts), Operation: op,
	}}}
}

// crashLog tells of a message that the end of the process has finished.
func (e *embedded) crashLog(c crashed, now int64) *finishLog {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, en := e.live.lookup(c.seq)
	if !en.exists() {
		return nil
	}
	log := &finishLog{subject: e.subjectLocked(p, en, c.seq)}
	if c.cancelled {
		log.events = []store.Event{{Kind: eventCancelled, At: now, Attempt: c.attempts}}
		return log
	}
	for _, kind := range []uint8{eventError, eventFailed} {
		log.events = append(log.events, store.Event{Kind: kind, At: now, Attempt: c.attempts, Reason: crashReason})
	}
	return log
}

// activeEvent is the start of an attempt that the log does not have yet.
type activeEvent struct {
	subject store.Subject
	event   store.Event
}

// starts are those of one commit. A message that is tried again in the commit
// which says that it is to be comes behind that.
type starts struct{ before, after []activeEvent }

// Starts that are logged with a commit may take so many bytes each, and all of
// them so many. What is over comes with the outcome of its attempt.
const (
	startBytes = 256
	mostStarts = 256 << 10
)

// startRoom is the room for the attempts that have started by now.
func (e *embedded) startRoom() int64 {
	if e.logs.off {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return min(int64(len(e.notes))*startBytes, mostStarts)
}

// takeStarts describes the attempts that have started since the last commit, as
// far as there is room, but for those that begin behind a retry of a later commit. here are
// the retries of this one.
func (e *embedded) takeStarts(room int64, here retrying) (s starts) {
	if e.logs.off {
		return s
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.notes {
		l := e.leases[n.Seq]
		p, en := e.live.lookup(n.Seq)
		if l == nil || !en.exists() || uint32(l.attempt) != n.Attempt || l.finishing || l.logged || e.retrying.comesLocked(n.Seq, here) {
			continue
		}
		a := activeEvent{e.subjectLocked(p, en, n.Seq), store.Event{Kind: eventActive, At: l.claimed, Attempt: n.Attempt}}
		if room -= eventBytes(&a.subject, nil); room < 0 {
			return s
		}
		l.logged = true
		if here[n.Seq] != nil {
			s.after = append(s.after, a)
		} else {
			s.before = append(s.before, a)
		}
	}
	return s
}

func (t *turn) logStarts(list []activeEvent) error {
	for i := range list {
		if err := t.log(&list[i].subject, list[i].event); err != nil {
			return err
		}
	}
	return nil
}

// logOperation tells of a bulk cancellation, in one event.
func (t *turn) logOperation(op *store.Operation, taken, asked int) error {
	if taken+asked == 0 || verb(op.Kind) != verbCancel {
		return nil
	}
	return t.log(&store.Subject{}, store.Event{
		Kind: eventCancelled, At: op.At, Operation: op.ID, Count: uint64(taken), Requested: uint64(asked),
	})
}

// eventRows is how many rows of the log one read looks at.
const eventRows = 4096

// Events implements [EventLog].
func (e *embedded) Events(ctx context.Context, f EventFilter, after EventID, limit int) (page EventPage, err error) {
	if err := e.checkOpen(ctx); err != nil {
		return page, err
	}
	r, empty, err := eventRange(&f, after)
	if err != nil || empty || limit <= 0 {
		return page, err
	}
	e.hurry(ctx)
	at, done, err := e.store.Events(r, func(p store.Position, s *store.Subject, ev *store.Event) bool {
		if f.States != nil && !slices.Contains(f.States, eventStateOf(ev.Kind)) {
			return true
		}
		if one := eventOf(p, s, ev); f.takes(&one) {
			page.Events = append(page.Events, one)
		}
		return len(page.Events) < limit
	})
	if err != nil {
		return EventPage{}, err
	}
	if !done {
		page.Next = eventID(at)
	}
	return page, nil
}

// eventRange narrows what is read of the log. It is empty if nothing can match.
func eventRange(f *EventFilter, after EventID) (r store.EventRange, empty bool, err error) {
	r = store.EventRange{Oldest: f.OldestFirst, Rows: eventRows}
	if after != "" {
		if r.After.Mark, r.After.Number, err = after.parse(); err != nil {
			return r, false, err
		}
	}
	r.Until = msOf(f.To)
	since := max(msOf(f.From), msOf(f.Filter.From))
	ids := f.Filter.IDs
	if ids != nil {
		oldest := int64(math.MaxInt64)
		for _, id := range ids {
			oldest = min(oldest, id.created().UnixMilli())
		}
		since = max(since, oldest)
	}
	if len(ids) == 1 {
		u, err := ids[0].ulid()
		if err != nil {
			return r, false, err
		}
		r.ID = (*[16]byte)(&u)
	}
	r.Since = since
	return r, ids != nil && len(ids) == 0, nil
}

// msOf is a time in ms, 0 if there is none.
func msOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func eventStateOf(kind uint8) EventState {
	if int(kind) < len(eventStates) {
		return eventStates[kind]
	}
	return ""
}

func eventID(p store.Position) EventID { return EventID(deadLetterID(p.Mark, p.Number)) }

// eventOf is an event as users see it.
func eventOf(p store.Position, s *store.Subject, ev *store.Event) Event {
	out := Event{
		ID: eventID(p), At: time.UnixMilli(ev.At), State: eventStateOf(ev.Kind),
		URL: s.URL, Queue: s.Queue, Topic: s.Topic, ScheduleID: s.Schedule, CallerIP: s.CallerIP, FlowKey: s.FlowKey,
		Labels: slices.Clone(s.Labels), Attempt: int(ev.Attempt), Status: int(ev.Status), Reason: ev.Reason, Due: timeOf(ev.Due),
		Count: int(ev.Count), Requested: int(ev.Requested),
	}
	if s.ID != [16]byte{} {
		out.Message = messageID(s.ID)
	}
	if ev.Operation != [16]byte{} {
		out.Operation = operationID(ev.Operation)
	}
	return out
}

// Trimming drops so many rows of the log in one commit, and looks whether one is
// too old no more often than this. More events than the most are dropped when
// they are a part of it more, and more than a row can have: each time costs a
// commit.
const (
	trimRows  = 1024
	trimPause = time.Minute
	trimPart  = 32
	trimLeast = 256
)

// trimPays tells whether the log has grown beyond its bound.
func (e *embedded) trimPays() bool {
	n, _ := e.store.Log()
	return n > e.logs.most+max(e.logs.most/trimPart, trimLeast)
}

// trimStep drops the oldest events: those that are too old, or too many. When a
// publish was refused half of the log gives way. It returns when there will be
// more.
func (e *embedded) trimStep(ctx context.Context, now time.Time) (next time.Time, did bool, err error) {
	n, oldest := e.store.Log()
	e.mu.Lock()
	u := &e.upkeep
	if u.logFull {
		u.logFull, u.logShrinks, u.logKeep = false, true, n/2
	}
	shrinks, keep := u.logShrinks, u.logKeep
	e.mu.Unlock()
	before := now.Add(-e.logs.retention).UnixMilli()
	if n > 0 {
		next = time.UnixMilli(oldest).Add(e.logs.retention + trimPause)
	}
	if n == 0 || !shrinks && !e.trimPays() && now.Before(next) {
		return next, false, nil
	}
	most := e.logs.most
	if shrinks {
		most = min(most, keep)
	}
	var more bool
	err = e.submit(ctx, &maintWork{need: upkeepBound(256 << 10), step: func(tx *store.Tx) (err error) {
		more, err = tx.TrimEvents(most, before, trimRows)
		return err
	}})
	if err != nil {
		return next, false, err
	}
	if !more {
		e.mu.Lock()
		e.upkeep.logShrinks = false
		e.mu.Unlock()
	}
	after, _ := e.store.Log()
	return next, after < n, nil
}
