package recall

import (
	"context"
	"time"
)

// Stats are counters and sizes of a [Broker]. Counters begin at 0 with each open.
type Stats struct {
	EngineStats
	Slots     int   // attempts that may run at once
	Busy      int   // attempts that run now
	Settling  int   // of those, attempts that are over and wait for their outcome to be durable, see Options.WaitFinish
	Leased    int   // messages that consumers hold, see [Broker.Receive]; they take no slots
	Delivered int64 // attempts that ended delivered, since open
	Failed    int64 // attempts that failed, since open
	Retried   int64 // of those, attempts that another one was to follow
	// LeasesExpired is how many leases of consumers ran out, since open. They are
	// failed attempts too.
	LeasesExpired int64
	// DeadLettersDropped is how many dead letters were dropped by age or by number
	// since open, see Options.DeadLetterRetention.
	DeadLettersDropped int64
	// FileLimit is Options.MaxFileSize; 0: no limit.
	FileLimit int64
	// LongestUpdate is the longest that a transaction kept everybody waiting.
	LongestUpdate time.Duration
	// PublishTime is how long publishing took that succeeded, from the call until all
	// its messages were durable. A batch is one value; transactions and schedules are
	// not in it.
	PublishTime Histogram
	// Lateness is how long after it was due an attempt began, by Options.Clock. What a
	// message waits for slots, for its handler or consumer, for its queue or for its
	// flow-control key is in it.
	Lateness Histogram
	// AttemptTime is how long attempts took that were delivered or failed, leases of
	// consumers included, by Options.Clock.
	AttemptTime Histogram
	// Errors is how many errors the broker has logged since open, and LastError the
	// newest of them. Those of an engine that New was given are not among them.
	Errors    int64
	LastError LoggedError
}

// Stats returns counters and sizes. It takes some microseconds whatever the number
// of messages, keeps nobody waiting, and answers after Close too. Its values are not
// all of one instant.
func (b *Broker) Stats() Stats {
	s := Stats{EngineStats: b.engine.Stats(), Slots: b.opts.Slots, FileLimit: b.opts.MaxFileSize}
	s.LongestUpdate = time.Duration(b.longestUpdate.Load())
	b.outcomes.addTo(&s)
	s.Leased, s.LeasesExpired = b.consumers.leased(), b.consumers.expired.Load()
	s.DeadLettersDropped = b.droppedDead.Load()
	s.PublishTime = b.publishTime.read()
	s.Errors, s.LastError = b.errors.read()
	if b.dispatch != nil {
		b.dispatch.addTo(&s)
	}
	return s
}

// noteUpdate keeps the longest transaction.
func (b *Broker) noteUpdate(d time.Duration) {
	for {
		longest := b.longestUpdate.Load()
		if int64(d) <= longest || b.longestUpdate.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// StateCounts is how many messages there are in each [State].
type StateCounts struct {
	Counts map[State]int // of every state, also those in which there is none
	// ReadySince is when the ready message that has waited longest was due; zero if
	// none is ready.
	ReadySince time.Time
}

// CountStates counts the live messages by state. Unlike [Broker.Stats] it looks at
// each of them, as states follow from the time: that takes 30 ms for a million, 80 if all
// of them are in queues,
// in slices between which others go on. For one state, or some of the messages, use
// [Broker.Count].
//
// Errors: [ErrUnsupported] if the engine is no [StateCounter], [ErrClosed], that of
// ctx. Safe for concurrent use.
func (b *Broker) CountStates(ctx context.Context) (StateCounts, error) {
	e, err := asEngine[StateCounter](b, ctx)
	if err != nil {
		return StateCounts{}, err
	}
	defer b.end()
	return e.CountStates(ctx, b.clock.Now())
}

// StateCounter is an [Engine] that can count its messages by state, as
// [Broker.CountStates] describes.
type StateCounter interface {
	CountStates(ctx context.Context, now time.Time) (StateCounts, error)
}
