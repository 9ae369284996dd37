package enginetest

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/recallmq/recall"
)

// Deed is one call of a client of an engine on which several processes work, as its
// process writes it down: a line when the call begins, and the same line with the answer
// when it ends. Of a process that was killed the second may be missing, and then it is
// unknown what the call has done.
type Deed struct {
	Began  int64 // by a counter that all processes move on; it names the call
	Ended  int64 `json:",omitzero"` // 0: there was no answer
	Client int   `json:",omitzero"`
	Verb   DeedVerb
	Answer Answer `json:",omitzero"`

	Names    []string           `json:",omitzero"` // of messages: their bodies
	IDs      []recall.MessageID `json:",omitzero"` // for each name, where it is known; of a bulk call that has skipped: those
	Labels   []string           `json:",omitzero"` // for each message that is published; of a bulk call the one
	Queues   []string           `json:",omitzero"` // for each message that is published
	Attempts []int              `json:",omitzero"` // for each message that is claimed

	Leases    []recall.LeaseToken `json:",omitzero"` // for each message that is claimed; of the end of an attempt the one
	Outcome   recall.Outcome      `json:",omitzero"`
	Operation recall.OperationID  `json:",omitzero"`
	Count     int                 `json:",omitzero"` // cancelled
	Limit     int                 `json:",omitzero"`
	Blocker   recall.MessageID    `json:",omitzero"`
	Epoch     uint64              `json:",omitzero"` // of DeedEnd
	Error     string              `json:",omitzero"` // for people
}

// DeedVerb is what a client asks for.
type DeedVerb string

// What clients ask for.
const (
	DeedPublish DeedVerb = "publish"
	DeedClaim   DeedVerb = "claim"
	DeedFinish  DeedVerb = "finish"
	DeedCancel  DeedVerb = "cancel" // one message
	DeedBulk    DeedVerb = "cancel matching"
	DeedEnd     DeedVerb = "end" // the process has ended in order, with leases of this epoch
)

// Answer is what a client is told.
type Answer string

// What clients are told. Nothing is what a call says that was not answered.
const (
	AnswerNothing  Answer = ""
	AnswerDone     Answer = "done"
	AnswerInFlight Answer = "in flight"
	AnswerNotFound Answer = "not found"
	AnswerLost     Answer = "lease lost"
	AnswerFailed   Answer = "failed" // an error that says that nothing has happened; what a bulk call had done before, it says
)

// end is when the call was over at the latest.
func (d *Deed) end() int64 {
	if d.Answer == AnswerNothing {
		return math.MaxInt64
	}
	return d.Ended
}

// told tells whether the call was answered, and not with an error.
func (d *Deed) told() bool { return d.Answer != AnswerNothing && d.Answer != AnswerFailed }

func (d *Deed) String() string {
	text, err := json.Marshal(d)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Found is a message that is there when all processes have ended.
type Found struct {
	Name      string
	ID        recall.MessageID
	Place     Place
	Attempts  int
	Lease     recall.LeaseToken  // of what is in flight
	Operation recall.OperationID // that has cancelled it
}

// Place is where a message is found.
type Place string

// Where messages are found.
const (
	FoundPending   Place = "pending"
	FoundInFlight  Place = "in flight"
	FoundCancelled Place = "cancelled" // and can be restored
	FoundDead      Place = "dead"
)

// Case is all that is known of what several processes did to one queue, which was empty
// before: what they were told, and what is there afterwards. [Case.Faults] judges it.
type Case struct {
	Deeds  []Deed // in any order, each once or twice
	Found  []Found
	Counts map[recall.OperationID]int // what the record of each operation says
}

// Faults returns what is wrong. By plain accounting, which looks at each line a few times
// only:
//
//   - No loss: what was published is there, or somebody has ended it. A publication that
//     failed is not there.
//   - Each message ends once: delivered, dead, cancelled alone, or by one bulk
//     cancellation. What an operation has taken is what it and its record say.
//   - The stop rule and completeness: whatever matched and was published before a bulk
//     cancellation began is gone when it ends, up to its blocker; nothing behind the
//     blocker was taken. What a call took that was not answered is a prefix in the same
//     way.
//   - A message of a queue is not claimed while one before it is there.
//
// By a search, for each message, for instants at which all that was said of it makes
// sense: it is claimed only while it is pending, so never after it was cancelled; an
// attempt is ended only with the lease that is valid; attempts count; a blocker is in
// flight; a lease ends by itself only if its process has lost it. What was not answered
// may have happened at any time after it was asked.
func (c *Case) Faults() []string {
	t := newTrial(c.Deeds)
	t.find(c.Found)
	t.count(c.Counts)
	t.fates()
	t.sweeps()
	t.order()
	t.search()
	return t.faults
}

// trial is a case that is being judged.
type trial struct {
	deeds    []*Deed // in the order of their beginning
	messages map[string]*tried
	byID     map[recall.MessageID]*tried
	ops      map[recall.OperationID]*Deed
	kept     map[uint64]bool // epochs whose leases did not end by themselves
	last     int64           // when all is over
	faults   []string
}

// tried is one message.
type tried struct {
	name    string
	id      recall.MessageID
	label   string
	queue   string
	publish *Deed
	deeds   []*Deed // that name it
	found   *Found
	seen    bool // it exists for certain
	ends    []*Deed
	perhaps []*Deed // may have ended it
}

func (t *trial) fault(format string, args ...any) {
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}
