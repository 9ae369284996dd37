package enginetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/recallmq/recall"
)

// history is what concurrent clients of one engine asked and were told. Time
// in it is a counter that every beginning and every end of a call moves on.
type history struct {
	messages []sent // by number
	calls    []*call
	walk     func(a, b recall.MessageID) int // see Harness
}

// behind tells whether a walk comes to a message after another one.
func (h *history) behind(message, other int) bool {
	walk := h.walk
	if walk == nil {
		walk = cmp.Compare[recall.MessageID]
	}
	return walk(h.messages[message].id, h.messages[other].id) > 0
}

// sent is one message that a client has tried to publish.
type sent struct {
	id     recall.MessageID // empty if nobody was told
	labels []string
	insert *call
}

// verb is what a client does.
type verb uint8

const (
	verbInsert verb = iota + 1
	verbClaim
	verbFinish
	verbCancel
	verbGet
	verbCount
	verbBulk // CancelMatching
	verbRestore
	verbLook   // List and ListDead, while nobody else does anything
	verbReopen // the engine ends, and another one goes on
)

// said is what a call was told.
type said uint8

const (
	saidDone said = iota
	saidNotFound
	saidInFlight // a *NotCancellableError
	saidLeaseLost
	saidExpired // of verbRestore: too late, or no such operation after a crash
	// saidNothing: the engine was taken away before the call was answered, so
	// whether it has had its effect is unknown. Such a call ends when the next
	// engine is opened.
	saidNothing
)

// call is one call of one client. Which fields count depends on the verb.
type call struct {
	began, ended int64
	client       int
	verb         verb
	said         said

	messages []int          // those it named or was told of; of verbLook, those that are listed
	leases   []int          // of verbClaim one for each message, of verbFinish the one
	states   []recall.State // of verbGet and verbLook, one for each message
	dead     []int          // of verbLook: the messages among the dead letters

	outcome recall.Outcome   // of verbFinish
	durable bool             // of verbFinish
	sticky  bool             // of verbCancel
	crash   bool             // of verbReopen
	label   string           // of verbCount and verbBulk; "" is everything
	policy  bulkPolicy       // of verbBulk
	stop    recall.MessageID // of verbBulk that saidInFlight: the blocker
	blocker int              // its number
	number  int              // counted, cancelled or restored

	operation            recall.OperationID // of verbBulk
	askedIDs, skippedIDs []recall.MessageID // of verbBulk: matches in flight that it names
	asked, skipped       []int              // their numbers
	undoes               *call              // of verbRestore
}

func (c *call) names(message int) bool { return slices.Contains(c.messages, message) }

// stateOf returns what the call was told about a message, or "".
func (c *call) stateOf(message int) recall.State {
	if i := slices.Index(c.messages, message); i >= 0 {
		return c.states[i]
	}
	return ""
}

// ends tells whether the call, if it has its effect, may end a message that is
// in flight, whatever else is known of it.
func (c *call) ends() bool { return c.outcome == recall.Delivered || c.outcome == recall.Dead }

// meets tells whether a bulk cancellation says that a message was in flight.
func (c *call) meets(message int) bool {
	return c.verb == verbBulk && c.said != saidNothing && (c.said == saidInFlight && c.blocker == message ||
		slices.Contains(c.asked, message) || slices.Contains(c.skipped, message))
}

// matches tells whether a message is one that the call is about.
func (h *history) matches(c *call, message int) bool {
	return c.label == "" || slices.Contains(h.messages[message].labels, c.label)
}

// order puts the calls in the order of their beginning, and finds out what none
// of them knew alone: which one published each message, and which message each
// blocker is. A blocker whose number nobody was told makes the answer worthless.
func (h *history) order() {
	slices.SortFunc(h.calls, func(a, b *call) int { return cmp.Compare(a.began, b.began) })
	for _, c := range h.calls {
		switch {
		case c.verb == verbInsert:
			for _, m := range c.messages {
				h.messages[m].insert = c
			}
		case c.verb == verbBulk && c.said != saidNothing:
			h.resolve(c)
		}
	}
}

// resolve finds the messages that a bulk cancellation names.
func (h *history) resolve(c *call) {
	if c.said == saidInFlight {
		c.blocker = h.numberWith(c, c.stop)
	}
	for _, id := range c.askedIDs {
		c.asked = append(c.asked, h.numberWith(c, id))
	}
	for _, id := range c.skippedIDs {
		c.skipped = append(c.skipped, h.numberWith(c, id))
	}
}

func (h *history) numberWith(c *call, id recall.MessageID) int {
	n := slices.IndexFunc(h.messages, func(m sent) bool { return m.id == id })
	if n < 0 {
		c.said = saidNothing
	}
	return n
}

// String returns the history as a table, one call to a line.
func (h *history) String() string {
	var b strings.Builder
	for i, m := range h.messages {
		fmt.Fprintf(&b, "message %d: labels %v, %s\n", i, m.labels, cmp.Or(string(m.id), "no id known"))
	}
	for _, c := range h.calls {
		fmt.Fprintf(&b, "%4d–%-4d client %d  %s\n", c.began, c.ended, c.client, c)
	}
	return b.String()
}

// String says what was asked and what was told.
func (c *call) String() string {
	return c.question() + ": " + c.answer()
}

func (c *call) question() string {
	label := cmp.Or(c.label, "everything")
	switch c.verb {
	case verbInsert:
		return fmt.Sprintf("Insert %v", c.messages)
	case verbClaim:
		return "Claim"
	case verbFinish:
		how := ""
		if c.durable {
			how = ", durable"
		}
		return fmt.Sprintf("Finish %d, lease %d, %s%s", c.messages[0], c.leases[0], outcomeNames[c.outcome], how)
	case verbCancel:
		if c.sticky {
			return fmt.Sprintf("Cancel %d with Sticky", c.messages[0])
		}
		return fmt.Sprintf("Cancel %d", c.messages[0])
	case verbGet:
		return fmt.Sprintf("Get %d", c.messages[0])
	case verbCount:
		return "Count " + label
	case verbBulk:
		return "CancelMatching " + label + " with " + c.policy.name
	case verbLook:
		return "List"
	case verbRestore:
		return fmt.Sprintf("Restore of the call that began at %d", c.undoes.began)
	}
	if c.crash {
		return "crash and open"
	}
	return "close and open"
}

var outcomeNames = map[recall.Outcome]string{
	recall.Delivered: "delivered", recall.Retry: "retry", recall.Dead: "dead", recall.Release: "release",
}

func (c *call) answer() string {
	switch {
	case c.said == saidNothing:
		return "no answer"
	case c.said == saidNotFound:
		return "not found"
	case c.said == saidExpired:
		return "expired"
	case c.verb == verbRestore:
		return fmt.Sprint(c.number)
	case c.said == saidLeaseLost:
		return "lease lost"
	case c.verb == verbBulk && c.said == saidInFlight:
		return fmt.Sprintf("%d cancelled, stopped by %d", c.number, c.blocker)
	case c.said == saidInFlight:
		return "in flight"
	case c.verb == verbClaim:
		return fmt.Sprintf("%v, leases %v", c.messages, c.leases)
	case c.verb == verbGet:
		return string(c.states[0])
	case c.verb == verbCount:
		return fmt.Sprint(c.number)
	case c.verb == verbBulk:
		return fmt.Sprintf("%d cancelled, asked %v, skipped %v", c.number, c.asked, c.skipped)
	case c.verb == verbLook:
		return fmt.Sprintf("%v, %v; dead %v", c.messages, c.states, c.dead)
	}
	return "done"
}
