package recall

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// ObjectKind is a kind of the small things that an engine keeps beside messages.
type ObjectKind uint8

// The kinds of objects.
const (
	ObjectQueue        ObjectKind = iota + 1 // a queue and its settings
	ObjectTopic                              // a URL group and its endpoints
	ObjectSchedule                           // a schedule and its message
	ObjectFlow                               // a flow-control key and its limit
	objectFlowUse                            // what a key has used: of the embedded engine only
	ObjectScheduleTime                       // when a schedule is due, apart from what changes rarely
)

// Object is one of them. What Value holds is the broker's to know, but for queues
// and flow-control keys, which bound what an engine may hand out: theirs are
// [QueueSettings] and [FlowSettings] as JSON.
type Object struct {
	Kind  ObjectKind
	Name  string
	Value []byte // nil in a change: the object is deleted
}

// Keeper is an [Engine] that keeps objects.
type Keeper interface {
	// Objects returns the objects of one kind in the order of their names.
	Objects(ctx context.Context, kind ObjectKind) ([]Object, error)
	// Apply changes objects and inserts messages as one durable unit, under the
	// rules of [Engine.Insert]. If one of Change.If is not what it is said to be, that
	// is ErrObjectChanged, and nothing has changed. A queue that has messages, those
	// aside whose last attempt runs, is not deleted: that is ErrQueueNotEmpty, and
	// nothing has changed. A message that is published to a
	// queue without an object, or restored to one, makes the object.
	Apply(ctx context.Context, c Change) ([]Receipt, error)
}

// SharedKeeper is a [Keeper] whose objects other brokers change, too: those of other
// processes on the same storage. The broker then reads an object again before it
// changes it, changes it only if it is still the same, and reads topics and schedules
// again when Revision says so.
type SharedKeeper interface {
	Keeper
	// Object returns one object as it is now. Its Value is nil if there is none.
	Object(ctx context.Context, kind ObjectKind, name string) (Object, error)
	// Revision, of topics or of schedules, is a number that another one has followed
	// soon after somebody else changed one of the kind; then Hints.Claim is hinted,
	// too. Changes by this engine need not count, and those of ObjectScheduleTime do
	// not. It looks at memory only.
	Revision(kind ObjectKind) uint64
}

// Change is what [Keeper.Apply] makes one.
type Change struct {
	Objects  []Object
	If       []Object // as the caller has read them; a nil Value: it is not there
	Messages []Message
	Now      time.Time
}

// ErrObjectChanged is what [Keeper.Apply] returns to the broker, which then looks
// again: publishing changes queues and flow-control keys, too.
var ErrObjectChanged = errors.New("recall: an object has been changed meanwhile")

// Is tells whether the object has this value, or is not there if that is nil.
func (o *Object) Is(value []byte) bool {
	return (o.Value == nil) == (value == nil) && bytes.Equal(o.Value, value)
}
