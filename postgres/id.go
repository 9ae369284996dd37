package postgres

import (
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/recallmq/recall"
)

const (
	messagePrefix   = "msg_"
	operationPrefix = "op_"
)

func messageID(id [16]byte) recall.MessageID {
	return recall.MessageID(messagePrefix + ulid.ULID(id).String())
}

// parseMessageID reads an id; what is none is that of no message.
func parseMessageID(id recall.MessageID) (u [16]byte, ok bool) {
	return parseID(string(id), messagePrefix)
}

func parseID(id, prefix string) ([16]byte, bool) {
	text, ok := strings.CutPrefix(id, prefix)
	if !ok {
		return [16]byte{}, false
	}
	u, err := ulid.ParseStrict(text)
	return u, err == nil
}

func operationID(id [16]byte) recall.OperationID {
	return recall.OperationID(operationPrefix + ulid.ULID(id).String())
}

func parseOperationID(id recall.OperationID) ([16]byte, bool) {
	return parseID(string(id), operationPrefix)
}

// lastID is behind every ULID of a time, and of all before it.
func lastID(t time.Time) [16]byte {
	var u ulid.ULID
	_ = u.SetTime(uint64(max(0, t.UnixMilli()))) // fails only after the year 10889
	for i := 6; i < len(u); i++ {
		u[i] = 0xff
	}
	return u
}

func ulidTime(id [16]byte) time.Time { return time.UnixMilli(int64(ulid.ULID(id).Time())) }

// deadID names a dead letter: the time of death, and a number that counts up.
func deadID(diedMS, n int64) recall.DeadLetterID {
	return recall.DeadLetterID(strconv.FormatInt(diedMS, 10) + "-" + strconv.FormatInt(n, 10))
}

// parseDeadID returns the number of a dead letter, 0 for what is no id, and the time
// in it. What is written in another way, with a sign or with zeros in front, is no id: a
// call would not know what it has taken by it.
func parseDeadID(id recall.DeadLetterID) (ms, n int64) {
	before, after, ok := strings.Cut(string(id), "-")
	if !ok {
		return 0, 0
	}
	ms, err := strconv.ParseInt(before, 10, 64)
	if err != nil {
		return 0, 0
	}
	if n, err = strconv.ParseInt(after, 10, 64); err != nil || deadID(ms, n) != id {
		return 0, 0
	}
	return ms, n
}

// The times of the contract are milliseconds. A time that is not there is NULL.

func toMS(t time.Time) int64 { return t.UnixMilli() }

func toNullMS(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

func fromMS(ms int64) time.Time { return time.UnixMilli(ms) }

func fromNullMS(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms)
}
