package recall

import (
	"runtime"
	"time"
)

// company waits for requests that are about to be queued. When a commit has been
// acknowledged, those who waited for it want to go on and make the next change. If the
// next commit began without them, half of all publishers would always find that of the
// other half under way, and each would wait for two commits instead of one.
//
// It is no timer. It lets every goroutine run that is ready to, for as long as one of
// them queues something; if none is ready it takes less than a microsecond. Only in a
// process whose goroutines compute for long it is a long time: then commits do without,
// for longer and longer, until it is short again.
type company struct {
	alone int // commits that are not to wait for any
	next  int // how many that are the next time
}

const (
	companyTime = time.Millisecond // that ready goroutines may take
	leastAlone  = 64               // commits
	mostAlone   = 4096
)

// comes reports whether a request is in the queue now.
func (c *company) comes(queue <-chan *request) bool {
	if c.alone > 0 {
		c.alone--
		return false
	}
	watch := startStopwatch()
	runtime.Gosched()
	c.took(watch.ran())
	return len(queue) > 0
}

// took notes how long ready goroutines had the processor.
func (c *company) took(d time.Duration) {
	if d <= companyTime {
		c.next = 0
		return
	}
	c.alone = max(c.next, leastAlone)
	c.next = min(2*c.alone, mostAlone)
}
