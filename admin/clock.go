package admin

import "time"

// stall is how long one write to a client may take. It bounds each part of a long
// answer, and not the whole.
const stall = time.Minute

// writeDeadline is when a write that begins now has to have ended.
func writeDeadline() time.Time { return time.Now().Add(stall) }
