package recall

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/recallmq/recall/store"
)

// Errors that callers may test for with [errors.Is]. Those about the file are
// the very values of package store, so either name works.
var (
	// ErrNotFound is returned when no live message has the given id: it was
	// never published, or it has been delivered, cancelled or dead-lettered.
	ErrNotFound = errors.New("recall: message not found")
	// ErrNoTopic is returned for a topic that does not exist: a topic begins with
	// its first endpoint and goes with its last.
	ErrNoTopic = errors.New("recall: no such topic")
	// ErrNoSchedule is returned for a schedule that does not exist.
	ErrNoSchedule = errors.New("recall: no such schedule")
	// ErrNotCancellable is matched by a *[NotCancellableError].
	ErrNotCancellable = errors.New("recall: message is in flight and cannot be cancelled")
	// ErrEmptyFilter is returned when a destructive call is given a zero
	// [Filter]. A forgotten field must not empty the queue: see [Broker.CancelAll].
	ErrEmptyFilter = errors.New("recall: empty filter: use CancelAll to cancel everything")
	// ErrUnexpectedCount is matched by an *[UnexpectedCountError].
	ErrUnexpectedCount = errors.New("recall: unexpected number of matches")
	// ErrUndoExpired is returned by [Broker.Restore] when an operation can no
	// longer be undone: its window has passed, or later ones needed the room.
	ErrUndoExpired = errors.New("recall: the operation can no longer be undone")
	// ErrInvalid is matched by an *[InvalidError].
	ErrInvalid = errors.New("recall: invalid argument")
	// ErrClosed is returned by every call on a closed broker or engine.
	ErrClosed = store.ErrClosed
	// ErrLeaseLost is returned by [Engine.Finish], and by the methods of a
	// [Received], when the lease is no longer the valid one of its message.
	ErrLeaseLost = errors.New("recall: lease is no longer valid")
	// ErrUnsupported is returned for what an engine cannot do.
	ErrUnsupported = errors.New("recall: not supported by this engine")

	// ErrInUse is returned by [Open] when another process holds the file.
	ErrInUse = store.ErrInUse
	// ErrCorrupt is returned by [Open] when the file is damaged, and by calls
	// that meet a damaged message later. The error names the bucket and key.
	// The file is not changed.
	ErrCorrupt = store.ErrCorrupt
	// ErrForeign is returned by [Open] for a file that is not Recall's.
	ErrForeign = store.ErrForeign
	// ErrVersion is returned by [Open] for a file that a newer Recall wrote.
	ErrVersion = store.ErrVersion
	// ErrReadOnly is returned by [Open] when the file may not be written.
	ErrReadOnly = store.ErrReadOnly
	// ErrFull is returned when there is no room for the write. Nothing was
	// changed; deliveries and cancellations go on, and publishing works again
	// when there is room.
	ErrFull = store.ErrFull
	// ErrFailed is returned after a commit has failed. The outcome of the call
	// that met it is unknown until the file is opened again; every later
	// change is refused with it. A *[UnknownError] matches it, too.
	ErrFailed = store.ErrFailed
)

// UnknownError says that it is not known whether a change has been made, by an engine
// that goes on: on a database, where a connection was lost at the wrong moment or the
// change may be undone by a failover. Whoever made it looks, or makes it again with a
// deduplication id. It matches [ErrFailed].
type UnknownError struct {
	Err error // what has happened
}

// Error implements error.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("recall: it is not known whether the change was made: %v", e.Err)
}

// Is reports whether target is [ErrFailed].
func (e *UnknownError) Is(target error) bool { return target == ErrFailed }

// Unwrap returns what has happened.
func (e *UnknownError) Unwrap() error { return e.Err }

// InvalidError says which argument was refused and why. It matches [ErrInvalid].
type InvalidError struct {
	Field  string // what was wrong, as named in the Go API: "URL", "Delay", …
	Reason string // why, for a person
	// OverLimit says that the value is well-formed, and more than is allowed.
	OverLimit bool
}

func overLimit(field, format string, args ...any) error {
	return &InvalidError{Field: field, Reason: fmt.Sprintf(format, args...), OverLimit: true}
}

func invalid(field, format string, args ...any) error {
	return &InvalidError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (e *InvalidError) Error() string {
	return "recall: invalid " + e.Field + ": " + e.Reason
}

// Is reports whether target is [ErrInvalid].
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// BatchError says which message of a [Broker.PublishBatch] was refused.
// Nothing of the batch was published.
type BatchError struct {
	Index int // position in the batch, from 0
	Err   error
}

// Error implements error.
func (e *BatchError) Error() string {
	return fmt.Sprintf("recall: message %d of the batch: %v", e.Index, e.Err)
}

// Unwrap returns what was wrong with the message.
func (e *BatchError) Unwrap() error { return e.Err }

// NotCancellableError names the message in flight that ended a cancellation, or
// another bulk call. What was cancelled before it stays cancelled. It matches [ErrNotCancellable].
type NotCancellableError struct {
	ID        MessageID // the blocker
	State     State     // its state: StateInFlight
	Cancelled int       // messages cancelled before it, by this call
	// Operation is the kind of a bulk call that does not cancel: then Cancelled are
	// those that it held, released or moved before. Otherwise it is empty.
	Operation OperationKind
}

// participles say what has become of the messages that a bulk call took.
var participles = map[OperationKind]string{
	"": "cancelled", OperationHold: "held", OperationRelease: "released",
	OperationReschedule: "rescheduled", OperationRetryNow: "made due at once",
}

// Error implements error.
func (e *NotCancellableError) Error() string {
	done := cmp.Or(participles[e.Operation], "changed")
	if e.Cancelled == 0 {
		return fmt.Sprintf("recall: message %s is %s and cannot be %s", e.ID, e.State, done)
	}
	return fmt.Sprintf("recall: message %s is %s and cannot be %s; %d messages were %s before it",
		e.ID, e.State, done, e.Cancelled, done)
}

// Is reports whether target is [ErrNotCancellable].
func (e *NotCancellableError) Is(target error) bool { return target == ErrNotCancellable }

// UnexpectedCountError says how many pending messages, or dead letters, a bulk call
// found when that was not what its caller expected. Nothing was changed. It matches
// [ErrUnexpectedCount].
type UnexpectedCountError struct {
	Found       int // matches that are pending, or dead letters
	Least, Most int // what was expected
}

// Error implements error.
func (e *UnexpectedCountError) Error() string {
	want := fmt.Sprintf("at most %d", e.Most)
	if e.Least == e.Most {
		want = fmt.Sprintf("exactly %d", e.Most)
	}
	return fmt.Sprintf("recall: found %d matches, expected %s; nothing was changed", e.Found, want)
}

// Is reports whether target is [ErrUnexpectedCount].
func (e *UnexpectedCountError) Is(target error) bool { return target == ErrUnexpectedCount }
