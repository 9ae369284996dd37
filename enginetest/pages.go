package enginetest

import "github.com/recallmq/recall"

// malformed are no ids of anything.
var malformed = []string{"x", "1", "1-", "-1", "1-0", "-5-1", "1-2-3", "msg_", "msg_1", "op_", "op_01ARZ3NDEKTSV4RRFFQ69G5FA", "\x00", "\xff"}

// pageTests are about lists that are read in parts.
var pageTests = []contractTest{
	{"a list does not begin again behind what is no id", func(x *fixture) {
		x.publish()
		for _, after := range malformed {
			_, err := x.e.List(x.ctx, recall.Filter{}, recall.MessageID(after), 10, x.now)
			x.wantError(err, recall.ErrInvalid, "List after "+after)
		}
	}},
	{"dead letters do not begin again behind what is no id", func(x *fixture) {
		for _, after := range malformed {
			_, err := x.e.ListDead(x.ctx, recall.Filter{}, recall.DeadLetterID(after), 10)
			x.wantError(err, recall.ErrInvalid, "ListDead after "+after)
			_, err = x.e.DeadIDs(x.ctx, recall.Filter{}, recall.DeadLetterID(after), 10)
			x.wantError(err, recall.ErrInvalid, "DeadIDs after "+after)
		}
	}},
	{"records do not begin again behind what is no id", func(x *fixture) {
		e := can[recall.Auditor](x)
		for _, after := range malformed {
			_, err := e.Operations(x.ctx, recall.OperationID(after), 10)
			x.wantError(err, recall.ErrInvalid, "Operations after "+after)
		}
	}},
	{"events do not begin again behind what is no id", func(x *fixture) {
		e := can[recall.EventLog](x)
		for _, after := range malformed {
			_, err := e.Events(x.ctx, recall.EventFilter{}, recall.EventID(after), 10)
			x.wantError(err, recall.ErrInvalid, "Events after "+after)
		}
	}},
	{"an unknown state matches nothing", func(x *fixture) {
		x.publish()
		for _, state := range []recall.State{"", "none", "\x00", "\xff"} {
			x.wantList(recall.Filter{States: []recall.State{state}})
		}
	}},
}
