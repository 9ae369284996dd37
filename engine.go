package recall

import (
	"context"
	"net/http"
	"time"
)

// Engine is the contract between the broker and what stores its messages.
// The broker keeps the policy – validation, defaults, backoff, HTTP, handlers –
// and an engine keeps messages, decides who may have them, and makes decisions
// durable. Package enginetest holds the contract as a test suite.
//
// An engine reads no clock: every call that depends on time is given it as
// now, with millisecond resolution. All methods are safe for concurrent use.
// Once a call has queued its change, it returns the true outcome whatever its
// context does; a context that is done before that returns its error and
// changes nothing.
//
// A message is pending, in flight (leased), or gone. Pending messages can be
// claimed when they are due, and cancelled. See [Broker] for the guarantees
// that follow.
type Engine interface {
	// Insert stores msgs as one unit: after it returns nil all of them are
	// durable and visible at once, otherwise none is. Messages arrive
	// validated, with Method, Retries, Timeout and DueAt resolved and CreatedAt
	// set to the wall time. Receipts are in the order of msgs, and ids sort in
	// that order. It returns ErrFull, having changed nothing, when there is no
	// room.
	//
	// A message with a DeduplicationID, which is opaque here and of at most 4 KiB,
	// reserves it at now; one that finds it reserved less than the engine's window
	// ago, or less than that ahead of its own now, is not stored: its receipt says
	// Deduplicated and has ID and CreatedAt of the first. Ids are not kept with
	// messages. Insert, Keeper.Apply and EngineTx.Insert deduplicate; Finish.Follow
	// and RetryDead do not. Without room for the ids it is a *DeduplicationFullError.
	Insert(ctx context.Context, msgs []Message, now time.Time) ([]Receipt, error)
	// Get returns a live message, pending or in flight, or ErrNotFound.
	Get(ctx context.Context, id MessageID, now time.Time) (Message, error)
	// List returns up to limit live messages that match f in the order of
	// publication, those after the id `after` if it is not empty. Here and in all
	// lists ErrInvalid is the answer to an `after` that is no id. A zero Filter
	// matches everything. The list may be shorter than limit: the message that
	// brings its bodies and headers to PageBytes is its last.
	List(ctx context.Context, f Filter, after MessageID, limit int, now time.Time) ([]Message, error)
	// Count counts the matches of f among the live messages, without keeping
	// writers out. A zero Filter matches everything.
	Count(ctx context.Context, f Filter, now time.Time) (Count, error)
	// Explain returns the plan that CancelMatching would follow for f.
	Explain(ctx context.Context, f Filter, now time.Time) (Plan, error)

	// Claim leases up to req.Max pending messages that are due, earliest due
	// first, then oldest first. Messages for local handlers and for consumers are
	// passed over unless their URL is in req.Handlers, with req.Only all others
	// too.
	Claim(ctx context.Context, req ClaimRequest) (ClaimResult, error)
	// Finish ends the attempt of a lease. It returns once the outcome is
	// decided and queued; with f.Durable once it is durable. ErrLeaseLost is
	// returned, and nothing changed, when the lease is not the valid one.
	Finish(ctx context.Context, l Lease, f Finish) error

	// Cancel cancels one message, durably. A message in flight is a
	// *NotCancellableError, unless req.Sticky is set: then the attempt may
	// finish, but the message is never tried again. Unknown or finished
	// messages are ErrNotFound.
	Cancel(ctx context.Context, req CancelRequest) error
	// CancelMatching cancels the pending matches of req.Filter that were
	// visible when the call began, oldest first, and stops at the first one in
	// flight with a *NotCancellableError. What it cancelled is durable as one
	// unit when it returns; with req.Expired, which lets it wait for attempts, it
	// may be an exact prefix.
	CancelMatching(ctx context.Context, req CancelMatchingRequest) (CancelResult, error)

	// ListDead, DeleteDead and RetryDead serve the dead letter queue. Unknown
	// ids are passed over. ListDead ends early like List. RetryDead publishes a
	// new message for each, which blocks no queue, and removes the dead letter,
	// in one unit.
	ListDead(ctx context.Context, f Filter, after DeadLetterID, limit int) ([]DeadLetter, error)
	DeleteDead(ctx context.Context, ids []DeadLetterID) (int, error)
	RetryDead(ctx context.Context, ids []DeadLetterID, now time.Time) ([]Receipt, error)
	// DeadIDs returns the ids of up to limit dead letters that match f, oldest
	// first, those after the id `after` if it is not empty.
	DeadIDs(ctx context.Context, f Filter, after DeadLetterID, limit int) ([]DeadLetterID, error)
	// DeleteDeadMatching and RetryDeadMatching are DeleteDead and RetryDead of the
	// matches of req.Filter that were there when the call began, oldest first; a
	// zero Filter matches everything. The whole set is taken from other calls before
	// req.Guard is asked and the first of it leaves, so none comes or goes in
	// between. They may make more than one durable unit; the number is that of the
	// dead letters that are durably gone, also with an error.
	DeleteDeadMatching(ctx context.Context, req DeadMatchingRequest) (int, error)
	RetryDeadMatching(ctx context.Context, req DeadMatchingRequest) (int, error)

	// Hints returns the channels that wake the broker.
	Hints() Hints
	// Maintain does one bounded step of background work and returns when it
	// wants to be called again; the zero time means after the next hint.
	Maintain(ctx context.Context, now time.Time) (next time.Time, err error)
	// Stats returns counters and sizes; it is cheap.
	Stats() EngineStats
	// Close makes everything that was queued durable and lets go of the
	// storage. Leases that are still out end: their messages are pending again
	// after the next open.
	Close() error
}

// Restorer is an [Engine] that can undo a bulk cancellation, as
// [Broker.Restore] describes.
type Restorer interface {
	Restore(ctx context.Context, op OperationID, now time.Time) (RestoreResult, error)
}

// Auditor is an [Engine] that keeps records of bulk operations, as
// [Broker.Cancellations] and [Broker.WhoCancelled] describe.
type Auditor interface {
	// Operations returns up to limit records, oldest first, those after the
	// operation `after` if it is not empty.
	Operations(ctx context.Context, after OperationID, limit int) ([]Operation, error)
	WhoCancelled(ctx context.Context, id MessageID) (Operation, error)
}

// Redriver is an [Engine] that lets dead letters be changed while it publishes
// them again, as [Broker.RetryDeadLettersWith] describes.
type Redriver interface {
	// RetryDeadWith is Engine.RetryDead, with change called for each message before
	// it is stored, in the order of the queue and while no lock is held. It leaves
	// messages as Insert wants them, or returns an error, which ends the call with
	// nothing changed.
	RetryDeadWith(ctx context.Context, ids []DeadLetterID, now time.Time, change func(*Message) error) ([]Receipt, error)
}

// Changer is an [Engine] that can change many messages by a filter, other than
// by cancelling them.
type Changer interface {
	// Change applies req.Kind to the pending matches of req.Filter that were
	// visible when the call began, oldest first, as one durable unit. It shares
	// the rules of CancelMatching for guards, limits and what is in flight.
	Change(ctx context.Context, req ChangeRequest) (ChangeResult, error)
}

// ChangeRequest is what [Changer.Change] needs.
type ChangeRequest struct {
	CancelMatchingRequest               // Expired and Asked are not used
	Kind                  OperationKind // hold, release, reschedule or retry now
	Due                   time.Time     // with OperationReschedule
}

// Stander is an [Engine] that can cancel messages when they arrive, as
// [Broker.CancelFuture] describes. Every Insert and every failed attempt that
// is to be retried is an arrival.
type Stander interface {
	CancelFuture(ctx context.Context, f Filter, until time.Time, reason string, now time.Time) (OperationID, error)
	StandingCancellations(ctx context.Context, now time.Time) ([]StandingCancellation, error)
	LiftCancellation(ctx context.Context, op OperationID, now time.Time) error
}

// Transactor is an [Engine] that can make several changes one, as
// [Broker.Update] describes.
type Transactor interface {
	// Update calls fn once, in the place of every other writer, and commits what
	// it did through its argument if it returns nil.
	Update(ctx context.Context, fn func(EngineTx) error) error
	// Lookup returns a copy of a value in a bucket of the program, or nil.
	Lookup(ctx context.Context, bucket string, key []byte) ([]byte, error)
}

// EngineTx is a transaction of a [Transactor]. Its methods are those of [Engine]
// and [Tx], and see what the transaction has done before.
type EngineTx interface {
	Insert(msgs []Message, now time.Time) ([]Receipt, error)
	Cancel(req CancelRequest) error
	CancelMatching(req CancelMatchingRequest) (CancelResult, error)
	Bucket(name string) (Bucket, error)
}

// PageBytes bounds what one read of an engine brings into memory, but for the
// message that reaches it.
const PageBytes = 8 << 20

// Hints are channels with room for one hint each. A hint may be spurious, but
// none is lost: it stays until it is taken.
type Hints struct {
	Claim    <-chan struct{} // something may have become claimable earlier than the last Claim said
	Maintain <-chan struct{} // there is background work, or a new dead letter
}

// ClaimRequest is what [Engine.Claim] needs.
type ClaimRequest struct {
	Now      time.Time
	Max      int      // at most this many; the broker asks for free slots only
	Handlers []string // the "local:" and "pull:" URLs to claim for, whole text
	Only     bool     // what goes over HTTP is passed over
}

// ClaimResult is what [Engine.Claim] found.
type ClaimResult struct {
	Leases []Lease
	// Next is the earliest due time among what was not claimed, or zero. If Max was
	// reached it may be in the past, and then it says no more than that something is due.
	Next time.Time
}

// Lease is the right to make one attempt at a message.
type Lease struct {
	Message Message    // complete, with Body and Header; Attempts counts this one
	Token   LeaseToken // proves ownership
}

// LeaseToken tells a valid owner from a stale one, also across restarts: Epoch
// is drawn anew at every open, Number counts up.
type LeaseToken struct{ Epoch, Number uint64 }

// Outcome says how an attempt ended.
type Outcome uint8

// The outcomes of an attempt.
const (
	// Delivered: the endpoint took the message.
	Delivered Outcome = iota + 1
	// Retry: the attempt failed and the next one is due at Finish.Due. The
	// message is pending again at once, unless its cancellation was requested.
	Retry
	// Dead: the attempt failed and was the last; the message goes to the dead
	// letter queue.
	Dead
	// Release: the attempt did not happen. The message is pending as before,
	// and the attempt is not counted.
	Release
)

// Finish is the end of one attempt.
type Finish struct {
	Outcome  Outcome
	Now      time.Time
	Due      time.Time     // of the next attempt, with Retry
	Reason   string        // of a failure, for a person; bounded by the broker
	Failure  FailureClass  // of a failure, for statistics
	Response *HTTPResponse // of the endpoint, if there was one
	Durable  bool          // return only when durable
	// Follow are messages to insert in the same durable unit: callbacks. They
	// arrive as Insert wants them.
	Follow []Message
	// FollowDead are more of them, for a message that becomes a dead letter by
	// this. Where the cancellation of the message was requested it does not, and
	// they are not inserted.
	FollowDead []DeadFollow
}

// DeadFollow is a message to insert with a dead letter. The id of the dead letter
// is known only then: it is inserted into the body at IDAt, unless that is 0.
type DeadFollow struct {
	Message Message
	IDAt    int // between 0 and the length of Message.Body
}

// FailureClass groups the reasons of failed attempts.
type FailureClass uint8

// The classes of failure.
const (
	FailureNone     FailureClass = iota
	FailureStatus                // the endpoint answered with another status than 2xx
	FailureTimeout               // the attempt took longer than its timeout
	FailureNetwork               // no answer
	FailureHandler               // a handler returned an error or panicked
	FailureShutdown              // the broker was closed during the attempt
	FailureCrash                 // the process ended during the attempt
)

// HTTPResponse is what an endpoint answered.
type HTTPResponse struct {
	Status int
	Header http.Header
	Body   []byte // bounded by Options.MaxResponse
}

// CancelRequest is what [Engine.Cancel] needs.
type CancelRequest struct {
	ID     MessageID
	Sticky bool
	Reason string
	Now    time.Time
}

// CancelMatchingRequest is what [Engine.CancelMatching] needs.
type CancelMatchingRequest struct {
	Filter Filter
	All    bool // Filter is ignored: everything matches
	Policy Policy
	Guard  Guard
	Limit  int // take only the oldest; 0: no limit
	DryRun bool
	Reason string
	Now    time.Time
	// Elapsed returns how long ago Now was; for the record. It may be nil.
	Elapsed func() time.Duration
	// Expired, if not nil, makes the walk wait for attempts that block it until
	// the channel is closed.
	Expired <-chan struct{}
	// Self is the message whose attempt makes this call, if one does: waiting
	// for it would be waiting for oneself.
	Self MessageID
	// Asked, if not nil, is called with the messages in flight whose
	// cancellation was requested, once that is durable.
	Asked func([]MessageID)
	// Started, if not nil, is called once with the id that the record of the
	// operation will have if it takes something, when what is published from then
	// on is not touched any more, and before anything is changed. It returns at
	// once, and calls nothing of the engine.
	Started func(OperationID)
}

// DeadMatchingRequest is what [Engine.DeleteDeadMatching] and
// [Engine.RetryDeadMatching] need.
type DeadMatchingRequest struct {
	Filter Filter
	Guard  Guard // of the matches; Limit does not make their number smaller
	Limit  int   // take only the oldest; 0: no limit
	Now    time.Time
}

// Guard is what a bulk call expects: refuse it, before anything is changed,
// unless the number of pending matches, or of dead letters, is within the bounds.
type Guard struct {
	Set         bool
	Least, Most int
}

// check returns an *UnexpectedCountError if found is not what was expected.
func (g Guard) check(found int) error {
	if !g.Set || found >= g.Least && found <= g.Most {
		return nil
	}
	return &UnexpectedCountError{Found: found, Least: g.Least, Most: g.Most}
}

// Count is how many messages match a filter.
type Count struct {
	Pending  int // can be cancelled
	InFlight int // cannot
}

// EngineStats are counters and sizes of an engine. Counters begin at 0 with each
// open.
type EngineStats struct {
	Pending, InFlight int           // live messages
	DeadLetters       int           // messages in the dead letter queue
	Commits           int64         // durable commits since open
	FileBytes         int64         // size on disk
	FreeBytes         int64         // of those, reusable
	Backlog           int           // cancelled or finished messages that background work has still to fold
	Segments          int           // of messages on disk
	Undoable          int           // parts of cancellations that can still be undone
	UndoBytes         int64         // what these hold, in file and memory
	DeduplicationIDs  int           // that are reserved, those included whose room is not given back yet
	Events            int           // kept in the log
	ClockClamp        time.Duration // largest step back of the clock that ids have absorbed
	Broken            bool          // a commit has failed: every change is refused with ErrFailed until the next open

	// Published is how many messages were published since open, in whatever way:
	// callbacks, those of schedules, and dead letters that were retried included.
	// Duplicates are those that were not stored because they were, Cancelled those
	// that a cancellation has ended – waiting, on arrival, or after a request while
	// they were in flight – and Restored those that an undo has brought back. Died is
	// how many became dead letters. They count what is durable.
	Published, Duplicates, Cancelled, Restored, Died int64
	// CommitTime is how long commits took from their first row until they were
	// durable, without what the function of an Update took. WriteTime is the part of
	// it that went to the disk: the pages, and the syncs.
	CommitTime, WriteTime Histogram
	// CommitRows is how many rows the changes brought that shared a commit.
	CommitRows Histogram
	// Waiting is how many changes are not durable yet: they wait for a commit, or are in
	// the one that is under way.
	Waiting int
}
