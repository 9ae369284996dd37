package postgres

import "github.com/recallmq/recall"

// What a list goes on behind is an id, or empty: then it begins at the start. Whoever
// passes what is neither gets [recall.ErrInvalid], and not the start once more.

// afterMessage reads where a list of messages goes on: in front of all if from is zero.
func afterMessage(after recall.MessageID) (from [16]byte, err error) {
	from, ok := parseMessageID(after)
	return from, checkAfter(ok, string(after), "a message")
}

func afterOperation(after recall.OperationID) (from [16]byte, err error) {
	from, ok := parseOperationID(after)
	return from, checkAfter(ok, string(after), "an operation")
}

// afterDead reads the number of a dead letter, 0 for the start.
func afterDead(after recall.DeadLetterID) (n int64, err error) {
	_, n = parseDeadID(after)
	return n, checkAfter(n > 0, string(after), "a dead letter")
}

// afterEvent reads the number of an event, 0 for the start.
func afterEvent(after recall.EventID) (n int64, err error) {
	n, ok := parseEventID(after)
	return n, checkAfter(ok, string(after), "an event")
}

func checkAfter(ok bool, after, what string) error {
	if ok || after == "" {
		return nil
	}
	return invalid("after", "%q is not the id of %s", storableText(after[:min(len(after), maxReason)]), what)
}
