package pgtest

import "time"

// after is for the life of a server, which is no part of any test.
func after(d time.Duration) <-chan time.Time { return time.After(d) }
