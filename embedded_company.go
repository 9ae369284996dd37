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
// It is no timer. It lets goroutines run that are ready to, again for as long as one of
// them has queued something; if none is ready it takes less than a microsecond. In a
// process whose goroutines compute for long it can take as long as they like: when it
// has taken more than companyTime for a commit, the next ones do without, for longer
// and longer until it is short again.
type company struct {
	asked bool          // whether anybody comes to this commit
	spent time.Duration // for it
	alone int           // commits that are not to wait for any
	next  int           // how many that are the next time
}

const (
	companyTime = time.Millisecond // that ready goroutines may take before a commit
	leastAlone  = 64               // commits
	mostAlone   = 4096
)

// begin is called before each commit.
func (c *company) begin() {
	if c.alone > 0 {
		c.alone-- // and what was spent stays too much
		return
	}
	if c.asked && c.spent <= companyTime {
		c.next = 0
	}
	c.asked, c.spent = false, 0
}

// comes reports whether a request is in the queue now.
func (c *company) comes(queue <-chan *request) bool {
	if c.spent > companyTime {
		return false
	}
	watch := startStopwatch()
	runtime.Gosched()
	c.took(watch.ran())
	return len(queue) > 0
}

// took notes how long ready goroutines had the processor.
func (c *company) took(d time.Duration) {
	c.asked = true
	if c.spent += d; c.spent > companyTime {
		c.alone = max(c.next, leastAlone)
		c.next = min(2*c.alone, mostAlone)
	}
}
