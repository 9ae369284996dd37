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

func (a *attributes) attempts() int { return int(a.tries & mostAttempts) }

func (a *attributes) setAttempts(n int) {
	a.tries = a.tries&^mostAttempts | uint16(min(max(n, 0), mostAttempts))
}

// priority undoes the two's complement of setPriority.
func (a *attributes) priority() int8 {
	return int8(a.tries>>priorityShift&priorityMask<<3) >> 3
}

func (a *attributes) setPriority(n int8) {
	a.tries = a.tries&^(priorityMask<<priorityShift) | uint16(n)&priorityMask<<priorityShift
}

func (a *attributes) parked() bool { return a.tries&parkedBit != 0 }

// isLocal tells whether a destination is in this process, a handler or consumers,
// and not behind HTTP.
func isLocal[S string | []byte](url S) bool {
	text := string(url)
	return strings.HasPrefix(text, localScheme) || strings.HasPrefix(text, pullScheme)
}
