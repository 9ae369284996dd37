package recall

import "time"

// DefaultBackoff is QStash's.
func DefaultBackoff(retried int) time.Duration { panic("stub") }
