package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar shows how far long work is, with its rate and what is left of the time, on a
// terminal only. It is safe for concurrent use.
type bar struct{ show *progressbar.ProgressBar } // nil: nothing is shown

// startBar shows a bar on the notes. total may be 0: not known yet.
func startBar(c *console, what string, total int64, inBytes bool) *bar {
	if !isTerminal(c.notes) {
		return &bar{}
	}
	return &bar{progressbar.NewOptions64(total,
		progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(c.notes), progressbar.OptionShowCount(),
		progressbar.OptionShowBytes(inBytes), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(),
	)}
}

// set moves on to n.
func (b *bar) set(n int64) {
	if b.show != nil {
		_ = b.show.Set64(n) // what fails is only the show
	}
}

// progress is for the library, which also tells the total.
func (b *bar) progress(done, total int64) {
	if b.show == nil {
		return
	}
	if total > 0 && b.show.GetMax64() != total {
		b.show.ChangeMax64(total)
	}
	b.set(done)
}

// stop takes the bar away.
func (b *bar) stop() {
	if b.show != nil {
		_ = b.show.Clear() // what fails is only the show
	}
}
