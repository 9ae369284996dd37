package pgserver

import "time"

// after is for the life of a server, which is no part of any queue.
func after(d time.Duration) <-chan time.Time { return time.After(d) }
