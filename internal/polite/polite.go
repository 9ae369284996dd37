// Package polite lets work that nobody waits for make way.
//
// [runtime.Gosched] makes way for goroutines, and no more than that. A commit spends
// most of its time in the system, where its thread needs a processor but no goroutine
// does: when the disk has answered and every processor runs a thread that never
// sleeps, the scheduler of Linux lets that one go on until its slice of some
// milliseconds is over. On a machine with two processors a loop over memory can so
// make each commit beside it twice as long.
package polite

import "runtime"

// Yield gives the processor to a thread that waits for one, then to a goroutine. It
// takes some microseconds even if there is neither. Where the system has no such
// call it is [runtime.Gosched].
func Yield() {
	yieldThread()
	runtime.Gosched()
}
