package enginetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/recallmq/recall"
)

// The checks of histories themselves: each must be able to fail. Messages are
// 0, 1 and 2 in the order of publication, and all have the label a; numbers
// before the answers are when a call began and ended.

func did(began, ended int64, v verb, messages ...int) *call {
	return &call{began: began, ended: ended, verb: v, messages: messages}
}

func inserted(began, ended int64, messages ...int) *call {
	return did(began, ended, verbInsert, messages...)
}

func claimed(began, ended int64, message, lease int) *call {
	c := did(began, ended, verbClaim, message)
	c.leases = []int{lease}
	return c
}

func finished(began, ended int64, message, lease int, o recall.Outcome) *call {
	c := did(began, ended, verbFinish, message)
	c.leases, c.outcome, c.durable = []int{lease}, o, true
	return c
}

func cancelled(began, ended int64, message int, answer said) *call {
	c := did(began, ended, verbCancel, message)
	c.said = answer
	return c
}

func asked(began, ended int64, message int) *call {
	c := cancelled(began, ended, message, saidDone)
	c.sticky = true
	return c
}

func got(began, ended int64, message int, s recall.State) *call {
	c := did(began, ended, verbGet, message)
	c.states = []recall.State{s}
	if s == "" {
		c.said = saidNotFound
	}
	return c
}

func counted(began, ended int64, n int) *call {
	c := did(began, ended, verbCount)
	c.label, c.number = "a", n
	return c
}

func swept(began, ended int64, n int) *call {
	c := did(began, ended, verbBulk)
	c.label, c.number, c.policy = "a", n, bulkPolicies[0]
	return c
}

func halted(began, ended int64, n, blocker int) *call {
	c := swept(began, ended, n)
	c.said, c.stop = saidInFlight, recall.MessageID(numbered("id", blocker))
	return c
}

// sparing is a bulk cancellation that names what it has found in flight.
func sparing(c *call, p recall.Policy, ids ...recall.MessageID) *call {
	c.policy.policy = p
	if c.policy.asks() {
		c.askedIDs = ids
	} else {
		c.skippedIDs = ids
	}
	return c
}

func restored(began, ended int64, undoes *call, n int) *call {
	c := did(began, ended, verbRestore)
	c.undoes, c.number = undoes, n
	return c
}

func listed(began, ended int64, messages ...int) *call {
	c := did(began, ended, verbLook, messages...)
	c.states = slices.Repeat([]recall.State{recall.StateReady}, len(messages))
	return c
}

func crashed(began, ended int64) *call {
	c := did(began, ended, verbReopen)
	c.crash = true
	return c
}

func soft(c *call) *call { c.durable = false; return c }

func unanswered(c *call) *call { c.said = saidNothing; return c }

func dead(c *call, messages ...int) *call { c.dead = messages; return c }

const (
	ready    = recall.StateReady
	inFlight = recall.StateInFlight
)

func TestHistories(t *testing.T) {
	bulk := func() *call { return swept(3, 4, 1) }
	first, second, third, fourth, fifth := bulk(), bulk(), bulk(), bulk(), bulk()
	asks := sparing(swept(5, 6, 0), recall.Sticky, "id0")
	for _, c := range []struct {
		name   string
		calls  []*call
		linear bool
		says   string // of a fault; "" if there is none
	}{
		{"a life", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), finished(5, 6, 0, 0, recall.Retry), got(7, 8, 0, ready),
			claimed(9, 10, 0, 1), got(11, 12, 0, inFlight), finished(13, 14, 0, 1, recall.Delivered), got(15, 16, 0, ""), listed(17, 18),
		}, true, ""},
		{"claimed before Insert has returned", []*call{
			inserted(1, 4, 0), claimed(2, 3, 0, 0), finished(5, 6, 0, 0, recall.Release), listed(7, 8, 0),
		}, true, ""},
		{"seen in flight while it is pending", []*call{inserted(1, 2, 0), got(3, 4, 0, inFlight), listed(5, 6, 0)}, false, ""},
		{"leased twice", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), claimed(5, 6, 0, 1), finished(7, 8, 0, 1, recall.Retry), listed(9, 10, 0),
		}, false, ""},
		{"a stale lease ends a message", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), finished(5, 6, 0, 0, recall.Retry), claimed(7, 8, 0, 1),
			finished(9, 10, 0, 0, recall.Delivered), listed(11, 12),
		}, false, ""},
		{"delivered twice", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), finished(5, 8, 0, 0, recall.Delivered), finished(6, 9, 0, 0, recall.Delivered), listed(10, 11),
		}, false, "ended more than once"},
		{"cancelled and then claimed", []*call{inserted(1, 2, 0), cancelled(3, 4, 0, saidDone), claimed(5, 6, 0, 0), listed(7, 8)}, false, "was gone with"},
		{"cancelled while it is claimed", []*call{inserted(1, 2, 0), cancelled(3, 6, 0, saidDone), claimed(4, 7, 0, 0), listed(8, 9)}, false, ""},
		{"cancelled in flight, and refused", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), cancelled(5, 6, 0, saidInFlight), finished(7, 8, 0, 0, recall.Release), listed(9, 10, 0),
		}, true, ""},
		{"asked to go, and then retried", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), asked(5, 6, 0), finished(7, 8, 0, 0, recall.Retry), claimed(9, 10, 0, 1), listed(11, 12),
		}, false, "was gone with"},
		{"asked to go, and then delivered", []*call{
			inserted(1, 2, 0, 1), claimed(3, 4, 1, 0), asked(5, 7, 1), got(8, 9, 1, inFlight), finished(10, 11, 1, 0, recall.Delivered), listed(12, 13, 0),
		}, true, ""},
		{"asked to go, and back after a crash", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), asked(6, 7, 0), crashed(8, 9), listed(10, 11, 0),
		}, false, "was gone with"},
		{"dead, and not among the dead", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), finished(5, 6, 0, 0, recall.Dead), listed(7, 8),
		}, true, "among the dead letters"},
		{"among the dead, and not dead", []*call{inserted(1, 2, 0), dead(listed(3, 4, 0), 0)}, true, "among the dead letters"},

		{"all are taken", []*call{inserted(1, 2, 0, 1, 2), swept(3, 4, 3), listed(5, 6)}, true, ""},
		{"one is forgotten", []*call{inserted(1, 2, 0, 1, 2), swept(3, 4, 2), listed(5, 6, 1)}, false, "was gone with"},
		{"one is claimed afterwards", []*call{inserted(1, 2, 0), swept(3, 4, 1), claimed(5, 6, 0, 0), listed(7, 8)}, false, "was gone with"},
		{"one is not counted", []*call{inserted(1, 2, 0, 1, 2), swept(3, 4, 2), listed(5, 6)}, true, "at least 3"},
		{"one is counted twice", []*call{inserted(1, 2, 0, 1, 2), swept(3, 4, 4), listed(5, 6)}, true, "at most 3"},
		{"one is counted by two", []*call{inserted(1, 2, 0), swept(3, 5, 1), swept(4, 6, 1), listed(7, 8)}, true, "say 2 in all"},
		{"one is taken by either", []*call{inserted(1, 2, 0), swept(3, 5, 0), swept(4, 6, 1), listed(7, 8)}, true, ""},
		{"one goes, and nobody has taken it", []*call{inserted(1, 2, 0), listed(3, 4)}, false, "nobody has ended it"},
		{"one is published meanwhile and stays", []*call{inserted(1, 4, 0), swept(3, 6, 0), listed(7, 8, 0)}, true, ""},
		{"one is published meanwhile and goes", []*call{inserted(1, 4, 0), swept(3, 6, 1), listed(7, 8)}, true, ""},
		{"one is published afterwards and goes", []*call{swept(1, 2, 1), inserted(3, 4, 0), listed(5, 6)}, false, "nobody has ended it"},
		{"one in flight is passed", []*call{inserted(1, 2, 0), claimed(3, 4, 0, 0), swept(5, 6, 0), listed(7, 8, 0)}, false, "was gone with"},
		{"cancelled alone and in bulk", []*call{inserted(1, 2, 0), cancelled(3, 6, 0, saidDone), swept(4, 5, 1), listed(7, 8)}, true, "at most 0"},

		{"stopped", []*call{inserted(1, 2, 0, 1, 2), claimed(3, 4, 1, 0), halted(5, 6, 1, 1), finished(7, 8, 1, 0, recall.Release), listed(9, 10, 1, 2)}, true, ""},
		{"stopped by what is pending", []*call{inserted(1, 2, 0, 1, 2), halted(5, 6, 1, 1), listed(9, 10, 1, 2)}, false, "not in flight during"},
		{"stopped by what was in flight before", []*call{
			inserted(1, 2, 0, 1), claimed(3, 4, 1, 0), finished(5, 6, 1, 0, recall.Release), halted(7, 8, 1, 1), listed(9, 10, 1),
		}, false, "not in flight during"},
		{"stopped by what is in flight later", []*call{
			inserted(1, 2, 0, 1), halted(3, 4, 1, 1), claimed(5, 6, 1, 0), listed(9, 10, 1),
		}, false, "not in flight during"},
		{"stopped by what was asked to go", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), asked(5, 6, 0), halted(7, 8, 0, 0), listed(9, 10),
		}, false, "was gone with"},
		{"one after the blocker goes", []*call{
			inserted(1, 2, 0, 1, 2), claimed(3, 4, 1, 0), halted(5, 6, 2, 1), finished(7, 8, 1, 0, recall.Release), listed(9, 10, 1),
		}, false, "nobody has ended it"},
		{"one before the blocker stays", []*call{
			inserted(1, 2, 0, 1, 2), claimed(3, 4, 1, 0), halted(5, 6, 0, 1), finished(7, 8, 1, 0, recall.Release), listed(9, 10, 0, 1, 2),
		}, false, "was gone with"},

		{"one in flight is skipped", []*call{
			inserted(1, 2, 0, 1), claimed(3, 4, 0, 0), sparing(swept(5, 6, 1), recall.Skip, "id0"),
			finished(7, 8, 0, 0, recall.Retry), listed(9, 10, 0),
		}, true, ""},
		{"one that is pending is skipped", []*call{inserted(1, 2, 0, 1), sparing(swept(5, 6, 1), recall.Skip, "id0"), listed(9, 10, 0)}, false, "not in flight during"},
		{"one in flight is asked to go", []*call{
			inserted(1, 2, 0, 1), claimed(3, 4, 0, 0), sparing(swept(5, 6, 1), recall.Sticky, "id0"),
			got(7, 8, 0, inFlight), finished(9, 10, 0, 0, recall.Retry), listed(11, 12),
		}, true, ""},
		{"one is asked to go and tried again", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), sparing(swept(5, 6, 0), recall.Abort, "id0"),
			finished(7, 8, 0, 0, recall.Retry), claimed(9, 10, 0, 1), listed(11, 12),
		}, false, "was gone with"},
		{"restored", []*call{inserted(1, 2, 0), first, restored(5, 6, first, 1), got(7, 8, 0, ready), listed(9, 10, 0)}, true, ""},
		{"restored twice", []*call{inserted(1, 2, 0), second, restored(5, 6, second, 1), restored(7, 8, second, 1), listed(9, 10, 0)}, true, ""},
		{"there before it is restored", []*call{inserted(1, 2, 0), third, got(5, 6, 0, ready), restored(7, 8, third, 1), listed(9, 10, 0)}, false, "was gone with"},
		{"restored, and not there", []*call{inserted(1, 2, 0), fourth, restored(5, 6, fourth, 1), listed(9, 10)}, false, "say 0 in all"},
		{"restored, and not counted", []*call{inserted(1, 2, 0), fifth, restored(5, 6, fifth, 0), listed(9, 10, 0)}, true, "say 1 in all"},
		{"a request is lifted", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), asks, restored(7, 8, asks, 0),
			finished(9, 10, 0, 0, recall.Retry), listed(11, 12, 0),
		}, true, ""},

		{"counted", []*call{inserted(1, 2, 0, 1), counted(3, 4, 2), inserted(5, 8, 2), counted(6, 7, 3), listed(9, 10, 0, 1, 2)}, true, ""},
		{"counted too few", []*call{inserted(1, 2, 0, 1), counted(3, 4, 1), listed(5, 6, 0, 1)}, true, "at least 2"},
		{"counted too many", []*call{inserted(1, 2, 0, 1), cancelled(3, 4, 0, saidDone), counted(5, 6, 2), listed(7, 8, 1)}, true, "at most 1"},

		{"pending again after a crash", []*call{inserted(1, 2, 0), claimed(3, 4, 0, 0), crashed(5, 6), listed(7, 8, 0)}, true, ""},
		{"in flight after a crash", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), crashed(5, 6), finished(7, 8, 0, 0, recall.Release), listed(9, 10, 0),
		}, false, ""},
		{"lost in a crash", []*call{inserted(1, 2, 0), crashed(3, 4), listed(5, 6)}, false, "nobody has ended it"},
		{"cancelled, and back after a crash", []*call{inserted(1, 2, 0), swept(3, 4, 1), crashed(5, 6), listed(7, 8, 0)}, false, "was gone with"},
		{"delivered for a while", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), soft(finished(5, 6, 0, 0, recall.Delivered)), crashed(7, 8), listed(9, 10, 0),
		}, true, ""},
		{"delivered for a while, and said to be gone", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), soft(finished(5, 6, 0, 0, recall.Delivered)), got(7, 8, 0, ""), crashed(9, 10), listed(11, 12, 0),
		}, false, "was gone with"},
		{"delivered for a while, and passed by a cancellation", []*call{
			inserted(1, 2, 0), claimed(3, 4, 0, 0), soft(finished(5, 6, 0, 0, recall.Delivered)), swept(7, 8, 0), crashed(9, 10), listed(11, 12, 0),
		}, false, "was gone with"},
		{"published without an answer", []*call{unanswered(inserted(1, 4, 0)), crashed(4, 5), listed(6, 7)}, true, ""},
		{"cancelled without an answer", []*call{inserted(1, 2, 0, 1), unanswered(swept(3, 6, 0)), crashed(6, 7), listed(8, 9, 0)}, true, ""},
		{"cancelled without an answer, after the crash", []*call{
			inserted(1, 2, 0), unanswered(swept(3, 6, 0)), crashed(6, 7), got(8, 9, 0, ready), listed(10, 11),
		}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &history{calls: c.calls}
			for i := range 3 {
				h.messages = append(h.messages, sent{id: recall.MessageID(numbered("id", i)), labels: []string{"a"}})
			}
			h.order()
			h.messages = slices.DeleteFunc(h.messages, func(m sent) bool { return m.insert == nil })
			linear := true
			for i := range h.messages {
				linear = linear && h.linear(i)
			}
			faults := strings.Join(h.faults(), "\n")
			if linear != c.linear || c.says == "" && faults != "" || !strings.Contains(faults, c.says) {
				t.Errorf("got linear %v, faults %q; want %v, %q, in\n%s", linear, faults, c.linear, c.says, h)
			}
		})
	}
}
