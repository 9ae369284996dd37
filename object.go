package recall

import (
	"context"
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
	// rules of [Engine.Insert]. A queue that has messages, those aside whose last
	// attempt runs, is not deleted: that is
	// ErrQueueNotEmpty, and nothing has changed. A message that is published to a
	// queue without an object, or restored to one, makes the object.
	Apply(ctx context.Context, c Change) ([]Receipt, error)
}

// Change is what [Keeper.Apply] makes one.
type Change struct {
	Objects  []Object
	Messages []Message
	Now      time.Time
}
