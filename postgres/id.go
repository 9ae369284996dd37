package postgres

import (
	"crypto/rand"
	"encoding/binary"
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

// newMessageID makes the id of a message from its number: the time, six bytes of
// the number, and four that nobody can guess.
func newMessageID(ms int64, seq uint64) [16]byte {
	var u ulid.ULID
	_ = u.SetTime(uint64(max(0, ms))) // fails only after the year 10889
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], seq)
	copy(u[6:12], n[2:])
	_, _ = rand.Read(u[12:]) // never fails
	return u
}

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

// newOperation makes the id of an operation. Those of one process are in the order of
// the calls, whatever the clock does; those of several up to how their clocks differ.
func (e *Engine) newOperation(now time.Time) [16]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.After(e.opTime) {
		e.opTime = now
	}
	e.opTie++
	var u ulid.ULID
	_ = u.SetTime(uint64(max(0, e.opTime.UnixMilli()))) // as above
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], e.opTie)
	copy(u[6:11], n[3:])
	_, _ = rand.Read(u[11:]) // never fails
	return u
}

// operationTie is the number in the id of an operation, by which those of one
// millisecond are in order.
func operationTie(id [16]byte) uint64 {
	return binary.BigEndian.Uint64(append(make([]byte, 3, 8), id[6:11]...))
}

func ulidTime(id [16]byte) time.Time { return time.UnixMilli(int64(ulid.ULID(id).Time())) }

// deadID names a dead letter: the time of death, and a number that counts up.
func deadID(diedMS, n int64) recall.DeadLetterID {
	return recall.DeadLetterID(strconv.FormatInt(diedMS, 10) + "-" + strconv.FormatInt(n, 10))
}

// parseDeadID returns the number of a dead letter, 0 for what is no id, and the time
// in it.
func parseDeadID(id recall.DeadLetterID) (ms, n int64) {
	before, after, ok := strings.Cut(string(id), "-")
	if !ok {
		return 0, 0
	}
	ms, err := strconv.ParseInt(before, 10, 64)
	if err != nil {
		return 0, 0
	}
	if n, err = strconv.ParseInt(after, 10, 64); err != nil {
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
