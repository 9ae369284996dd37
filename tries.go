package recall

import "strings"

// What an entry keeps in few bits: ten for the attempts, of which there are at
// most MaxRetries and one, five for the priority, and one that says that it is
// parked until its flow-control key has room.
const (
	attemptBits   = 10
	mostAttempts  = 1<<attemptBits - 1
	priorityShift = attemptBits
	priorityMask  = 31
	parkedBit     = 1 << 15
)

func (e *entry) attempts() int { return int(e.tries & mostAttempts) }

func (e *entry) setAttempts(n int) {
	e.tries = e.tries&^mostAttempts | uint16(min(max(n, 0), mostAttempts))
}

// priority undoes the two's complement of setPriority.
func (e *entry) priority() int8 {
	return int8(e.tries>>priorityShift&priorityMask<<3) >> 3
}

func (e *entry) setPriority(n int8) {
	e.tries = e.tries&^(priorityMask<<priorityShift) | uint16(n)&priorityMask<<priorityShift
}

func (e *entry) parked() bool { return e.tries&parkedBit != 0 }

// isLocal tells whether a destination is in this process, a handler or consumers,
// and not behind HTTP.
func isLocal[S string | []byte](url S) bool {
	text := string(url)
	return strings.HasPrefix(text, localScheme) || strings.HasPrefix(text, pullScheme)
}
